"""What calls gave: the ``Reply`` of one, the ``Replies`` of a fan-out, and what is heard while they run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moa_helpers.limits.purse import total
from moa_helpers.ui.cards import Card, Shown, count, dollars, seconds
from moa_helpers.vendors.errors import Failure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Attempt:
    """One try at a call. Times in seconds; ``started`` counts from the start of the call."""

    started: float
    elapsed: float
    failure: Failure | None
    cost_usd: float | None  # 0.0 if the vendor refused with an HTTP error (nothing was generated), None if unknown
    least_usd: float = 0.0  # what is certain of it: for an abandoned attempt, the tokens that the vendor had reported


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
class Reply(Shown):
    """What one call gave.

    Times are seconds: ``started`` on the clock of ``time.perf_counter``, ``ttft`` (time to first token) and
    ``elapsed`` from there, earlier attempts included. Tokens are the vendor's own count for the last attempt; money
    is US dollars for all attempts. None means unknown; ``least_usd`` is the part of the cost that is certain.

    A slow call may have been hedged. ``hedged`` then holds the replies of the first request and of the second, the
    fields above are those of the one that answered, and attempts and cost are those of both.
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
    hedged: tuple[Reply, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return self.failure is None

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
    def written_by(self) -> str:
        """The model that was asked for this text: ``model``, or that of the second request if it answered."""
        return self.hedged[1].model if self.by_hedge else self.model

    @property
    def by_hedge(self) -> bool:
        """Whether the text is the second request's."""
        return bool(self.hedged) and self.hedged[1].ok and not self.hedged[0].ok

    @property
    def summary(self) -> str:
        """One line: what happened."""
        if self.abandoned:
            return f"stopped after {seconds(self.elapsed)}"
        if self.failure:
            return f"failed ({self.failure.kind}) after {seconds(self.elapsed)}"
        hedge = f" by its second request, to {self.written_by}" if self.by_hedge else ""
        return f"{'cut off at its token limit' if self.truncated else 'answered'} in {seconds(self.elapsed)}{hedge}"

    def _card(self) -> Card:
        row = (
            seconds(self.ttft),
            f"{count(self.input_tokens)} in, {count(self.output_tokens)} out",
            dollars(self.cost_usd, self.least_usd),
            str(len(self.attempts)),
            self.answered_by or "unknown",
        )
        stand_in = " · offline stand-in" if self.offline else ""
        problem = f"{self.failure.message}\n\n" if self.failure else ""
        header = ("first token", "tokens", "cost", "attempts", "answered by")
        return Card(f"{self.model} {self.summary}{stand_in}", header, [row], (problem + self.text).strip())


class Replies(tuple[Reply, ...], Shown):
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
        waited = [reply for reply in self if not reply.abandoned]
        return max(waited, key=lambda reply: reply.ended, default=None)

    def table(self) -> pd.DataFrame:
        """One row a call; see ``figures.table`` for the columns."""
        from moa_helpers.ui import figures

        return figures.table(self)

    def timeline(self) -> Figure:
        """A picture of who waited, wrote and failed when; see ``figures.timeline``."""
        from moa_helpers.ui import figures

        return figures.timeline(self)

    def _card(self) -> Card:
        stand_in = " · offline stand-ins" if any(reply.offline for reply in self) else ""
        rows = [
            (reply.model, reply.summary, reply.text or (reply.failure.message if reply.failure else ""))
            for reply in self
        ]
        cost = dollars(self.cost_usd, self.least_usd)
        return Card(f"{len(self.good)} of {len(self)} answered · {cost}{stand_in}", ("model", "outcome", "text"), rows)
