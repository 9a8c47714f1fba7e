"""Execute the notebooks without any key, in place, and bring them into one normal form: a diff shows what changed.

    python tools/notebooks.py notebooks/*.ipynb            execute, then normalise
    python tools/notebooks.py --check notebooks/*.ipynb    only say which ones are not in normal form

A cell that fails without the tag ``raises-exception`` ends it, and that notebook stays as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
# What stands before these folders in a traceback is where they are on this machine.
_PLACE = re.compile(r"[~/][^\s\x1b\"'<>]*/(?=(?:site-packages|moa_helpers|python3\.\d+)/)")


def normal(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """The notebook with counts 1 to n and without anything that depends on who ran it where, and when."""
    counts = iter(range(1, len(notebook["cells"]) + 1))
    cells = []
    for number, cell in enumerate(notebook["cells"], start=1):
        kept = {key: value for key, value in cell.get("metadata", {}).items() if key == "tags"}
        new = {"cell_type": cell["cell_type"], "id": cell.get("id", f"{name[:2]}-{number:02d}"), "metadata": kept}
        if cell["cell_type"] == "code":
            count = next(counts)
            new |= {"execution_count": count, "outputs": _outputs(cell.get("outputs", []), count)}
        cells.append(new | {"source": _lines(cell["source"])})
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def text(notebook: dict[str, Any]) -> str:
    """The notebook as it is written to the file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def execute(path: Path) -> dict[str, Any]:
    """Run the notebook on this Python's kernel, in a folder with an empty ``.env``, so that none of yours is found."""
    import nbformat
    from nbclient import NotebookClient

    stored = json.loads(path.read_text(encoding="utf-8"))
    notebook = nbformat.reads(text(normal(stored, path.stem)), as_version=4)  # normal first, so that all have ids
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, ".env").touch()
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=120,
            record_timing=False,
            store_widget_state=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    return dict(json.loads(nbformat.writes(notebook)))


def _outputs(outputs: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    new: list[dict[str, Any]] = []
    for (kind, stream), group in groupby(outputs, key=lambda output: (output["output_type"], output.get("name"))):
        if kind == "stream":
            whole = "".join(piece for output in group for piece in _lines(output["text"]))
            new.append({"output_type": "stream", "name": stream, "text": _lines(whole)})
            continue
        for output in group:
            shown = output.get("data", {}).items()  # a widget without its state would show as an error
            data = {mime: _lines(value) for mime, value in shown if mime != WIDGET}
            if kind == "error":
                traceback = [_PLACE.sub("", line) for line in output["traceback"]]
                new.append(output | {"traceback": traceback})
            elif kind == "execute_result":
                new.append({"output_type": kind, "data": data, "metadata": {}, "execution_count": count})
            else:
                new.append({"output_type": kind, "data": data, "metadata": {}})
    return new


def _lines(value: Any) -> Any:
    """A text as a list of lines, as nbformat writes it; JSON data as it is."""
    if isinstance(value, list):
        value = "".join(value)
    return value.splitlines(keepends=True) if isinstance(value, str) else value


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if one is not in normal form")
    parser.add_argument("paths", nargs="+", type=Path)
    given = parser.parse_args()
    if given.check:
        stored = {path: path.read_text(encoding="utf-8") for path in given.paths}
        wrong = [str(path) for path, found in stored.items() if found != text(normal(json.loads(found), path.stem))]
        sys.exit("Not in normal form (run `make notebooks`): " + ", ".join(wrong) if wrong else 0)
    for variable in [name for name in os.environ if name.startswith("MOA_") or name.endswith("_API_KEY")]:
        del os.environ[variable]  # without a key they run offline, but for the one that asks a model on this machine
    for path in given.paths:
        started = time.monotonic()
        notebook = normal(execute(path), path.stem)
        path.write_text(text(notebook), encoding="utf-8")
        print(f"{path}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
