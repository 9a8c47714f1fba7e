"""What notebook 9 concludes follows from what it measured: where the stand-ins are others, it concludes otherwise."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.replies import A, B, C

PATH = Path(__file__).parents[2] / "notebooks/09-does-it-help.ipynb"
SEPARATE = "moa - self-moa +points_share"  # the line with the verdict on different models against one model
ALIKE = {"alike": 1.0}
MISLED = {"recall": {A: 0.95, B: 0.2, C: 0.2}, "credulity": {A: 0.0, B: 0.9, C: 0.9}}  # two of three are often wrong
WORLD = """\
import pandas
from moa_helpers import offline
pandas.set_option("display.width", 200)
offline.start().vendors.speed = 1000
world = offline.knowledge(**{})
world.__enter__()"""


def until_the_verdict(world):
    """The notebook up to its verdict, with stand-ins that know what ``world`` says."""
    notebook = nbformat.read(PATH, as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if re.search(SEPARATE, str(cell.get("outputs", ""))))
    notebook.cells = [cell for cell in notebook.cells[: last + 1] if cell.cell_type == "code"]
    notebook.cells.insert(1, nbformat.v4.new_code_cell(WORLD.format(world)))
    return notebook


def verdict(notebook):
    return re.search(rf"{SEPARATE} .*\) +(.*)", notebook.cells[-1].outputs[-1].data["text/plain"])[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the kernel's, not ours
def test_does_it_help(tmp_path, monkeypatch):
    monkeypatch.setenv("MOA_MODE", "offline")
    assert verdict(until_the_verdict({})) == "above", "as it is shipped"
    for world, expected in ((ALIKE, "no difference shown"), (MISLED, "below")):
        notebook = until_the_verdict(world)
        client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
        client.execute()
        assert verdict(notebook) == expected
