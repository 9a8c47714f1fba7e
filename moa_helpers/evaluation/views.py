"""How a verdict and a comparison look: their cards and tables, and the words about a judge."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from moa_helpers.evaluation import measures
from moa_helpers.evaluation.comparison import NULL, Comparison
from moa_helpers.evaluation.judging import Verdict
from moa_helpers.evaluation.measures import Interval
from moa_helpers.ui.cards import STAND_INS, Card, card, dollars, spent

BIAS = ("position_bias", "position_bias_low", "position_bias_high")
JUDGES_COLUMNS = ("judge", "pairs", "unread", "consistent", *BIAS, "null_lost", "verdict")
MUCH = 0.1  # of the answers unread is a reason to doubt the score
AGAINST = ("win_", "score_difference", "mcnemar", "gain")  # how columns begin that compare with the baseline
FAILURES = ("failed", "unparsed", "unscored", "unread")  # columns of numbers that are mostly 0
LOST = 0.9  # of the null answers must lose, or the judge is not to be trusted


@card.register
def _(verdict: Verdict) -> Card:
    words = {None: "no judgement", 0: "a draw", 1: "the first", 2: "the second"}
    result = {1.0: "one", 0.0: "other", 0.5: "a tie", None: "unknown"}[verdict.score]
    stand_in = " · offline stand-in" * any(reply.offline for reply in verdict.replies)
    rows = list(zip(("one, other", "other, one"), (words[place] for place in verdict.places), strict=True))
    heading = f"{verdict.judge} prefers: {result} · {spent(verdict.replies)}{stand_in}"
    return Card(heading, ("order", "chosen"), rows)


@card.register
def _(comparison: Comparison) -> Card:
    asked = len({each.question for each in comparison.answers})
    stand_ins = STAND_INS * any(each.offline for each in comparison.answers)
    heading = f"{asked} of {comparison.planned} questions · {dollars(comparison.cost_usd)}{stand_ins}"
    hidden = ("questions", "points") if comparison.scored else ("questions",)
    table = comparison.table().reset_index()
    table = table[[each for each in table if not each.startswith(hidden)]]
    notes = filter(None, [comparison.problem, *comparison.warnings])
    return Card(heading, *cells(table, comparison.baseline), "\n\n".join(notes))


def cells(frame: pd.DataFrame, baseline: str = "") -> tuple[list[str], list[list[str]]]:
    """A table for the reader, as header and rows: names, scores, other values with an interval, and the rest.

    Bounds are written beside their value. Columns without a known value (except costs) or a failure are left out.
    """
    estimates = bounded(frame)
    known = [each for each in frame.columns if each.endswith("_usd") or frame[each].notna().any()]
    bounds = [f"{column}{end}" for column in estimates for end in ("_low", "_high")]
    left_out = [*bounds, *(each for each in FAILURES if each in frame and not frame[each].any())]
    shown = [each for each in known[1:] if each not in left_out]
    first = [*(each for each in shown if each.startswith(("score", "mcnemar"))), "quality", *estimates]
    shown.sort(key=lambda each: first.index(each) if each in first else len(first))

    def said(row: Mapping[str, Any], column: str) -> str:
        if column.startswith(AGAINST) and row["strategy"] == baseline:
            return "baseline"
        if column in estimates and not math.isnan(row[column]):
            digits = "z.3f" if column == "gain" else "z.2f"  # as many as the quality has
            return f"{interval_of(row, column):{digits}}".replace(" to ", "\xa0to\xa0")  # on one line
        return cell(column, row[column])

    shown = [*frame.columns[:1], *shown]
    return [*map(words, shown)], [[said(row, column) for column in shown] for row in frame.to_dict("records")]


def cell(column: str, value: Any) -> str:
    """A value of a column for the reader."""
    if value is None or value != value:
        return "unknown"
    if column.endswith("_usd"):
        return dollars(float(value))
    if isinstance(value, str | tuple):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = float(value)
    return f"{number:,.0f}" if abs(number) >= 1000 or number.is_integer() else f"{number:,.3g}"


def bounded(frame: pd.DataFrame) -> list[str]:
    """The columns that have an interval in two others."""
    return [column for column in frame.columns if {f"{column}_low", f"{column}_high"} <= {*frame.columns}]


def interval_of(row: Mapping[str, Any], column: str) -> Interval:
    """A value of a table's row, with its bounds."""
    return Interval(row[column], row[f"{column}_low"], row[f"{column}_high"])


def table(comparison: Comparison) -> pd.DataFrame:
    """One row a strategy; see ``Comparison.table``."""
    return pd.DataFrame([_row(comparison, name) for name in comparison.strategies]).set_index("strategy")


def judges_table(comparison: Comparison) -> pd.DataFrame:
    """One row a judge; see ``Comparison.judges_table``."""
    rows = [_judge_row(comparison, name) for name in comparison.judges]
    return pd.DataFrame(rows, columns=JUDGES_COLUMNS).set_index("judge")


def words(name: str) -> str:
    """A column's or an argument's name for the reader."""
    return name.removesuffix("_usd").replace("_", " ")


def described(given: Any) -> str:
    """A strategy as ``compare`` got it, in words. Extra arguments of a ``Member`` are named, but not shown."""
    if isinstance(given, Mapping):
        return "; ".join(f"{words(str(name))}: {described(value)}" for name, value in given.items())
    if isinstance(given, list | tuple):
        parts = ((described(each), isinstance(each, list | tuple)) for each in given)
        return ", ".join(f"({text})" if several else text for text, several in parts)
    return str(given)


def warnings(comparison: Comparison) -> tuple[str, ...]:
    """See ``Comparison.warnings``."""
    rows = [_judge_row(comparison, name) for name in comparison.judges]
    judges = [f"{row['judge']}: {row['verdict']}" for row in rows if row["verdict"] != "usable"]
    failed = [each.problem for each in comparison.scored if each.problem]
    unread = sum(each.value is None for each in comparison.scored) - len(failed)
    scores = [f"The score failed on {len(failed)} answers, first with {failed[0]}"] if failed else []
    if unread > MUCH * len(comparison.scored):
        scores.append(f"The score found nothing to read in {unread} answers: see scores_table()")
    return (*judges, *scores)


def scores_table(comparison: Comparison) -> pd.DataFrame:
    """One row a question and strategy; see ``Comparison.scores_table``."""
    texts = {(each.question, each.strategy): each.text for each in comparison.answers}
    columns = ["question", "strategy", "reference", "value", "read", "problem"]
    table = pd.DataFrame([asdict(each) for each in comparison.scored], columns=columns)
    table["text"] = [texts[each.question, each.strategy] for each in comparison.scored]
    return table.rename(columns={"value": "score"})


def agreement(comparison: Comparison, strategy: str, labels: Mapping[str, float]) -> pd.DataFrame:
    """One row a pair of raters; see ``Comparison.agreement``."""
    asked = [each for each in comparison.judgements if each.strategy == strategy and each.places]
    rated: dict[str, Any] = {
        judge: {each.question: each.score for each in asked if each.judge == judge} for judge in comparison.judges
    }
    ours, theirs = (
        pd.Series({each.question: each.value for each in comparison.scored if each.strategy == name}, dtype=float)
        for name in (strategy, comparison.baseline)
    )
    rated |= {"score": (np.sign(ours - theirs) + 1) / 2, "labels": labels}
    ratings = pd.DataFrame({name: pd.Series(each, dtype=float) for name, each in rated.items()})
    ratings = ratings.dropna(axis="columns", how="all")
    rows: list[list[Any]] = []
    for pair in combinations(ratings.columns, 2):
        both = ratings[[*pair]].dropna()
        kappa = measures.kappa(*both.T.to_numpy()) if len(both) else None
        same = (both[pair[0]] == both[pair[1]]).mean()
        rows.append([*pair, len(both), same, *_bounds("", kappa).values(), measures.alpha(both.T)])
    if rows:
        rows.append(["all", "", len(ratings), *[math.nan] * 4, measures.alpha(ratings.T)])
    columns = ["one", "other", "questions", "same", "kappa", "kappa_low", "kappa_high", "alpha"]
    return pd.DataFrame(rows, columns=columns)


def _row(comparison: Comparison, name: str) -> dict[str, Any]:
    """See ``Comparison.table``."""
    own = [each for each in comparison.answers if each.strategy == name]
    row: dict[str, Any] = {"strategy": name, "questions": len(own), "failed": sum(not each.text for each in own)}
    for what in ("calls", "cost_usd", "seconds", "characters"):
        row[what] = math.fsum(comparison.values(name, what)) / (len(own) or math.nan)
    for what in ("points_share", "points_wrong"):
        values = [value for value in comparison.values(name, what) if not math.isnan(value)]
        row |= _bounds(what, measures.interval(values) if values else None)
    row |= _bounds("win_rate", comparison.win_rate(name))
    row |= _bounds("win_rate_at_equal_length", comparison.win_rate_at_equal_length(name))
    return row | (_score_row(comparison, name) if comparison.scored else {})


def _score_row(comparison: Comparison, name: str) -> dict[str, Any]:
    """The score of a strategy's answers, and its difference to the baseline's."""
    own = [each for each in comparison.scored if each.strategy == name]
    values, baseline = (comparison.values(each, "score") for each in (name, comparison.baseline))
    known = [value for value in values if not math.isnan(value)]
    share = all(0 <= value <= 1 for value in known)
    both = [pair for pair in zip(values, baseline, strict=True) if not any(map(math.isnan, pair))]
    both = both if name != comparison.baseline else []
    ours, theirs = [one for one, _ in both], [other for _, other in both]
    failed = sum(bool(each.problem) for each in own)
    row = _bounds("score", (measures.rate if share else measures.interval)(known) if known else None)
    row |= {"unparsed": sum(each.value is None for each in own) - failed, "unscored": failed}
    row |= _bounds("score_difference", measures.rate_difference(ours, theirs) if both else None)
    binary = {*ours, *theirs} <= {0.0, 1.0}
    return row | {"mcnemar_p": measures.mcnemar(ours, theirs) if both and binary else math.nan}


def _judge_row(comparison: Comparison, name: str) -> dict[str, Any]:
    """See ``Comparison.judges_table``."""
    own = [(each, each.places) for each in comparison.judgements if each.judge == name and each.places]
    nulls = [each.score for each, _ in own if each.strategy == NULL and each.score is not None]
    read = [places for each, places in own if each.strategy != NULL and each.score is not None]
    by_place, same = read.count((1, 1)) + read.count((2, 2)), read.count((1, 2)) + read.count((2, 1))
    lost = nulls.count(0) / len(nulls) if nulls else math.nan
    return {
        "judge": name,
        "pairs": len(read),
        "unread": sum(each.score is None for each, _ in own),
        "consistent": same / (same + by_place) if same + by_place else math.nan,
        **_bounds("position_bias", measures.position_bias(places for _, places in own)),
        "null_lost": lost,
        "verdict": _verdict_on(len(read), same, by_place, lost),
    }


def _bounds(name: str, found: Interval | None) -> dict[str, float]:
    bounds = (found.value, found.low, found.high) if found else (math.nan,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))


def _verdict_on(pairs: int, same: int, by_place: int, null_lost: float) -> str:
    """Whether a judge is usable, in words. ``same``, ``by_place``: pairs in which an answer won, or a place."""
    decided = same + by_place
    reach = measures.Z * math.sqrt(decided) / 2  # of a coin, which stays with its choice in half of the pairs
    if decided and same + 0.5 < decided / 2 - reach:
        return f"broken: in {by_place} of {pairs} pairs it chose the place, not the answer"
    if null_lost < LOST:
        return f"doubtful: only {null_lost:.0%} of the null answers, which say nothing, lost"
    if not pairs:
        return "usable" if null_lost >= LOST else "nothing was judged"
    if not decided:
        return "doubtful: it never stayed with one answer in both orders"
    if same - 0.5 <= decided / 2 + reach:
        return f"doubtful on these answers: it stayed with one in {same} of {decided} pairs; a coin would in half"
    return "usable"
