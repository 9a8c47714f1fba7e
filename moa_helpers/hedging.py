"""A second request for a call that is slow: the first good answer counts, the other request is stopped.

The idea is from J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from moa_helpers.calls import Bounds, Call, Reply, Retry
from moa_helpers.failures import Failure
from moa_helpers.vendors import Request


@dataclass(frozen=True)
class Hedge:
    """A second request went to ``model``, because the first had no complete answer ``after`` seconds."""

    model: str
    after: float


Happened: TypeAlias = "str | Retry | Hedge"


class HedgedCall:
    """A call, and once it is slow a second one; like a ``Call``, it has ``run()`` and ``reply()``."""

    def __init__(
        self, first: Request, second: Request, after: float, bounds: Bounds, listen: Callable[[Happened], None]
    ) -> None:
        self._bounds, self._after, self._listen = bounds, after, listen
        self._second_request = second
        self._calls = (
            Call(first, bounds, lambda happened: self._hear(0, happened)),
            Call(second, bounds, lambda happened: self._hear(1, happened)),
        )
        self._hedged = False
        self._leader: int | None = None  # whose text is being passed on: the one that wrote first

    async def run(self) -> Reply:
        """Wait for the first good answer, or for both to fail."""
        tasks = [asyncio.create_task(self._calls[0].run()), asyncio.create_task(self._run_second())]
        try:
            for finished in asyncio.as_completed(tasks):
                reply = await finished
                if not self._hedged or reply.ok:
                    break
        finally:
            await stop(tasks)
        reply = self.reply()
        if reply.ok and self._leader not in (None, int(reply.by_hedge)):  # the listener was following the other one
            void = Failure("cancelled", f"{reply.model}: stopped, as the other of its two requests answered first.")
            self._listen(Retry(void, 0.0))
            self._listen(reply.text)
        return reply

    def reply(self) -> Reply:
        """The reply so far: that of the call that answered, else the first's, with the attempts and cost of both."""
        first, second = self._calls[0].reply(), self._calls[1].reply()
        if not self._hedged:
            return first
        one = second if second.ok and not first.ok else first
        later = second.started - first.started
        attempts = [
            *first.attempts,
            *(replace(attempt, started=attempt.started + later) for attempt in second.attempts),
        ]
        costs = [attempt.cost_usd for attempt in attempts]
        return replace(
            one,
            model=first.model,
            started=first.started,
            ttft=None if one.ttft is None else one.started + one.ttft - first.started,
            elapsed=(one if one.ok else max(first, second, key=lambda reply: reply.ended)).ended - first.started,
            cost_usd=None if None in costs else math.fsum(cost for cost in costs if cost is not None),
            least_usd=first.least_usd + second.least_usd,
            attempts=tuple(sorted(attempts, key=lambda attempt: attempt.started)),
            hedged=(first, second),
        )

    async def _run_second(self) -> Reply:
        """Ask a second time, once the first has been at work for so long, if that may be paid for."""
        await self._calls[0].began.wait()
        await asyncio.sleep(self._after)
        if not self._bounds.allowance.grants(self._second_request):
            await asyncio.Event().wait()  # until the first ends, which cancels this
        self._hedged = True
        self._listen(Hedge(self._second_request.model.name, self._after))
        return await self._calls[1].run()

    def _hear(self, who: int, happened: str | Retry) -> None:
        if self._leader is None and isinstance(happened, str):
            self._leader = who
        if who == (self._leader or 0):
            self._listen(happened)
            if isinstance(happened, Retry):
                self._leader = None


async def stop(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all have ended, even if this is itself cancelled meanwhile."""
    cancelled = None
    for task in tasks:
        task.cancel()
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten
    if cancelled:
        raise cancelled
