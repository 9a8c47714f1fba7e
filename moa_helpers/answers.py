"""What a mixture gave: the ``Answer`` with its outcome, and the events on the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from moa_helpers.results import Hedge, Replies, Reply, Retry
from moa_helpers.ui.cards import Card, Shown, dollars, seconds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Outcome = Literal["complete", "partial", "single", "below_quorum", "aggregator_failed", "all_failed"]


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


Event: TypeAlias = "ProposerDelta | ProposerDone | AggregatorDelta | Retrying | Hedging | MixtureDone"


@dataclass(frozen=True)
class Answer(Shown):
    """What a mixture gave. ``text`` is the aggregator's answer and empty if there is none; nothing stands in for it.

    ``layers`` holds the replies of each proposer layer, ``left_out`` those whose answer came but was kept from the next
    stage (see ``robust`` in ``mixture_of_agents``), ``skipped`` how many layers were not needed (``stop_at``), and
    ``picked`` the reply whose text was chosen (``pick``; ``aggregator`` is the ranker's reply then). Times are seconds
    (``started`` on ``time.perf_counter``).
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

    @property
    def replies(self) -> Replies:
        """Every call that was made, the aggregator's last."""
        return Replies([reply for layer in self.layers for reply in layer] + [r for r in [self.aggregator] if r])

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
        if self.text:
            return None
        good = (reply for layer in reversed(self.layers) for reply in layer.good)
        return next((reply for reply in good if reply not in self.left_out), None)

    @property
    def critical_path(self) -> tuple[Reply, ...]:
        """The call that each stage waited for, in order.

        Their times add up to the time of the whole, but for a grace after a quorum and this machine's own work.
        """
        stages = [*self.layers, *([Replies([self.aggregator])] if self.aggregator else [])]
        return tuple(stage.slowest for stage in stages if stage.slowest)

    @property
    def ttft(self) -> float | None:
        """Seconds from the start until the aggregator's first token."""
        if self.aggregator is None or self.aggregator.ttft is None:
            return None
        return self.aggregator.started + self.aggregator.ttft - self.started

    @property
    def heading(self) -> str:
        """What the reader has to know about this answer: how many it stands on, and who failed."""
        last = self.layers[-1]
        used = sum(reply not in self.left_out for reply in last.good)
        how_many, answered = f"{used} of {len(last)}", f"{len(last.good)} of {len(last)}"
        done = f"{self.picked.written_by} picked out of" if self.picked else "synthesised from"
        words = {
            "complete": f"{done} {how_many}" + ", so nothing was compared" * (len(last) == 1),
            "partial": f"{done} {how_many}",
            "single": f"written from the only answer that came ({how_many}), so nothing was compared",
            "below_quorum": f"no synthesis: {answered} answered, {self.quorum} were needed",
            "aggregator_failed": f"no synthesis: the aggregator failed; the answers of {answered} are in .layers",
            "all_failed": f"no answer: every reference model of layer {len(self.layers)} failed",
        }
        notes = [f"{reply.model} {reply.summary}" for reply in self.replies if not reply.ok or reply.by_hedge]
        notes += [f"{reply.model} left out, as it agrees too little with the others" for reply in self.left_out]
        written = self.picked or self.aggregator
        if self.text and written and written.truncated:
            notes.append("the answer is cut off at its token limit")
        if self.outcome == "aggregator_failed" and self.aggregator and self.aggregator.ok:
            notes.append(f"{self.aggregator.model} was to name the best by its number, and did not")
        if self.skipped:
            notes.append(f"{self.skipped} layer{'s' * (self.skipped > 1)} left out, as the last two agreed")
        if self.outcome == "all_failed" and len(self.layers) > 1:
            notes.append("the answers of the layers before are in .layers")
        return "; ".join([words[self.outcome], *notes])

    def table(self) -> pd.DataFrame:
        """One row a call; see ``figures.table`` for the columns.

        Two are added: ``role`` in front tells layers and aggregator, ``left_out`` at the end what ``robust`` left out.
        """
        table = self.replies.table()
        table.insert(0, "role", self._roles())
        table["left_out"] = [reply in self.left_out for reply in self.replies]
        return table

    def timeline(self) -> Figure:
        """A picture of who waited, wrote and failed when; see ``figures.timeline``."""
        from moa_helpers.ui import figures

        names = [
            f"{role}{', left out' if reply in self.left_out else ''}\n{reply.model}"
            for role, reply in zip(self._roles(), self.replies, strict=True)
        ]
        return figures.timeline(self.replies, names, self.critical_path)

    def _roles(self) -> list[str]:
        roles = [f"layer {number}" for number, layer in enumerate(self.layers, 1) for _ in layer]
        return roles + ["aggregator"] * (self.aggregator is not None)

    def _card(self) -> Card:
        stand_in = " · offline stand-ins" if any(reply.offline for reply in self.replies) else ""
        cost = dollars(self.cost_usd, self.least_usd)
        heading = f"{self.heading} · {seconds(self.elapsed)} · {cost}{stand_in}"
        calls = zip(self._roles(), self.replies, strict=True)
        rows = [
            (
                role,
                reply.model,
                reply.summary + (", left out" if reply in self.left_out else ""),
                dollars(reply.cost_usd, reply.least_usd),
            )
            for role, reply in calls
        ]
        alone = self.substitute
        text = f"No synthesis. This is what {alone.written_by} answered alone:\n\n{alone.text}" if alone else self.text
        return Card(heading, ("role", "model", "outcome", "cost"), rows, text)
