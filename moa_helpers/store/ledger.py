"""A file that keeps every call of a comparison, a JSON line each, so that a second start pays for none of them again.

A line is written as soon as its call has ended. If the program is killed meanwhile, the next start removes that line.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moa_helpers.results import Reply
from moa_helpers.store.records import read_reply
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import world

if sys.platform != "win32":
    import fcntl

BEGIN = b'{"key": "'  # of each line


class Ledger:
    """The calls that a file keeps. In memory is only where each one begins in the file.

    Raises:
        ValueError: the file holds something else, or another program is using it.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int] = {}  # what was asked -> where the line with its answer begins
        self._problem: OSError | None = None  # why nothing more can be written
        self._writer, self._reader = path.open("ab"), path.open("rb")
        try:
            self._lock()  # two programs that write into one file would pay twice
            self._look_through()
        except BaseException:
            self.close()
            raise

    def find(self, question: str, strategy: str, request: Request) -> Reply | None:
        """The answer to a request that was made before for this question and strategy, or None."""
        entry = self._entry(_key(question, strategy, request))
        return read_reply(entry["reply"]) if entry else None

    def keep(self, question: str, strategy: str, request: Request, reply: Reply) -> None:
        """Write down how a call ended. A failed one is written, too, but not found later: it is made again."""
        call = {"question": question, "strategy": strategy, "role": request.role, "reply": asdict(reply)}
        self._write({"key": _key(question, strategy, request), **call}, found=reply.ok)

    def find_answer(self, *asked: object) -> dict[str, Any] | None:
        """What ``keep_answer`` kept for the same strategy, arguments and question, or None."""
        entry = self._entry(_hash(asked))
        return dict(entry["answer"]) if entry else None

    def keep_answer(self, answer: dict[str, Any], *asked: object) -> None:
        """Keep a whole answer that its calls alone do not give again, as some were stopped when others came first."""
        self._write({"key": _hash(asked), "answer": answer})

    def check(self) -> None:
        """Raise OSError if something could not be written: another call would be paid for and lost."""
        if self._problem:
            raise OSError(f"{self.path} could not be written: {self._problem}") from self._problem

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # each line was flushed, and what failed then was raised then
            self._writer.close()
        self._reader.close()

    def _write(self, entry: dict[str, Any], *, found: bool = True) -> None:
        place = self._writer.tell()
        try:
            self._writer.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            self._writer.flush()
        except OSError as error:
            self._problem = error
            raise
        if found:
            self._places[entry["key"]] = place

    def _entry(self, key: str) -> Any:
        if key not in self._places:
            return None
        self._reader.seek(self._places[key])
        return json.loads(self._reader.readline())

    def _lock(self) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"Another comparison is writing {self.path}: wait for its end.") from None
            except OSError:
                return  # a file system without locks

    def _look_through(self) -> None:
        """Note where each good call begins, and have the file end with a whole line."""
        end, complete = 0, True
        for number, line in enumerate(self._reader, 1):
            complete = line.endswith(b"\n")  # else an editor took it away, or the line is not whole
            try:
                entry = json.loads(line)
                key, good = str(entry["key"]), "answer" in entry or entry["reply"]["failure"] is None
            except (ValueError, KeyError, TypeError) as error:
                cut = isinstance(error, ValueError) and not complete
                if cut and (line.startswith(BEGIN) or BEGIN.startswith(line)):
                    complete = True  # as that line goes: it was being written when the program was killed
                    break
                raise ValueError(
                    f"Line {number} of {self.path} is no call that was kept. Name another file, or correct that line; "
                    "nothing was changed and no call was made."
                ) from None
            if good:
                self._places[key] = end
            end += len(line)
        self._writer.truncate(end)
        self._writer.seek(0, 2)
        self._writer.write(b"" if complete else b"\n")


def _key(question: str, strategy: str, request: Request) -> str:
    # Files of every version are found by these values in this order: to change one is to pay again for what is kept.
    answers = world(offline=request.offline, chooses="<candidate-" in (request.system or ""))
    asked = (question, strategy, request.model.name, request.system, request.prompt, request.max_tokens)
    return _hash((*asked, request.temperature, request.sample, request.role, answers))


def _hash(asked: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()[:32]
