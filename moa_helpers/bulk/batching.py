"""Questions answered by the vendors' batch APIs, stage by stage; what cannot go that way is asked live.

To plan a stage, the mixture is run on what the store has: what it asks for and does not find goes into the next jobs.
All of that is written down before a vendor hears of it, so that another start goes on from there.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias
from uuid import uuid4

from moa_helpers.bulk.answering import Answering
from moa_helpers.bulk.asking import Asking
from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.strategies import answered
from moa_helpers.bulk.underway import UnderWay, key_mark
from moa_helpers.bulk.work import Lane
from moa_helpers.estimating import batched
from moa_helpers.limits.purse import most
from moa_helpers.limits.scope import Scope
from moa_helpers.store.jobs import Item, Job, Ledger, Planned
from moa_helpers.vendors.batches import adapter, at_batch_price
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.whole import body

ROUND = 2_500  # questions that are planned together, so that jobs are large, and soon on their way
LIVE_ROUND = 200  # the same where some of it is asked live, so that jobs are looked at in between
One: TypeAlias = tuple[Question, Planned | None]  # a question, and how far it is


async def run(
    work: Answering,
    questions: Iterator[Question],
    *,
    how: Literal["batch", "mixed"],
    patience: float,
    late: Literal["batch", "live"],
) -> None:
    """The ways "batch" and "mixed"; the arguments are those of ``answer_all``."""
    await Batching(work, questions, how == "mixed", patience, late == "live").run()


class Batching:
    """Questions under way by batch; the arguments are those of ``run``."""

    def __init__(
        self, work: Answering, questions: Iterator[Question], mixed: bool, patience: float, late_live: bool
    ) -> None:
        self._work, self._questions, self._mixed, self._late_live = work, questions, mixed, late_live
        self._ledger, self._name = Ledger(work.store), uuid4().hex
        self._jobs = UnderWay(self._ledger, work, patience)

    async def run(self) -> None:
        """Answer all questions."""
        self._jobs.check()
        busy = True
        while True:
            if busy:
                begun = await self._round([(question, None) for question in islice(self._new(), ROUND)])
                busy = await self._go_on() or begun
            busy = await self._jobs.look() or busy
            if not busy:
                if not self._jobs.jobs or not self._ledger.waits(self._name):
                    break
                await self._jobs.until_due()
        self._ledger.tidy()

    def _new(self) -> Iterator[Question]:
        """The questions that are to be begun, while the budget lasts."""
        for question in self._questions:
            plan = self._work.planned(question)
            if plan is None:
                self._work.ended += 1
                continue
            key = self._work.key(question)
            no_budget = self._work.left_usd == math.inf
            usd = 0.0 if no_budget else batched(plan.stages, plan.final, mixed=self._mixed).most_usd or 0.0
            before = self._ledger.take_over(key, self._name)
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
        ready = self._ledger.ready(self._name, ROUND)
        some = [one for one in ready if not one.live] or ready[:LIVE_ROUND]
        return await self._round([(Question(**json.loads(one.asked)), one) for one in some])

    async def _round(self, questions: list[One]) -> bool:
        """See how each question goes on, and submit what all of them want; whether there are any."""
        with TemporaryDirectory(prefix="moa-batch-") as folder:
            self._plans, self._files = list[Planned](), Files(Path(folder))
            await self._work.each(questions, lambda one: None, self._plan)
            parts = self._files.closed()
            jobs = [part.job() for part in parts]
            self._ledger.begin(jobs, [item for part in parts for item in part.items], self._plans)
            for job, part in zip(jobs, parts, strict=True):
                await self._jobs.submit(job, part.path)
        return bool(questions)

    async def _plan(self, one: One) -> None:
        """Run the mixture on what the store has: it is the answer, or there is more to ask."""
        question, saved = one
        plan = self._work.strategy.plan(question.prompt).bound(streamed=False)
        limits = replace(plan.limits, hedge_after=None, hedge_with=None, grace=0.0)
        plan = replace(plan, limits=limits, seconds=tuple(() for _ in plan.stages))
        how = {"mixed": self._mixed, "late_live": self._late_live}
        asking = Asking(self._work.store, Lane(self._work), self._ledger, saved, limits.quorum, **how)
        with Scope(store=asking, remembers=False).open():
            result = await answered(plan)
        key = self._work.key(question)
        if asking.ended:
            row = Row.of(question, result)
            self._work.done(question, replace(row, kept=False) if saved else row)
            self._work.finish(key)
            self._ledger.leave(key)
            return
        for wanted, request in asking.wanted.items():
            self._files.add(wanted, request)
        self._plans.append(asking.planned(key, self._name, saved.asked if saved else json.dumps(asdict(question))))
        self._work.ended -= 1  # as it has not, after all


class Files:
    """The files of a round's jobs, as they are written: one for each vendor, or model, and more where it is full."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._keys, self._full = folder, set[str](), list[Part]()
        self._open: dict[tuple[str, str], Part] = {}

    def add(self, key: str, request: Request) -> None:
        """Write a request, once."""
        if key in self._keys:
            return
        self._keys.add(key)
        vendor = adapter(request.model.vendor)
        line = json.dumps(vendor.line(key, body(request))).encode() + b"\n"
        group = request.model.vendor.name, request.model.id if vendor.ONE_MODEL else ""
        part = self._open.get(group)
        if part and (len(part.items) == vendor.LINES or part.size + len(line) > vendor.BYTES):
            self._full.append(self._open.pop(group).closed())
            part = None
        part = part or self._open.setdefault(group, Part(self._folder, request))
        part.add(key, line, request)

    def closed(self) -> list["Part"]:
        """All of them, as nothing is added any more."""
        return [*self._full, *(part.closed() for part in self._open.values())]


class Part:
    """The requests of one job, in a file that is written."""

    def __init__(self, folder: Path, first: Request) -> None:
        self._first, self._name, self.size = first, f"moa-{uuid4().hex}", 0
        self.path, self.items = folder / self._name, list[Item]()
        self._file = self.path.open("wb")

    def add(self, key: str, line: bytes, request: Request) -> None:
        """Write a line."""
        self._file.write(line)
        self.size += len(line)
        usd = most(at_batch_price(request))
        self.items.append(Item(key, self._name, len(self.items) + 1, request.model.name, usd))

    def closed(self) -> "Part":
        """The same, as nothing is added any more."""
        self._file.close()
        return self

    def job(self) -> Job:
        """The job that is to be made of it."""
        model, offline = self._first.model, self._first.offline
        return Job(
            self._name, model.vendor.name, model.name, offline, key_mark(model.name), time.time(), len(self.items)
        )
