"""Questions answered by the vendors' batch APIs, stage by stage; what cannot go that way is asked live.

To plan a stage, the mixture is run on what the store has: what it asks for and does not find goes into the next jobs.
All of that is written down before a vendor hears of it, so that another start goes on from there.
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

ROUND = 2_500  # questions that are planned together, so that jobs are large, and soon on their way
LIVE_ROUND = 200  # the same where some of it is asked live, so that jobs are looked at in between
One: TypeAlias = tuple[Question, Planned | None]  # a question, and how far it is


async def run(work: Answering, questions: Iterator[Question], patience: float, late: Literal["batch", "live"]) -> None:
    """The ways "batch" and "mixed"; the arguments are those of ``answer_all``."""
    with _alone(work.store.path):
        await Batching(work, questions, patience, late).run()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one that submits jobs for this file, or raise OSError; a crash ends it, too."""
    name = hashlib.sha256(str(path.expanduser().resolve()).encode()).hexdigest()[:16]
    with closing(sqlite3.connect(Path(gettempdir(), f"moa-batches-{name}"), timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise OSError(
                f"{path} is in use: another program, or another cell, submits batches for it, and both would be paid "
                "for. Wait until it has ended, or name another file."
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
                    f" Batches that go on at the vendors, and are paid for: {left}. To go on, start the same again; to "
                    f"end them, `await moa.jobs({str(self._work.store.path)!r}).cancel()`."
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
        """The questions that are to be begun, while the budget lasts."""
        for question in self._questions:
            if self._work.problem:
                return
            usd, key = self._work.most_usd(question), self._work.key(question)
            if usd is None or key in self._work.set_aside:  # as another says the same
                self._work.ended += 1
                continue
            before = self._ledger.take_over(key, self._start)
            if not before and usd > self._work.left_usd:
                self._questions = chain([question], self._questions)  # until others have cost less than they might
                if not self._work.set_aside:
                    self._work.affords(usd)
                return
            self._work.begin(key, usd)
            if not before:
                yield question

    async def _go_on(self) -> bool:
        """Go on with questions whose stage has ended; whether there are any."""
        ready = self._ledger.ready(self._start, ROUND)
        some = [one for one in ready if not one.live] or ready[:LIVE_ROUND]
        return await self._round([(Question(**json.loads(one.asked)), one) for one in some])

    async def _round(self, questions: list[One]) -> bool:
        """See how each question goes on, and submit what all of them want; whether there are any."""
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
        """Run the mixture on what the store has: it is the answer, or there is more to ask."""
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
        self._work.ended -= 1  # as it has not, after all

    def _end(self, question: Question, row: Row) -> None:
        key = self._work.key(question)
        self._work.done(question, row)
        self._work.finish(key)
        self._ledger.leave(key)


@dataclass
class File:
    """The requests of a job."""

    job: Job  # but for their number
    lines: BinaryIO
    items: list[Item] = field(default_factory=list)


class Files(ExitStack):
    """The files of a round's jobs, as they are written: one for each vendor, or model, and more where it is full."""

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
        if request.offline and request.sample:  # as a header says it live
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
