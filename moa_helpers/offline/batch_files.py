"""The file store of the batch APIs: on disk, each file for as long as anybody refers to it."""

import os
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moa_helpers.offline.asked import LARGEST
from moa_helpers.offline.wire import Dialect


class File:
    """A file of lines, each a request (``kind`` "request"), its answer ("result") or why it has none ("error")."""

    def __init__(self, name: str, owner: str, created: float, kind: str = "request") -> None:
        self.id = f"file-{uuid.uuid4().hex}"
        self.name, self.owner, self.created, self.kind = name, owner, created, kind
        self.size = self.lines = 0
        handle, self.path = tempfile.mkstemp(prefix="moa-offline-")
        os.close(handle)
        weakref.finalize(self, _remove, self.path, os.getpid())

    def append(self, data: bytes) -> None:
        """Write at the end."""
        with open(self.path, "ab") as file:
            file.write(data)
        self.size += len(data)
        self.lines += data.count(b"\n")

    def read(self, place: int, size: int) -> bytes:
        """So many bytes from there on."""
        with open(self.path, "rb") as file:
            file.seek(place)
            return file.read(size)

    def each(self) -> Iterator[tuple[int, bytes]]:
        """Where each line begins, and the line; one that is too long counts as several."""
        with open(self.path, "rb") as file:
            place = 0
            while line := file.readline(LARGEST):
                yield place, line
                place += len(line)

    def shown(self, dialect: Dialect) -> Any:
        """The file as its vendor shows it."""
        own, created = self.kind == "request", int(self.created)
        values = {"id": self.id, "bytes": self.size, "created_at": created, "filename": self.name}
        values |= {"purpose": "batch" if own else "batch_output", "num_lines": self.lines}
        values |= {"sample_type": f"batch_{self.kind}", "source": "upload" if own else "mistral"}
        return dialect.of_batches("file", **values)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked has no part in it
        Path(path).unlink(missing_ok=True)
