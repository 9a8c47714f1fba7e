"""A comparison as one HTML file to hand on: what was found, every answer, and what it does not show."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moa_helpers.catalogue import AS_OF, Model
from moa_helpers.evaluation import charts, measures
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged
from moa_helpers.evaluation.measures import Interval
from moa_helpers.limits.members import Member, Named
from moa_helpers.texts import save
from moa_helpers.ui.cards import dollars
from moa_helpers.ui.figures import Picture
from moa_helpers.ui.html import render
from moa_helpers.vendors.secrets import hide_used
from moa_helpers.vendors.settings import current, priced

MODELS = ("reference_models", "layers", "aggregator", "hedge_with")  # the arguments of a mixture that name models
LONGEST_NAME = 80  # characters of a question where it is only named
ORDERS = {(1, 2): "wins in both orders", (2, 1): "loses in both orders"}
ORDERS |= {(1, 1): "a tie: what stood first, twice", (2, 2): "a tie: what stood second, twice"}
UNASKED = {1.0: "wins: the other has no answer", 0.0: "loses: it has no answer", 0.5: "a tie: the same text, or none"}


@dataclass(frozen=True)
class Table:
    """A table of texts; ``links`` has the place on the page that each row is about, if there is one."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Sequence[str] = ()


@dataclass(frozen=True)
class Asked:
    """A question with all that was answered."""

    number: int
    name: str
    text: str
    reference: str | None
    table: Table
    answers: Sequence[tuple[str, str]]  # strategy and text


def report(comparison: Comparison, path: str | Path) -> Path:
    """Write the file; see ``Comparison.report``."""
    table, judges = comparison.table(), comparison.judges_table()
    asked = _asked(comparison)
    versions = {"moa-helpers": "not installed", **current().versions}
    with suppress(metadata.PackageNotFoundError):
        versions["moa-helpers"] = metadata.version("moa-helpers")
    html = render(
        "report.html",
        title=f"{_several(comparison.strategies, 'strategies', 'strategy')} on {_several(asked, 'questions')}",
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        store=comparison.path.name,
        offline=any(each.offline for each in comparison.answers),
        problem=_without_folder(comparison.problem, comparison.path),
        comparison=comparison,
        cost=dollars(comparison.cost_usd),
        strategies=_given(comparison),
        table=_table("the strategies", table, comparison),
        pictures=[(each.alt, each._repr_mimebundle_()["text/html"]) for each in _pictures(table, judges, comparison)],
        judges=_table("the judges", judges),
        disagreements=_disagreements(comparison, asked),
        asked=asked,
        prices=_prices(comparison),
        as_of=AS_OF,
        versions=Table("versions", ("package", "version"), [*versions.items()]),
        margin=f"{50 * measures.Z / math.sqrt(len(asked) or 1):.0f}",
        needed=f"{measures.questions_needed(0.05):,}",
    )
    return save(path, hide_used(html).encode())


def _several(found: Sequence[object], many: str, one: str = "") -> str:
    return f"{len(found):,} {many if len(found) != 1 else one or many[:-1]}"


def _without_folder(text: str, path: Path) -> str:
    """The text without the folder of a file: it belongs to whoever made the report."""
    for folder in (path.expanduser().absolute().parent, path.parent):
        text = text if folder == Path() else text.replace(str(folder / "_")[:-1], "")
    return text


# Tables and pictures


def _words(column: str) -> str:
    return column.removesuffix("_usd").replace("_", " ")


def _cell(column: str, value: Any) -> str:
    """A value for the reader."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    if column.endswith("_usd"):
        return dollars(float(value))
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, Real):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:,.3g}"


def _bounded(frame: pd.DataFrame) -> dict[str, dict[str, Interval]]:
    """Column -> row -> its interval, of the columns that have one, but for values that are unknown."""
    found = {}
    for column in frame.columns:
        parts = [column, f"{column}_low", f"{column}_high"]
        if set(parts) <= set(frame.columns):
            known = frame[parts].dropna().astype(float)
            found[column] = {str(name): Interval(*row) for name, *row in known.itertuples()}
    return found


def _table(name: str, frame: pd.DataFrame, comparison: Comparison | None = None) -> Table:
    """A data frame for the reader: bounds beside their value, and no column in which all is unknown, but for costs."""
    bounded = _bounded(frame)
    bounds = {f"{column}{end}" for column in bounded for end in ("_low", "_high")}
    shown = [
        column
        for column in frame.columns
        if column not in bounds and (column.endswith("_usd") or frame[column].notna().any())
    ]

    def cell(row: str, column: str) -> str:
        if found := bounded.get(column, {}).get(row):
            return str(found)
        if comparison and row == comparison.baseline and column.startswith("win_"):
            return "baseline"
        return _cell(column, frame.at[row, column])

    rows = [[row, *(cell(row, column) for column in shown)] for row in frame.index]
    return Table(name, [_words(str(frame.index.name)), *map(_words, shown)], rows)


def _pictures(table: pd.DataFrame, judges: pd.DataFrame, comparison: Comparison) -> Iterator[Picture]:
    """Each column that has intervals; and what quality costs, in points or else in wins."""
    for frame, against in ((table, 0.5), (judges, 0.0)):
        for column, rows in _bounded(frame).items():
            if rows:
                line = against if frame is judges or column.startswith("win_") else None
                yield charts.intervals(rows, _words(column), against=line)
    wins = {comparison.baseline: 0.5, **table.win_rate.dropna()}
    for quality, values in (("points share", table.points_share.dropna()), ("win rate", wins)):
        points = {name: (float(table.cost_usd[name]), float(value)) for name, value in values.items()}
        if len(points) > 1 and not any(math.isnan(cost) for cost, _ in points.values()):
            yield charts.tradeoff(points, "US dollars a question", quality)
            return


# Questions and answers


def _asked(comparison: Comparison) -> list[Asked]:
    """Each question of which there are answers, in the order in which they were asked."""
    known = {question.id: question for question in comparison.questions}
    answers: dict[str, list[Answered]] = {}
    for each in comparison.answers:
        answers.setdefault(each.question, []).append(each)
    judged: dict[tuple[str, str, str], Judged] = {(j.question, j.strategy, j.judge): j for j in comparison.judgements}
    own = [field.name for field in fields(Answered) if field.name not in ("question", "strategy", "text")]
    optional = {field.name for field in fields(Answered) if field.default is None}
    shown = [name for name in own if name not in optional or any(getattr(a, name) is not None for a in comparison.answers)]
    header = ["strategy", *map(_words, shown), *(f"judge {judge}" for judge in comparison.judges)]
    found = []
    for number, (name, group) in enumerate(answers.items(), 1):
        rows = []
        for strategy in [*(each.strategy for each in group), NULL]:
            verdicts = [_verdict(judged.get((name, strategy, judge))) for judge in comparison.judges]
            if strategy != NULL:
                answer = group[len(rows)]
                verdicts = ["baseline"] * len(verdicts) if strategy == comparison.baseline else verdicts
                rows.append([strategy, *(_cell(column, getattr(answer, column)) for column in shown), *verdicts])
            elif any(verdicts):
                rows.append([strategy, *[""] * len(shown), *verdicts])
        question = known.get(name)
        text = question.text if question else name
        table = Table(f"question {number}", header, rows)
        texts = [(each.strategy, each.text) for each in group]
        found.append(Asked(number, _short(name), text, question.reference if question else None, table, texts))
    return found


def _short(text: str) -> str:
    line = " ".join(text[: 10 * LONGEST_NAME].split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def _verdict(judged: Judged | None) -> str:
    """What a judge said of an answer, in words; empty if it was not to be asked."""
    if judged is None:
        return ""
    if judged.score is None:
        return "no judgement"
    return UNASKED[judged.score] if judged.places is None else ORDERS.get(judged.places, "a tie")  # type: ignore[call-overload]


def _disagreements(comparison: Comparison, asked: Sequence[Asked]) -> Table:
    """Where one strategy wins and another loses, where judges contradict each other, and where one does itself."""
    groups: dict[str, dict[str, list[Judged]]] = {}
    for each in comparison.judgements:
        if each.strategy != NULL and each.score is not None:
            groups.setdefault(each.question, {}).setdefault(each.strategy, []).append(each)
    rows, links = [], []
    names = dict.fromkeys(each.question for each in comparison.answers)
    for name, one in zip(names, asked, strict=True):
        said = []
        scores = {what: sum(each.score or 0 for each in found) / len(found) for what, found in groups.get(name, {}).items()}
        won, lost = [each for each in scores if scores[each] > 0.5], [each for each in scores if scores[each] < 0.5]
        if won and lost:
            said.append(f"{', '.join(won)} won against the baseline, {', '.join(lost)} lost")
        for strategy, found in groups.get(name, {}).items():
            pro, contra = ([each.judge for each in found if each.score == score] for score in (1, 0))
            if pro and contra:
                said.append(f"{strategy} won in the eyes of {', '.join(pro)}, and lost in those of {', '.join(contra)}")
            by_place = [each.judge for each in found if each.places in ((1, 1), (2, 2))]
            said += [f"{judge} chose by the place, not the answer, of {strategy}" for judge in by_place]
        rows += [[one.name, words] for words in said]
        links += [f"q{one.number}"] * len(said)
    return Table("disagreements", ("question", "what"), rows, links)


# What it was made of


def _given(comparison: Comparison) -> Table:
    """What each strategy is, in words."""

    def words(given: Any) -> str:
        if isinstance(given, Mapping):
            return "; ".join(f"{_words(str(name))}: {words(value)}" for name, value in given.items())
        if isinstance(given, Sequence) and not isinstance(given, str):
            return ", ".join(f"({words(each)})" if isinstance(each, list | tuple) else words(each) for each in given)
        return str(given)

    return Table("what was compared", ("strategy", "asks"), [[name, words(how)] for name, how in comparison.given.items()])


def _prices(comparison: Comparison) -> Table:
    """The models that were asked, with their prices in US dollars for a million tokens."""

    def named(given: Any) -> Iterator[str]:
        if isinstance(given, Named):
            yield Member.of(given).name
        elif isinstance(given, Mapping):
            yield from (name for each in MODELS for name in named(given.get(each)))
        elif isinstance(given, Sequence):
            yield from (name for each in given for name in named(each))

    names = [*(name for how in comparison.given.values() for name in named(how))]
    models = [priced(name) for name in dict.fromkeys([*names, *(judge.split(" (")[0] for judge in comparison.judges)])]
    columns = [field.name for field in fields(Model) if "usd" in field.name] + ["shutdown_date", "source", "notes"]
    shown = [column for column in columns if any(getattr(model, column) for model in models)]
    rows = [[model.name, *(_cell(column, getattr(model, column)) for column in shown)] for model in models]
    header = [_words(column.replace("usd_", "").replace("_per_m", "")) for column in shown]
    return Table("prices in US dollars for a million tokens", ["model", *header], rows)
