"""Write the project's address into README.md and the notebooks: badges that appear once it is published.

    python tools/links.py

The address is ``[project.urls] Repository`` in pyproject.toml, and nowhere else. Until the project is published
there is none, and there are no badges.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

from notebooks import text

ROOT = Path(__file__).parents[1]
FIRST = "01-one-question-three-vendors.ipynb"
COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"
BADGE = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
MARKERS = "<!-- badges: make links writes them -->", "<!-- end of badges -->"


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
    """Where Colab opens a notebook: the branch ``colab`` holds the built ones, which contain the package."""
    return f"{COLAB}{address.removeprefix('https:/').replace('.com', '', 1)}/blob/colab/{name}"


def badges(address: str) -> str:
    """The line of badges at the top of README.md."""
    owner, name = address.split("/")[-2:]
    binder = f"{BINDER}/v2/gh/{owner}/{name}/main?urlpath=lab/tree/notebooks/{FIRST}"
    shown = (
        f"[![Tests]({address}/actions/workflows/ci.yml/badge.svg)]({address}/actions/workflows/ci.yml)",
        f"[![Read it](https://img.shields.io/badge/read-the_lesson-blue)](https://{owner.lower()}.github.io/{name}/)",
        f"{BADGE}({on_colab(address, FIRST)})",
        f"[![Open on Binder]({BINDER}/badge_logo.svg)]({binder})",
        "[![Licence: MIT](https://img.shields.io/badge/licence-MIT-blue)](LICENSE)",
    )
    return "\n".join(shown) + "\n"


def write() -> None:
    """Bring README.md and the head of each notebook into the state that the address asks for."""
    address = project_address()
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")

    def row(found: re.Match[str]) -> str:
        return f"{found[1]} {BADGE}({on_colab(address, found[2])})" if address else found[1]

    badge = rf"{re.escape(BADGE)}\([^)]*\)"
    new = re.sub(rf"(?m)^(\| .*\]\(notebooks/([\w-]+\.ipynb)\))(?: {badge})?", row, old)
    start, end = MARKERS
    between = badges(address) if address else ""
    new = re.sub(f"(?s){start}\n.*?{end}", lambda _: f"{start}\n{between}{end}", new)
    _write(readme, new)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        title, _, rest = re.sub(rf"{badge}\n\n", "", "".join(notebook["cells"][0]["source"])).partition("\n\n")
        shown = f"{BADGE}({on_colab(address, path.name)})\n\n" if address else ""
        notebook["cells"][0]["source"] = f"{title}\n\n{shown}{rest}".splitlines(keepends=True)
        _write(path, text(notebook))


def _write(path: Path, new: str) -> None:
    if path.read_text(encoding="utf-8") != new:
        path.write_text(new, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: changed")


if __name__ == "__main__":
    write()
