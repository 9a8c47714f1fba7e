"""Where a mixture is between two stages: who enters the next one, and whether there has to be one."""

from dataclasses import dataclass, field
from itertools import chain

from moa_helpers.results import Outcome, Replies, Reply
from moa_helpers.steps.agreement import between, majority


@dataclass
class Progress:
    """What a mixture has come to: its layers so far, and who enters the next stage."""

    layers: list[Replies] = field(default_factory=list)
    left_out: list[Reply] = field(default_factory=list)
    shown: list[Reply] = field(default_factory=list)  # of the last layer, to the next stage
    tried: list[Reply] = field(default_factory=list)  # the aggregators' replies

    @property
    def until(self) -> float:
        """When the last call that was waited for ended, on the clock of ``Reply.started``; 0 before the first."""
        return max((one.ended for one in chain(*self.layers, self.tried) if not one.abandoned), default=0.0)

    def enter(self, layer: Replies, robust: bool) -> None:
        """Let the layer's good answers enter the next stage: all, or with ``robust`` those of the majority."""
        entering = [layer.good[place] for place in majority([r.text for r in layer.good])] if robust else layer.good
        self.left_out += [reply for reply in layer.good if reply not in entering]
        self.shown = [reply for reply in layer if reply not in self.left_out]

    def settled(self, stop_at: float | None) -> bool:
        """Whether the last two layers say the same, so that another one is not needed."""
        if stop_at is None or len(self.layers) < 2:
            return False
        before, after = ([reply.text for reply in layer.good] for layer in self.layers[-2:])
        return between(before, after) >= stop_at

    def outcome(self, written: Reply | None, needed: int) -> Outcome:
        """What the mixture has come to, if ``written`` is its answer and a layer needs so many good ones."""
        good = len(self.layers[-1].good)
        if not good:
            return "all_failed"
        if good < needed:
            return "below_quorum"
        if written is None:
            return "aggregator_failed"
        if all(reply.ok and reply not in self.left_out for reply in chain(*self.layers)):
            return "complete"
        return "single" if good == 1 else "partial"
