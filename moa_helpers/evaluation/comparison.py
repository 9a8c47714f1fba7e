"""What a comparison of strategies found: who wins, what it costs, and whether the judge can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from moa_helpers.limits.purse import total
from moa_helpers.ui.cards import Card, Shown, dollars

if TYPE_CHECKING:
    import pandas as pd

    from moa_helpers.evaluation.measures import Interval

NULL = "null answer"  # the name of the control
LOST = 0.9  # of the null answers must lose, or the judge is not to be trusted


@dataclass(frozen=True)
class Answered:
    """What a strategy gave for a question. ``points_…`` are known for offline answers to prepared questions alone."""

    question: str
    strategy: str
    outcome: str  # an ``Answer.outcome``; of a single model "ok", or the kind of failure
    text: str  # empty if it failed
    calls: int
    cost_usd: float | None
    seconds: float  # the slowest call of each stage, added up
    characters: int
    offline: bool
    points_right: int | None = None
    points_wrong: int | None = None
    points_possible: int | None = None


JUDGES_COLUMNS = (
    "judge",
    "pairs",
    "unread",
    "consistent",
    "position_bias",
    "position_bias_low",
    "position_bias_high",
    "null_lost",
    "verdict",
)


@dataclass(frozen=True)
class Judged:
    """What a judge said of a strategy's answer (``one``) and the baseline's (``other``).

    ``places`` as in ``Verdict``, or None where it was not asked: the texts are the same, or one of them is missing.
    """

    question: str
    strategy: str
    judge: str
    places: tuple[int | None, int | None] | None
    score: float | None
    cost_usd: float | None


@dataclass(frozen=True)
class Comparison(Shown):
    """What ``compare`` found. The first of ``strategies`` is the baseline, against which the others are judged.

    ``planned`` is the number of questions, ``problem`` why not all of them were asked. ``path`` is the file that keeps
    the calls.
    """

    strategies: tuple[str, ...]
    judges: tuple[str, ...]
    planned: int
    answers: tuple[Answered, ...]
    judgements: tuple[Judged, ...]
    path: Path
    problem: str = ""

    @property
    def baseline(self) -> str:
        """The strategy against which the others are judged."""
        return self.strategies[0]

    @property
    def cost_usd(self) -> float | None:
        """US dollars for what is in it, also where an earlier start paid for it; None if any is unknown.

        What failed in an earlier start, and what was under way at a stop, is in the file alone.
        """
        return total([*(each.cost_usd for each in self.answers), *(each.cost_usd for each in self.judgements)])

    def scores(self, strategy: str, judge: str | None = None) -> dict[str, float]:
        """Question -> 1 where the strategy beats the baseline, 0 where it loses, 0.5 for a tie; the mean of the judges.

        An answer that failed loses, and ties with another that failed. Questions without a judgement are left out.

        Args:
            strategy: its name.
            judge: one of the judges; default: all.

        Raises:
            ValueError: there is no such strategy or judge.
        """
        self._check(strategy, NULL)
        if judge is not None and judge not in self.judges:
            raise ValueError(f"{judge!r} is no judge of this comparison; it has {', '.join(self.judges) or 'none'}.")
        found: dict[str, list[float]] = {}
        for each in self.judgements:
            if each.strategy == strategy and judge in (None, each.judge) and each.score is not None:
                found.setdefault(each.question, []).append(each.score)
        return {question: math.fsum(values) / len(values) for question, values in found.items()}

    def values(self, strategy: str, what: str) -> list[float]:
        """One number a question, in their order: a numeric field of ``Answered``; where it is unknown, NaN.

        ``"points_share"`` is the share of the points that it could have right.

        Raises:
            ValueError: there is no such strategy.
        """
        self._check(strategy)
        own = [each for each in self.answers if each.strategy == strategy]
        if what == "points_share":
            pairs = [(each.points_right, each.points_possible) for each in own]
            return [right / of if right is not None and of else math.nan for right, of in pairs]
        return [math.nan if getattr(each, what) is None else float(getattr(each, what)) for each in own]

    def win_rate(self, strategy: str, judge: str | None = None) -> Interval | None:
        """The mean of ``scores`` with its interval (``measures.rate``); None if there are none."""
        from moa_helpers.evaluation import measures

        scores = self.scores(strategy, judge)
        return measures.rate([*scores.values()]) if scores else None

    def win_rate_at_equal_length(self, strategy: str) -> Interval | None:
        """The win rate that is to be expected of answers as long as the baseline's (``measures.at_equal_length``).

        Answers that failed have no length, and are left out.

        Raises:
            ValueError: there is no such strategy.
        """
        from moa_helpers.evaluation import measures

        self._check(strategy)
        size = {(each.question, each.strategy): each.characters for each in self.answers}
        pairs = [
            (score, size[question, strategy] / size[question, self.baseline])
            for question, score in self.scores(strategy).items()
            if size[question, strategy] and size[question, self.baseline]
        ]
        return measures.at_equal_length(*zip(*pairs, strict=True)) if pairs else None

    def table(self) -> pd.DataFrame:
        """One row a strategy.

        Columns, each a mean over questions unless it says else: ``questions`` and ``failed`` (numbers), ``calls``,
        ``cost_usd`` (missing if unknown), ``seconds``, ``characters``; ``points_share`` and ``points_wrong`` with
        ``…_low`` and ``…_high`` (95 % bootstrap interval), missing unless offline truth is known; ``win_rate`` and
        ``win_rate_at_equal_length`` against the first row, a share, with ``…_low`` and ``…_high``.
        """
        import pandas as pd

        return pd.DataFrame([self._row(name) for name in self.strategies]).set_index("strategy")

    def judges_table(self) -> pd.DataFrame:
        """One row a judge: what it was swayed by.

        Columns: ``pairs`` (judged in both orders, null answers apart), ``unread`` (pairs with a judgement missing; such
        a reply counts as paid, and is not asked for again), ``consistent`` (of the pairs in which it chose the same
        answer or the same place twice, the share of the former), ``position_bias`` with ``…_low`` and ``…_high`` (in
        logits; see ``measures.position_bias``), ``null_lost`` (the share of null answers that lost), ``verdict``.
        """
        import pandas as pd

        rows = [self._judge_row(name) for name in self.judges]
        return pd.DataFrame(rows, columns=JUDGES_COLUMNS).set_index("judge")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the judgements doubtful."""
        rows = [self._judge_row(name) for name in self.judges]
        return tuple(f"{row['judge']}: {row['verdict']}" for row in rows if row["verdict"] != "usable")

    def _check(self, strategy: str, *controls: str) -> None:
        known = [*self.strategies, *controls]
        if strategy not in known:
            raise ValueError(f"{strategy!r} is no strategy of this comparison; it has {', '.join(known)}.")

    def _row(self, name: str) -> dict[str, Any]:
        from moa_helpers.evaluation import measures

        own = [each for each in self.answers if each.strategy == name]
        count = len(own) or 1
        cost = total(each.cost_usd for each in own)
        row: dict[str, Any] = {
            "strategy": name,
            "questions": len(own),
            "failed": sum(not each.text for each in own),
            "calls": sum(each.calls for each in own) / count,
            "cost_usd": math.nan if cost is None else cost / count,
            "seconds": math.fsum(each.seconds for each in own) / count,
            "characters": sum(each.characters for each in own) / count,
        }
        found: dict[str, Interval | None] = {}
        for what in ("points_share", "points_wrong"):
            values = [value for value in self.values(name, what) if not math.isnan(value)]
            found[what] = measures.interval(values) if values else None
        found["win_rate"] = self.win_rate(name)
        found["win_rate_at_equal_length"] = self.win_rate_at_equal_length(name)
        for what, each in found.items():
            bounds = (each.value, each.low, each.high) if each else (math.nan,) * 3
            row |= dict(zip((what, f"{what}_low", f"{what}_high"), bounds, strict=True))
        return row

    def _judge_row(self, name: str) -> dict[str, Any]:
        from moa_helpers.evaluation import measures

        own = [each for each in self.judgements if each.judge == name and each.places]
        nulls = [each.score for each in own if each.strategy == NULL and each.score is not None]
        read = [each.places for each in own if each.strategy != NULL and each.places and each.score is not None]
        by_place, same = read.count((1, 1)) + read.count((2, 2)), read.count((1, 2)) + read.count((2, 1))
        bias = measures.position_bias(each.places for each in own if each.places)
        lost = nulls.count(0) / len(nulls) if nulls else math.nan
        return {
            "judge": name,
            "pairs": len(read),
            "unread": sum(each.score is None for each in own),
            "consistent": same / (same + by_place) if same + by_place else math.nan,
            "position_bias": bias.value,
            "position_bias_low": bias.low,
            "position_bias_high": bias.high,
            "null_lost": lost,
            "verdict": _verdict_on(len(read), same, by_place, lost),
        }

    def _card(self) -> Card:
        asked = len({each.question for each in self.answers})
        stand_in = " · offline stand-ins" if any(each.offline for each in self.answers) else ""
        heading = f"{asked} of {self.planned} questions · {dollars(self.cost_usd)}{stand_in}"
        header = ["strategy", "calls", "cost", "seconds", "characters", "points right", "points wrong", "wins"]
        header.append("wins at equal length")
        rows = []
        for row in map(self._row, self.strategies):
            cells = [row["strategy"], f"{row['calls']:.1f}", dollars(row["cost_usd"]), f"{row['seconds']:.1f}"]
            cells += [f"{row['characters']:.0f}" + f" ({row['failed']} failed)" * bool(row["failed"])]
            cells += [_percent(row, "points_share"), _number(row, "points_wrong")]
            against = ["baseline"] * 2 if row["strategy"] == self.baseline else []
            rows.append([*cells, *(against or [_percent(row, "win_rate"), _percent(row, "win_rate_at_equal_length")])])
        notes = [self.problem, *self.warnings]
        return Card(heading, header, rows, "\n\n".join(filter(None, notes)))


def _verdict_on(pairs: int, same: int, by_place: int, null_lost: float) -> str:
    """Whether a judge is usable, in words. ``same`` and ``by_place``: pairs in which an answer won, or a place."""
    decided = same + by_place
    reach = NormalDist().inv_cdf(0.975) * math.sqrt(decided) / 2  # of a coin: it stays with its choice in half of them
    if decided and same + 0.5 < decided / 2 - reach:
        return f"broken: in {by_place} of {pairs} pairs it chose the place, not the answer"
    if null_lost < LOST:
        return f"doubtful: only {null_lost:.0%} of the answers that say nothing lost"
    if not pairs:
        return "usable" if null_lost >= LOST else "nothing was judged"
    if not decided:
        return "doubtful: it never stayed with one answer in both orders"
    if same - 0.5 <= decided / 2 + reach:
        return f"doubtful on these answers: it stayed with one in {same} of {decided} pairs; a coin would in half"
    return "usable"


def _percent(row: dict[str, Any], what: str) -> str:
    value, low, high = (row[f"{what}{end}"] for end in ("", "_low", "_high"))
    return "unknown" if math.isnan(value) else f"{value:.0%} ({low:.0%} to {high:.0%})"


def _number(row: dict[str, Any], what: str) -> str:
    value, low, high = (row[f"{what}{end}"] for end in ("", "_low", "_high"))
    return "unknown" if math.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"
