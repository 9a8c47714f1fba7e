"""What the stand-ins know, and what sways their judgement: invented, and no word about a vendor's model."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from moa_helpers.catalogue import Model, find

# tier -> (share of the true points that it knows, share of the false ones that it believes, most points it merges)
TIERS = {"flagship": (0.75, 0.05, 12), "mid": (0.65, 0.10, 10), "small": (0.55, 0.20, 8), "open": (0.55, 0.20, 8)}
OTHER_TIER = (0.50, 0.20, 8)


@dataclass(frozen=True)
class Knowledge:
    """Which points the stand-ins know.

    ``alike`` is a share of the points: for these, models differ in their ``recall`` alone. At 0 each model knows points
    of its own; at 1 a stronger model knows all that a weaker one knows. ``recall`` and ``credulity`` (model name ->
    share of the true points that it knows, of the false ones that it believes) replace what its tier says. ``said`` is
    the share of what it knows that one sample mentions.
    """

    alike: float = 0.0
    said: float = 0.85
    recall: Mapping[str, float] = field(default_factory=dict)
    credulity: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, share in [("alike", self.alike), ("said", self.said), *self.recall.items(), *self.credulity.items()]:
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it is a share, from 0 to 1.")
        for name in (*self.recall, *self.credulity):
            find(name)  # raises UnknownModel

    def of(self, model: Model) -> tuple[float, float]:
        """The share of the true points that a model knows, and of the false ones that it believes."""
        recall, credulity, _ = TIERS.get(model.tier, OTHER_TIER)
        return self.recall.get(model.name, recall), self.credulity.get(model.name, credulity)


@dataclass(frozen=True)
class Judging:
    """What a stand-in prefers when it is asked which of several answers is the best.

    Of two answers it takes the first with probability 1 / (1 + exp(-x)). Here x is a sum: ``points`` for each point
    that the first has more (true minus false ones), and ``position`` for being the first. ``length`` counts for each
    unit of the natural logarithm of how many times as long it is. ``family`` counts if it alone is laid out as the
    judge's own vendor lays answers out, and is taken off if the second alone is.
    """

    points: float = 1.2
    position: float = 0.6
    length: float = 0.5
    family: float = 0.8


class Traits:
    """The traits of all stand-ins in this process. Their ``repr`` is part of a store's keys, so it never changes."""

    knowledge = Knowledge()
    judging = Judging()


def knowledge(**changes: Any) -> AbstractContextManager[Knowledge]:
    """Have the stand-ins know other points inside a ``with`` block; the arguments are the fields of ``Knowledge``."""
    return _changed("knowledge", changes)


def judging(**changes: Any) -> AbstractContextManager[Judging]:
    """Have the stand-ins judge otherwise inside a ``with`` block; the arguments are the fields of ``Judging``."""
    return _changed("judging", changes)


@contextmanager
def _changed(trait: str, changes: Mapping[str, Any]) -> Iterator[Any]:
    before = getattr(Traits, trait)
    setattr(Traits, trait, replace(before, **changes))
    try:
        yield getattr(Traits, trait)
    finally:
        setattr(Traits, trait, before)
