"""Is it worth it? One call beside samples of its model and beside a mixture: what is gained, and at what price."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from moa_helpers.bulk.questions import ENDINGS, Source
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.evaluation import measures
from moa_helpers.evaluation.compare import compare
from moa_helpers.evaluation.comparison import Comparison
from moa_helpers.evaluation.measures import Interval
from moa_helpers.evaluation.questions import Judges
from moa_helpers.evaluation.scores import Scorer
from moa_helpers.evaluation.views import cell, cells
from moa_helpers.limits.members import Named
from moa_helpers.shown import Shown
from moa_helpers.ui.cards import STAND_INS, Card, card, dollars

if TYPE_CHECKING:
    import pandas as pd

ONE, MIXTURE = "one call", "mixture"  # names of strategies
USUAL = measures.questions_to_show(0.1, 0.2)  # questions for a gain of 0.1, where two strategies differ on one in five
FEWEST = 6  # questions that must differ, all in one direction, before a coin is an unlikely reason (p < 0.05)
TAIL = 20  # questions from which on a 95th percentile is told


class Gain(NamedTuple):
    """How much better one strategy is than another: on average, and question by question."""

    mean: Interval
    each: list[float]
    shown: str  # "better", "worse", or empty if it is neither


async def worth_it(
    questions: Source,
    single: Named,
    mixture: Mapping[str, Any],
    *,
    judge: Judges = None,
    score: Scorer | None = None,
    path: str | Path = "worth-it.sqlite",
    budget_usd: float | None = None,
    max_concurrency: int | Mapping[str, int] = 8,
    **options: Any,
) -> "Worth":
    """Find out on your own questions whether a mixture is worth its price.

    It compares one call of a model, samples of that model which it puts together itself, and the mixture. The last two
    make the same number of calls. Every call is kept, so a second start with the same file makes only what is missing.
    To know the price before, give ``estimate_comparison`` the same questions, the judge, and these strategies:
    ``{"1": single, "2": {"reference_models": [single] * 3, "aggregator": single}, "3": mixture}``.

    Args:
        questions: one text, or all that ``compare`` takes. A text that ends in ``.csv``, ``.jsonl`` or ``.parquet`` is
            the name of a file.
        single: the model of the one call, as a name or a ``Member``.
        mixture: the arguments of ``mixture_of_agents``, as in ``compare``.
        judge, score: as in ``compare``, but only one of them. Without both, only dollars and seconds are compared.
        path, budget_usd, max_concurrency: as in ``compare``; ``options`` are its other arguments.

    Returns:
        A table and a verdict in words. Failures do not raise: an answer that failed is wrong, or loses.

    Raises:
        TypeError, ValueError, OSError, asyncio.CancelledError: as in ``compare``.
    """
    if not isinstance(single, Named) or not isinstance(mixture, Mapping):
        raise TypeError("single must be a model's name or a Member; mixture must have reference_models and aggregator.")
    if judge and score:
        raise ValueError("Give a judge or a score, not both: a verdict needs one measure. moa.compare takes both.")
    if isinstance(questions, str) and not questions.lower().endswith(ENDINGS):
        questions = [questions]
    several = sum(map(len, Strategy.of(mixture, MIXTURE).plan("?").stages))
    samples = {"reference_models": [single] * several, "aggregator": single}
    strategies = {ONE: single, f"{several} sample{'s' * (several > 1)}": samples, MIXTURE: mixture}
    options |= {"path": path, "budget_usd": budget_usd, "max_concurrency": max_concurrency}
    return Worth(await compare(questions, strategies, judge=judge, score=score, **options))


@dataclass(frozen=True)
class Worth(Shown):
    """What ``worth_it`` found. ``comparison`` has every answer."""

    comparison: Comparison
    _views = __name__

    def table(self) -> "pd.DataFrame":
        """One row a strategy, with means over the questions. NaN is unknown.

        ``quality`` is the score, or the win rate against one call, which has one half itself. ``gain`` is the paired
        difference to one call, with its 95 % interval from ``gain_low`` to ``gain_high``: ``measures.rate_difference``
        for a score, ``measures.rate`` for a judge. ``usd_per_1000`` is for so many questions, and ``price`` a multiple
        of one call's. ``seconds`` leave out the wait for a free place. ``p95_s``, their 95th percentile, needs 20
        questions.
        """
        found, gains = self.comparison.table(), [self._gain(name) for name in self.comparison.strategies]
        table = found[["calls"]].copy()
        table["quality"] = [fmean(self._values(name).values() or [math.nan]) for name in found.index]
        for column, part in (("gain", "value"), ("gain_low", "low"), ("gain_high", "high")):
            table[column] = [getattr(gain.mean, part) if gain else math.nan for gain in gains]
        table["usd_per_1000"] = 1000 * found.cost_usd
        table["price"] = found.cost_usd / (found.cost_usd[ONE] or math.nan)
        table["seconds"] = found.seconds
        took = [self.comparison.values(name, "seconds") for name in found.index]
        table["p95_s"] = [quantiles(each, n=20)[-1] if len(each) >= TAIL else math.nan for each in took]
        return table

    @property
    def missing(self) -> int | None:
        """How many new questions would show a difference of the mixture to one call as large as the one seen.

        So many show it in four of five cases, if it is there (``measures.questions_to_show``). They are judged without
        the old ones: whoever adds some and looks again, until a difference is shown, finds one by chance. None: it is
        shown, or there is none to show. One question says nothing; then it is what a gain of 0.1 usually needs.
        """
        if (gain := self._gain(MIXTURE)) and len(gain.each) == 1:
            return USUAL
        if not gain or gain.shown or abs(gain.mean.value) < 1e-9:  # which a sum of fractions leaves of 0
            return None
        apart, mean = [abs(one) for one in gain.each if one], abs(gain.mean.value)
        differ = len(apart) / len(gain.each)
        needed = measures.questions_to_show(min(mean / max(apart), differ), differ)
        return math.ceil(max(needed, FEWEST / differ, measures.Z / mean))

    @property
    def verdict(self) -> str:
        """What may be concluded, at what price, and how many new questions would show more.

        A difference is shown if its interval leaves 0 out and a sign test (``measures.mcnemar``) gives p < 0.05.
        """
        found, table = self.comparison, self.table()
        asked = len(found.answers) // len(found.strategies)
        if not asked:
            return f"No question was answered, so nothing is shown. {found.problem}".strip()
        said = [self._quality()]
        for what, name in (("usd_per_1000", "US dollars for 1,000 questions"), ("seconds", "Seconds for a question")):
            mixture, one = (cell(what, table[what][strategy]) for strategy in (MIXTURE, ONE))
            said.append(f"{name}: {mixture} for the mixture, {one} for one call.")
        failed = Counter(each.strategy for each in found.answers if not each.text)
        said += [f"Of {asked} question{'s' * (asked > 1)}, {name} failed on {often}." for name, often in failed.items()]
        said += [f"Only {asked} of {found.planned} questions were asked."] * (asked < found.planned)
        if offline := [each for each in found.answers if each.offline]:
            said.append("Offline stand-ins answered: this says nothing about real models.")
        if unknown := len({each.question for each in offline if each.points_possible is None}):
            which = f"{unknown} of these {asked}" if unknown < asked else "any of these"
            said.append(f"They do not know {which} questions, so it says nothing about quality either.")
        return " ".join(said)

    def _quality(self) -> str:
        found, gain, missing = self.comparison, self._gain(MIXTURE), self.missing
        if not found.judges and not found.scored:
            return "Quality was not compared: give a score or a judge."
        if not gain:
            return "No answer could be scored or judged, so nothing is shown about quality."
        if len(gain.each) == 1:
            return f"One question shows nothing about quality. To show a gain of 0.1 usually takes {missing}."
        seen = f"its gain is {gain.mean:z.3f} on {len(gain.each)} questions"
        if gain.shown and found.judges and {*found.judges_table().verdict} != {"usable"}:
            return f"The mixture was judged {gain.shown} than one call, but this judge cannot be trusted here: {seen}."
        said = f"is {gain.shown} than one call" if gain.shown else "is not shown to be better or worse than one call"
        often = "would probably show it (in four of five cases), if it is really that large"
        more = f" About {missing:,} new questions by themselves {often}." if missing else ""
        beside = self._gain(MIXTURE, found.strategies[1])
        differs = f"it is {beside.shown}" if beside and beside.shown else "no difference is shown"
        by = "judge" if found.judges else "score"
        return f"By the {by}, the mixture {said}: {seen}.{more} Beside {found.strategies[1]} of one model, {differs}."

    def _values(self, name: str) -> dict[str, float]:
        """Question -> a strategy's score or win rate, where it is known."""
        found = self.comparison
        if not found.judges:
            return {one.question: one.value or 0.0 for one in found.scored if one.strategy == name and not one.problem}
        return dict.fromkeys((each.question for each in found.answers), 0.5) if name == ONE else found.scores(name)

    def _gain(self, name: str, over: str = ONE) -> Gain | None:
        """What a strategy gains over another; None if that was not measured."""
        one, other = self._values(name), self._values(over)
        both = [key for key in one if key in other]
        if not both or name == over:
            return None
        ours, theirs = [one[key] for key in both], [other[key] for key in both]
        mean = measures.rate_difference(ours, theirs)
        if self.comparison.judges and over == ONE:  # whose half is no measurement
            mean = Interval(*(bound - 0.5 for bound in vars(measures.rate(ours)).values()))
        each = [value - than for value, than in zip(ours, theirs, strict=True)]
        chance = measures.mcnemar([value > 0 for value in each], [value < 0 for value in each])
        return Gain(mean, each, {"above": "better", "below": "worse"}.get(mean.says(), "") if chance < 0.05 else "")


@card.register
def _(worth: Worth) -> Card:
    found = worth.comparison
    header, rows = cells(worth.table().reset_index(), ONE)
    notes = filter(None, [worth.verdict, found.problem, *found.warnings])
    stand_ins = STAND_INS * any(each.offline for each in found.answers)
    return Card(f"Is it worth it? {dollars(found.cost_usd)} for all calls{stand_ins}", header, rows, "\n\n".join(notes))
