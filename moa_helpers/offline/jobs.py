"""The jobs of the batch APIs: the clock they live by, the files they read and write, and their work in small steps."""

import asyncio
import json
import os
import re
import tempfile
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import rows
from moa_helpers.offline.asked import LARGEST, Refused, named, parsed, shown
from moa_helpers.offline.wire import Dialect

HOUR = 1.0  # real seconds in which an hour of a job passes, at speed 1
QUICKEST, SLOWEST = 0.2, 3.0  # hours that a job takes: made up, as vendors promise no more than their window
WAITS = 0.05  # the share of them before the first answer
STEPS = 50  # in which a job's answers come
KEPT = 1_000  # the latest jobs, and as many files; older ones are forgotten
OVER = ("ended", "failed", "expired", "canceled")
LIMITS = {row["vendor"]: row for row in rows(Path(__file__).with_name("batch_limits.csv"))}
Answer = Callable[["Job", Mapping[str, Any]], Awaitable[tuple[int, Any, str]]]  # status, body, kind of fault


class File:
    """A file on disk, for as long as anybody refers to it."""

    def __init__(self, name: str, owner: str, created: float, kind: str = "request") -> None:
        self.id = f"file-{uuid.uuid4().hex}"
        self.name, self.owner, self.created, self.kind = name, owner, created, kind
        self.size = self.lines = 0
        handle, self._path = tempfile.mkstemp(prefix="moa-offline-")
        os.close(handle)
        weakref.finalize(self, _remove, self._path, os.getpid())

    def append(self, data: bytes) -> None:
        """Write at the end."""
        with open(self._path, "ab") as file:
            file.write(data)
        self.size += len(data)
        self.lines += data.count(b"\n")

    def read(self, place: int, size: int = 2**16) -> bytes:
        """So many bytes from there on."""
        with open(self._path, "rb") as file:
            file.seek(place)
            return file.read(size)

    def each(self) -> Iterator[tuple[int, bytes]]:
        """Where each line begins, and the line; one that is too long counts as several, and an empty one not at all."""
        with open(self._path, "rb") as file:
            place = 0
            while line := file.readline(LARGEST):
                if line.strip():
                    yield place, line
                place += len(line)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked has no part in it
        Path(path).unlink(missing_ok=True)


@dataclass(eq=False)
class Job:
    """A batch: what it was given, and how far it is. Times are seconds since 1970 by the clock of ``Jobs``."""

    dialect: Dialect
    vendor: str | None
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
    lines: list[tuple[File, int, int]] = field(default_factory=list)  # where each one is, and its length
    counts: Counter[str] = field(default_factory=Counter)
    usage: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, File] = field(default_factory=dict)

    @property
    def limits(self) -> Mapping[str, str]:
        """What the vendor takes; of one that is not named, what its format's does."""
        return LIMITS.get(self.vendor or self.dialect.name) or LIMITS["others"]

    @property
    def expires(self) -> float:
        """When its window ends."""
        return self.created + self.window * 3600

    def turned(self, state: str, now: float) -> None:
        """Come into a state."""
        self.state = state
        self.at[state] = now
        if state in OVER:
            self.at["over"] = now

    def wrong(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        """Note what is wrong with a line, by default the latest."""
        self.problems.append({"code": code, "line": line or self.total, "message": message, "param": param})

    def write(self, kind: str, line: Any) -> None:
        """Write a line of its results, of the kind ``"result"`` or ``"error"``."""
        if kind not in self.results:
            self.results[kind] = File(f"{self.id}_{kind}.jsonl", self.owner, self.created, kind)
        self.results[kind].append(json.dumps(line).encode() + b"\n")

    def shown(self, *, inline: bool = False) -> Any:
        """The job as its vendor shows it; ``inline``: with its results, which Mistral can."""
        over = self.state in OVER
        counts = Counter() if "frozen_counts" in self.faults else self.counts
        problems: Any = self.problems if over else []
        stamp: Callable[[float], int | str] = int
        if self.dialect.name == "anthropic":
            counts, stamp = (
                counts if over else Counter(),
                lambda moment: datetime.fromtimestamp(moment, UTC).isoformat(),
            )
        elif self.dialect.name == "mistral":
            problems = [{"message": f"line {each['line']}: {each['message']}", "count": 1} for each in problems]
        else:
            problems = {"object": "list", "data": problems} if problems else None
        at = {f"{name}_at": stamp(moment) for name, moment in self.at.items()}
        at |= {"created_at": stamp(self.created), "expires_at": stamp(self.expires)}
        moments = dict.fromkeys(("running_at", "over_at", "canceling_at", *(f"{state}_at" for state in OVER)))
        files = {kind: file.id for kind, file in self.results.items()} if over else {}
        outputs = (
            [json.loads(line) for _, line in self.results["result"].each()] if inline and "result" in files else None
        )
        values = {
            **{name: self.given.get(name) for name in ("endpoint", "metadata", "window", "input_file", "input_files")},
            **{name: counts[name] for name in ("succeeded", "errored", "expired", "canceled")},
            "id": self.id,
            "model": self.model,
            "status": self.dialect.of_batches("states")[self.state],
            "errors": problems,
            "total": self.total,
            "done": counts["succeeded"] + counts["errored"],
            "processing": self.total - counts.total(),
            "usage": self._usage() if over and self.counts["succeeded"] else None,
            "output_file": files.get("result"),
            "error_file": files.get("error"),
            "outputs": outputs,
            "results_url": self.url if over else None,
        }
        return self.dialect.of_batches("job", **moments | at | values)

    def _usage(self) -> dict[str, Any]:
        told = {f"{name}_tokens": self.usage[f"{name}_tokens"] for name in ("input", "output", "total")}
        cached = {"cached_tokens": self.usage["cached_tokens"]}
        return {**told, "input_tokens_details": cached, "output_tokens_details": {"reasoning_tokens": 0}}


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
        """Begin to work on a job that has been checked."""
        job.due = self.now()
        self._open[job] = asyncio.get_running_loop().create_task(self._work(job))
        _keep(self.known, job.id, job)

    def keep(self, file: File) -> None:
        """Make a file known."""
        _keep(self.files, file.id, file)

    async def stop(self) -> None:
        """End all work."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, job: Job) -> None:
        """Find the job's lines, and what is wrong with them."""
        seen: set[str] = set()
        for file in job.inputs:
            for place, line in file.each():
                job.total += 1
                if found := _wrong(job, line, seen):
                    job.wrong(*found)
                job.lines.append((file, place, len(line)))
                await asyncio.sleep(0)  # so that others are not held up
        most = int(job.limits["requests"])
        if not job.total:
            job.wrong("empty_file", "There are no requests.", line=1)
        if job.total > most:
            job.wrong("too_many_tasks", f"There are {job.total} requests; it may have {most}.")
        if "validation_failed" in job.faults:
            job.wrong("invalid_json_line", "This line fails (a fault on demand).", line=(job.total + 1) // 2)

    async def _work(self, job: Job) -> None:
        answered = 0
        try:
            if not job.lines:
                await self.check(job)
            begin = job.created + job.hours * 3600 * WAITS
            if await self._until(job, begin if "never_starts" not in job.faults else job.expires):
                if job.problems:
                    return job.turned("failed", job.due)
                job.turned("running", job.due)
                step = job.hours * 3600 * (1 - WAITS) / STEPS
                while answered < job.total and await self._until(
                    job, begin + step * (answered * STEPS // job.total + 1)
                ):
                    await self._one(job, *job.lines[answered])
                    await asyncio.sleep(0)
                    answered += 1
            await self._end(job, answered)
        finally:
            del self._open[job]
            job.lines, job.inputs = [], []

    async def _until(self, job: Job, due: float) -> bool:
        """Wait until a moment; False: the job was canceled, or its window ended, before that."""
        job.due = min(due, job.expires)
        while (left := job.due - self.now()) > 0 and job.state != "canceling":  # noqa: ASYNC110 - of a clock of its own
            await asyncio.sleep(min(0.05, max(0.001, left / 3600 * HOUR / self._speed())))
        return job.due < job.expires and job.state != "canceling"

    async def _one(self, job: Job, file: File, place: int, length: int) -> None:
        """Answer one request of a job, and write the line of it."""
        line = parsed(file.read(place, length), {})
        body = line["params" if job.dialect.name == "anthropic" else "body"]
        status, answer, kind = await self._answer(job, line | {"body": body})
        good = status == 200
        job.counts["succeeded" if good else "errored"] += 1
        if good:
            job.usage.update(_used(answer["usage"]))
        values = {"custom_id": line.get("custom_id"), "status": status, "body": answer}
        values |= {"id": f"batch_req_{uuid.uuid4().hex}", "request_id": f"req_{uuid.uuid4().hex}"}
        anthropic = job.dialect.name == "anthropic"
        told = job.dialect.of_batches("errored" if anthropic and not good else "result", **values)
        for _ in range(2 if kind == "duplicate_ids" else 1):
            job.write("result" if good or anthropic or kind == "item_400" else "error", told)

    async def _end(self, job: Job, answered: int) -> None:
        """Say of each request that was not answered why, and make the files known."""
        left = job.lines[answered:]
        state = "canceled" if job.state == "canceling" else "expired" if left else "ended"
        for file, place, length in left:
            values = {"custom_id": _id(file.read(place, length)), "id": f"batch_req_{uuid.uuid4().hex}"}
            if told := job.dialect.of_batches(state, **values):
                job.write("result" if job.dialect.name == "anthropic" else "error", told)
            job.counts[state] += 1
            await asyncio.sleep(0)
        for file in job.results.values():
            if "results_gone" not in job.faults:
                self.keep(file)
        job.turned(state, self.now() if state == "canceled" else job.due)


def _keep(table: dict[str, Any], name: str, value: Any) -> None:
    table[name] = value
    if len(table) > KEPT:
        del table[next(iter(table))]


def _id(line: bytes) -> Any:
    try:
        return parsed(line, {}).get("custom_id")
    except Refused:
        return None


def _used(usage: Mapping[str, Any]) -> dict[str, int]:
    """The tokens of an answer, as the object of OpenAI's batches counts them."""
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written, "cached_tokens": cached}


def _wrong(job: Job, line: bytes, seen: set[str]) -> tuple[str, str, str | None] | None:
    """What is wrong with a line: a code, why, and which parameter is to blame."""
    name, of_job = job.dialect.name, job.given.get("model")
    try:
        item = parsed(line, {})
    except Refused as refused:
        return "invalid_json_line", refused.message, None
    identity, body = item.get("custom_id"), item.get("params" if name == "anthropic" else "body")
    if not isinstance(identity, str) and (identity is not None or name != "mistral"):
        return "missing_required_parameter", f"custom_id is {shown(identity)}; it must be a text.", "custom_id"
    if name == "anthropic" and not re.fullmatch(r"[\w-]{1,64}", identity or "", re.ASCII):
        return (
            "invalid_value",
            f"custom_id is {shown(identity)}; it takes up to 64 letters, digits, _ and -.",
            "custom_id",
        )
    if identity in seen and name != "mistral":
        return "duplicate_custom_id", f"Another line has the custom_id {shown(identity)}, too.", "custom_id"
    seen.add(identity or "")
    if not isinstance(body, dict):
        return "missing_required_parameter", f"It holds {shown(body)}; it must be a request.", "body"
    if name == "openai" and (item.get("method"), item.get("url")) != ("POST", job.given["endpoint"]):
        return "url_mismatch", f"Each line must be a POST to {job.given['endpoint']}, as its batch is.", "url"
    if name == "anthropic":
        return None  # each of its requests fails for itself
    model = body.get("model") or of_job
    if not isinstance(model, str):
        return "missing_required_parameter", "It names no model.", "model"
    job.model = job.model or of_job or model
    if job.limits["one_model"] == "yes" and model != job.model:
        return "model_mismatch", f"The model is {shown(model)}; that of this batch is {shown(job.model)}.", "model"
    try:
        vendor = named(model, job.vendor).vendor.name
    except Refused as refused:
        return "model_not_found", refused.message, "model"
    if job.vendor and vendor != job.vendor:
        return "model_not_found", f"There is no model {shown(model)}.", "model"
    return None
