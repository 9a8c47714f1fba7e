"""A second request for a call that is slow: the first good answer counts, the other request is stopped.

The idea is from J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from moa_helpers.calls import Call, stop
from moa_helpers.limits.values import Bounds
from moa_helpers.results import Delta, Failure, Hedge, Reply, Retry, total
from moa_helpers.vendors.requests import Request

Happened: TypeAlias = "Delta | Retry | Hedge"


class HedgedCall:
    """A call, and once it is slow a second one; like a ``Call``, it has ``run()``, ``reply()`` and ``ok``."""

    def __init__(
        self,
        first: Request,
        second: Request,
        after: float,
        bounds: Bounds,
        listen: Callable[[Happened], None],
        wanted: Callable[[], bool],
    ) -> None:
        self._second_request, self._after = second, after
        self._bounds, self._listen, self._wanted = bounds, listen, wanted
        self._first = Call(first, bounds, lambda happened: self._hear(self._first, happened), self._first_is_wanted)
        self._second = Call(second, bounds, lambda happened: self._hear(self._second, happened), self._second_is_wanted)
        self._hedged = self._second.ok and not self._first.ok  # so early, only of an answer that a keeper has
        self._leader: Call | None = None  # the one whose text is passed on: it wrote first
        self._heard = ""  # what has been passed on since the last void

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return self._first.ok or self._second.ok

    async def run(self) -> Reply:
        """Wait for the first good answer, or for both to fail."""
        first, second = asyncio.create_task(self._first.run()), asyncio.create_task(self._run_second())
        waiting = {first, second}
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result().ok for task in done) or (first.done() and not self._hedged):
                    break
        finally:
            try:
                await stop([first, second])
            finally:
                self._correct()
        return self.reply()

    def reply(self) -> Reply:
        """The reply so far: that of the request that answered, or was at work to the end; attempts and cost of both."""
        first, second = self._first.reply(), self._second.reply()
        if not self._hedged:
            return first
        one = second if not first.ok and (second.ok or (second.abandoned and not first.abandoned)) else first
        later = second.started - first.started
        attempts = [*first.attempts, *(replace(each, started=each.started + later) for each in second.attempts)]
        end = one.ended if one.ok else max(first.ended, second.ended)
        return replace(
            one,
            model=first.model,
            started=first.started,
            ttft=None if one.ttft is None else one.started + one.ttft - first.started,
            elapsed=end - first.started,
            cost_usd=total(attempt.cost_usd for attempt in attempts),
            least_usd=first.least_usd + second.least_usd,
            attempts=tuple(sorted(attempts, key=lambda attempt: attempt.started)),
            hedged=(first, second),
        )

    async def _run_second(self) -> Reply:
        """Ask a second time, once the first has been at work for so long."""
        if not self._hedged:
            await self._first.began.wait()
            await asyncio.sleep(self._after)
        return await self._second.run()

    def _first_is_wanted(self) -> bool:
        return not self._second.ok and self._wanted()

    def _second_is_wanted(self) -> bool:
        """Asked at the moment of sending: the first time, the second request is paid for and announced here."""
        if self._first.ok or not self._wanted():
            return False
        if not self._hedged:
            self._hedged = self._bounds.allowance.grants(self._second_request)
            if self._hedged:
                self._listen(Hedge(self._second_request.model.name, self._after))
        return self._hedged

    def _hear(self, who: Call, happened: Delta | Retry) -> None:
        """Pass on what one of the two writes, so that the listener reads a single text."""
        if self._leader is None and isinstance(happened, Delta):
            self._leader = who
        if who is (self._leader or self._first):
            self._listen(happened)
            if isinstance(happened, Delta):
                self._heard += happened.text
            else:
                self._leader, self._heard = None, ""

    def _correct(self) -> None:
        """Where the listener did not hear the text that counts, or not all of it: void, and all of it at once."""
        reply = self.reply()
        if reply.hedged and reply.ok and reply.text != self._heard:
            if self._heard:
                self._listen(Retry(Failure("cancelled", f"{reply.model}: the text of its other request counts."), 0.0))
            self._listen(Delta(reply.text, reply.written_by))
