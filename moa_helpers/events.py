"""What is heard while a mixture runs, in the order in which it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from moa_helpers.results import Answer, Hedge, Reply, Retry


@dataclass(frozen=True)
class ProposerDelta:
    """A proposer wrote a piece of text. ``layer`` counts from 1, ``index`` is its place in the list, from 0.

    ``model`` is the one that wrote it: where a second request went out, maybe not the one at that place.
    """

    layer: int
    index: int
    model: str
    text: str


@dataclass(frozen=True)
class ProposerDone:
    """A proposer's call came to its end, well or not."""

    layer: int
    index: int
    reply: Reply


@dataclass(frozen=True)
class AggregatorDelta:
    """The aggregator wrote a piece of text."""

    text: str


@dataclass(frozen=True)
class Retrying:
    """A call's deltas so far are void: it is tried again, or the text of its second request counts instead.

    ``index`` is None for the aggregator.
    """

    layer: int
    index: int | None
    retry: Retry


@dataclass(frozen=True)
class Hedging:
    """A proposer was slow, so a second request went out for it."""

    layer: int
    index: int
    hedge: Hedge


@dataclass(frozen=True)
class MixtureDone:
    """The last event: the whole answer."""

    answer: Answer


Event: TypeAlias = ProposerDelta | ProposerDone | AggregatorDelta | Retrying | Hedging | MixtureDone
