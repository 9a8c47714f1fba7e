"""Until ``moa_helpers.limits.scope.Scope`` is here: the same two names, out of ``calls.watched_by``. Then delete it."""

from __future__ import annotations

from contextvars import Context
from typing import NamedTuple

from moa_helpers.calls import Call, watched_by
from moa_helpers.fanout import SECOND


class Sent(NamedTuple):
    """A call: the requests that were sent for it."""

    sent: tuple[Call, ...]

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return any(call.ok for call in self.sent)


class Scope:
    """Knows the calls that are made in its context."""

    def __init__(self) -> None:
        self._made: list[Call] = []

    @property
    def calls(self) -> list[Sent]:
        """Every call, in order."""
        found: list[Sent] = []
        for call in self._made:
            if call.request.role != SECOND:
                found.append(Sent((call,)))
            elif call.began.is_set():
                found[-1] = Sent((*found[-1].sent, call))
        return found

    def context(self) -> Context:
        """A context for ``asyncio.create_task``: every call that is made in it is one of ``calls``."""
        return watched_by(self._made.append)
