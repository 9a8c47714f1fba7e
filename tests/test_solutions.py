"""The folded solutions of the exercises, put in the place of the starting code, satisfy the notebooks' own checks."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def solve(notebook):
    """Put each solution where the reader's own code goes; return the cells of the exercises."""
    solved, exercise = [], False
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            exercise = "\n## Exercise" in f"\n{cell.source}"
            solution = re.search(r"(?s)<summary>Solution</summary>.*?```python\n(.*?)```", cell.source)
            if exercise:
                given = notebook.cells[place + 1]
                check = re.search(r"(?s)\n\n(if |# The check).*", given.source)  # some cells hold the check as well
                given.source = solution[1] + (check[0] if check else "")
        elif exercise:
            solved.append(cell)
    return solved


def said(cells):
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


@pytest.mark.filterwarnings("ignore")  # the kernel's, not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MOA_OFFLINE_SPEED", "4")  # quicker would measure this machine, not the stand-ins
    notebook = nbformat.read(path, as_version=4)
    cells = solve(notebook)
    assert said(cells).count("Not ") == 2, "as shipped, neither exercise has been tried"
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert said(cells).count("Right") == 2
    assert "Not " not in said(cells)
