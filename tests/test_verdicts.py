"""The conclusions in the notebooks follow from what was measured: where the stand-ins are others, they are others."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SEPARATE = "moa - self-moa, points_share"  # the line with the verdict on different models against one model


def verdict(path, world, tmp_path):
    """Run the notebook up to its verdict, with stand-ins that know what ``world`` says."""
    notebook = nbformat.read(path, as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if SEPARATE in str(cell.get("outputs", "")))
    notebook.cells = [cell for cell in notebook.cells[: last + 1] if cell.cell_type == "code"]
    start = f"from moa_helpers import offline\nworld = offline.knowledge(**{world!r})\nworld.__enter__()"
    notebook.cells.insert(1, nbformat.v4.new_code_cell(start))
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    return read(notebook.cells[-1])


def read(cell):
    said = "".join(output.get("text", "") for output in cell.outputs)
    return re.search(rf"{SEPARATE}: .*\): (.*)", said)[1]


A, B, C = "openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"
ALIKE = {"alike": 1.0}
MISLED = {"recall": {A: 0.95, B: 0.2, C: 0.2}, "credulity": {A: 0.0, B: 0.9, C: 0.9}}  # two of three are often wrong


@pytest.mark.filterwarnings("ignore")  # the kernel's, not ours
@pytest.mark.parametrize(("world", "expected"), [(ALIKE, "no difference shown"), (MISLED, "below")])
def test_does_it_help(world, expected, tmp_path, monkeypatch):
    path = NOTEBOOKS / "09-does-it-help.ipynb"
    monkeypatch.setenv("MOA_OFFLINE_SPEED", "4")
    stored = json.loads(path.read_text(encoding="utf-8"))
    said = "".join("".join(o.get("text", "")) for cell in stored["cells"] for o in cell.get("outputs", []))
    assert re.search(rf"{SEPARATE}: .*\): (.*)", said)[1] == "above", "as it is shipped"
    assert verdict(path, world, tmp_path) == expected
