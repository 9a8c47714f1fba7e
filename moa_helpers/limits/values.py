"""What bounds calls: how long, how often, how many at once and for how much."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from moa_helpers import catalogue
from moa_helpers.limits.purse import Allowance


def check_number(name: str, value: object, *, least: float | None = None, whole: bool = False) -> None:
    """Raise unless ``value`` is a number above 0, or at least ``least``; with ``whole``, an integer (from 1)."""
    kinds, article = ((int,), "a whole number") if whole else ((int, float), "a number")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be {article}, not {value!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    enough = number > 0 if least is None else number >= least
    if number == math.inf and not whole:
        raise ValueError(f"{name} is infinite; it must be a finite number.")
    if not enough:  # as NaN never is
        raise ValueError(f"{name} is {number:g}; it must be {'above 0' if least is None else f'at least {least}'}.")


@dataclass(frozen=True)
class Limits:
    """How long, how often, how many at once and for how much; the names are those of ``fan_out``.

    It refuses what makes no sense.
    """

    timeout: float
    deadline: float | None
    retries: int
    quorum: int | None = None
    grace: float = 0.0
    hedge_after: float | None = None
    max_concurrency: int | Mapping[str, int] | None = None
    max_calls: int | None = None
    budget_usd: float | None = None

    def __post_init__(self) -> None:
        check_number("timeout", self.timeout)
        check_number("retries", self.retries, least=0, whole=True)
        check_number("grace", self.grace, least=0)
        for name in ("deadline", "hedge_after", "budget_usd"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name))
        for name in ("quorum", "max_calls"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole=True)
        if self.max_concurrency is not None and not isinstance(self.max_concurrency, int | Mapping):
            raise TypeError('max_concurrency must be a whole number, or a mapping such as {"mistral": 2, "all": 8}.')
        if self.max_concurrency == {}:
            raise ValueError("max_concurrency names no vendor: leave it out, or write how many calls in 'all'.")
        for vendor, most in self.places().items():
            if vendor != "all" and vendor not in catalogue.VENDORS:
                known = ", ".join(catalogue.VENDORS)
                raise ValueError(f"max_concurrency names {vendor!r}; it takes 'all' and the vendors {known}.")
            check_number("max_concurrency", most, whole=True)
        if self.grace and self.quorum is None:
            raise ValueError("grace is how long to wait on after a quorum: give quorum too.")

    def places(self) -> Mapping[str, int]:
        """How many calls may run at the same time, by vendor and in ``all``; what is missing is not limited."""
        if self.max_concurrency is None:
            return {}
        return self.max_concurrency if isinstance(self.max_concurrency, Mapping) else {"all": self.max_concurrency}


class Bounds:
    """What the calls of one fan-out share: its limits, the end of its deadline, its places, and its allowance."""

    def __init__(self, limits: Limits, allowance: Allowance | None = None) -> None:
        self.limits = limits
        self.until = None if limits.deadline is None else time.perf_counter() + limits.deadline
        self.allowance = allowance or Allowance()
        self._free = {vendor: asyncio.Semaphore(most) for vendor, most in limits.places().items()}

    @asynccontextmanager
    async def place(self, vendor: str) -> AsyncIterator[None]:
        """Wait for a free place, first at the vendor and then in all, and hold it."""
        async with AsyncExitStack() as held:
            for name in (vendor, "all"):
                if name in self._free:
                    await held.enter_async_context(self._free[name])
            yield
