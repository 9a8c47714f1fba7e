"""Questions answered by the vendors' batch APIs, stage by stage. A model without a batch API is asked live.

To plan a stage, the mixture is carried out on what the store has. The requests that it does not find go into the next
jobs. The plan is written down before a vendor hears of it, so that another start goes on from there.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import BinaryIO, Literal, TypeAlias
from uuid import uuid4

from moa_helpers.bulk.answering import Answering
from moa_helpers.bulk.asking import Asking
from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.strategies import answered
from moa_helpers.bulk.underway import UnderWay, key_mark
from moa_helpers.limits.purse import most
from moa_helpers.limits.scope import Scope
from moa_helpers.store.jobs import Item, Job, Ledger, Planned
from moa_helpers.vendors.batches import adapter, at_batch_price
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.whole import body

ROUND = 2_500  # questions planned together: jobs should be large, and submitted soon
LIVE_ROUND = 200  # the same if some are asked live, so that jobs are looked at in between
One: TypeAlias = tuple[Question, Planned | None]  # a question and its progress


async def run(work: Answering, questions: Iterator[Question], patience: float, late: Literal["batch", "live"]) -> None:
    """Ask by "batch" or "mixed"; the arguments are those of ``answer_all``."""
    with _alone(work.store.path):
        await Batching(work, questions, patience, late).run()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one that submits jobs for this file, or raise OSError. It ends with the process."""
    name = hashlib.sha256(str(path.expanduser().resolve()).encode()).hexdigest()[:16]
    with closing(sqlite3.connect(Path(gettempdir(), f"moa-batches-{name}"), timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise OSError(
                f"{path} is in use: another program, or another cell, submits jobs for it, and you would pay for both. "
                "Wait until it has ended, or name another file."
            ) from None
        yield


class Batching:
    """Questions under way by batch; the arguments are those of ``run``."""

    def __init__(self, work: Answering, questions: Iterator[Question], patience: float, late: str) -> None:
        self._work, self._questions, self._late_live = work, questions, late == "live"
        self._ledger, self._start = Ledger(work.store), uuid4().hex
        self._jobs = UnderWay(self._ledger, work, patience)

    async def run(self) -> None:
        """Answer all questions."""
        self._jobs.check()
        try:
            await self._all()
        finally:
            if left := len(self._jobs.jobs):
                self._work.problem += (
                    f" Jobs that go on at the vendors, and are paid for: {left}. Start the same again to go on. To end "
                    f"them, run `await moa.jobs({str(self._work.store.path)!r}).cancel()`."
                )
        self._ledger.tidy()

    async def _all(self) -> None:
        busy = True
        while True:
            if busy:
                begun = await self._round([(question, None) for question in islice(self._new(), ROUND)])
                busy = await self._go_on() or begun
            busy = await self._jobs.look() or busy
            if not busy:
                if not self._jobs.jobs or not self._ledger.waits(self._start):
                    break
                await self._jobs.until_due()

    def _new(self) -> Iterator[Question]:
        """The questions to begin, while the budget lasts."""
        for question in self._questions:
            if self._work.problem:
                return
            usd, key = self._work.most_usd(question), self._work.key(question)
            if usd is None or key in self._work.set_aside:  # another question has the same prompt
                self._work.ended += 1
                continue
            before = self._ledger.take_over(key, self._start)
            if not before and usd > self._work.left_usd:
                self._questions = chain([question], self._questions)  # for when others have cost less than they might
                if not self._work.set_aside:
                    self._work.affords(usd)
                return
            self._work.begin(key, usd)
            if not before:
                yield question

    async def _go_on(self) -> bool:
        """Go on with the questions whose stage has ended. Returns whether there are any."""
        ready = self._ledger.ready(self._start, ROUND)
        some = [one for one in ready if not one.live] or ready[:LIVE_ROUND]
        return await self._round([(Question(**json.loads(one.asked)), one) for one in some])

    async def _round(self, questions: list[One]) -> bool:
        """Plan how each question goes on, and submit all their requests. Returns whether there are any."""
        with Files() as self._files:
            self._plans = list[Planned]()
            await self._work.each(questions, lambda one: None, self._plan)
            files = self._files.all
            jobs = [file.job._replace(requests=len(file.items)) for file in files]
            self._ledger.begin(jobs, [item for file in files for item in file.items], self._plans)
            for job, file in zip(jobs, files, strict=True):
                await self._jobs.submit(job, file.lines)
        return bool(questions)

    async def _plan(self, one: One) -> None:
        """Carry the mixture out on what the store has. That gives the answer, or more to ask."""
        question, saved = one
        try:
            plan = self._work.strategy.plan(question.prompt)
        except (TypeError, ValueError) as error:
            self._end(question, Row.refused(question, error))
            return
        limits = replace(plan.limits, hedge_after=None, hedge_with=None, grace=0.0)
        plan = replace(plan.bound(streamed=False), limits=limits, seconds=tuple(() for _ in plan.stages))
        asking = Asking(self._work, self._ledger, saved, limits.quorum, self._late_live)
        with Scope(store=asking, remembers=False).open():
            result = await answered(plan)
        if asking.ended:
            row = Row.of(question, result)
            self._end(question, replace(row, kept=False) if saved else row)
            return
        for wanted, request in asking.wanted.items():
            self._files.add(wanted, request)
        asked = saved.asked if saved else json.dumps(asdict(question))
        self._plans.append(asking.planned(self._work.key(question), self._start, asked))
        self._work.ended -= 1  # as this question has not

    def _end(self, question: Question, row: Row) -> None:
        key = self._work.key(question)
        self._work.done(question, row)
        self._work.finish(key)
        self._ledger.leave(key)


@dataclass
class File:
    """The requests of a job."""

    job: Job  # without the number of its requests
    lines: BinaryIO
    items: list[Item] = field(default_factory=list)


class Files(ExitStack):
    """The files of a round's jobs: one for each vendor, or model, and another when one is full."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(self.enter_context(TemporaryDirectory(prefix="moa-batch-")))
        self.all: list[File] = []
        self._keys, self._last = set[str](), dict[tuple[str, str], File]()

    def add(self, key: str, request: Request) -> None:
        """Write a request, once."""
        if key in self._keys:
            return
        self._keys.add(key)
        model, vendor = request.model, adapter(request.model.vendor)
        asked = body(request)
        if request.offline and request.sample:  # live, a header says it
            asked["metadata"] = {**asked.get("metadata", {}), "user_id": f"sample-{request.sample}"}
        line = json.dumps(vendor.line(key, asked)).encode() + b"\n"
        group = model.vendor.name, model.id if vendor.ONE_MODEL else ""
        file = self._last.get(group)
        if not file or len(file.items) == vendor.LINES or file.lines.tell() + len(line) > vendor.BYTES:
            file = self._last[group] = self._new(request)
        file.lines.write(line)
        usd = most(at_batch_price(request))
        file.items.append(Item(key, file.job.name, len(file.items) + 1, model.name, usd))

    def _new(self, first: Request) -> File:
        model, name = first.model, f"moa-{uuid4().hex}"
        job = Job(name, model.vendor.name, model.name, first.offline, key_mark(model.name), time.time(), 0)
        self.all.append(File(job, self.enter_context((self._folder / name).open("w+b"))))
        return self.all[-1]
