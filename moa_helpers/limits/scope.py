"""The scope: one object for all that calls share. A fan-out narrows the scope of its mixture, and so on inwards."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from moa_helpers.limits.purse import Purse
from moa_helpers.limits.rates import Rates, Turn, size
from moa_helpers.limits.tasks import turn
from moa_helpers.limits.values import Limits
from moa_helpers.results import Failure, Replies, Reply
from moa_helpers.store.keeping import current
from moa_helpers.vendors.errors import failed
from moa_helpers.vendors.requests import Request


class Shared(Protocol):
    """What a scope knows of a call."""

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""

    @property
    def sent(self) -> Sequence[Any]:
        """The calls of single requests that it is made of."""

    def reply(self) -> Reply:
        """What is known of it at this moment."""


class Store(Protocol):
    """Keeps what calls gave, so that none is made again. With ``recorded_speed`` it comes as slowly as it once did."""

    recorded_speed: bool = False

    def find(self, request: Request) -> Reply | None:
        """What this request was answered before; None if it has to be made."""

    def keep(self, request: Request, reply: Reply) -> None:
        """A call has ended; good or not, it may have cost something."""

    def check(self) -> None:
        """Raise if what is answered from now on could not be kept."""
        return


@dataclass
class Place:
    """Where an attempt is made; not where there is a ``problem``."""

    problem: Failure | None = None
    turns: list[Turn] = field(default_factory=list)

    def used(self, read: int | None, written: int | None) -> None:
        """How many tokens the attempt read and wrote, where that is known."""
        for each in self.turns:
            if read is not None and written is not None:
                each.used(read + written)


class Scope:
    """What calls share: their limits, the end of their deadline, the purse, the places, the rates, and the store.

    ``calls`` holds every call that was made in it or in a scope within it, in order. So a panel can watch them, and an
    exception can carry what they gave; a scope of many thousands should not remember them.

    The deadline runs from now on. Unless given, the purse has what the limits allow, and the store is that of the scope
    around, or of ``moa.keep``. Where calls are ``planned`` that it does not have yet, the scopes around know of them.
    What it has begins after ``since``, on the clock of ``Reply.started``: a stage of a
    mixture that was kept begins when the one before had ended, as it once did.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        purse: Purse | None = None,
        *,
        store: Store | None = None,
        rates: Rates | None = None,
        remembers: bool = True,
        since: float = 0.0,
        planned: int = 0,
    ) -> None:
        self._outer = _current.get()
        self.limits = limits or Limits()
        self.purse = purse or Purse.of(self.limits)
        self.store: Store | None = store or (self._outer and self._outer.store) or current()
        self.calls: list[Shared] = []
        deadline = self.limits.deadline
        self.until = None if deadline is None else time.perf_counter() + deadline
        self._remembers, self._rates, self.since = remembers, rates, since
        self.planned, self.plans, self.started = planned, list[Scope](), time.perf_counter()
        self.ended: float | None = None  # once it is closed
        for scope in self._outwards() if planned else ():
            if scope._remembers:
                scope.plans.append(self)
        self._free = {vendor: asyncio.Semaphore(most) for vendor, most in self.limits.places().items()}

    @property
    def replies(self) -> Replies:
        """What all calls have given so far."""
        return Replies(call.reply() for call in self.calls)

    @property
    def ahead(self) -> int:
        """How many calls are planned in it that have not been made, and maybe never will be."""
        return sum(max(0, scope.planned - len(scope.calls)) for scope in self.plans)

    def add(self, call: Shared) -> None:
        """Count a call in, here and in every scope around."""
        if self._remembers:
            self.calls.append(call)
        if self._outer:
            self._outer.add(call)

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Make every call of the block in this scope. What it raises carries the replies of all calls so far."""
        token = _current.set(self)
        try:
            yield self
        except BaseException as error:
            error.replies = self.replies  # type: ignore[attr-defined]
            raise
        finally:
            with suppress(ValueError):  # a coroutine that nobody awaits any more is closed in another context
                _current.reset(token)
            self.ended = time.perf_counter()
            self._remembers = False  # a task that outlives it goes on making calls

    def context(self) -> Context:
        """A context for ``asyncio.create_task``: every call that is made there is made in this scope."""
        context = copy_context()
        context.run(_current.set, self)
        return context

    @asynccontextmanager
    async def place(self, request: Request) -> AsyncIterator[Place]:
        """Wait for a free place and hold it: at the vendor, then in all, then the same in the scope around.

        Calls that have a place go on one by one, each in its own turn of the event loop, and wait for room in the
        rates. A call that finds room is sent at once, so none is on its way to a vendor that has just asked to wait.
        """
        place, model, until = Place(), request.model, math.inf if self.until is None else self.until
        async with AsyncExitStack() as held:
            for scope in self._outwards():
                for name in (model.vendor.name, "all"):
                    if name in scope._free:
                        await held.enter_async_context(scope._free[name])
            await turn()
            try:
                for rates in (scope._rates for scope in self._outwards() if scope._rates):
                    wait = rates.turn(model.vendor.name, size(request), until)
                    place.turns.append(await held.enter_async_context(wait))
            except ValueError as error:
                place.problem = Failure("too_large", f"{model.name}: too large: {error}")
            if time.perf_counter() >= until:
                place.problem = failed("deadline", model.name)
            yield place

    def learn(self, request: Request, headers: Mapping[str, str] | None, retry_after: float | None = None) -> None:
        """What a vendor's answer said of its rates, and how long it asked to wait, in seconds."""
        for scope in self._outwards():
            if scope._rates and headers:
                scope._rates.learn(request.model.vendor.name, headers)
            if scope._rates and retry_after:
                scope._rates.hold(request.model.vendor.name, retry_after)

    def _outwards(self) -> Iterator["Scope"]:
        scope: Scope | None = self
        while scope:
            yield scope
            scope = scope._outer


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)
