"""A comparison as one HTML file to hand on: the results, every answer, and what they do not show."""

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

import pandas as pd

from moa_helpers.catalogue import AS_OF, Model
from moa_helpers.evaluation import charts, measures
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged, Scored, by_question
from moa_helpers.evaluation.views import bounded, cell, cells, described, interval_of, words
from moa_helpers.limits.members import Member, Named
from moa_helpers.texts import save
from moa_helpers.ui.cards import dollars
from moa_helpers.ui.figures import Picture
from moa_helpers.ui.html import render
from moa_helpers.vendors.secrets import hide_used
from moa_helpers.vendors.settings import current, priced

MODELS = ("reference_models", "layers", "aggregator", "hedge_with")  # the arguments of a mixture that name models
LONGEST_NAME = 80  # characters of a question's name
RESULTS = {1.0: "wins", 0.0: "loses", 0.5: "a tie", None: "no judgement"}


class Table(NamedTuple):
    """A table of texts. ``links`` has the place on the page for each row, if there is one."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Sequence[str] = ()


def report(comparison: Comparison, path: str | Path) -> Path:
    """Write the file; see ``Comparison.report``."""
    table, judges = comparison.table(), comparison.judges_table()
    asked, disagreements = _questions(comparison)
    agreements = {name: each for name in comparison.strategies[1:] if len(each := comparison.agreement(name))}
    versions = {"moa-helpers": "not installed", **current().versions}
    with suppress(metadata.PackageNotFoundError):
        versions["moa-helpers"] = metadata.version("moa-helpers")
    given = [(name, described(how)) for name, how in comparison.given.items()]
    problem = comparison.problem
    for folder in (comparison.path.expanduser().absolute().parent, comparison.path.parent):
        problem = problem.replace(f"{folder}{os.sep}", "")  # the report's reader knows nothing of this folder
    html = render(
        "report.html",
        comparison=comparison,
        title=f"Strategies: {len(comparison.strategies)}, questions: {len(asked):,}",
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        store=comparison.path.name,
        cost=dollars(comparison.cost_usd),
        offline=any(each.offline for each in comparison.answers),
        problem=problem,
        table=Table("the strategies", *cells(table.drop(columns="questions").reset_index(), comparison.baseline)),
        pictures=[(each.alt, each._repr_mimebundle_()["text/html"]) for each in _pictures(comparison, table, judges)],
        judges=Table("the judges", *cells(judges.reset_index())),
        agreements=[Table(f"How far they agree on {name}", *cells(found)) for name, found in agreements.items()],
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


def _pictures(comparison: Comparison, table: pd.DataFrame, judges: pd.DataFrame) -> Iterator[Picture]:
    """A picture of each column with intervals, and one of quality against cost."""
    for frame in (table, judges):
        for column in bounded(frame):
            found = {str(name): interval_of(row, column) for name, row in frame[frame[column].notna()].iterrows()}
            zero = column in ("position_bias", "score_difference")
            if found:
                against = 0.5 if column.startswith("win_") else 0.0 if zero else None
                yield charts.intervals(found, words(column), against=against)
    wins = table.win_rate.fillna({comparison.baseline: 0.5}).rename("win_rate")
    for quality in (*(table[name] for name in ("score", "points_share") if name in table), wins):
        if quality.notna().all() and table.cost_usd.notna().all() and len(table) > 1:
            places = {str(name): (float(table.cost_usd[name]), float(value)) for name, value in quality.items()}
            yield charts.tradeoff(places, "US dollars a question", words(quality.name))
            return


def _questions(comparison: Comparison) -> tuple[list[dict[str, Any]], Table]:
    """Each question with all answers, and the disagreements."""
    shown = [
        field.name
        for field in fields(Answered)
        if field.name not in ("question", "strategy", "text")
        and (field.default is not None or any(getattr(each, field.name) is not None for each in comparison.answers))
    ]
    header = ["strategy", *map(words, shown), *(["score", "read"] if comparison.scored else [])]
    header += [f"judge {judge}" for judge in comparison.judges]
    asked, rows, links = [], [], []
    for number, (question, answers, judgements, scored) in enumerate(by_question(comparison), 1):
        said = defaultdict(str, {(each.strategy, each.judge): RESULTS[each.score] for each in judgements})
        facts = {each.strategy: [cell(what, getattr(each, what)) for what in shown] for each in answers}
        for strategy in facts if comparison.scored else ():
            facts[strategy] += _score_cells(scored.get(strategy))
        if any(each.strategy == NULL for each in judgements):
            facts[NULL] = [""] * len(facts[answers[0].strategy])
        lines = [[name, *cells, *(said[name, judge] for judge in comparison.judges)] for name, cells in facts.items()]
        short = " ".join(question.id.split())[:LONGEST_NAME]
        about = {"name": short, "text": question.text, "reference": question.reference}
        texts = [(each.strategy, each.text) for each in answers]
        asked.append(about | {"table": Table(f"question {number}", header, lines), "answers": texts})
        values = {each.strategy: each.value or 0.0 for each in scored.values() if not each.problem}
        told = [*_disagreements(judgements, values, comparison.baseline)]
        rows += [(short, each) for each in told]
        links += [f"q{number}"] * len(told)
    return asked, Table("disagreements", ("question", "what"), rows, links)


def _score_cells(scored: Scored | None) -> list[str]:
    if scored is None or scored.problem:
        return ["unknown", scored.problem if scored else ""]
    return ["nothing to read" if scored.value is None else cell("score", scored.value), scored.read]


def _disagreements(judgements: Sequence[Judged], values: Mapping[str, float], baseline: str) -> Iterator[str]:
    """Where strategies, judges or the score contradict each other, or a judge contradicts itself."""
    found = defaultdict[str, list[Judged]](list)
    for each in judgements:
        if each.strategy != NULL and each.score is not None:
            found[each.strategy].append(each)
    means = {strategy: sum(each.score or 0 for each in group) / len(group) for strategy, group in found.items()}
    won, lost = ([name for name, mean in means.items() if (mean - 0.5) * side > 0] for side in (1, -1))
    if won and lost:
        yield f"{', '.join(won)} won against {baseline}, {', '.join(lost)} lost"
    if len({*values.values()}) > 1:
        yield f"the score: {', '.join(f'{name} {value:.3g}' for name, value in values.items())}"
    for strategy, group in found.items():
        pro, contra = ([each.judge for each in group if each.score == score] for score in (1, 0))
        if pro and contra:
            yield f"{strategy} won for {', '.join(pro)}, and lost for {', '.join(contra)}"
        for each in group:
            if each.places in ((1, 1), (2, 2)):
                yield f"{each.judge} chose the place, not the answer, for {strategy}"
            by_score = values.get(strategy, math.nan) - values.get(baseline, math.nan)
            if (by_score > 0 and each.score == 0) or (by_score < 0 and each.score == 1):
                better, other = (strategy, baseline)[:: 1 if each.score else -1]
                yield f"{each.judge} prefers {better}, the score {other}"


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
    usd = [field.name for field in fields(Model) if "usd" in field.name]
    columns = ["model", *usd, "batch", "shutdown_date", "source", "batch_source", "notes"]
    found = [{"model": model.name, **vars(model.vendor), **vars(model)} for model in models]
    shown = [column for column in columns if any(facts[column] for facts in found)]
    rows = [[cell(column, facts[column]) for column in shown] for facts in found]
    header = [words(column.replace("usd_", "").replace("_per_m", "")) for column in shown]
    return Table("prices in US dollars for a million tokens", header, rows)
