"""The jobs of the batch APIs: what they were given, the clock they live by, and their answers one by one."""

import asyncio
import json
import re
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from moa_helpers.offline.asked import Refused, named, parsed, shown
from moa_helpers.offline.batch_files import File, Owner
from moa_helpers.offline.wire import Dialect

ENDPOINT = "/v1/chat/completions"
HOUR = 1.0  # real seconds in which an hour of a job passes, at speed 1
WAITS = 0.05  # the share of its hours before a job begins
KEPT = 10_000  # the latest jobs, and as many files; older ones are forgotten
OVER = ("ended", "failed", "expired", "canceled")
COUNTED = ("succeeded", "errored", "expired", "canceled")
TOKENS = ("input_tokens", "output_tokens", "cached_tokens")
GIVEN = ("endpoint", "metadata", "completion_window", "input_file_id", "input_files")


@dataclass(eq=False)
class Job:
    """A batch: what it was given, and how far it is. Times are seconds since 1970 by the clock of ``Jobs``."""

    dialect: Dialect
    owner: Owner
    headers: Mapping[str, str]  # of the request that made it
    given: Mapping[str, Any]
    inputs: list[File]
    created: float
    id: str = ""
    url: str = ""  # of its results, where they have one
    window: int = 24  # hours
    hours: float = 0.0  # that it takes
    faults: set[str] = field(default_factory=set)
    state: str = "waiting"
    at: dict[str, float] = field(default_factory=dict)  # when it came into each state
    due: float = 0.0  # when it goes on; the clock waits for it
    model: str | None = None
    total: int = 0
    lines: deque[tuple[str, File, int, int]] = field(default_factory=deque)  # not answered: custom_id, and where it is
    counts: Counter[str] = field(default_factory=Counter)  # of requests, and of their tokens
    problems: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, File] = field(default_factory=dict)

    def turned(self, state: str, now: float) -> None:
        """Come into a state."""
        self.state = state
        self.at |= {state: now} | ({"over": now} if state in OVER else {})

    def read(self, line: bytes) -> tuple[str, dict[str, Any]]:
        """The custom_id and the request of a line. Raises ``Refused``."""
        item, name = parsed(line, {}), self.dialect.name
        identity, body = item.get("custom_id"), item.get("params" if name == "anthropic" else "body")
        if not isinstance(identity, str) or (name == "anthropic" and not re.fullmatch(r"[\w-]{1,64}", identity, re.A)):
            words = f"custom_id is {shown(identity)}; it must be a text that names the line."
            raise Refused(400, words, "custom_id", "invalid_value")
        if not isinstance(body, dict):
            raise Refused(400, f"It asks {shown(body)}; it must be a request.", "body", "missing_required_parameter")
        if name == "openai" and (item.get("method"), item.get("url")) != ("POST", ENDPOINT):
            raise Refused(400, f"A line must be a POST to {ENDPOINT}, as its batch is.", "url", "url_mismatch")
        return identity, {"model": self.given.get("model")} | body

    async def check(self) -> None:
        """Find the lines, and what is wrong with them."""
        seen, most = set(), int(self.owner.limits["requests"])
        lines = ((file, *each) for file in self.inputs for each in file.each())
        for number, (file, place, line) in enumerate(islice(lines, most + 1), 1):
            await asyncio.sleep(0)  # so that others are not held up
            if not line.strip():
                continue
            try:
                if number > most:
                    raise Refused(400, f"There are more than {most} lines.", code="too_many_tasks")
                identity, body = self.read(line)
                if identity in seen and self.dialect.name != "mistral":
                    raise Refused(400, "Another line has the same custom_id.", "custom_id", "duplicate_custom_id")
                if self.dialect.name != "anthropic":  # there, each request fails for itself
                    self._check_model(body["model"])
                seen.add(identity)
                self.lines.append((identity, file, place, len(line)))
            except Refused as refused:
                self._wrong(refused, number)
        self.total = len(self.lines)
        if not self.total and not self.problems:
            self._wrong(Refused(400, "There are no requests.", code="empty_file"))
        if "validation_failed" in self.faults:
            self._wrong(Refused(400, "This line fails (a fault on demand)."), (self.total + 1) // 2)
        if "shuffled" in self.faults:
            self.lines.reverse()

    def _check_model(self, model_id: Any) -> None:
        model = named(model_id, self.owner.vendor)
        if self.owner.vendor not in (None, model.vendor.name):
            raise Refused(404, f"There is no model {shown(model.id)}.", "model")
        self.model = self.model or model.id
        if model.id != self.model and self.owner.limits["one_model"] == "yes":
            raise Refused(400, f"The model of this batch is {self.model}.", "model", "model_mismatch")

    def _wrong(self, why: Refused, line: int | None = None) -> None:
        if len(self.problems) < 100:
            code = why.code or ("model_not_found" if why.status == 404 else "invalid_json_line")
            self.problems.append({"code": code, "line": line, "message": why.message, "param": why.param})

    def write(self, part: str, kind: str, identity: str, **values: Any) -> None:
        """Write a line of its results, of the kind ``"result"`` or ``"error"``; Anthropic has one file for both."""
        ids = {"custom_id": identity, "id": f"batch_req_{uuid.uuid4().hex}", "request_id": f"req_{uuid.uuid4().hex}"}
        if told := self.dialect.of_batches(part, **ids, **values):
            kind = "result" if self.dialect.name == "anthropic" else kind
            if kind not in self.results:
                self.results[kind] = File(f"{self.id}_{kind}.jsonl", self.owner, self.created, kind)
            self.results[kind].append(json.dumps(told).encode() + b"\n")

    def shown(self, *, inline: bool = False) -> Any:
        """The job as its vendor shows it; ``inline``: with its results, which Mistral can."""
        over, anthropic = self.state in OVER, self.dialect.name == "anthropic"
        counts = Counter() if "frozen_counts" in self.faults or (anthropic and not over) else self.counts
        files, problems, url = (self.results, self.problems, self.url) if over else ({}, [], None)
        values = {name: self.given.get(name) for name in GIVEN}
        for name, moment in ({"created": self.created, "expires": self.created + self.window * 3600} | self.at).items():
            values[f"{name}_at"] = datetime.fromtimestamp(moment, UTC).isoformat() if anthropic else int(moment)
        values |= {name: counts[name] for name in (*COUNTED, *TOKENS)} | {"total": self.total}
        values["processing"] = self.total - sum(counts[name] for name in COUNTED)
        values["done"] = counts["succeeded"] + counts["errored"]
        values["total_tokens"] = counts["input_tokens"] + counts["output_tokens"]
        values |= {"id": self.id, "model": self.model, "status": self.dialect.of_batches("states")[self.state]}
        values |= {f"{kind}_file": file.id for kind, file in files.items()} | {"results_url": url}
        values["errors"] = {"object": "list", "data": problems} if problems else None
        values["messages"] = [{"message": f"line {each['line']}: {each['message']}"} for each in problems]
        if inline and "result" in files:
            values["outputs"] = [json.loads(line) for _, line in files["result"].each()]
        return self.dialect.of_batches("job", **values)


Answer = Callable[[Job, str, dict[str, Any]], Awaitable[tuple[int, Any, str]]]  # status, body, kind of fault


class Jobs:
    """All jobs, each at work in a task of its own.

    While a job is open, the clock passes an hour in ``HOUR`` seconds divided by the speed; otherwise it runs as any
    clock. It waits for work that is still to be done, so a job takes its drawn hours on a slow machine, too.
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
        keep(self.known, job)

    async def stop(self, *_: object) -> None:
        """End all work, as the server ends."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, job: Job) -> None:
        try:
            if not job.lines:
                await job.check()
            begins = await self._until(job, WAITS)
            if begins and job.problems:
                job.turned("failed", job.due)
                return
            if begins:
                job.turned("running", job.due)
            while begins and job.lines and await self._until(job, 1 - (1 - WAITS) * (len(job.lines) - 1) / job.total):
                await self._one(job, *job.lines.popleft()[1:])
            await self._end(job)
        finally:
            del self._open[job]
            job.lines.clear()
            job.inputs.clear()

    async def _until(self, job: Job, share: float) -> bool:
        """Wait for a share of the job's hours; False: it was canceled, or its window ended, before that."""
        due, expires = (job.created + hours * 3600 for hours in (share * job.hours, job.window))
        job.due = min(due, expires)
        while (left := job.due - self.now()) > 0 and job.state != "canceling":  # noqa: ASYNC110 - by a clock of its own
            await asyncio.sleep(min(0.05, max(0.001, left / 3600 * HOUR / self._speed())))
        return due < expires and job.state != "canceling"

    async def _one(self, job: Job, file: File, place: int, size: int) -> None:
        """Answer one request of a job, and write the line of it."""
        identity, asked = job.read(file.read(place, size))
        status, body, kind = await self._answer(job, identity, asked)
        job.counts["succeeded" if status == 200 else "errored"] += 1
        part = "errored" if job.dialect.name == "anthropic" and status != 200 else "result"
        file_of = "result" if status == 200 or kind == "item_400" else "error"
        for _ in range(2 if kind == "duplicate_ids" else 1):
            job.write(part, file_of, identity, status=status, body=body)
        await asyncio.sleep(0)

    async def _end(self, job: Job) -> None:
        """Say of each request that was not answered why, and make the files known."""
        state = "canceled" if job.state == "canceling" else "expired" if job.lines else "ended"
        for identity, *_ in job.lines:
            job.write(state, "error", identity)
            job.counts[state] += 1
            await asyncio.sleep(0)
        for file in job.results.values() if "results_gone" not in job.faults else ():
            keep(self.files, file)
        job.turned(state, self.now() if state == "canceled" else job.due)


def keep(table: dict[str, Any], value: Any) -> None:
    """Make a job or a file known."""
    table[value.id] = value
    if len(table) > KEPT:
        del table[next(iter(table))]
