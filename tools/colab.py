"""Install the wheel as a reader does it on Google Colab, in an environment with Colab's versions, and see what changes.

    python tools/colab.py dist/moa_helpers-*.whl

Runs the setup cell of the first notebook in a kernel, in a folder that holds the wheel as on Colab after an upload. The
cell has to work without a restart, may add what ``ADDED`` lists and must leave every other package as it was.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST = Path(__file__).parents[1] / "notebooks" / "01-one-question-three-vendors.ipynb"
ADDED = {"moa-helpers", "anthropic", "mistralai", "eval-type-backport", "jsonpath-python"}


def pip(*arguments: str) -> str:
    """Run this environment's pip and return what it says."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def installed() -> dict[str, str]:
    """Every package of this environment with its version."""
    packages = json.loads(pip("list", "--format=json"))
    return {package["name"].lower().replace("_", "-"): package["version"] for package in packages}


def run_setup_cell(wheel: Path) -> None:
    """Execute the setup cell beside the wheel; raises if it fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(FIRST, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(wheel, folder)
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, kernel_name="python3", timeout=300, resources=resources).execute()


def main() -> None:
    """Install, and fail if anything else changed."""
    wheel = Path(sys.argv[1])
    pip("uninstall", "-y", "-q", *sorted(ADDED))
    before = installed()
    run_setup_cell(wheel)
    after = installed()
    changed = {name for name in before if after.get(name) != before[name]}
    if changed or after.keys() - before.keys() != ADDED:
        sys.exit(f"changed: {sorted(changed)}; added: {sorted(after.keys() - before.keys())}")
    print("added:", ", ".join(f"{name} {after[name]}" for name in sorted(ADDED)))
    print(f"unchanged: the {len(before)} packages that were there")
    print(pip("check").strip())


if __name__ == "__main__":
    main()
