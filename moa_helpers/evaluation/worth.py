"""Is it worth it? One call beside samples of its model and beside a mixture: what is gained, and at what price."""

import math
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
from moa_helpers.limits.members import Named
from moa_helpers.shown import Shown, lesson
from moa_helpers.ui.cards import STAND_INS, Card, card, dollars

if TYPE_CHECKING:
    import pandas as pd

ONE, MIXTURE = "one call", "mixture"  # names of strategies
USUAL = measures.questions_to_show(0.10, 0.20)  # questions for ten points, where two strategies differ on one in five
FEWEST = 6  # questions that must differ, all in one direction, before a coin is an unlikely reason (p < 0.05)
TAIL = 20  # answers from which on a 95th percentile is told


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
        path, budget_usd, max_concurrency: as in ``compare``.
        options: other arguments of ``compare``, such as ``timeout`` in seconds.

    Returns:
        A table and a verdict in words. Failures do not raise: an answer that failed is wrong, or loses.

    Raises:
        TypeError, ValueError, OSError, asyncio.CancelledError: as in ``compare``.
    """
    if not isinstance(single, Named):
        raise TypeError(f"single must be a model's name or a Member, not {single!r}.")
    if not isinstance(mixture, Mapping):
        raise TypeError(f"mixture must be a mapping with reference_models and an aggregator, not {mixture!r}.")
    if judge and score:
        raise ValueError("Give a judge or a score, not both: a verdict needs one measure. moa.compare takes both.")
    if isinstance(questions, str) and not questions.endswith(ENDINGS):
        questions = [questions]
    several = sum(map(len, Strategy.of(mixture, MIXTURE).plan("?").stages))
    samples = {"reference_models": [single] * several, "aggregator": single}
    strategies = {ONE: single, f"{several} sample{'s' * (several > 1)}": samples, MIXTURE: mixture}
    limits: dict[str, Any] = {"path": path, "budget_usd": budget_usd, "max_concurrency": max_concurrency}
    return Worth(await compare(questions, strategies, judge=judge, score=score, **limits, **options))


class Gain(NamedTuple):
    """How much better one strategy is than another, on the same questions."""

    mean: Interval
    questions: int
    apart: list[float]  # the differences that are not 0, one a question
    share: bool  # whether the measure goes from 0 to 1

    def __str__(self) -> str:
        by, form = (100, "+z.0f") if self.share else (1, "+z.3g")
        value, low, high = (format(by * each, form) for each in (self.mean.value, self.mean.low, self.mean.high))
        return f"{value}{' points' * self.share} ({low} to {high})"

    @property
    def says(self) -> str:
        """``"better"`` or ``"worse"`` if interval and sign test (``mcnemar``) both show that; else empty."""
        signs = [(each > 0, each < 0) for each in self.apart]
        chance = measures.mcnemar(*zip(*signs, strict=True)) if signs else 1.0
        return {"above": "better", "below": "worse"}.get(self.mean.says(), "") if chance < 0.05 else ""

    @property
    def missing(self) -> int | None:
        """As ``Worth.missing``."""
        if self.questions == 1:
            return USUAL - 1
        if self.says or not self.mean.value:
            return None
        differ = len(self.apart) / self.questions
        gain = min(abs(self.mean.value) / max(map(abs, self.apart)), differ)
        needed = max(measures.questions_to_show(gain, differ), math.ceil(FEWEST / differ))
        return max(1, needed - self.questions)


@dataclass(frozen=True)
class Worth(Shown):
    """What ``worth_it`` found. ``comparison`` has every answer."""

    comparison: Comparison
    _views = __name__

    def table(self) -> "pd.DataFrame":
        """One row a strategy, with means over the questions. NaN is unknown.

        ``calls``; ``quality``: the score, or the win rate against one call, which has one half itself; ``gain`` over
        one call on the same questions, with its 95 % interval from ``gain_low`` to ``gain_high`` (of
        ``measures.rate_difference`` for a score, of ``measures.rate`` for a judge); ``usd_per_1000`` questions;
        ``price``, as a multiple of one call's; ``seconds`` of those that were answered, without the wait for a free
        place; and their 95th percentile ``p95_s``, from 20 answers on.
        """
        with lesson():
            import pandas as pd
        table = pd.DataFrame(map(self._row, self.comparison.strategies)).set_index("strategy")
        base = table.usd_per_1000[ONE]
        table.insert(6, "price", table.usd_per_1000 / base if base else math.nan)
        return table

    @property
    def missing(self) -> int | None:
        """Questions still needed to show a difference of the mixture to one call that is as large as the one seen.

        So many show it in four of five cases, if it is there (``measures.questions_to_show``). None: it is shown, or
        there is none to show. One question says nothing; then it is what a gain of ten points usually needs.
        """
        gain = self._gain(MIXTURE)
        return gain.missing if gain else None

    @property
    def verdict(self) -> str:
        """What may be concluded, at what price, and how many questions are missing."""
        found, asked = self.comparison, len(self._values(ONE, "seconds"))
        if not asked:
            return f"No question was answered, so nothing is shown. {found.problem}".strip()
        said = [self._quality(), self._price()]
        for name in found.strategies:
            failed = sum(each.strategy == name and not each.text for each in found.answers)
            said += [f"Of {asked} questions, {name} failed on {failed}."] * (failed > 0)
        said += [f"Only {asked} of {found.planned} questions were asked."] * (asked < found.planned)
        said += ["Offline stand-ins answered: this says nothing about real models."] * self._offline
        return " ".join(said)

    @property
    def _offline(self) -> bool:
        return any(each.offline for each in self.comparison.answers)

    def _values(self, name: str, what: str) -> dict[str, float]:
        """Question -> a number of a strategy's, where it is known; ``"quality"`` is its score or win rate."""
        found = self.comparison
        own = [each for each in found.answers if each.strategy == name]
        if what != "quality":
            return {each.question: value for each in own if (value := getattr(each, what)) is not None}
        if found.judges:
            return dict.fromkeys((each.question for each in own), 0.5) if name == ONE else found.scores(name)
        return {each.question: each.value or 0.0 for each in found.scored if each.strategy == name and not each.problem}

    def _gain(self, name: str, over: str = ONE) -> Gain | None:
        """What a strategy gains over another; None if that was not measured."""
        one, other = self._values(name, "quality"), self._values(over, "quality")
        pairs = [(value, other[key]) for key, value in one.items() if key in other]
        if not pairs or name == over:
            return None
        ours, theirs = [value for value, _ in pairs], [value for _, value in pairs]
        mean = measures.rate_difference(ours, theirs)
        if self.comparison.judges and over == ONE:  # whose half is no measurement
            mean = Interval(*(each - 0.5 for each in vars(measures.rate(ours)).values()))
        apart = [value - than for value, than in pairs if value != than]
        return Gain(mean, len(pairs), apart, all(0 <= each <= 1 for each in ours + theirs))

    def _row(self, name: str) -> dict[str, Any]:
        own = [each for each in self.comparison.answers if each.strategy == name]
        quality, gain = [*self._values(name, "quality").values()], self._gain(name)
        mean = gain.mean if gain else Interval(math.nan, math.nan, math.nan)
        usd, took = (
            [each.cost_usd for each in own if each.cost_usd is not None],
            [each.seconds for each in own if each.text],
        )
        return {
            "strategy": name,
            "calls": fmean(each.calls for each in own) if own else math.nan,
            "quality": fmean(quality) if quality else math.nan,
            **{f"gain{end}": value for end, value in zip(("", "_low", "_high"), vars(mean).values(), strict=True)},
            "usd_per_1000": 1000 * fmean(usd) if usd and len(usd) == len(own) else math.nan,
            "seconds": fmean(took) if took else math.nan,
            "p95_s": quantiles(took, n=20, method="inclusive")[-1] if len(took) >= TAIL else math.nan,
        }

    def _quality(self) -> str:
        found, gain, samples = self.comparison, self._gain(MIXTURE), self.comparison.strategies[1]
        if not found.judges and not found.scored:
            return "Quality was not compared: give a score or a judge."
        if gain is None:
            return "No answer could be scored or judged, so nothing is shown about quality."
        if gain.questions == 1:
            return f"One question shows nothing about quality: to show 10 points, it usually takes {gain.missing} more."
        by = f"the judge{'s' * (len(found.judges) > 1)}" if found.judges else "the score"
        seen = f"{gain} on {gain.questions} questions"
        if gain.says and found.judges and not all(found.judges_table().verdict == "usable"):
            return f"The mixture was judged {gain.says} than one call ({seen}), but this judge cannot be trusted here."
        if gain.missing:
            said = (
                f"By {by}, it is not shown whether the mixture is better than one call: {seen}. If the difference is "
            )
            said += f"as large as it looks, about {gain.missing:,} more questions would show it."
        elif gain.says:
            said = f"By {by}, the mixture is {gain.says} than one call: {seen}."
        else:
            said = f"By {by}, no difference between the mixture and one call was seen: {seen}."
        beside = self._gain(MIXTURE, samples)
        shown = f"It is {beside.says} than" if beside and beside.says else "It is not shown to differ from"
        return f"{said} {shown} {samples} of one model."

    def _price(self) -> str:
        table = self.table()
        times, longer = table.price[MIXTURE], table.seconds[MIXTURE] / table.seconds[ONE]
        both = set(table.usd_per_1000[[ONE, MIXTURE]])
        cost = "costs nothing, as one call" if both == {0} else f"costs {times:.1f} times as much as one call"
        if math.isnan(times) and both != {0}:
            cost = "has an unknown price"
        took = "how long it takes is unknown" if math.isnan(longer) else f"takes {longer:.1f} times as long"
        return f"The mixture {cost}, and {took}."


@card.register
def _(worth: Worth) -> Card:
    found, table = worth.comparison, worth.table()
    spent = f"{dollars(found.cost_usd)} for all calls{STAND_INS * worth._offline}"
    rows = []
    for name, row in table.iterrows():
        gain = "baseline" if name == ONE else str(worth._gain(name) or "unknown")
        cells = [("{:.1f}", row.calls), ("{:.3g}", row.quality), ("${:.3f}", row.usd_per_1000), ("{:.1f}", row.price)]
        cells += [("{:.2f}", row.seconds), ("{:.2f}", row.p95_s)]
        calls, quality, *rest = ["unknown" if math.isnan(value) else form.format(value) for form, value in cells]
        rows.append([str(name), calls, quality, gain, *rest])
    header = ("strategy", "calls", "quality", "gain (95 %)", "for 1,000", "price", "seconds", "p95")
    notes = [worth.verdict, found.problem, *found.warnings]
    return Card(f"Is it worth it? {spent}", header, rows, "\n\n".join(filter(None, notes)))
