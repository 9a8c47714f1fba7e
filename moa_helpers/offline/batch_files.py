"""The file store of the batch APIs: on disk, each file for as long as anybody refers to it."""

import os
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from moa_helpers.catalogue import rows
from moa_helpers.offline.asked import LARGEST
from moa_helpers.offline.wire import Dialect

LIMITS = {row["vendor"]: row for row in rows(Path(__file__).with_name("batch_limits.csv"))}


class Owner(NamedTuple):
    """Whoever asks, at which vendor: nobody else sees a file or a job."""

    vendor: str | None  # in the path
    key: str

    @property
    def files(self) -> Dialect:
        """The format of files: Mistral's has all that OpenAI's has."""
        return Dialect("mistral" if self.vendor in (None, "mistral") else "openai")

    @property
    def limits(self) -> Mapping[str, str]:
        """What the vendor takes."""
        return LIMITS.get(self.vendor or "others") or LIMITS["others"]

    @property
    def most(self) -> int:
        """How many bytes it takes at once."""
        return int(float(self.limits["megabytes"]) * 2**20)


class File:
    """A file of lines, each a request (``kind`` "request"), its answer ("result") or why it has none ("error")."""

    def __init__(self, name: str, owner: Owner, created: float, kind: str = "request") -> None:
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

    def shown(self) -> Any:
        """The file as its vendor shows it."""
        own, created = self.kind == "request", int(self.created)
        values = {"id": self.id, "bytes": self.size, "created_at": created, "filename": self.name}
        values |= {"purpose": "batch" if own else "batch_output", "num_lines": self.lines}
        values |= {"sample_type": f"batch_{self.kind}", "source": "upload" if own else "mistral"}
        return self.owner.files.of_batches("file", **values)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked has no part in it
        Path(path).unlink(missing_ok=True)
