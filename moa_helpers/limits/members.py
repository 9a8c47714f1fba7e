"""A member of a mixture: a model, and what it is given in place of the call's own arguments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Self, TypeAlias

from moa_helpers.catalogue import find
from moa_helpers.limits.checks import check_number, check_text

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, repr=False)
class Member:
    """A reference model, aggregator, ranker or judge with settings of its own; a name alone is a Member without any.

    Args:
        name: ``vendor:model-id``.
        system: its role, as a system message. A conversation's own system message comes before this one.
        temperature, max_tokens: as in ``ask``.
        effort: how hard it thinks, one of ``EFFORTS``; each vendor's models take some of them.
        extra: further arguments for the vendor's SDK, passed on as they are: ``{"top_p": 0.9}``.

    Raises:
        TypeError, ValueError: a setting makes no sense.
        UnknownModel: the name names no model.
    """

    name: str
    _: KW_ONLY
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    effort: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        find(self.name)
        if self.system is not None:
            check_text("system", self.system, "instruction")
        if self.temperature is not None:
            check_number("temperature", self.temperature, least=0)
        if self.max_tokens is not None:
            check_number("max_tokens", self.max_tokens, whole=True)
        if self.effort not in (None, *EFFORTS):
            raise ValueError(f"effort is {self.effort!r}; it takes {', '.join(EFFORTS)}, of which a model takes some.")
        if not isinstance(self.extra, Mapping):
            raise TypeError(f"extra must be a mapping as in {{'top_p': 0.9}}, not {self.extra!r}.")
        try:
            object.__setattr__(self, "extra", dict(json.loads(json.dumps(self.extra, allow_nan=False))))
        except (TypeError, ValueError) as error:
            raise TypeError(f"extra must be a mapping of what JSON can hold: {error}.") from None

    @classmethod
    def of(cls, given: "str | Member") -> Self:
        """The member, or a model's name as a member."""
        return given if isinstance(given, cls) else cls(given)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        own = "".join(f", {name}={value!r}" for name, value in self._own().items())
        return f"moa.Member({self.name!r}{own})"

    def __str__(self) -> str:
        return f"{self.name} ({self.settings})" if self.settings else self.name

    @property
    def settings(self) -> str:
        """What tells it from the model alone, in short words; empty for a name alone."""
        words = {name: str(value) for name, value in self._own().items()}
        if self.system:
            line = " ".join(self.system.split())
            words["system"] = f'"{line if len(line) <= 40 else line[:39].rstrip() + "…"}"'
        if self.extra:
            words["extra"] = " ".join(self.extra)
        return ", ".join(f"{name} {word}" for name, word in words.items())

    def _own(self) -> dict[str, Any]:
        return {one.name: value for one in fields(self)[1:] if (value := getattr(self, one.name)) not in (None, {})}


Named: TypeAlias = str | Member


def in_turn(aggregator: Named | Sequence[Named] | None) -> Sequence[Named]:
    """The aggregators in the order in which they are tried, of one or several."""
    several = isinstance(aggregator, Sequence) and not isinstance(aggregator, str)
    return aggregator if several else [aggregator]  # type: ignore[list-item,return-value]
