"""The files of JSON lines in which version 0.1 kept the calls of a comparison: read, and never written."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moa_helpers.results import Reply
from moa_helpers.store.records import BROKEN, read

BEGIN = b'{"key": "'  # of each line
EMPTY = b"\0 \t\r\n"  # may stand around a line; after a power cut, a file may end with many zeros


def calls(path: Path, whole: Callable[..., Any]) -> Iterator[tuple[str, bool, float, Any]]:
    """Of each call, or answer of the type ``whole``: its key, whether it is good, its cost so far as known, and itself.

    A last line that was being written when its program was killed is left out. Raises ValueError for any other line.
    """
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.strip(EMPTY)
        try:
            entry = json.loads(text) if text else {}
            if "answer" in entry:
                read(whole, entry["answer"])
                yield str(entry["key"]), True, 0.0, entry["answer"]
            elif text:
                reply = read(Reply, entry["reply"])
                yield str(entry["key"]), reply.ok, reply.least_usd, entry["reply"]
        except BROKEN as error:
            if number == len(lines) and isinstance(error, ValueError) and text[: len(BEGIN)] == BEGIN[: len(text)]:
                return
            raise ValueError(
                f"Line {number} of {path} is no call that was kept. Name another file, or correct that line; "
                "nothing was changed and no call was made."
            ) from None
