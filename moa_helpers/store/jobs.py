"""What is asked in batches, in a store's file: which job has which requests, and which question waits for which."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from moa_helpers.results import Attempt, Failure, Reply
from moa_helpers.store.answers import Answers
from moa_helpers.store.records import read

TRIES = 4  # how often a request is sent in a batch, as long as that cost nothing
_AGAIN = f"CASE WHEN tries < {TRIES} THEN 'again' ELSE 'failed' END"
UNDER_WAY = "('submitting', 'running', 'cancelling')"
TABLES = """
    CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, vendor TEXT, model TEXT, offline INTEGER, key_mark TEXT,
        made REAL, requests INTEGER, state TEXT, id TEXT, said TEXT, done INTEGER);
    CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, job TEXT, line INTEGER, model TEXT, usd REAL, state TEXT,
        tries INTEGER, reply TEXT);
    CREATE INDEX IF NOT EXISTS items_by_job ON items (job, state);
    CREATE TABLE IF NOT EXISTS plans (question TEXT PRIMARY KEY, start TEXT, asked TEXT, stage INTEGER, entered TEXT,
        waits TEXT, need INTEGER, live INTEGER);
"""


class Job(NamedTuple):
    """A job. Its ``state`` is submitting, running, cancelling, read or given up; ``said`` is the vendor's own word.

    It has a name of ours before it has the vendor's id. ``made`` is a moment as of ``time.time``, and ``key_mark`` a
    mark of the key that it was submitted with. ``done`` is how many of its requests have ended; None is unknown.
    """

    name: str
    vendor: str
    model: str
    offline: bool
    key_mark: str
    made: float
    requests: int
    state: str = "submitting"
    id: str | None = None
    said: str = ""
    done: int | None = None


class Item(NamedTuple):
    """A request of a job: it is open, answered, failed, or to be asked again; ``reply`` says how it failed."""

    key: str
    job: str
    line: int  # of the job's file, from 1
    model: str
    usd: float | None  # the most that it may cost
    state: str = "open"
    tries: int = 1
    reply: str | None = None

    @property
    def failed(self) -> Reply | None:
        """How it failed, if it has."""
        return read(Reply, json.loads(self.reply or "")) if self.state == "failed" else None


class Planned(NamedTuple):
    """How far a question has come: its stage, whose replies entered that, and for which it waits."""

    question: str
    start: str
    asked: str
    stage: int
    entered: Sequence[str]
    waits: Sequence[str] = ()
    need: int | None = None  # good replies that it waits for; None: all
    live: bool = False  # whether something is to be asked live


class Ledger:
    """The tables of a store for batches. A file of an earlier version gets them when it is first used so."""

    def __init__(self, store: Answers) -> None:
        self._store = store
        with store.using() as connection:
            connection.executescript(TABLES)

    def jobs(self, where: str = f"state IN {UNDER_WAY}") -> list[Job]:
        """The jobs that are under way, the first one first; or others."""
        return [Job(*row) for row in self._run(f"SELECT * FROM jobs WHERE {where} ORDER BY made, name")]

    def begin(self, jobs: Iterable[Job], items: Sequence[Item], plans: Iterable[Planned]) -> None:
        """Write down what is about to be submitted, all at once; an OSError if another program is submitting it."""
        with self._store.changing() as connection:
            before = connection.total_changes
            connection.executemany(
                f"INSERT INTO items VALUES ({_marks(Item)}) ON CONFLICT (key) DO UPDATE SET job = excluded.job, "
                "line = excluded.line, usd = excluded.usd, state = 'open', tries = tries + 1 WHERE state = 'again'",
                items,
            )
            if connection.total_changes - before < len(items):
                raise OSError(f"Another program is asking the same in {self._store.path}: wait for its end.")
            connection.executemany(f"INSERT INTO jobs VALUES ({_marks(Job)})", jobs)
            rows = [each._replace(entered=json.dumps(each.entered), waits=json.dumps(each.waits)) for each in plans]
            connection.executemany(f"REPLACE INTO plans VALUES ({_marks(Planned)})", rows)

    def note(self, job: Job, **now: Any) -> Job:
        """Write down what has become of a job."""
        names = ", ".join(f"{name} = ?" for name in now)
        self._run(f"UPDATE jobs SET {names} WHERE name = ?", *now.values(), job.name)
        return job._replace(**now)

    def item(self, key: str) -> Item | None:
        """A request that was sent in a batch, or failed live."""
        found = self._run("SELECT * FROM items WHERE key = ?", key)
        return Item(*found[0]) if found else None

    def open(self, job: Job, keys: Sequence[str]) -> dict[str, Item]:
        """Those of a job's requests with these keys whose end is not known yet."""
        marks = ", ".join("?" * len(keys))
        sql = f"SELECT * FROM items WHERE job = ? AND state = 'open' AND key IN ({marks})"
        return {row[0]: Item(*row) for row in self._run(sql, job.name, *keys)}

    def untouched(self, job: Job) -> bool:
        """Whether no result of a job is known."""
        return not self._run("SELECT 1 FROM items WHERE job = ? AND state != 'open' LIMIT 1", job.name)

    def settle(self, replies: Mapping[str, Reply]) -> None:
        """Write down how open requests ended, and keep the replies. One that failed at no cost may be asked again."""
        with self._store.changing() as connection:
            for key, reply in replies.items():
                state = "'answered'" if reply.ok else "'failed'" if reply.cost_usd != 0 else _AGAIN
                given = json.dumps(asdict(reply))
                connection.execute(
                    f"UPDATE items SET state = {state}, reply = ? WHERE key = ?", (None if reply.ok else given, key)
                )
                if reply.cost_usd != 0:
                    values = key, reply.ok, time.time(), reply.least_usd, given
                    connection.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", values)

    def refuse(self, job: Job, line: int, failure: Failure) -> bool:
        """The request on a line of a job's file failed for good; whether there is one."""
        sql = "UPDATE items SET state = 'failed', reply = ? WHERE (job, line) = (?, ?) AND state = 'open' RETURNING 1"
        return bool(self._run(sql, _failed(job.model, failure), job.name, line))

    def fail(self, key: str, reply: Reply) -> None:
        """A request failed that was asked live."""
        item = Item(key, "", 0, reply.model, None, "failed", 1, _failed(reply.model, reply.failure))
        self._run(f"REPLACE INTO items VALUES ({_marks(Item)})", *item)

    def end(self, job: Job, failure: Failure | None, state: str = "read") -> None:
        """A job has ended, and its open requests failed; without a failure they count as never sent."""
        with self._store.changing() as connection:
            if not failure:
                connection.execute("UPDATE items SET tries = tries - 1 WHERE job = ? AND state = 'open'", (job.name,))
            sql = f"UPDATE items SET state = {_AGAIN}, reply = ? WHERE job = ? AND state = 'open'"
            connection.execute(sql, (_failed(job.model, failure), job.name))
            connection.execute("UPDATE jobs SET state = ? WHERE name = ?", (state, job.name))

    def take_over(self, question: str, start: str) -> bool:
        """Have a question that was begun before go on in this start; whether there is one."""
        return bool(self._run("UPDATE plans SET start = ? WHERE question = ? RETURNING 1", start, question))

    def ready(self, start: str, most: int) -> list[Planned]:
        """Questions whose requests have ended, or enough of them, or that have something to ask live."""
        waits = "FROM json_each(waits) AS one JOIN items ON items.key = one.value WHERE state ="
        sql = f"""SELECT * FROM plans WHERE start = ? AND (live OR NOT EXISTS (SELECT 1 {waits} 'open')
            OR (SELECT count(*) {waits} 'answered') >= need) ORDER BY live LIMIT ?"""
        rows = [Planned(*row) for row in self._run(sql, start, most)]
        return [row._replace(entered=json.loads(row.entered), waits=json.loads(row.waits)) for row in rows]  # type: ignore[arg-type]

    def waits(self, start: str) -> bool:
        """Whether a question of this start has no answer yet."""
        return bool(self._run("SELECT 1 FROM plans WHERE start = ? LIMIT 1", start))

    def enter(self, question: str, stage: int, entered: Sequence[str]) -> None:
        """Write down whose replies a stage is about to be asked with."""
        sql = "UPDATE plans SET stage = ?, entered = ? WHERE question = ?"
        self._run(sql, stage, json.dumps(entered), question)

    def leave(self, question: str) -> None:
        """A question has its answer."""
        self._run("DELETE FROM plans WHERE question = ?", question)

    def tidy(self) -> None:
        """Forget what has ended, so that the next start asks again what failed."""
        self._run("DELETE FROM items WHERE state != 'open'")
        self._run(f"DELETE FROM jobs WHERE state NOT IN {UNDER_WAY}")

    def _run(self, sql: str, *values: object) -> list[Any]:
        with self._store.using() as connection:
            return connection.execute(sql, values).fetchall()


def _failed(model: str, failure: Failure | None) -> str:
    return json.dumps(asdict(Reply(model, failure=failure, cost_usd=0.0, attempts=(Attempt(0.0, 0.0, failure, 0.0),))))


def _marks(row: Any) -> str:
    return ", ".join("?" * len(row._fields))
