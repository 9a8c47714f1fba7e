"""A second request for a call that is slow: the first good answer counts, the other request is stopped.

The idea is from J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

from moa_helpers.events import Delta, Hedge, Retry
from moa_helpers.limits.inputs import of_member
from moa_helpers.limits.members import Member
from moa_helpers.limits.purse import most
from moa_helpers.limits.scope import Scope, Shared
from moa_helpers.limits.tasks import stop
from moa_helpers.limits.values import Limits
from moa_helpers.results import Failure, Reply, total
from moa_helpers.vendors.requests import Request

SECOND = "second request"  # the role of one
Happened: TypeAlias = "Delta | Retry | Hedge"


def second_requests(stage: Sequence[Request], limits: Limits) -> tuple[Request, ...]:
    """The second request for each, for when it is slow: another sample, so that offline none repeats a first one."""
    if limits.hedge_after is None:
        return ()
    seconds = list(stage)
    if limits.hedge_with is not None:
        member = Member.of(limits.hedge_with)
        if member.system:
            raise ValueError("hedge_with takes the place of a slow model, and so its role: leave out its system=.")
        seconds = [of_member(first, member) for first in stage]
        if limits.budget_usd is not None and None in map(most, seconds):
            raise ValueError(
                f"budget_usd cannot be kept: no price is known for {member.name}, or not for so long a prompt. "
                "Hedge with another model."
            )
    return tuple(replace(second, sample=sample, role=SECOND) for sample, second in enumerate(seconds, len(stage)))


class Single(Shared, Protocol):
    """A call of one request: ``calls.Call``."""

    began: asyncio.Event

    async def run(self) -> Reply:
        """Wait for its end."""


class HedgedCall:
    """A call that ``make`` makes, and once it is slow a second; like a ``Call`` it has ``run()`` and ``reply()``."""

    def __init__(
        self,
        make: Callable[..., Single],
        first: Request,
        second: Request,
        scope: Scope,
        listen: Callable[[Happened], None],
        wanted: Callable[[], bool],
    ) -> None:
        self._make, self._request, self._after = make, second, scope.limits.hedge_after or 0.0
        self._scope, self._listen, self._wanted = scope, listen, wanted
        self._first: Single = make(first, scope, lambda heard: self._hear(self._first, heard), self._first_is_wanted)
        self._due: Single | None = None  # the second, which waits for a place
        self._second: Single | None = None  # the second, once it is sent
        self._leader: Single | None = None  # the one whose text is passed on: it wrote first
        self._heard = ""  # what has been passed on since the last void
        if scope.store and not self._first.ok and (kept := self._new_second()).ok:
            self._second = self._due = kept  # it answered last time, so it is not waited for

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return any(call.ok for call in self.sent)

    @property
    def sent(self) -> tuple[Single, ...]:
        """The calls of the requests that were sent: one or two."""
        return (self._first,) if self._second is None else (self._first, self._second)

    async def run(self) -> Reply:
        """Wait for the first good answer, or for both to fail."""
        first, second = asyncio.create_task(self._first.run()), asyncio.create_task(self._run_second())
        waiting = {first, second}
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result().ok for task in done) or (first.done() and self._second is None):
                    break
        finally:
            try:
                await stop([first, second])
            finally:
                self._correct()
        return self.reply()

    def reply(self) -> Reply:
        """The reply so far: that of the request that answered, or was at work to the end; attempts and cost of both."""
        first = self._first.reply()
        if self._second is None:
            return first
        second = self._second.reply()
        one = second if not first.ok and (second.ok or (second.abandoned and not first.abandoned)) else first
        later = second.started - first.started
        attempts = [*first.attempts, *(replace(each, started=each.started + later) for each in second.attempts)]
        end = one.ended if one.ok else max(first.ended, second.ended)
        return replace(
            one,
            model=first.model,
            settings=first.settings,
            started=first.started,
            ttft=None if one.ttft is None else one.started + one.ttft - first.started,
            elapsed=end - first.started,
            cost_usd=total([first.cost_usd, second.cost_usd]),
            least_usd=first.least_usd + second.least_usd,
            attempts=tuple(sorted(attempts, key=lambda attempt: attempt.started)),
            hedged=(first, second),
        )

    async def _run_second(self) -> Reply:
        """Ask a second time, once the first has been at work for so long."""
        if self._due is None:
            await self._first.began.wait()
            await asyncio.sleep(self._after)
            self._due = self._new_second()
        return await self._due.run()

    def _new_second(self) -> Single:
        return self._make(
            self._request, self._scope, lambda heard: self._hear(self._second, heard), self._second_is_wanted
        )

    def _first_is_wanted(self) -> bool:
        return not (self._second and self._second.ok) and self._wanted()

    def _second_is_wanted(self) -> bool:
        """Asked at the moment of sending: the first time, the second request is paid for and announced here."""
        if self._first.ok or not self._wanted():
            return False
        if self._second is None and self._scope.purse.grants(self._request):
            self._second = self._due
            self._listen(Hedge(self._request.model.name, self._after))
        return self._second is not None

    def _hear(self, who: Single | None, happened: Delta | Retry) -> None:
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
