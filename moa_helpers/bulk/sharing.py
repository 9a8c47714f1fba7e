"""Vendors' rates that several processes share: one of them keeps the count, and the others ask it for their turns."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any
from uuid import uuid4

from moa_helpers.limits.rates import Rate, Rates, Turn

BEAT = 20.0  # seconds between two signs of life of a process that holds a turn
SILENT = 60.0  # seconds without one after which it is dead, and its turns have ended


class Limiter:
    """Keeps the count; an actor of Ray. ``given`` are the rates, by vendor."""

    def __init__(self, given: Mapping[str, Rate] | None) -> None:
        self._rates, self._numbers = Rates(given), count()
        self._held: dict[int, tuple[str, AsyncExitStack, Turn]] = {}  # by number, with the process that has it
        self._heard: dict[str, float] = {}  # of each process, when it last gave a sign of life
        self._watch: asyncio.Task[None] | None = None

    async def turn(self, process: str, vendor: str, tokens: int, seconds: float) -> tuple[int, bool]:
        """Wait for room at a vendor, for so many seconds at most; the turn's number, and whether it has room."""
        self._watch = self._watch or asyncio.create_task(self._end_of_the_dead())
        stack, until = AsyncExitStack(), time.perf_counter() + seconds
        turn = await stack.enter_async_context(self._rates.turn(vendor, tokens, until))
        number = next(self._numbers)
        self._held[number] = process, stack, turn
        await self.lives(process)
        return number, turn.sent

    async def settle(self, number: int, tokens: int | None, sent: bool) -> None:
        """An attempt has ended, with so many tokens (None: not known); or it was not sent."""
        if number in self._held:
            _, stack, turn = self._held.pop(number)
            turn.used(tokens)
            turn.sent = sent
            await stack.aclose()

    async def lives(self, process: str) -> None:
        """A sign of life."""
        self._heard[process] = time.perf_counter()

    async def learn(self, vendor: str, headers: Mapping[str, str]) -> None:
        """What a vendor's answer says of its rates."""
        self._rates.learn(vendor, headers)

    async def hold(self, vendor: str, seconds: float) -> None:
        """Let no attempt at this vendor begin for so long."""
        self._rates.hold(vendor, seconds)

    async def _end_of_the_dead(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            silent = {process for process, heard in self._heard.items() if time.perf_counter() - heard > SILENT}
            for number in [number for number, (process, *_) in self._held.items() if process in silent]:
                await self.settle(number, None, True)


class SharedRates:
    """The rates of a process that asks a limiter: those that were given, and those of vendors that tell of theirs.

    Args:
        limiter: the actor.
        limited: the rates that were given.
    """

    def __init__(self, limiter: Any, limited: Mapping[str, Rate]) -> None:
        self._limiter, self._limited, self._process = limiter, {*limited}, uuid4().hex
        self._first = defaultdict[str, asyncio.Lock](asyncio.Lock)  # one asks at a time: few turns are lost with it
        self._held = 0
        self._heart: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self, vendor: str, tokens: int, until: float = math.inf) -> AsyncIterator[Turn]:
        """As in ``Rates``."""
        if vendor not in self._limited:
            yield Turn(tokens)
            return
        async with self._first[vendor]:
            left = until - time.perf_counter()
            asked = asyncio.ensure_future(self._limiter.turn.remote(self._process, vendor, tokens, left))
            try:
                number, sent = await asyncio.shield(asked)
            except asyncio.CancelledError:
                asked.add_done_callback(self._give_back)
                raise
        turn = Turn(tokens, sent)
        self._held += 1
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._beat())
        try:
            yield turn
        finally:
            self._held -= 1
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

    async def _beat(self) -> None:
        while self._held:
            await asyncio.sleep(BEAT)
            self._limiter.lives.remote(self._process)
