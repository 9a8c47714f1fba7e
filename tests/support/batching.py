"""Vendors with batches, scripted: what becomes of each job, when, and a record of what was sent and answered.

``vendors["openai"].acts = [Act(part=0.5), Act()]`` has OpenAI's first job end half done, and all others end well. Hours
are those of the embedded vendors' clock, a virtual second each.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from moa_helpers.vendors.batches import Made, Result, Seen
from tests.support.scripts import APIStatusError

TOKENS = 1000, 100  # that each answer reads and writes


@dataclass
class Act:
    """What a vendor does with a job."""

    hours: float = 1.0  # until it has ended; never_ends: only once it is cancelled
    never_ends: bool = False
    state: str = "completed"
    part: float = 1.0  # of its requests, that are answered
    item: Callable[[str], Result] | None = None  # the result for a key
    twice: bool = False  # whether each result is there twice, among others that are unknown
    refused: dict[int, str] = field(default_factory=dict)  # lines, at its validation
    gone: bool = False  # whether its results are
    submit: Exception | None = None  # raised as it is submitted
    taken: bool = True  # whether it is made all the same
    looks: list[Exception] = field(default_factory=list)  # raised as it is looked at, one after the other
    reads: list[Exception] = field(default_factory=list)  # raised in the middle of its results


@dataclass
class Job:
    """A job at a vendor."""

    id: str
    name: str
    model: str
    lines: list[tuple[str, dict]]
    act: Act
    made: float
    cancelled: float | None = None


def text_of(body):
    """What a request is answered: its model, and its question."""
    return f"{body.get('model')} on {body['messages'][-1]['content'][-40:]}"


@dataclass
class Vendor:
    """Stands in for the file of an SDK in ``vendors/batches``."""

    vendors: "Vendors"
    name: str
    LINES: int = 1000
    BYTES: int = 10_000_000
    ONE_MODEL: bool = True
    NAMED: bool = True
    acts: list[Act] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def line(self, key, body):
        return {"custom_id": key, "body": body}

    async def submit(self, sdk, name, model, file):
        lines = [(each["custom_id"], each["body"]) for each in map(json.loads, file)]
        act = self.acts[min(self.vendors.submitted[self.name], len(self.acts) - 1)] if self.acts else Act()
        self.vendors.submitted[self.name] += 1
        if act.submit and not act.taken:
            raise act.submit
        keys = [key for key, _ in lines]
        assert len({*keys}) == len(keys) <= self.LINES
        job = Job(f"{self.name}-{len(self.jobs)}", name, model, lines, replace(act), time.time())
        self.jobs.append(job)
        self.vendors.sent.update(keys)
        if act.submit:
            raise act.submit
        self.vendors.at("submitted")
        return job.id

    async def made(self, sdk, since):
        for job in self.jobs:
            if job.made >= since:
                yield Made(job.id, job.name if self.NAMED else None, len(job.lines))

    def _job(self, id):
        for job in self.jobs:
            if job.id == id:
                return job
        raise APIStatusError(404, "No such batch.")

    async def look(self, sdk, id):
        job = self._job(id)
        if job.act.looks:
            raise job.act.looks.pop(0)
        self.vendors.looked += 1
        ended = job.cancelled is not None or (not job.act.never_ends and time.time() >= job.made + job.act.hours)
        state = ("cancelled" if job.cancelled else job.act.state) if ended else "in_progress"
        files = (id,) if ended and not job.act.refused else ()
        refused = job.act.refused if ended else {}
        return Seen(state, ended, done=len(job.lines) * ended, seconds=3600.0, files=files, refused=refused)

    async def cancel(self, sdk, id):
        self._job(id).cancelled = time.time()

    async def results(self, sdk, file):
        job = self._job(file)
        if job.act.gone:
            raise APIStatusError(404, "No such file.")
        for number, (key, body) in enumerate(reversed(job.lines)):
            if job.act.reads and number == 1:
                raise job.act.reads.pop(0)
            if number >= len(job.lines) * job.act.part:
                yield Result(key, None)  # expired or cancelled
                continue
            found = job.act.item(key) if job.act.item else Result(key, self.answer(body))
            if found.answer and (job.id, key) not in self.vendors.charged:
                self.vendors.charged.add((job.id, key))
                self.vendors.paid[key] += 1
            for _ in range(1 + job.act.twice):
                yield found
            if job.act.twice:
                yield Result("0" * 32, self.answer(body))
        self.vendors.at("read")

    def answer(self, body):
        read, wrote = TOKENS
        if self.name == "anthropic":
            content = [{"type": "text", "text": text_of(body)}]
            usage = {"input_tokens": read, "output_tokens": wrote}
            return {
                "type": "message",
                "role": "assistant",
                "model": body["model"],
                "content": content,
                "stop_reason": "end_turn",
                "usage": usage,
            }
        message = {"role": "assistant", "content": text_of(body)}
        usage = {"prompt_tokens": read, "completion_tokens": wrote}
        return {
            "object": "chat.completion",
            "model": body.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }


class Vendors(dict):
    """All of them, by their names; ``kill`` names a point at which the program is to end."""

    def __init__(self):
        self.submitted, self.sent, self.paid = Counter(), Counter(), Counter()  # jobs by vendor; keys
        self.charged, self.looked, self.kill = set(), 0, ""
        for name in ("openai", "anthropic", "mistral", "groq"):
            self[name] = Vendor(self, name)
        self["anthropic"].ONE_MODEL = self["anthropic"].NAMED = False

    def at(self, point):
        """A point is reached."""
        if self.kill == point:
            self.kill = ""
            raise Killed

    @property
    def jobs(self):
        return [job for vendor in self.values() for job in vendor.jobs]


class Killed(BaseException):
    """The program ends here, as by a kill: nothing is written down any more."""
