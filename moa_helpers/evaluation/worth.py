"""Is it worth it? One call beside samples of its model and beside a mixture: what is gained, and at what price."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
from moa_helpers.ui.cards import STAND_INS, Card, card, dollars, seconds

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
        table.insert(6, "price", table.usd_per_1000 / (table.usd_per_1000[ONE] or math.nan))
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
        """What may be concluded, at what price, and how many questions are missing.

        A difference is shown if its interval leaves 0 out and a sign test (``measures.mcnemar``) gives p < 0.05.
        """
        found, table = self.comparison, self.table()
        one, _, mixture = table[["usd_per_1000", "seconds"]].astype(object).where(table.notna(), None).to_numpy()
        asked = len(found.answers) // len(found.strategies)
        if not asked:
            return f"No question was answered, so nothing is shown. {found.problem}".strip()
        said = [self._quality()]
        said.append(f"For 1,000 questions the mixture costs {dollars(mixture[0])}, one call {dollars(one[0])}.")
        said.append(f"The mixture takes {seconds(mixture[1])}, one call {seconds(one[1])}.")
        failed = Counter(each.strategy for each in found.answers if not each.text)
        said += [f"Of {asked} questions, {name} failed on {often}." for name, often in failed.items()]
        said += [f"Only {asked} of {found.planned} questions were asked."] * (asked < found.planned)
        said += ["Offline stand-ins answered: this says nothing about real models."] * self._offline
        return " ".join(said)

    @property
    def _offline(self) -> bool:
        return any(each.offline for each in self.comparison.answers)

    def _quality(self) -> str:
        found, gain, samples = self.comparison, self._gain(MIXTURE), self.comparison.strategies[1]
        if not found.judges and not found.scored:
            return "Quality was not compared: give a score or a judge."
        if gain is None:
            return "No answer could be scored or judged, so nothing is shown about quality."
        if gain.questions == 1:
            return f"One question shows nothing about quality: to show 10 points, it usually takes {gain.missing} more."
        seen, says = f"{gain} on {gain.questions} questions", gain.says
        if says and found.judges and not all(found.judges_table().verdict == "usable"):
            return f"The mixture was judged {says} than one call ({seen}), but this judge cannot be trusted here."
        if gain.missing:
            said = (
                f"it is not shown whether the mixture is better than one call: {seen}. If the difference is as large "
            )
            said += f"as it looks, about {gain.missing:,} more questions would show it."
        else:
            said = f"the mixture is {says} than" if says else "no difference was seen between the mixture and"
            said += f" one call: {seen}."
        beside = (other := self._gain(MIXTURE, samples)) and other.says
        said += f" It is {f'{beside} than' if beside else 'not shown to differ from'} {samples} of one model."
        return f"By the {'judge' if found.judges else 'score'}, {said}"

    def _values(self, name: str) -> dict[str, float]:
        """Question -> a strategy's score or win rate, where it is known."""
        found = self.comparison
        if not found.judges:
            return {one.question: one.value or 0.0 for one in found.scored if one.strategy == name and not one.problem}
        return dict.fromkeys((each.question for each in found.answers), 0.5) if name == ONE else found.scores(name)

    def _gain(self, name: str, over: str = ONE) -> "Gain | None":
        """What a strategy gains over another; None if that was not measured."""
        one, other = self._values(name), self._values(over)
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
        gain, values = self._gain(name), [*self._values(name).values()]
        own = [each for each in self.comparison.answers if each.strategy == name]
        took = [each.seconds for each in own if each.text]
        gained = vars(gain.mean).values() if gain else [math.nan] * 3
        return {
            "strategy": name,
            "calls": _mean([each.calls for each in own]),
            "quality": _mean(values),
            **dict(zip(("gain", "gain_low", "gain_high"), gained, strict=True)),
            "usd_per_1000": 1000 * _mean(self.comparison.values(name, "cost_usd")),
            "seconds": _mean(took),
            "p95_s": quantiles(took, n=20, method="inclusive")[-1] if len(took) >= TAIL else math.nan,
        }


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


class Gain(NamedTuple):
    """How much better one strategy is than another, on the same questions."""

    mean: Interval
    questions: int
    apart: list[float]  # the differences that are not 0, one a question
    share: bool  # whether the measure goes from 0 to 1

    def __str__(self) -> str:
        by, form = (100, "+z.0f") if self.share else (1, "+z.3g")
        value, low, high = (format(by * each, form) for each in vars(self.mean).values())
        return f"{value}{' points' * self.share} ({low} to {high})"

    @property
    def says(self) -> str:
        """``"better"`` or ``"worse"``; empty if the interval, or the sign test, leaves it to chance."""
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


@card.register
def _(worth: Worth) -> Card:
    found = worth.comparison
    rows = []
    for name, row in worth.table().iterrows():
        gain = "baseline" if name == ONE else str(worth._gain(str(name)) or "unknown")
        forms = {
            "calls": ".1f",
            "quality": ".3g",
            "usd_per_1000": ".3f",
            "price": ".1f",
            "seconds": ".2f",
            "p95_s": ".2f",
        }
        cells = ["unknown" if math.isnan(row[what]) else format(row[what], form) for what, form in forms.items()]
        rows.append([str(name), *cells[:2], gain, *cells[2:]])
    header = ("strategy", "calls", "quality", "gain", "$ for 1,000", "price", "seconds", "p95")
    notes = filter(None, [worth.verdict, found.problem, *found.warnings])
    heading = f"Is it worth it? {dollars(found.cost_usd)} for all calls{STAND_INS * worth._offline}"
    return Card(heading, header, rows, "\n\n".join(notes))
