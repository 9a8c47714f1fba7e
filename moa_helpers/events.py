"""What is heard while a mixture runs, in the order in which it happens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from moa_helpers.results import Answer, Failure, Reply


@dataclass(frozen=True)
class Delta:
    """A piece of text that ``model`` wrote."""

    text: str
    model: str


@dataclass(frozen=True)
class Retry:
    """What a call had written so far is void: its attempt failed, and another follows after ``wait`` seconds.

    Of a call with a second request it also says that the other one's text counts from here on.
    """

    failure: Failure
    wait: float


@dataclass(frozen=True)
class Hedge:
    """A second request went to ``model``, because the first had no complete answer ``after`` seconds."""

    model: str
    after: float


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


def as_events(
    layer: int, listen: Callable[[Event], None], *, aggregator: bool = False
) -> Callable[[int, Delta | Retry | Hedge | Reply], None]:
    """What turns the happenings of a layer, or of the aggregator, into events."""

    def hear(index: int, happened: Delta | Retry | Hedge | Reply) -> None:
        if isinstance(happened, Retry):
            listen(Retrying(layer, None if aggregator else index, happened))
        elif isinstance(happened, Hedge):
            listen(Hedging(layer, index, happened))
        elif isinstance(happened, Delta):
            text = happened.text
            listen(AggregatorDelta(text) if aggregator else ProposerDelta(layer, index, happened.model, text))
        elif not aggregator:
            listen(ProposerDone(layer, index, happened))

    return hear
