"""Questions answered by the vendors' batch APIs, stage by stage; what cannot go that way is asked live.

To plan a stage, the mixture is run on what the store has: what it asks for and does not find goes into the next jobs.
All of that is written down before a vendor hears of it, so that another start goes on from there.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from uuid import uuid4

from moa_helpers.bulk.answering import Answering
from moa_helpers.bulk.asking import Asking, by_batch
from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.strategies import answered
from moa_helpers.bulk.underway import UnderWay, key_mark
from moa_helpers.limits.purse import most, price
from moa_helpers.limits.scope import Scope
from moa_helpers.plan import Plan, framed
from moa_helpers.store.jobs import Item, Job, Ledger, Planned
from moa_helpers.vendors.batches import adapter
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.whole import body

ROUND = 10_000  # questions that are planned together, for jobs that are large
LIVE_ROUND = 200  # the same where some of it is asked live: in between, the jobs are looked at


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
        self._folder = Path()  # the files of a round
        self._parts: dict[tuple[str, str], Part] = {}  # those that are written, by vendor and model
        self._full: list[Part] = []
        self._plans: list[Planned] = []

    async def run(self) -> None:
        """Answer all questions."""
        self._jobs.check()
        busy = True
        while True:
            if busy:
                begun = await self._round((question, None) for question in islice(self._new(), ROUND))
                busy = await self._go_on() or begun
            busy = await self._jobs.look() or busy
            if not busy:
                if not self._jobs.jobs or not self._ledger.waits(self._name):
                    break
                await self._jobs.until_due()
        self._ledger.tidy()

    def _new(self) -> Iterator[Question]:
        """Questions that are to be begun, as far as the budget lasts."""
        for question in self._questions:
            most_usd = self._work.most_usd(question)
            ...

    async def _go_on(self) -> bool:
        """Plan the next stage of questions whose last one has ended; whether there are any."""
        ready = self._ledger.ready(self._name, ROUND)
        some = [one for one in ready if not one.live] or ready[:LIVE_ROUND]
        return await self._round((Question(**json.loads(one.asked)), one) for one in some)

    async def _round(self, questions: Iterable[tuple[Question, Planned | None]]) -> bool:
        """See how each question goes on, and submit what all of them want; whether there are any."""
        self._parts, self._full, self._plans = {}, [], []
        before = self._planned
        with TemporaryDirectory(prefix="moa-batch-") as folder:
            self._folder = Path(folder)
            await self._work.each(questions, lambda one: None, self._plan)
            parts = [*self._full, *self._parts.values()]
            ...
