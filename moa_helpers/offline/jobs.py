"""The jobs of the batch APIs: what they were given, the clock they live by, and their work in small steps."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import rows
from moa_helpers.offline.asked import parsed
from moa_helpers.offline.batch_files import File, Wrong, checked
from moa_helpers.offline.wire import Dialect

HOUR = 1.0  # real seconds in which an hour of a job passes, at speed 1
QUICKEST, SLOWEST = 0.2, 3.0  # hours that a job takes: made up, as vendors promise no more than their window
WAITS = 0.05  # the share of them before the first answer
STEPS = 50  # in which a job's answers come
KEPT = 10_000  # the latest jobs, and as many files; older ones are forgotten
OVER = ("ended", "failed", "expired", "canceled")
LIMITS = {row["vendor"]: row for row in rows(Path(__file__).with_name("batch_limits.csv"))}
GIVEN = ("endpoint", "metadata", "completion_window", "input_file_id", "input_files")


@dataclass(eq=False)
class Job:
    """A batch: what it was given, and how far it is. Times are seconds since 1970 by the clock of ``Jobs``."""

    dialect: Dialect
    vendor: str | None  # in the path
    owner: str  # the key that made it, which alone sees it
    headers: Mapping[str, str]  # of the request that made it
    given: Mapping[str, Any]
    inputs: list[File]
    created: float
    id: str = ""
    window: float = 24.0  # hours
    hours: float = 0.0  # that it takes
    faults: set[str] = field(default_factory=set)
    url: str = ""  # of its results, where they have one
    state: str = "waiting"
    at: dict[str, float] = field(default_factory=dict)  # when it came into each state
    due: float = 0.0  # when it goes on; the clock waits for it
    model: str | None = None
    total: int = 0
    lines: list[tuple[str | None, File, int, int]] = field(default_factory=list)  # custom_id, and where each one is
    counts: Counter[str] = field(default_factory=Counter)  # of requests, and of their tokens
    problems: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, File] = field(default_factory=dict)

    @property
    def limits(self) -> Mapping[str, str]:
        """What the vendor takes; of one that is not named, what its format's does."""
        return LIMITS.get(self.vendor or self.dialect.name) or LIMITS["others"]

    def turned(self, state: str, now: float) -> None:
        """Come into a state."""
        self.state = state
        self.at |= {state: now} | ({"over": now} if state in OVER else {})

    def wrong(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        """Note what is wrong; the first hundred times are enough."""
        self.problems += [{"code": code, "line": line, "message": message, "param": param}][: 100 - len(self.problems)]

    def write(self, kind: str, line: Any) -> None:
        """Write a line of its results, of the kind ``"result"`` or ``"error"``; Anthropic has one file for both."""
        kind = "result" if self.dialect.name == "anthropic" else kind
        if kind not in self.results:
            self.results[kind] = File(f"{self.id}_{kind}.jsonl", self.owner, self.created, kind)
        self.results[kind].append(json.dumps(line).encode() + b"\n")

    def shown(self, *, inline: bool = False) -> Any:
        """The job as its vendor shows it; ``inline``: with its results, which Mistral can."""
        over, anthropic = self.state in OVER, self.dialect.name == "anthropic"
        counted = ("succeeded", "errored", "expired", "canceled")
        counts = Counter() if "frozen_counts" in self.faults or (anthropic and not over) else self.counts
        files = self.results if over else {}
        moments = {"created": self.created, "expires": self.created + self.window * 3600} | self.at
        values: dict[str, Any] = {f"{name}_at": None for name in ("running", "canceling", "over", *OVER)}
        for name, moment in moments.items():
            values[f"{name}_at"] = datetime.fromtimestamp(moment, UTC).isoformat() if anthropic else int(moment)
        values |= {name: self.given.get(name) for name in GIVEN}
        values |= {name: counts[name] for name in counted}
        values["processing"] = self.total - sum(counts[name] for name in counted)
        values |= {name: self.counts[name] for name in ("input_tokens", "output_tokens", "cached_tokens")}
        values["total_tokens"] = self.counts["input_tokens"] + self.counts["output_tokens"]
        values |= {"done": counts["succeeded"] + counts["errored"], "total": self.total, "id": self.id}
        values |= {"output_file": files["result"].id if "result" in files else None}
        values |= {"error_file": files["error"].id if "error" in files else None}
        values |= {"status": self.dialect.of_batches("states")[self.state], "model": self.model}
        values |= {"results_url": self.url if over else None, "outputs": None, "problems": self.problems}
        if inline and "result" in files:
            values["outputs"] = [json.loads(line) for _, line in files["result"].each()]
        values["messages"] = [{"message": f"line {each['line']}: {each['message']}"} for each in self.problems if over]
        shows = (over and self.problems) or self.dialect.name == "mistral"  # OpenAI shows no empty list
        values["errors"] = self.dialect.of_batches("errors", **values) if shows else None
        return self.dialect.of_batches("job", **values)


Answer = Callable[[Job, Mapping[str, Any]], Awaitable[tuple[int, Any, str]]]  # status, body, kind of fault


class Jobs:
    """All jobs, each at work in a task of its own.

    The clock passes an hour in ``HOUR`` seconds divided by the speed while a job is open, else it goes as any clock. It
    never passes what is still to be done, so a job takes the hours that were drawn for it on a slow machine, too.
    """

    def __init__(self, answer: Answer, speed: Callable[[], float]) -> None:
        self._answer, self._speed = answer, speed
        self._now, self._read = time.time(), time.monotonic()
        self.known: dict[str, Job] = {}
        self.files: dict[str, File] = {}
        self._open: dict[Job, asyncio.Task[None]] = {}

    def now(self) -> float:
        """Seconds since 1970, by a clock that goes faster while a job is open."""
        moment = time.monotonic()
        pace = 3600 / HOUR * self._speed() if self._open else 1.0
        passed, self._read = self._now + (moment - self._read) * pace, moment
        self._now = max(self._now, min([passed, *(job.due for job in self._open)]))
        return self._now

    def add(self, job: Job) -> None:
        """Begin to work on a job."""
        job.due = self.now()
        self._open[job] = asyncio.get_running_loop().create_task(self._work(job))
        _keep(self.known, job)

    def keep(self, file: File) -> None:
        """Make a file known."""
        _keep(self.files, file)

    async def stop(self, *_: object) -> None:
        """End all work, as the server ends."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, job: Job) -> None:
        """Find the job's lines, and what is wrong with them."""
        seen, number, most = set(), 0, int(job.limits["requests"])
        for file in job.inputs:
            for place, line in file.each():
                await asyncio.sleep(0)  # so that others are not held up
                number += 1
                if number > most:
                    job.wrong("too_many_tasks", f"There are more than {most} lines.")
                    return
                if not line.strip():
                    continue
                identity = None
                try:
                    identity, model = checked(line, job.dialect.name, job.given, job.vendor)
                    job.model = job.model or model
                    if model != job.model and job.limits["one_model"] == "yes":
                        raise Wrong("model_mismatch", f"The model of this batch is {job.model}.", "model")
                    if identity in seen and job.dialect.name != "mistral":
                        raise Wrong("duplicate_custom_id", "Another line has the same custom_id.", "custom_id")
                except Wrong as wrong:
                    code, message, param = wrong.args
                    job.wrong(code, message, param, line=number)
                seen.add(identity)
                job.lines.append((identity, file, place, len(line)))
        job.total = len(job.lines)
        if not job.total:
            job.wrong("empty_file", "There are no requests.")
        if "validation_failed" in job.faults:
            job.wrong("invalid_json_line", "This line fails (a fault on demand).", line=(job.total + 1) // 2)
        if "shuffled" in job.faults:
            job.lines.reverse()

    async def _work(self, job: Job) -> None:
        answered = 0
        try:
            if not job.lines:
                await self.check(job)
            step = job.hours * 3600 / STEPS
            begin = job.created + step * STEPS * WAITS
            if await self._until(job, begin if "never_starts" not in job.faults else job.created + 1e9):
                job.turned("failed" if job.problems else "running", job.due)
                while job.state == "running" and answered < job.total:
                    if not await self._until(job, begin + step * (1 - WAITS) * (answered * STEPS // job.total + 1)):
                        break
                    await self._one(job, *job.lines[answered][1:])
                    answered += 1
            if job.state != "failed":
                await self._end(job, job.lines[answered:])
        finally:
            del self._open[job]
            job.lines, job.inputs = [], []

    async def _until(self, job: Job, due: float) -> bool:
        """Wait until a moment; False: the job was canceled, or its window ended, before that."""
        expires = job.created + job.window * 3600
        job.due = min(due, expires)
        while (left := job.due - self.now()) > 0 and job.state != "canceling":  # noqa: ASYNC110 - by a clock of its own
            await asyncio.sleep(min(0.05, max(0.001, left / 3600 * HOUR / self._speed())))
        return job.due < expires and job.state != "canceling"

    async def _one(self, job: Job, file: File, place: int, length: int) -> None:
        """Answer one request of a job, and write the line of it."""
        line, anthropic = parsed(file.read(place, length), {}), job.dialect.name == "anthropic"
        line["body"] = line["params"] if anthropic else {"model": job.model} | line["body"]
        status, body, kind = await self._answer(job, line)
        job.counts["succeeded" if status == 200 else "errored"] += 1
        part = "errored" if anthropic and status != 200 else "result"
        told = job.dialect.of_batches(part, custom_id=line["custom_id"], status=status, body=body, **_ids())
        for _ in range(2 if kind == "duplicate_ids" else 1):
            job.write("result" if status == 200 or kind == "item_400" else "error", told)
        await asyncio.sleep(0)

    async def _end(self, job: Job, left: list[tuple[str | None, File, int, int]]) -> None:
        """Say of each request that was not answered why, and make the files known."""
        state = "canceled" if job.state == "canceling" else "expired" if left else "ended"
        for identity, *_ in left:
            if told := job.dialect.of_batches(state, custom_id=identity, **_ids()):
                job.write("error", told)
            job.counts[state] += 1
            await asyncio.sleep(0)
        for file in job.results.values() if "results_gone" not in job.faults else ():
            self.keep(file)
        job.turned(state, self.now() if state == "canceled" else job.due)


def _ids() -> dict[str, str]:
    return {"id": f"batch_req_{uuid.uuid4().hex}", "request_id": f"req_{uuid.uuid4().hex}"}


def _keep(table: dict[str, Any], value: Any) -> None:
    table[value.id] = value
    if len(table) > KEPT:
        del table[next(iter(table))]
