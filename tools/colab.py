"""The notebooks on Google Colab: where they find the package there, and whether they run there.

    python tools/colab.py address                   write the project's address into README.md and the notebooks
    python tools/colab.py notebooks dist/*.whl      dist/colab/*.ipynb: notebooks that hold the package
    python tools/colab.py check dist/colab --nbval  run those in this environment, which has Colab's versions; what
                                                    follows the folder are options for pytest

The address is ``[project.urls] Repository`` in pyproject.toml, and stands nowhere else. Until the project is published
there is none: then there are no badges, and the setup cells ask for the wheel.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from notebooks import text

ROOT = Path(__file__).parents[1]
COLAB = "https://colab.research.google.com"
BADGE = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
# What Colab has not, with all that it needs.
LACKING = ("anthropic<3", "mistralai<3", "eval-type-backport", "jsonpath-python", "krippendorff")
ADDED = {"moa-helpers", *(re.split("[<>]", package)[0] for package in LACKING)}

SETUP = """\
#@title Setup: run this cell first {{ display-mode: "form" }}
try:
    import moa_helpers as moa
except ModuleNotFoundError:  # on Google Colab: install what is missing there, and change nothing else
    from pathlib import Path
{where}{missing}    %pip install -q --no-deps {{package}} {lacking}
    import moa_helpers as moa

moa.setup()"""
UNPACK = """\
    # The package itself, as text; there is nothing to read here.
    from base64 import b64decode
    package = "{name}"
    _ = Path(package).write_bytes(b64decode(\"""
{data}
\"""))
"""
FOUND = """\
    package = max(Path().glob("moa_helpers-*.whl"), key=lambda path: path.stat().st_mtime, default="{address}")
"""
MISSING = """\
    if not package:  # upload it with the folder icon on the left; the notebooks of `make colab` contain it
        raise FileNotFoundError("Upload moa_helpers-….whl (from `make wheel`), then run this cell again.") from None
"""


def setup_cell(address: str | None, wheel: Path | None = None) -> str:
    """The code of the setup cell: it takes the embedded wheel, else the newest in the folder, else the address."""
    where = FOUND.format(address=f"git+{address}" if address else "")
    if wheel:
        data = base64.b64encode(wheel.read_bytes()).decode()
        lines = (data[start : start + 120] for start in range(0, len(data), 120))
        where = UNPACK.format(name=wheel.name, data="\n".join(lines))
    return SETUP.format(
        where=where,
        missing="" if wheel or address else MISSING,
        lacking=" ".join(f'"{package}"' if "<" in package else package for package in LACKING),
    )


def project_address() -> str | None:
    """The project's address on GitHub, or None if it is not published; ends the program if it is another."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    if address is None:
        return None
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+(?<!\.git)", address):
        sys.exit(f"pyproject.toml: Repository is {address!r}; Colab opens https://github.com/OWNER/NAME (no '.git').")
    return str(address)


def on_colab(address: str, name: str) -> str:
    """Where Colab opens the published notebook."""
    return f"{COLAB}{address.removeprefix('https:/').replace('.com', '', 1)}/blob/main/notebooks/{name}"


def write_address() -> None:
    """Bring README.md's badges, each notebook's badge and its setup cell into the state that the address asks for."""
    address = project_address()
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")

    def row(found: re.Match[str]) -> str:
        return f"{found[1]} {BADGE}({on_colab(address, found[2])})" if address else found[1]

    badge = rf"{re.escape(BADGE)}\([^)]*\)"
    _write(readme, re.sub(rf"(?m)^(\| .*\]\(notebooks/([\w-]+\.ipynb)\))(?: {badge})?", row, old))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        title, _, rest = re.sub(rf"{badge}\n\n", "", "".join(notebook["cells"][0]["source"])).partition("\n\n")
        shown = f"{BADGE}({on_colab(address, path.name)})\n\n" if address else ""
        notebook["cells"][0]["source"] = f"{title}\n\n{shown}{rest}".splitlines(keepends=True)
        _setup(notebook)["source"] = setup_cell(address).splitlines(keepends=True)
        _write(path, text(notebook))


def write_notebooks(wheel: Path) -> None:
    """Write each notebook with the wheel in its setup cell, its pictures embedded, and no link to a file beside it."""
    address, folder = project_address(), ROOT / "dist" / "colab"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def link(found: re.Match[str]) -> str:
        label, name = found.groups()
        return f"[{label}]({on_colab(address, name)})" if address else f"{label} (the file `{name}`)"

    def picture(found: re.Match[str]) -> str:
        data = base64.b64encode((ROOT / "notebooks" / found[1]).read_bytes()).decode()
        return f"](data:image/png;base64,{data})"

    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                source = re.sub(r"\]\((images/[\w.-]+\.png)\)", picture, "".join(cell["source"]))
                source = re.sub(r"\[([^][]+)\]\(([\w-]+\.ipynb)\)", link, source)
                cell["source"] = source.splitlines(keepends=True)
        _setup(notebook)["source"] = setup_cell(address, wheel).splitlines(keepends=True)
        (folder / path.name).write_text(text(notebook), encoding="utf-8")
        print(f"{folder.relative_to(ROOT) / path.name}: {(folder / path.name).stat().st_size / 1000:.0f} kB")


def check(paths: list[Path], options: list[str]) -> None:
    """Install by the setup cell and see what that changed, then let nbval run every notebook in a folder of its own."""
    notebooks = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if len({"".join(_setup(notebook)["source"]) for notebook in notebooks}) != 1:
        sys.exit("The setup cells differ, so one of them does not speak for all.")
    for variable in [name for name in os.environ if name.startswith("MOA_") or name.endswith("_API_KEY")]:
        del os.environ[variable]
    modules = ROOT / "tests" / "google_colab", ROOT / "tools"
    os.environ |= {"MOA_OFFLINE_SPEED": "4", "PYTHONPATH": os.pathsep.join(map(str, modules))}
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else each kernel warns of a debugger that nobody uses
    pip("uninstall", "-y", "-q", *sorted(ADDED))
    before = installed()
    shown = execute(notebooks[0] | {"cells": [_setup(notebooks[0])]})
    after = installed()
    changed = sorted(name for name in before if after.get(name) != before[name])
    added = after.keys() - before.keys()
    if changed or added != ADDED:
        sys.exit(f"changed: {changed}; added: {sorted(added)}, where {sorted(ADDED)} were expected")
    if "Mode: OFFLINE, because no API key is set." not in shown or "colab:google/" not in shown:
        sys.exit(f"the setup cell reports something else: {shown}")
    print("added:", ", ".join(f"{name} {after[name]}" for name in sorted(added)))
    print(f"unchanged: the {len(before)} packages that were there")
    print(pip("check").strip(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            alone = Path(folder, path.stem)
            alone.mkdir()
            shutil.copy(path, alone)
        names = sorted((path.stem for path in paths), reverse=True)
        ended = subprocess.run([sys.executable, "-m", "pytest", *options, *names], cwd=folder, check=False)
    if installed() != after:
        sys.exit("A notebook changed the installed packages.")
    sys.exit(ended.returncode)


def execute(notebook: dict[str, Any]) -> str:
    """Run a notebook in an empty folder; raises if a cell fails. Returns what its setup cell showed, as HTML."""
    import nbformat
    from nbclient import NotebookClient

    running = nbformat.reads(text(notebook), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(running, kernel_name="python3", timeout=300, resources=resources).execute()
    return "".join(str(output.get("data", {}).get("text/html", "")) for output in _setup(running)["outputs"])


def pip(*arguments: str) -> str:
    """Run this environment's pip and return what it says."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def installed() -> dict[str, str]:
    """Every package of this environment with its version."""
    packages = json.loads(pip("list", "--format=json"))
    return {package["name"].lower().replace("_", "-"): package["version"] for package in packages}


def _setup(notebook: dict[str, Any]) -> dict[str, Any]:
    cells: list[dict[str, Any]] = notebook["cells"]
    (cell,) = (cell for cell in cells if "setup" in cell["metadata"].get("tags", ()))
    return cell


def _write(path: Path, new: str) -> None:
    if path.read_text(encoding="utf-8") != new:
        path.write_text(new, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: changed")


def main() -> None:
    """Read the command line and do it."""
    match sys.argv[1:]:
        case ["address"]:
            write_address()
        case ["notebooks", wheel]:
            write_notebooks(Path(wheel))
        case ["check", folder, *options]:
            check(sorted(Path(folder).glob("*.ipynb")), options)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
