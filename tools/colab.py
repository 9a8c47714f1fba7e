"""The notebooks on Google Colab: each with the package inside it, and whether they run there.

python tools/colab.py notebooks dist/*.whl      dist/colab/*.ipynb: notebooks that hold the package
python tools/colab.py check dist/colab --nbval  run those in this environment, which has Colab's versions; what
                                                follows the folder are options for pytest
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
from pathlib import Path
from typing import Any

from links import on_colab, project_address

from notebooks import text

ROOT = Path(__file__).parents[1]
# What Colab has not, with all that it needs.
LACKING = ("anthropic<3", "mistralai<3", "eval-type-backport", "jsonpath-python", "krippendorff")
ADDED = {"moa-helpers", *(re.split("[<>]", package)[0] for package in LACKING)}
# What stands in front of the setup cell's own two lines.
SETUP = """\
#@title Setup: run this cell first {{ display-mode: "form" }}
from importlib.util import find_spec

if not find_spec("moa_helpers"):  # install what is missing, and change nothing else
    from base64 import b64decode
    from pathlib import Path

    # The package itself, as text; there is nothing to read here.
    package = "{name}"
    _ = Path(package).write_bytes(b64decode(\"""
{data}
\"""))
    %pip install -q --no-deps {{package}} {lacking}

"""


def installing(wheel: Path) -> str:
    """The code in front of a setup cell: where the package is missing, it installs the wheel that it holds."""
    data = base64.b64encode(wheel.read_bytes()).decode()
    lines = (data[start : start + 120] for start in range(0, len(data), 120))
    lacking = (f'"{package}"' if "<" in package else package for package in LACKING)
    return SETUP.format(name=wheel.name, data="\n".join(lines), lacking=" ".join(lacking))


def write_notebooks(wheel: Path) -> None:
    """Write each notebook with the wheel in its setup cell, its pictures embedded, and no link to a file beside it."""
    address, folder = project_address(), ROOT / "dist" / "colab"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def link(found: re.Match[str]) -> str:
        label, target = found.groups()
        file, _, anchor = target.partition("#")
        if not address:
            return f"{label} (the file `{file.removeprefix('../')}`)"
        if file.endswith(".ipynb") and "/" not in file:
            return f"[{label}]({on_colab(address, target)})"
        inside = (ROOT / "notebooks" / file).resolve().relative_to(ROOT.resolve()).as_posix()
        return f"[{label}]({address}/blob/main/{inside}{'#' * bool(anchor)}{anchor})"

    def picture(found: re.Match[str]) -> str:
        data = base64.b64encode((ROOT / "notebooks" / found[1]).read_bytes()).decode()
        return f"](data:image/png;base64,{data})"

    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                source = re.sub(r"\]\((images/[\w.-]+\.png)\)", picture, "".join(cell["source"]))
                source = re.sub(r"\[([^][]+)\]\(([\w./-]+\.(?:ipynb|md|py|csv|toml)(?:#[\w-]+)?)\)", link, source)
                cell["source"] = source.splitlines(keepends=True)
        cell = _setup(notebook)
        cell["source"] = (installing(wheel) + "".join(cell["source"])).splitlines(keepends=True)
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


def main() -> None:
    """Read the command line and do it."""
    match sys.argv[1:]:
        case ["notebooks", wheel]:
            write_notebooks(Path(wheel))
        case ["check", folder, *options]:
            check(sorted(Path(folder).glob("*.ipynb")), options)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
