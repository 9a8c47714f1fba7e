"""A notebook of the lesson with other models in its lists, run as a reader runs it: all cells at once."""

import re
from pathlib import Path

from tests.notebooks.cells import read
from tests.notebooks.queued import Ran, Source, kernel, run_all

FEWER = {  # what makes a live run of notebooks 9 and 11 short
    "else 1)\nsampled": "else 1)[:2]\nsampled",
    "single.offline else 10]": "single.offline else 2]",
    '[["id", "prompt", "reference"]]': '[["id", "prompt", "reference"]][:4]',
}
PROMPT = "Name one thing to do in San Francisco. Answer in one short sentence."


def with_models(path: Path, names: list[str]) -> list[Source]:
    """The notebook's code cells; in the cell tagged ``models`` the names take turns in the place of those there."""
    cells: list[Source] = []
    for cell in read(path).code:
        source = replaced(cell.source, names) if "models" in cell.tags else cell.source
        for many, few in FEWER.items():
            source = source.replace(many, few)
        cells.append({"source": source, "metadata": cell.data["metadata"]})
    return cells


def replaced(source: str, names: list[str]) -> str:
    """The source with each ``"vendor:model-id"`` replaced, and with a prompt that is answered in few words."""
    found = list(dict.fromkeys(re.findall(r'"[a-z]+:[^"\s]+"', source)))
    for number, name in enumerate(found):
        source = source.replace(name, f'"{names[number % len(names)]}"')
    return re.sub(r"(?m)^prompt = .*$", f"prompt = {PROMPT!r}", source)


def run(path: Path, names: list[str], folder: Path, patience: float = 600) -> Ran:
    """Run all cells in an empty folder."""
    with kernel(folder, mode="live") as client:
        return run_all(client, with_models(path, names), patience=patience)
