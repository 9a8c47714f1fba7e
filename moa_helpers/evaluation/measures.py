"""How sure a comparison is: intervals, the number of questions that a claim needs, and a judge's leanings."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from moa_helpers.shown import lesson

Z = NormalDist().inv_cdf(0.975)  # standard deviations on each side of a normal 95 % interval
DRAWS, FIT_DRAWS = 2000, 500  # of a bootstrap; of one with a curve for each draw
AT_ONCE = 1 << 20  # numbers of questions in memory during a bootstrap
RIDGE = 0.1  # keeps the fit finite if one side wins always; weighs less than half a question
Places: TypeAlias = tuple[int | None, int | None]  # ``Verdict.places``


@dataclass(frozen=True)
class Interval:
    """An estimate, and a 95 % interval around it from ``low`` to ``high``."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self:z.2f}"

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})" if spec else str(self)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def says(self, than: float = 0.0) -> str:
        """``"above"`` or ``"below"`` if all of it is on that side of ``than``; or else ``"no difference shown"``."""
        if self.low == self.high:
            return "no difference shown"
        return "above" if self.low > than else "below" if self.high < than else "no difference shown"


def interval(values: Sequence[float] | np.ndarray, *, seed: int = 0) -> Interval:
    """The mean, with a bootstrap interval: the values are drawn again with replacement, ``DRAWS`` times (Efron 1979).

    If all values are the same, the interval has no width, however few they are. Give one value for each question, as
    questions vary independently. Raises ValueError if there is no value.
    """
    found = _numbers(values)
    return _bounded(_bootstrap(len(found), lambda drawn: found[drawn].mean(axis=1), seed))


def rate(scores: Sequence[float] | np.ndarray, *, seed: int = 0) -> Interval:
    """A win rate: the mean of scores from 0 to 1, with an interval that also holds near 0 and 1 and for few questions.

    Each bound is the bootstrap's or Wilson's (1927), whichever is wider: if nearly all scores are the same, a bootstrap
    draws hardly anything else. Raises ValueError if there is no score, or one is not from 0 to 1.
    """
    found = interval(scores, seed=seed)
    if not 0 <= min(scores) <= max(scores) <= 1:
        raise ValueError("A score is from 0 to 1: 1 for a win, 0.5 for a tie, 0 for a loss.")
    count = len(scores)
    centre = (found.value + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z * math.sqrt(found.value * (1 - found.value) / count + (Z / (2 * count)) ** 2) / (1 + Z**2 / count)
    return Interval(found.value, max(0.0, min(found.low, centre - reach)), min(1.0, max(found.high, centre + reach)))


def difference(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Interval:
    """The mean difference, question by question. It is sharper than two intervals: hard questions are hard for both."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} values against {len(theirs)}: give one for each question, in the same order.")
    return interval(_numbers(ours) - _numbers(theirs), seed=seed)


def rate_difference(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Interval:
    """The same for scores from 0 to 1, with an interval that also holds for few questions.

    Each bound is the bootstrap's or Agresti and Min's (2005, Statistics in Medicine 24, 729-740), whichever is wider.
    Theirs is normal, with 1/2 added to each of the four numbers of pairs. Other values get the bootstrap's alone.
    """
    found, count = difference(ours, theirs, seed=seed), len(ours) + 2
    if not 0 <= min(*ours, *theirs) <= max(*ours, *theirs) <= 1:
        return found
    apart, net = sum((one - other) ** 2 for one, other in zip(ours, theirs, strict=True)) + 1, found.value * len(ours)
    reach = Z * math.sqrt(apart - net**2 / count) / count
    low, high = min(found.low, net / count - reach), max(found.high, net / count + reach)
    return Interval(found.value, max(-1.0, low), min(1.0, high))


def questions_needed(margin: float) -> int:
    """How many questions a win rate needs for a 95 % interval of at most ± ``margin``, a share.

    The normal approximation for a share of one half, where the interval is widest: n = 0.25 (1.96 / margin)².
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin is {margin}; it is a share, above 0 and below 1: 0.05 for five percentage points.")
    return math.ceil(round(0.25 * (Z / margin) ** 2, 6))


def questions_to_show(difference: float, disagree: float, *, power: float = 0.8) -> int:
    """How many questions it takes for ``mcnemar`` to find a difference between two strategies (p < 0.05).

    n = (1.96 √b + z √(b - d²))² / d² (Connor 1987, Biometrics 43, 207-211); the exact test needs a few more.

    Args:
        difference: d, the difference of their shares of right answers.
        disagree: b, the share of the questions that only one of them gets right; at least the difference.
        power: the probability to find it; z is its quantile.

    Raises:
        ValueError: one of them is out of range.
    """
    if not 0 < abs(difference) <= disagree <= 1 or not 0 < power < 1:
        raise ValueError(
            f"difference is {difference}, disagree {disagree}, power {power}: all are shares, above 0 and up to 1, and "
            "two strategies disagree on at least as many questions as they differ by."
        )
    reach = Z * math.sqrt(disagree) + NormalDist().inv_cdf(power) * math.sqrt(disagree - difference**2)
    return math.ceil(round((reach / difference) ** 2, 6))


def mcnemar(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The probability of such a difference by chance alone, for pairs of answers that are right (1) or wrong (0).

    McNemar's exact test (1947): a coin decides each question that only one of the two has right. Raises ValueError if
    the lists differ in length or have other values.
    """
    pairs = [*zip(ours, theirs, strict=True)]
    won, lost, same = pairs.count((1, 0)), pairs.count((0, 1)), pairs.count((1, 1)) + pairs.count((0, 0))
    if won + lost + same < len(pairs):
        raise ValueError("McNemar's test is for answers that are right (1) or wrong (0), and nothing between.")
    tail, ways = 0, 1  # in which so few coins fall that way
    for fewer in range(min(won, lost) + 1):
        tail, ways = tail + ways, ways * (won + lost - fewer) // (fewer + 1)
    return min(1.0, 2 * tail / (1 << won + lost))


def kappa(one: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Interval:
    """Cohen's κ (1960): how often two raters agree beyond chance. 1 is always, 0 is as often as by chance.

    NaN if both always say one and the same. The interval is a bootstrap's over the items. Raises ValueError as
    ``difference`` does.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} ratings against {len(other)}: give both raters' for the same questions.")
    first, second = _numbers(one), _numbers(other)

    def found(drawn: np.ndarray) -> np.ndarray:
        a, b = first[drawn], second[drawn]
        chance = sum((a == kind).mean(axis=1) * (b == kind).mean(axis=1) for kind in {*one, *other})
        with np.errstate(invalid="ignore"):
            return np.asarray(((a == b).mean(axis=1) - chance) / (1 - chance))

    return _bounded(_bootstrap(len(first), found, seed))


def alpha(ratings: Any) -> float:
    """Krippendorff's α (2004) of two raters or more, for ordinal values: 1 is full agreement, 0 is chance.

    ``ratings`` has a row for each rater, with NaN for a missing rating. It is NaN if all values are the same. It is
    computed by the package ``krippendorff``.
    """
    with lesson():
        import krippendorff
    found = np.asarray(ratings, dtype=float)
    rated = found[:, (~np.isnan(found)).sum(axis=0) > 1]
    if len(np.unique(rated[~np.isnan(rated)])) < 2:
        return math.nan
    return float(krippendorff.alpha(reliability_data=rated, level_of_measurement="ordinal"))


def corrected(judged: Sequence[float], labelled: Sequence[tuple[float, float]]) -> Interval:
    """A judge's win rate, corrected by true labels: its mean, plus its mean error on the labelled questions.

    Prediction-powered inference (Angelopoulos et al. 2023, Science 382, 669-674). If the labelled questions are drawn
    at random, it is unbiased, however bad the judge. A good judge makes it narrower.

    Args:
        judged: the judge's scores of the questions without a label.
        labelled: the judge's score and the label of each other question.

    Raises:
        ValueError: fewer than two questions have a label, or a value is not from 0 to 1.
    """
    if len(labelled) < 2 or not all(0 <= value <= 1 for value in chain(judged, *labelled)):
        raise ValueError("Give labels for two questions or more; scores and labels are from 0 to 1.")
    theirs, labels = np.asarray(labelled, dtype=float).T
    errors = labels - theirs if len(judged) > 1 else labels
    value, variance = errors.mean(), errors.var(ddof=1) / len(errors)
    if len(judged) > 1:
        value, variance = value + np.mean(judged), variance + np.var(judged, ddof=1) / len(judged)
    reach = Z * math.sqrt(variance)
    return Interval(*(min(1.0, max(0.0, float(each))) for each in (value, value - reach, value + reach)))


def position_bias(places: Iterable[Places]) -> Interval:
    """How much a judge prefers the first answer, whichever it is, in logits: 0 is not at all, 1 turns 50 % into 73 %.

    Let x be the pull of the first place, d the pull of one answer over the other, and s the logistic function. The
    judge takes the first place in both orders with probability s(x + d) s(x - d), and the second place in both with
    s(-x - d) s(-x + d). Their ratio is exp(2x), whatever d is. So x = ln(n1 / n2) / 2 with the numbers of such pairs,
    1/2 added to each (Haldane 1956). The interval is the normal one for such a logarithm.
    """
    return _half_log_ratio(list(places), (1, 1), (2, 2))


def preference(places: Iterable[Places]) -> Interval:
    """How much a judge prefers ``one`` to ``other``, in logits, whatever the pull of the first place.

    As ``position_bias``, from the pairs in which the same answer wins in both orders. It is exact if the answers differ
    equally in all pairs, as in an experiment that lengthens each by so much.
    """
    return _half_log_ratio(list(places), (1, 2), (2, 1))


def at_equal_length(scores: Sequence[float], longer: Sequence[float], *, seed: int = 0) -> Interval | None:
    """The win rate to expect if both answers had the same length; None if all answers are longer, or all are shorter.

    It fits a logistic regression of the score on the logarithm of the ratio of the lengths. The result is its value at
    equal lengths, as in length-controlled AlpacaEval (Dubois et al. 2024, arXiv:2404.04475). That removes all that
    goes with length: padding, but also the content that a longer answer adds.

    ``scores`` has 1 for a win, 0 for a loss, 0.5 for a tie, for each question. ``longer`` is the ratio of the answer's
    length to the other's. ``seed`` is that of the bootstrap over questions.
    """
    y, x = _numbers(scores), np.log(_numbers(longer))
    if not x.min() <= 0 <= x.max():
        return None

    def shares(drawn: np.ndarray) -> np.ndarray:
        counts = np.stack([np.bincount(draw, minlength=len(y)) for draw in drawn])
        return np.asarray(1 / (1 + np.exp(-_fit(y, x, counts.astype(float)))))

    return _bounded(_bootstrap(len(y), shares, seed, FIT_DRAWS))


def _fit(y: np.ndarray, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The intercepts of logistic regressions of y on x, by Newton's method; counts: how often each is in."""
    design = np.stack([np.ones_like(x), x], axis=1)
    products = np.stack([np.ones_like(x), x, x, x * x], axis=1)
    found, step = np.zeros((len(counts), 2)), np.full(2, np.inf)
    while np.abs(step).max() > 1e-6:
        share = 1 / (1 + np.exp(-(found @ design.T)))
        slope = (counts * (y - share)) @ design - RIDGE * found
        curve = ((counts * share * (1 - share)) @ products).reshape(-1, 2, 2) + RIDGE * np.eye(2)
        step = np.linalg.solve(curve, slope[:, :, None])[:, :, 0].clip(-2, 2)  # small enough to always converge
        found += step
    return found[:, 0]


def _bootstrap(count: int, measure: Callable[[np.ndarray], np.ndarray], seed: int, draws: int = DRAWS) -> np.ndarray:
    """The measure of the questions as they are, and then of each draw; it gets their numbers, a few draws at a time."""
    source, few = np.random.default_rng(seed), max(1, AT_ONCE // count)
    sizes = [(min(few, draws - done), count) for done in range(0, draws, few)]
    drawn = (source.integers(0, count, size) for size in sizes)
    first = np.concatenate([[np.arange(count)], next(drawn)])
    return np.concatenate([*map(measure, chain([first], drawn))])


def _bounded(measured: np.ndarray) -> Interval:
    """The interval of the known values of ``_bootstrap``."""
    known = measured[1:][~np.isnan(measured[1:])]
    bounds = np.quantile(known, (0.025, 0.975)) if len(known) else [math.nan] * 2
    return Interval(float(measured[0]), *map(float, bounds))


def _half_log_ratio(places: list[Places], one: Places, other: Places) -> Interval:
    more, fewer = places.count(one) + 0.5, places.count(other) + 0.5
    value = math.log(more / fewer) / 2
    reach = Z * math.sqrt(1 / more + 1 / fewer) / 2
    return Interval(value, value - reach, value + reach)


def _numbers(values: Sequence[float] | np.ndarray) -> np.ndarray:
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not len(found):
        raise ValueError("There is nothing to average: give one number for each question.")
    if np.isnan(found).any():
        raise ValueError("A value is unknown (NaN): leave that question out, in both lists if there are two.")
    return found
