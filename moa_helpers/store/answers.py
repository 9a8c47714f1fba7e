"""One SQLite file that keeps every call that was made, so that no program pays for the same one again.

A call is in it as soon as it has ended. It holds what was answered and a hash of what was asked, but no key. Several
threads and programs may use it at the same time; each has to be on the machine where the file is.
"""

import atexit
import hashlib
import json
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from moa_helpers.results import Reply
from moa_helpers.store import jsonl
from moa_helpers.store.records import BROKEN, read
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import world

T = TypeVar("T")
Lane = tuple[str, str]  # the question and the strategy for which a comparison makes a call
OURS, VERSION = 0x6D6F6131, 1  # the file's application_id and user_version
ROOM = 16_384  # bytes that the disk must have left before a call is made
TABLES = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS calls (key TEXT NOT NULL, good INTEGER, made REAL, usd REAL, given TEXT);
    CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key);
    CREATE INDEX IF NOT EXISTS calls_by_time ON calls (made, usd);
    CREATE TABLE IF NOT EXISTS taken_in (name TEXT, size INTEGER, UNIQUE (name, size));
    PRAGMA application_id = {OURS};
    PRAGMA user_version = {VERSION};
    COMMIT;
"""
_lock = threading.RLock()  # held while a store is used, and by a fork
_open: set["Answers"] = set()


class Answers:
    """What was answered, in a file. Its first use opens it, also after ``close`` or a fork; raises as ``keep`` does."""

    def __init__(self, path: str | Path, *, recorded_speed: bool = False) -> None:
        if not str(path).strip() or "\0" in str(path):
            raise ValueError(f"{str(path)!r} is no name of a file: write one such as 'answers.sqlite'.")
        self.path, self.recorded_speed = Path(path), recorded_speed
        self._place = Path(os.path.expanduser(path)).absolute()  # also where the working directory changes
        self._connection: sqlite3.Connection | None = None
        self._tried = False  # whether the disk was found to have room
        self._problem = ""
        self._run("SELECT 1")
        self._found = self._place.stat()

    @property
    def moved(self) -> bool:
        """Whether another program removed, replaced or cut the file."""
        there = self._place.stat() if self._place.exists() else None
        return not there or not os.path.samestat(there, self._found) or there.st_size < self._found.st_size

    @property
    def problem(self) -> str:
        """Why not all that was answered is in the file, or will be; empty if it is."""
        with _lock:
            if self.moved and not self._problem:
                self._go_on_beside()
            return self._problem

    @property
    def empty(self) -> bool:
        """Whether nothing is kept so far."""
        return not self._run("SELECT 1 FROM calls LIMIT 1")

    def find(self, request: Request, lane: Lane | None = None) -> Reply | None:
        """What a request was answered before, or None. A comparison finds only what it asked in the same lane."""
        return self._find(Reply, key_of_request(request, lane))

    def keep(self, request: Request, reply: Reply, lane: Lane | None = None) -> None:
        """Write down how a call ended. A failed one may have cost something, but is not found later.

        Where it cannot be written there is a warning, as the reply itself is good; ``check`` raises from then on.
        """
        try:
            self._keep(key_of_request(request, lane), asdict(reply), reply.ok, reply.least_usd)
        except OSError as error:
            self._problem, self._tried = str(error), False
            warnings.warn(f"A reply of {reply.model} could not be kept. {error}", stacklevel=2)

    def has(self, key: str) -> bool:
        """Whether a good row is kept under this key, which ``key_of`` made."""
        return bool(self._run("SELECT 1 FROM calls WHERE key = ? AND good LIMIT 1", key))

    def find_row(self, kind: Callable[..., T], key: str) -> T | None:
        """The last row that was kept under this key, good or not; None if there is none."""
        return self._find(kind, key, "")

    def keep_row(self, key: str, row: dict[str, Any], *, good: bool = True) -> None:
        """Keep a whole answer: its calls alone do not give it again, where some were stopped when others came first."""
        self._keep(key, row, good)

    def spent_since(self, moment: float) -> float:
        """US dollars that all calls have cost since then (as of ``time.time``), or what is certain of it."""
        return float(self._run("SELECT total(usd) FROM calls WHERE made >= ?", moment)[0][0])

    def take_in(self, old: Path, whole: Callable[..., Any]) -> None:
        """Copy what version 0.1 kept in a file of JSON lines, which is only read; again only where that has grown."""
        mark = old.name, old.stat().st_size
        if self._run("SELECT 1 FROM taken_in WHERE (name, size) = (?, ?)", *mark):
            return
        calls = [(key, good, usd, json.dumps(given)) for key, good, usd, given in jsonl.calls(old, whole)]
        with self.changing() as connection:
            connection.execute("INSERT OR IGNORE INTO taken_in VALUES (?, ?)", mark)
            new = "WHERE NOT EXISTS (SELECT 1 FROM calls WHERE (key, given) = (?, ?))"
            connection.executemany(
                f"INSERT INTO calls SELECT ?, ?, 0, ?, ? {new}", [(*call, call[0], call[-1]) for call in calls]
            )

    def check(self) -> None:
        """Raise OSError if what is answered from now on could not be kept: it would be paid for and lost."""
        if not self._tried:
            self._run("INSERT INTO calls VALUES ('', 0, 0, 0, zeroblob(?))", ROOM)
            self._run("DELETE FROM calls WHERE key = ''")
            self._tried, self._problem = True, ""
        if self.problem:
            raise OSError(self.problem)

    def close(self) -> None:
        """Have all of it in the one file, unless another program uses it."""
        with _lock:
            if self._connection:
                self._connection.close()
                self._connection = None
                _open.discard(self)

    def _keep(self, key: str, given: dict[str, Any], good: bool = True, usd: float = 0.0) -> None:
        self._run("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", key, good, time.time(), usd, json.dumps(given))

    def _find(self, kind: Callable[..., T], key: str, which: str = "AND good") -> T | None:
        found = self._run(f"SELECT given FROM calls WHERE key = ? {which} ORDER BY rowid DESC LIMIT 1", key)
        try:
            return read(kind, json.loads(found[0][0])) if found else None
        except BROKEN as error:
            raise ValueError(f"In {self.path}, the call {key} cannot be read ({error}): delete it there.") from None

    def _run(self, sql: str, *values: object) -> list[Any]:
        with self.using() as connection:
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """The open file, for one thread at a time."""
        with _lock:
            try:
                self._connection = self._connection or _connect(self._place)
                _open.add(self)
                yield self._connection
            except sqlite3.Error as error:
                if "not a database" in str(error):
                    raise ValueError(f"{self.path} is no file of kept answers: name another file.") from None
                raise OSError(
                    f"{self.path} cannot be used: {error}. No further call is made, as its answer would be paid for "
                    "and lost. See that its folder can be written and the disk has room, or name another file."
                ) from error

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """The same for changes that are made all at once, or not at all."""
        with self.using() as connection, connection:  # of which the latter commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def _go_on_beside(self) -> None:
        """What another program took away is still open here: save it."""
        self._problem = f"Another program removed, replaced or cut {self.path}, so no further call is made. "
        names = (self._place.with_name(f"{self.path.name}.saved{number or ''}") for number in count())
        beside = next(name for name in names if not name.exists())
        try:
            self._run("VACUUM INTO ?", str(beside))
            self.close()
            self._place = beside
            self._problem += f"All that was kept is in {beside}: give it this file's name to go on with it."
        except OSError as error:
            self._problem += f"Nor could it be saved beside it: {error}"


def _connect(place: Path) -> sqlite3.Connection:
    alone = place.exists() and not os.access(place.parent, os.W_OK)  # as on a disk that can only be read
    uri = place.as_uri() + "?immutable=1" * alone
    connection = sqlite3.connect(uri, timeout=5, isolation_level=None, check_same_thread=False, uri=True)
    try:
        marks = "SELECT * FROM pragma_application_id, pragma_user_version, pragma_schema_version"
        if connection.execute(marks).fetchone() == (0, 0, 0):  # it is new
            connection.executescript(TABLES)
            connection.execute("PRAGMA journal_mode = WAL")
        whose, version, _ = connection.execute(marks).fetchone()
        if whose != OURS or version > VERSION:
            by = "a later version of moa_helpers: update this one" if whose == OURS else "another program: leave it"
            raise ValueError(f"{place} was made by {by}, or name another file.")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last calls, but breaks nothing
    except BaseException:
        connection.close()
        raise
    return connection


def key_of_request(request: Request, lane: Lane | None = None) -> str:
    """What a request is found by."""
    # Files of every version are found by these values in this order: to change one is to pay again for what is kept.
    answers = world(offline=request.offline, chooses="<candidate-" in (request.system or "") + request.after)
    asked = (*(lane or (None, None)), request.model.name, request.system, request.prompt, request.max_tokens)
    asked = (*asked, request.temperature, request.sample, request.role if lane else None, answers)
    later = {name: getattr(request, name) for name in ("before", "after", "effort", "extra")}
    if lane is None:  # 0.1 left these out of its comparisons
        later |= {"here": request.here, "reminder": request.reminder * request.here}
    return key_of(*asked, *(pair for pair in later.items() if pair[1]))


def key_of(*asked: object) -> str:
    """A hash of all that was asked."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def _close_all() -> None:
    for store in [*_open]:
        store.close()


def _before_fork() -> None:
    _lock.acquire()
    _close_all()  # SQLite allows no open file in two processes: each opens it anew


atexit.register(_close_all)
getattr(os, "register_at_fork", dict)(before=_before_fork, after_in_child=_lock.release, after_in_parent=_lock.release)
