"""A comparison as one HTML file to hand on: what was found, every answer, and what it does not show."""

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from moa_helpers.catalogue import AS_OF, Model
from moa_helpers.evaluation import charts, measures
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged
from moa_helpers.evaluation.measures import Interval
from moa_helpers.evaluation.views import described, words
from moa_helpers.limits.members import Member, Named
from moa_helpers.texts import save
from moa_helpers.ui.cards import dollars
from moa_helpers.ui.figures import Picture
from moa_helpers.ui.html import render
from moa_helpers.vendors.secrets import hide_used
from moa_helpers.vendors.settings import current, priced

MODELS = ("reference_models", "layers", "aggregator", "hedge_with")  # the arguments of a mixture that name models
LONGEST_NAME = 80  # characters of a question where it is only named
RESULTS = {1.0: "wins", 0.0: "loses", 0.5: "a tie", None: "no judgement"}
Verdicts = Mapping[tuple[str, str], Judged]  # of a question, by strategy and judge


class Table(NamedTuple):
    """A table of texts; ``links`` has the place on the page that each row is about, if there is one."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Sequence[str] = ()


class Asked(NamedTuple):
    """A question with all that was answered: ``answers`` has each strategy's text."""

    name: str
    text: str
    reference: str | None
    table: Table
    answers: Sequence[tuple[str, str]]


def report(comparison: Comparison, path: str | Path) -> Path:
    """Write the file; see ``Comparison.report``."""
    table, judges = comparison.table(), comparison.judges_table()
    asked, disagreements = _questions(comparison)
    versions = {"moa-helpers": "not installed", **current().versions}
    with suppress(metadata.PackageNotFoundError):
        versions["moa-helpers"] = metadata.version("moa-helpers")
    given = [(name, described(how)) for name, how in comparison.given.items()]
    problem = comparison.problem
    for folder in (comparison.path.expanduser().absolute().parent, comparison.path.parent):
        problem = problem.replace(f"{folder}{os.sep}", "")  # whoever reads the report knows nothing of it
    html = render(
        "report.html",
        comparison=comparison,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        store=comparison.path.name,
        cost=dollars(comparison.cost_usd),
        offline=any(each.offline for each in comparison.answers),
        problem=problem,
        table=_table("the strategies", table),
        pictures=[(each.alt, each._repr_mimebundle_()["text/html"]) for each in _pictures(comparison, table, judges)],
        judges=_table("the judges", judges),
        disagreements=disagreements,
        asked=asked,
        given=Table("what was compared", ("strategy", "asks"), given),
        prices=_prices(comparison),
        as_of=AS_OF,
        versions=Table("versions", ("package", "version"), [*versions.items()]),
        margin=f"{50 * measures.Z / math.sqrt(len(asked) or 1):.0f}",
        needed=f"{measures.questions_needed(0.05):,}",
    )
    return save(path, hide_used(html).encode())


def _cell(column: str, value: Any) -> str:
    """A value for the reader."""
    if value is None or value is pd.NA or value != value:
        return "unknown"
    if column.endswith("_usd"):
        return dollars(float(value))
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, int | float | np.number):
        return str(value)
    number = float(value)
    return f"{number:,.0f}" if abs(number) >= 1000 or number.is_integer() else f"{number:,.3g}"


def _bounded(frame: pd.DataFrame) -> dict[str, dict[str, Interval]]:
    """Column -> row -> its interval, of the columns that have one, but for values that are unknown."""
    found = {}
    for column in frame.columns:
        parts = [column, f"{column}_low", f"{column}_high"]
        if set(parts) <= set(frame.columns):
            known = frame[parts].dropna().astype(float)
            found[column] = {name: Interval(*row) for name, *row in known.itertuples()}
    return found


def _table(name: str, frame: pd.DataFrame) -> Table:
    """A data frame for the reader: bounds beside their value, and no column in which all is unknown, but for costs."""
    bounded = _bounded(frame)
    bounds = {f"{column}{end}" for column in bounded for end in ("_low", "_high")}
    known = [each for each in frame.columns if each.endswith("_usd") or frame[each].notna().any()]
    shown = [column for column in known if column not in bounds]
    rows = [
        [row, *(str(bounded.get(each, {}).get(row) or _cell(each, frame.at[row, each])) for each in shown)]
        for row in frame.index
    ]
    return Table(name, [words(str(frame.index.name)), *map(words, shown)], rows)


def _pictures(comparison: Comparison, table: pd.DataFrame, judges: pd.DataFrame) -> Iterator[Picture]:
    """Each column that has intervals; and what quality costs, in points or else in wins."""
    for column, rows in {**_bounded(table), **_bounded(judges)}.items():
        against = 0.5 if column.startswith("win_") else 0.0 if column == "position_bias" else None
        if rows:
            yield charts.intervals(rows, words(column), against=against)
    points, wins = table.points_share.dropna(), {comparison.baseline: 0.5, **table.win_rate.dropna()}
    quality = dict(points if len(points) else wins)
    places = {name: (float(table.cost_usd[name]), float(value)) for name, value in quality.items()}
    if len(places) > 1 and table.cost_usd.notna().all():
        yield charts.tradeoff(places, "US dollars a question", "points share" if len(points) else "win rate")


def _questions(comparison: Comparison) -> tuple[list[Asked], Table]:
    """Each question of which there are answers, in the order in which they were asked; and the disagreements."""
    known = {question.id: question for question in comparison.questions}
    answers, verdicts = defaultdict[str, list[Answered]](list), defaultdict[str, dict[tuple[str, str], Judged]](dict)
    for answer in comparison.answers:
        answers[answer.question].append(answer)
    for each in comparison.judgements:
        verdicts[each.question][each.strategy, each.judge] = each
    shown = [
        field.name
        for field in fields(Answered)
        if field.name not in ("question", "strategy", "text")
        and (field.default is not None or any(getattr(each, field.name) is not None for each in comparison.answers))
    ]
    header = ["strategy", *map(words, shown), *(f"judge {judge}" for judge in comparison.judges)]
    asked, rows, links = [], [], []
    for number, (name, group) in enumerate(answers.items(), 1):
        question, judged = known.get(name), verdicts[name]
        facts = {each.strategy: [_cell(what, getattr(each, what)) for what in shown] for each in group}
        facts |= {NULL: [""] * len(shown)} if any(strategy == NULL for strategy, _ in judged) else {}
        said = {pair: RESULTS[each.score] for pair, each in judged.items()}
        cells = [
            [one, *found, *(said.get((one, judge), "") for judge in comparison.judges)] for one, found in facts.items()
        ]
        short = " ".join(name.split())[:LONGEST_NAME]
        text, reference = (question.text, question.reference) if question else (name, None)
        texts = [(each.strategy, each.text) for each in group]
        asked.append(Asked(short, text, reference, Table(f"question {number}", header, cells), texts))
        for told in _disagreements(judged):
            rows.append((short, told))
            links.append(f"q{number}")
    return asked, Table("disagreements", ("question", "what"), rows, links)


def _disagreements(judged: Verdicts) -> Iterator[str]:
    """Where one strategy wins and another loses, where judges contradict each other, and where one does itself."""
    found = defaultdict[str, list[Judged]](list)
    for (strategy, _), each in judged.items():
        if strategy != NULL and each.score is not None:
            found[strategy].append(each)
    means = {strategy: sum(each.score or 0 for each in group) / len(group) for strategy, group in found.items()}
    won, lost = ([name for name, mean in means.items() if (mean - 0.5) * side > 0] for side in (1, -1))
    if won and lost:
        yield f"{', '.join(won)} won against the baseline, {', '.join(lost)} lost"
    for strategy, group in found.items():
        pro, contra = ([each.judge for each in group if each.score == score] for score in (1, 0))
        if pro and contra:
            yield f"{strategy} won in the eyes of {', '.join(pro)}, and lost in those of {', '.join(contra)}"
        for each in group:
            if each.places in ((1, 1), (2, 2)):
                yield f"{each.judge} chose by the place, not the answer, of {strategy}"


def _prices(comparison: Comparison) -> Table:
    """The models that were asked, with their prices in US dollars for a million tokens."""

    def named(given: Any) -> Iterator[str]:
        if isinstance(given, Named):
            yield Member.of(given).name
        elif isinstance(given, Mapping | Sequence):
            parts = map(given.get, MODELS) if isinstance(given, Mapping) else given
            yield from (name for part in parts for name in named(part))

    judges = [judge.partition(" (")[0] for judge in comparison.judges]
    models = [priced(name) for name in dict.fromkeys([*named([*comparison.given.values()]), *judges])]
    columns = [field.name for field in fields(Model) if "usd" in field.name] + ["shutdown_date", "source", "notes"]
    shown = [column for column in columns if any(getattr(model, column) for model in models)]
    rows = [[model.name, *(_cell(column, getattr(model, column)) for column in shown)] for model in models]
    header = [words(column.replace("usd_", "").replace("_per_m", "")) for column in shown]
    return Table("prices in US dollars for a million tokens", ["model", *header], rows)
