"""A file that keeps every call of a comparison, a JSON line each, so that a second start pays for none of them again.

A line is written as soon as its call has ended. If the program is killed meanwhile, the next start removes that line.
If another program takes the file away or changes it meanwhile, no further call is made, and it is saved beside.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from moa_helpers.results import Reply
from moa_helpers.store.records import BROKEN, read
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import world

if sys.platform != "win32":
    import fcntl

BEGIN = b'{"key": "'  # of each line
EMPTY = b"\0 \t\r\n"  # may stand around a line; after a power cut, a file may end with many zeros
ROOM = 16_384  # bytes that the disk must have left before the first call is made


class Ledger:
    """The calls that a file keeps. In memory is only where each one begins in the file.

    Args:
        path: the file.
        whole: makes a whole answer of the fields that ``keep_answer`` was given.

    Raises:
        ValueError: the file holds something else, or another program is using it.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, whole: Callable[..., Any] = dict) -> None:
        self.path, self._whole = path, whole
        self._place = path.absolute()  # also where the working directory changes
        self._places: dict[str, int]  # what was asked -> where the line with its answer begins
        self._size: int  # bytes that the file has if nobody else writes into it
        self._tried = False  # whether the disk was found to have room
        self._problem: OSError | None = None  # why nothing more can be written
        self._open(self._place)

    @property
    def problem(self) -> str:
        """Why not all that was answered is in the file, or will be; empty if it is."""
        self._look_after()
        return f"{self.path} could not be written: {self._problem}" if self._problem else ""

    def find(self, question: str, strategy: str, request: Request) -> Reply | None:
        """The answer to a request that was made before for this question and strategy, or None."""
        return self._found(_key(question, strategy, request))  # type: ignore[no-any-return]

    def keep(self, question: str, strategy: str, request: Request, reply: Reply) -> None:
        """Write down how a call ended. A failed one is written, too, but not found later: it is made again."""
        call = {"question": question, "strategy": strategy, "role": request.role, "reply": asdict(reply)}
        self._write({"key": _key(question, strategy, request), **call}, found=reply.ok)

    def find_answer(self, *asked: object) -> Any:
        """What ``keep_answer`` kept for the same strategy, arguments and question, or None."""
        return self._found(_hash(asked))

    def keep_answer(self, answer: dict[str, Any], *asked: object) -> None:
        """Keep a whole answer that its calls alone do not give again, as some were stopped when others came first."""
        self._write({"key": _hash(asked), "answer": answer})

    def check(self) -> None:
        """Raise OSError if something could not be written, or will not be: another call would be paid for and lost."""
        if not self.problem and not self._tried:
            self._tried = True
            with suppress(OSError):
                self._append(b"\n" * ROOM)
                self._writer.truncate(self._size)
        if self._problem:
            raise OSError(self.problem) from self._problem

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
        self._reader.close()

    def _open(self, place: Path) -> None:
        self._writer, self._reader = place.open("ab", buffering=0), place.open("rb")
        try:
            self._lock()  # two programs that write into one file would pay twice
            self._look_through()
            self._identity = place.stat()
        except BaseException:
            self.close()
            raise

    def _write(self, entry: dict[str, Any], *, found: bool = True) -> None:
        self._look_after()
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        self._append(line)
        if found:
            self._places[entry["key"]] = self._size
        self._size += len(line)

    def _append(self, data: bytes) -> None:
        """Write all of it or nothing. A full disk takes what fits, and says only then that it is full."""
        try:
            while data:
                data = data[os.write(self._writer.fileno(), data) :]
        except OSError as error:
            self._problem = self._problem or error
            self._writer.truncate(self._size)
            raise

    def _found(self, key: str) -> Any:
        self._look_after()
        return self._read(self._line(key))[1] if key in self._places else None

    def _line(self, key: str) -> bytes:
        self._reader.seek(self._places[key])
        return self._reader.readline()

    def _read(self, line: bytes) -> tuple[str, Any]:
        """The key in a line, and the reply or the whole answer. Raises one of ``BROKEN``."""
        entry = json.loads(line.strip(EMPTY))
        whole = "answer" in entry
        return str(entry["key"]), read(self._whole, entry["answer"]) if whole else read(Reply, entry["reply"])

    def _look_after(self) -> None:
        """If the file is no longer the one that was opened, or not as long as it was left, go on in another."""
        if self._problem:
            return
        with suppress(OSError):
            there = self._place.stat()
            if os.path.samestat(there, self._identity) and there.st_size == self._size:
                return
        what = "another program removed, replaced or changed it, so no further call is made. "
        try:
            what += f"All that was kept is in {self._save_beside()}: give it this file's name to go on with it."
        except OSError as error:
            what += f"Nor could it be saved beside it: {error}."
        self._problem = OSError(what)

    def _save_beside(self) -> Path:
        """Go on in a new file, which begins with all that can still be read of this one; its path."""
        names = (self._place.with_name(f"{self.path.name}.saved{number or ''}") for number in count())
        beside = next(name for name in names if not name.exists())
        lines = []
        for key in self._places:
            line = self._line(key)
            with suppress(*BROKEN):
                lines += [line] if self._read(line)[0] == key else []
        beside.write_bytes(b"".join(lines))
        self.close()
        self._open(beside)
        return beside

    def _lock(self) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"Another comparison is writing {self.path}: wait for its end.") from None
            except OSError:
                return  # a file system without locks

    def _look_through(self) -> None:
        """Note where each good call begins, and have the file end with the last whole line."""
        self._places, self._size = {}, 0
        begins, missing = 0, b""  # where the line begins; what lacks at the end of the file
        for number, line in enumerate(self._reader, 1):
            text, whole = line.strip(EMPTY), line.endswith(b"\n")  # else an editor took it away, or the line is cut
            try:
                key, found = self._read(text) if text else ("", None)
            except BROKEN as error:
                cut = isinstance(error, ValueError) and not whole
                if cut and (text.startswith(BEGIN) or BEGIN.startswith(text)):
                    break  # it was being written when the program was killed
                raise ValueError(
                    f"Line {number} of {self.path} is no call that was kept. Name another file, or correct that line; "
                    "nothing was changed and no call was made."
                ) from None
            if found and getattr(found, "ok", True):
                self._places[key] = begins
            if text:  # what is empty at the end is cut: a program that was killed may leave it, see ``check``
                self._size = begins + len(line if whole else line.rstrip(EMPTY))
                missing = b"" if whole else b"\n"
            begins += len(line)
        self._writer.truncate(self._size)
        self._append(missing)
        self._size += len(missing)


def _key(question: str, strategy: str, request: Request) -> str:
    # Files of every version are found by these values in this order: to change one is to pay again for what is kept.
    answers = world(offline=request.offline, chooses="<candidate-" in (request.system or ""))
    asked = (question, strategy, request.model.name, request.system, request.prompt, request.max_tokens)
    return _hash((*asked, request.temperature, request.sample, request.role, answers))


def _hash(asked: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()[:32]
