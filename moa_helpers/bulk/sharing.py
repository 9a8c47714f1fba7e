"""What processes share: the vendors' rates, which one process counts, and the store, which one process has."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeAlias

from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.limits.rates import Rate, Rates, Turn
from moa_helpers.limits.scope import Scope, Store
from moa_helpers.results import Reply
from moa_helpers.vendors.errors import failed
from moa_helpers.vendors.requests import Request

Known: TypeAlias = Mapping[Request, Reply]
LEEWAY = 10.0  # seconds that the news of an attempt's end may take


class Limiter:
    """Counts; an actor of Ray. A turn open for longer than the ``longest`` attempt belongs to a dead process."""

    def __init__(self, given: Mapping[str, Rate], longest: float) -> None:
        self._rates, self._longest, self._numbers = Rates(given), longest, count()
        self._held: dict[int, tuple[AsyncExitStack, Turn]] = {}

    async def turn(self, vendor: str, tokens: int, seconds: float) -> tuple[int, bool]:
        """Wait for room at a vendor, for ``seconds`` at most. Returns the turn's number, and whether it has room."""
        stack, number, loop = AsyncExitStack(), next(self._numbers), asyncio.get_running_loop()
        turn = await stack.enter_async_context(self._rates.turn(vendor, tokens, time.perf_counter() + seconds))
        self._held[number] = stack, turn
        loop.call_later(self._longest + LEEWAY, lambda: loop.create_task(self.settle(number, None, True)))
        return number, turn.sent

    async def settle(self, number: int, tokens: int | None, sent: bool) -> None:
        """An attempt has ended with so many tokens (None: unknown), or it was not sent."""
        if number in self._held:
            stack, turn = self._held.pop(number)
            turn.used(tokens)
            turn.sent = sent
            await stack.aclose()

    async def learn(self, vendor: str, headers: Mapping[str, str]) -> None:
        """Read what a vendor's answer says about its rates."""
        self._rates.learn(vendor, headers)

    async def hold(self, vendor: str, seconds: float) -> None:
        """Let no attempt at this vendor begin for so long."""
        self._rates.hold(vendor, seconds)


class SharedRates(Rates):
    """Asks a limiter for the turns of this process, at vendors whose rates are given or that tell of them."""

    def __init__(self, limiter: Any, given: Mapping[str, Rate]) -> None:
        super().__init__(given)
        self._limiter, self._limited = limiter, {*given}
        # one turn at a time, so a process that dies loses no more
        self._first: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def turn(self, vendor: str, tokens: int, until: float = math.inf) -> AsyncIterator[Turn]:
        """As in ``Rates``."""
        if vendor not in self._limited:
            yield Turn(tokens)
            return
        async with self._first[vendor]:
            asked = asyncio.ensure_future(self._limiter.turn.remote(vendor, tokens, until - time.perf_counter()))
            try:
                number, sent = await asyncio.shield(asked)
            except asyncio.CancelledError:
                asked.add_done_callback(self._give_back)
                raise
            except ValueError as error:  # wrapped by Ray, with a traceback in its text
                raise getattr(error, "cause", error) from None
        turn = Turn(tokens, sent)
        try:
            yield turn
        finally:
            self._limiter.settle.remote(number, turn.tokens, turn.sent)

    def learn(self, vendor: str, headers: Mapping[str, str]) -> None:
        """As in ``Rates``."""
        self._limited.add(vendor)
        self._limiter.learn.remote(vendor, dict(headers))

    def hold(self, vendor: str, seconds: float | None) -> None:
        """As in ``Rates``."""
        if seconds is not None:
            self._limited.add(vendor)
            self._limiter.hold.remote(vendor, seconds)

    def _give_back(self, asked: "asyncio.Future[tuple[int, bool]]") -> None:
        if not asked.cancelled() and not asked.exception():
            self._limiter.settle.remote(asked.result()[0], 0, False)


@dataclass(frozen=True)
class Sending(Store):
    """The store of a worker: it has the replies that came with the question, and sends new ones."""

    sent: "asyncio.Queue[tuple[Any, ...]]"
    known: Known

    def find(self, request: Request) -> Reply | None:
        """The reply, if it came with the question."""
        return self.known.get(request)

    def keep(self, request: Request, reply: Reply) -> None:
        """Send it to the process that has the store."""
        self.sent.put_nowait(("called", replace(request, sdk=None), reply))


@dataclass(frozen=True)
class _Found(Store):
    """Notes what another store has. A reply that is missing counts as failed, so that nothing is asked."""

    store: Store
    known: dict[Request, Reply] = field(default_factory=dict)

    def find(self, request: Request) -> Reply:
        reply = self.store.find(request)
        if reply is None:
            return Reply(request.model.name, failure=failed("cancelled", request.model.name))
        self.known[replace(request, sdk=None)] = reply
        return reply

    def keep(self, request: Request, reply: Reply) -> None: ...


async def known_to(store: Store, strategy: Strategy, question: Question) -> Known:
    """The replies to a question's calls that a store has."""
    found = _Found(store)
    with Scope(store=found, remembers=False).open():
        await strategy.answer(question)
    return found.known
