"""What calls gave, as data: replies and answers, why they failed, and what they cost or will cost."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from moa_helpers.shown import Shown, ShownCalls, view

Outcome = Literal["complete", "partial", "single", "below_quorum", "aggregator_failed", "all_failed"]


def total(costs: Iterable[float | None]) -> float | None:
    """The sum of costs, or None if one of them is unknown."""
    found = list(costs)
    return None if None in found else math.fsum(cost for cost in found if cost is not None)


@dataclass(frozen=True)
class Failure:
    """Why a call gave no usable answer: a ``kind`` (a key of ``ADVICE``) and a message for the reader, free of keys."""

    kind: str
    message: str
    status: int | None = None  # the HTTP status, where the vendor refused with one
    retry_after: float | None = None  # seconds that the vendor asked to wait
    final: bool = False  # whether asking again cannot help, though others of its kind are tried again


@dataclass(frozen=True)
class Attempt:
    """One try at a call. Times in seconds; ``started`` counts from the start of the call."""

    started: float
    elapsed: float
    failure: Failure | None
    cost_usd: float | None  # 0.0 if the vendor refused with an HTTP error (nothing was generated), None if unknown
    least_usd: float = 0.0  # what is certain of it: for an abandoned attempt, the tokens that the vendor had reported


@dataclass(frozen=True)
class Reply(Shown):
    """What one call gave.

    Times are seconds: ``started`` on the clock of ``time.perf_counter``, ``ttft`` (time to first token) and
    ``elapsed`` from there, earlier attempts included. Tokens are the vendor's own count for the last attempt; money
    is US dollars for all attempts. None means unknown; ``least_usd`` is the part of the cost that is certain.

    ``thinking`` is what the model thought aloud. It is no part of ``text``; ``thinking_tokens`` are among the output
    tokens. ``cached_tokens``, which the vendor read from its prompt cache, are among the input tokens. ``warnings`` say
    what is doubtful about a usable answer, ``settings`` what its ``Member`` was given. One that was ``kept`` (see
    ``moa.keep``) was not asked for now: it cost nothing, and its times are those of the call that was made once.

    A slow call may have been hedged. ``hedged`` then holds the replies of the first request and of the second. The
    fields above are those of the one that answered; attempts and cost are those of both.
    """

    model: str
    text: str = ""
    answered_by: str | None = None
    finish_reason: str | None = None
    ttft: float | None = None
    elapsed: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    attempts: tuple[Attempt, ...] = ()
    failure: Failure | None = None
    started: float = 0.0
    offline: bool = False
    least_usd: float = 0.0
    hedged: tuple["Reply", ...] = ()
    thinking: str = ""
    thinking_tokens: int | None = None
    warnings: tuple[str, ...] = ()
    settings: str = ""
    cached_tokens: int | None = None
    kept: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return self.failure is None

    @property
    def first_cost_usd(self) -> float | None:
        """What it cost when it was made, in US dollars, which of one that was kept is not now."""
        return total(attempt.cost_usd for attempt in self.attempts)

    @property
    def abandoned(self) -> bool:
        """Whether the call was stopped before its end, because it was no longer waited for."""
        return self.failure is not None and self.failure.kind == "cancelled"

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut off at its token limit."""
        return self.finish_reason == "length"

    @property
    def ended(self) -> float:
        """When the call ended, on the clock of ``started``."""
        return self.started + self.elapsed

    @property
    def by_hedge(self) -> bool:
        """Whether the text is the second request's."""
        return bool(self.hedged) and self.hedged[1].ok and not self.hedged[0].ok

    @property
    def written_by(self) -> str:
        """The model that was asked for this text: ``model``, or that of the second request if it answered."""
        return self.hedged[1].model if self.by_hedge else self.model

    @property
    def summary(self) -> str:
        """One line: what happened."""
        return view("moa_helpers.ui.cards", "summary", self)  # type: ignore[no-any-return]


class Replies(tuple[Reply, ...], ShownCalls):
    """The replies of one fan-out, in the order in which the models were listed."""

    @property
    def good(self) -> tuple[Reply, ...]:
        """Those with an answer to use."""
        return tuple(reply for reply in self if reply.ok)

    @property
    def cost_usd(self) -> float | None:
        """US dollars for all calls, or None if that of any call is unknown, as it is for one that was abandoned."""
        return total(reply.cost_usd for reply in self)

    @property
    def least_usd(self) -> float:
        """The part of the cost that is certain, in US dollars."""
        return math.fsum(reply.least_usd for reply in self)

    @property
    def slowest(self) -> Reply | None:
        """The call that was waited for: the last to end of those that were not abandoned."""
        return max((reply for reply in self if not reply.abandoned), key=lambda reply: reply.ended, default=None)


@dataclass(frozen=True)
class Answer(ShownCalls):
    """What a mixture gave. ``text`` is the aggregator's answer, and empty if there is none: nothing replaces it.

    ``layers`` holds the replies of each proposer layer, and ``left_out`` the answers that were kept from the next stage
    (see ``robust`` in ``mixture_of_agents``). ``skipped`` is how many layers were not needed (``stop_at``). ``picked``
    is the reply whose text was chosen (``pick``; ``aggregator`` is the ranker's reply then). ``failed_aggregators`` are
    those tried before ``aggregator``. Times are seconds, as in ``Reply``.
    """

    prompt: str
    text: str
    outcome: Outcome
    layers: tuple[Replies, ...]
    aggregator: Reply | None
    started: float
    elapsed: float
    quorum: int | None = None
    left_out: tuple[Reply, ...] = ()
    skipped: int = 0
    picked: Reply | None = None
    failed_aggregators: tuple[Reply, ...] = ()

    @property
    def stages(self) -> tuple[Replies, ...]:
        """The calls by stages: the layers, then each aggregator that was asked."""
        last = (*self.failed_aggregators, *([self.aggregator] if self.aggregator else []))
        return (*self.layers, *(Replies([reply]) for reply in last))

    @property
    def replies(self) -> Replies:
        """Every call that was made, the aggregator's last."""
        return Replies(reply for stage in self.stages for reply in stage)

    @property
    def cost_usd(self) -> float | None:
        """US dollars for all calls, or None if that of any call is unknown."""
        return self.replies.cost_usd

    @property
    def least_usd(self) -> float:
        """The part of the cost that is certain, in US dollars."""
        return self.replies.least_usd

    @property
    def substitute(self) -> Reply | None:
        """Where there is no synthesis: the first usable answer of the last layer that has one, to show in its place.

        It is one model's answer, so say so when you show it.
        """
        good = [reply for layer in reversed(self.layers) for reply in layer.good if reply not in self.left_out]
        return good[0] if good and not self.text else None

    @property
    def critical_path(self) -> tuple[Reply, ...]:
        """The call that each stage waited for, in order.

        Their times add up to the time of the whole, apart from a grace after a quorum and this machine's own work.
        """
        return tuple(stage.slowest for stage in self.stages if stage.slowest)

    @property
    def ttft(self) -> float | None:
        """Seconds from the start until the aggregator's first token."""
        one = self.aggregator
        return None if one is None or one.ttft is None else one.started + one.ttft - self.started

    @property
    def heading(self) -> str:
        """What the reader has to know about this answer: how many replies it is based on, and who failed."""
        return view("moa_helpers.ui.cards", "heading", self)  # type: ignore[no-any-return]
