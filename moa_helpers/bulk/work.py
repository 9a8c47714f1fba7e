"""Many items at once, within a budget: every call is kept, and a line shows the progress so far."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from moa_helpers.limits.purse import most
from moa_helpers.limits.rates import Rates
from moa_helpers.limits.scope import Scope, Store
from moa_helpers.limits.tasks import results, stop
from moa_helpers.limits.values import Limits
from moa_helpers.results import Reply
from moa_helpers.store.answers import Answers
from moa_helpers.ui.cards import dollars
from moa_helpers.ui.html import render
from moa_helpers.ui.progress import follow, progress_view
from moa_helpers.vendors.requests import Request

HOPELESS = ("authentication", "permission", "not_found", "quota")  # failures that the next call would meet, too
IN_VAIN = 20  # such calls in a row, after which no more are made
AT_ONCE, MOST_AT_ONCE = 64, 4096  # items, if only vendors have limits; and the most ever
Item = TypeVar("Item")
T = TypeVar("T")


def shared(timeout: float, retries: int, max_concurrency: int | Mapping[str, int], budget_usd: float | None) -> Limits:
    """The limits of all items together. Raises TypeError or ValueError for wrong ones."""
    if max_concurrency is None:
        raise TypeError("max_concurrency must be a number, or a mapping such as {'mistral': 2, 'all': 8}, not None.")
    return Limits(timeout, None, retries, max_concurrency=max_concurrency, budget_usd=budget_usd)


class Work:
    """Work on many items, which share places, rates, a budget and a store. A progress view shows it."""

    def __init__(self, store: Answers, limits: Limits, rates: Rates, total: int | None) -> None:
        self.store, self.rates, self.total, self.lane = store, rates, total, Lane(self)
        self.scope = Scope(limits, store=self.lane, rates=rates, remembers=False)
        self.at_once = min(limits.places().get("all", AT_ONCE), MOST_AT_ONCE)
        self.ended = 0  # items
        self.kept = self.made = 0  # calls
        self.known_usd = self.unknown_usd = 0.0  # spent in this start; the latter is an upper bound
        self.unknown = 0  # attempts of unknown cost
        self.problem = ""  # why not all was done
        self.waiting = ""  # what it waits for, shown instead of a forecast
        self._in_vain = Counter[str]()  # how often in a row a model failed hopelessly
        self._budget = math.inf if limits.budget_usd is None else limits.budget_usd
        self.set_aside: dict[object, float] = {}  # the most that each item under way may cost
        self._aside_usd = 0.0  # their sum
        self._ended = asyncio.Event()  # set whenever an item ends
        self._began, self._worked_on = time.perf_counter(), 0

    @property
    def left_usd(self) -> float:
        """US dollars left of the budget, if all items under way cost the most that they may."""
        return self._budget - self.known_usd - self.unknown_usd - self._aside_usd

    async def followed(self, doing: Coroutine[Any, Any, None], name: str, found: Callable[[], T]) -> T:
        """Do it, show the progress, and return what was found. An exception carries that as an attribute ``name``."""
        view = progress_view()
        task = asyncio.create_task(doing, context=self.scope.context())
        try:
            await follow([task], lambda last: view.update(self, last))
            results([task])
        except BaseException as error:
            setattr(error, name, found())
            if self.problem:
                error.add_note(self.problem.strip())
            raise
        return found()

    async def each(
        self, items: Iterable[Item], price: Callable[[Item], float | None], do: Callable[[Item], Awaitable[None]]
    ) -> None:
        """Do it for each item, as many at once as there are places, while the budget lasts. No task outlives it.

        ``price`` gives the most US dollars that an item may cost; None: it is done already.
        """
        waiting, in_turn = iter(items), asyncio.Lock()

        async def begun() -> tuple[Item, object] | None:
            """The next item to begin, if there is one."""
            async with in_turn:
                for item in waiting:
                    mark, most_usd = object(), price(item)
                    if most_usd is None:
                        await asyncio.sleep(0)  # lets a stop be heard among items that take no time
                        return item, mark
                    if not self.problem and await self._afford(most_usd):
                        self.begin(mark, most_usd)
                        return item, mark
                    break
            return None

        async def worker() -> None:
            while one := await begun():
                item, mark = one
                await do(item)
                self.finish(mark)
                self.ended += 1
                self._ended.set()

        workers = [asyncio.create_task(worker()) for _ in range(self.at_once)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await stop(workers)
        results(workers)

    async def _afford(self, most_usd: float) -> bool:
        while self.set_aside and most_usd > self.left_usd:
            self._ended.clear()
            await self._ended.wait()
        return self.affords(most_usd)

    def begin(self, mark: object, most_usd: float) -> None:
        """Set aside the most that an item may cost, in US dollars, until it has finished."""
        self._worked_on += 1
        self.set_aside[mark] = most_usd
        self._aside_usd += most_usd

    def finish(self, mark: object) -> None:
        """Set nothing aside for an item any more."""
        self._aside_usd -= self.set_aside.pop(mark, 0.0)
        if not self.set_aside:
            self._aside_usd = 0.0  # without errors of rounding

    def affords(self, most_usd: float) -> bool:
        """Whether the budget covers a cost. If not, the work's problem says so."""
        if most_usd <= self.left_usd:
            return True
        again = "a budget_usd above that" if most_usd > self._budget else "the same budget_usd"
        self.problem = (
            f"Stopped: the next question may cost ${most_usd:.4f}, and what is left of budget_usd does not cover that. "
            f"Start again with {again} to go on. The calls in the file cost nothing."
        )
        return False

    def count(self, reply: Reply, most_usd: float | None) -> None:
        """Count a call that has ended, and its cost; if that is unknown, ``most_usd``."""
        unknown = sum(attempt.cost_usd is None for attempt in reply.attempts)
        self.made += 1
        if reply.failure and reply.failure.kind in HOPELESS:
            self._in_vain[reply.model] += 1
            if self._in_vain[reply.model] == IN_VAIN:
                self.problem = (
                    f"Stopped, as {IN_VAIN} calls in a row failed alike: {reply.failure.message} Put that right, and "
                    "start again. The calls in the file cost nothing."
                )
        else:
            del self._in_vain[reply.model]
        self.known_usd += reply.least_usd
        self.unknown += unknown
        self.unknown_usd += unknown * (most_usd or 0.0)

    def line(self) -> str:
        """The progress so far."""
        made = f"{self.made:,} calls made" + f", {self.kept:,} found in the file" * bool(self.kept)
        cost = dollars(None if self.unknown else self.known_usd, self.known_usd)
        of = "" if self.total is None else f" of {self.total:,}"
        return f"{self.ended:,}{of} questions · {made} · {cost}{self._forecast()}"

    def html(self, *, whole: bool = False) -> str:
        """The same as HTML."""
        return str(render("comparing.html", total=self.total, ended=self.ended, line=self.line()))

    def _forecast(self) -> str:
        """The time and money still to come at this pace, from the first tenth on."""
        if self.waiting and self.ended != self.total:
            return f" · {self.waiting}"
        asked = self._worked_on - len(self.set_aside)
        if self.total is None or asked < 1 or not self.total / 10 <= self.ended < self.total:
            return ""
        share = (self.total - self.ended) / asked
        seconds = share * (time.perf_counter() - self._began)
        unit, of = next(((name, of) for name, of in (("h", 3600), ("min", 60)) if seconds >= 2 * of), ("s", 1))
        return f" · about {seconds / of:.0f} {unit} and {dollars(share * self.known_usd)} to go"


@dataclass(frozen=True)
class Lane(Store):
    """The store of a work's calls, which counts them. A comparison keeps its calls by question and strategy."""

    work: Work
    name: tuple[str, str] | None = None

    def find(self, request: Request) -> Reply | None:
        """An earlier reply to this request in this lane."""
        reply = self.work.store.find(request, self.name)
        self.work.kept += reply is not None
        return reply

    def keep(self, request: Request, reply: Reply) -> None:
        """Keep a call that has ended, and count its cost."""
        self.work.count(reply, most(request))
        self.work.store.keep(request, reply, self.name)

    def check(self) -> None:
        """Raise OSError if new replies could not be kept."""
        self.work.store.check()
