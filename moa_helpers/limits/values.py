"""The limits of calls as a value, which refuses what makes no sense."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from moa_helpers.catalogue import VENDORS
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.members import Member, Named


@dataclass(frozen=True)
class Limits:
    """How long, how often, how many at once and for how much; the names and the units are those of ``fan_out``."""

    timeout: float = 60.0
    deadline: float | None = None
    retries: int = 2
    quorum: int | None = None
    grace: float = 0.0
    hedge_after: float | None = None
    hedge_with: Named | None = None
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
        if self.grace and self.quorum is None:
            raise ValueError("grace is how long to wait on after a quorum: give quorum too.")
        if self.hedge_with is not None:
            if self.hedge_after is None:
                raise ValueError("hedge_with is the model for second requests: give hedge_after too.")
            Member.of(self.hedge_with)
        if self.max_concurrency is not None and not isinstance(self.max_concurrency, int | Mapping):
            raise TypeError('max_concurrency must be a whole number, or a mapping such as {"mistral": 2, "all": 8}.')
        if self.max_concurrency == {}:
            raise ValueError("max_concurrency names no vendor: leave it out, or write how many calls in 'all'.")
        for vendor, most in self.places().items():
            if vendor != "all" and vendor not in VENDORS:
                known = ", ".join(VENDORS)
                raise ValueError(f"max_concurrency names {vendor!r}; it takes 'all' and the vendors {known}.")
            check_number("max_concurrency", most, whole=True)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The limits of these names; raises TypeError for a name that is none."""
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise TypeError(
                f"There is no argument {', '.join(map(repr, unknown))}. "
                f"Beside what is asked, and of whom, there are the limits {', '.join(known)}."
            )
        return cls(**given)

    def places(self) -> Mapping[str, int]:
        """How many calls may run at the same time, by vendor and in ``all``; what is missing is not limited."""
        if self.max_concurrency is None:
            return {}
        return self.max_concurrency if isinstance(self.max_concurrency, Mapping) else {"all": self.max_concurrency}
