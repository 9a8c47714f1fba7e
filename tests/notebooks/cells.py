"""A notebook, read once, and its cells."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REAL = ROOT / "notebooks/real/real-models.ipynb"  # asks a real model, so only `make real` runs it


@dataclass
class Cell:
    """A cell with its source as one text."""

    data: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.data["cell_type"])

    @cached_property
    def source(self) -> str:
        return "".join(self.data["source"])

    @property
    def tags(self) -> list[str]:
        return list(self.data["metadata"].get("tags", []))

    @property
    def outputs(self) -> list[dict[str, Any]]:
        return list(self.data.get("outputs", []))

    @cached_property
    def output_text(self) -> str:
        """All that the outputs say, without embedded pictures."""
        return re.sub(r"data:image/[^\"')\s]+", "", "\n".join(strings(self.outputs)))

    @cached_property
    def tree(self) -> ast.Module:
        """The code, with IPython's magic lines blanked."""
        return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", self.source))


@dataclass
class Notebook:
    """A notebook, and the folder that its links start from."""

    data: dict[str, Any]
    folder: Path

    @cached_property
    def cells(self) -> list[Cell]:
        return [Cell(cell) for cell in self.data["cells"]]

    @cached_property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "code"]

    @cached_property
    def markdown(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "markdown"]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        return [output for cell in self.code for output in cell.outputs]


@cache
def read(path: Path) -> Notebook:
    """The notebook in a file, which is read and parsed once; to be looked at, not changed."""
    return Notebook(json.loads(path.read_text(encoding="utf-8")), path.parent)


class Elements(HTMLParser):
    """The tags of an HTML text with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value; a list of lines is one text."""
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield "".join(value)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
