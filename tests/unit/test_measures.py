"""Intervals that hold what they say, estimates that find what was put in, and charts that say it in words."""

import math
import random
import time
import tracemalloc

import numpy as np
import pytest

import moa_helpers as moa
from moa_helpers.evaluation.measures import RIDGE, Interval

charts, measures = moa.charts, moa.measures


def logistic(x):
    return 1 / (1 + math.exp(-x))


def draw(dice, chance):
    return dice.random() < chance


def test_questions_needed():
    assert [measures.questions_needed(margin) for margin in (0.10, 0.05, 0.03)] == [97, 385, 1068]
    for wrong in (0, 1, -0.1, 5, math.nan):
        with pytest.raises(ValueError, match="it is a share"):
            measures.questions_needed(wrong)
    values = [n % 2 for n in range(measures.questions_needed(0.05))]
    found = measures.interval(values)
    assert (found.high - found.low) / 2 == pytest.approx(0.05, abs=0.004), "so many questions have that margin"


def test_interval():
    found = measures.interval([1, 2, 3, 4])
    assert found.value == 2.5
    assert 1 <= found.low < 2.5 < found.high <= 4
    assert found == measures.interval([1, 2, 3, 4])
    dice = random.Random(11)
    values = [dice.random() for _ in range(30)]
    assert measures.interval(values) != measures.interval(values, seed=1)
    assert measures.interval([3]) == Interval(3, 3, 3)
    assert str(Interval(0.5, 0.25, 0.75)) == "0.50 (0.25 to 0.75)"
    assert 2.5 in found
    assert 9 not in found
    for empty in ([], [[1, 2]]):
        with pytest.raises(ValueError, match="nothing to average"):
            measures.interval(empty)


def test_intervals_hold_the_truth_as_often_as_they_say():
    dice = random.Random(5)
    held = sum(0.7 in measures.interval([draw(dice, 0.7) for _ in range(80)]) for _ in range(200))
    assert 0.92 <= held / 200 <= 0.98


def test_the_interval_of_a_rate_holds_near_1_as_well():
    dice = random.Random(9)
    for chance, count in ((0.5, 10), (0.9, 10), (0.95, 20), (0.97, 40), (0.9, 100), (0.7, 80)):
        held = sum(chance in measures.rate([draw(dice, chance) for _ in range(count)]) for _ in range(100))
        assert held / 100 >= 0.92, (chance, count)


def test_a_rate_of_few_or_equal_scores_is_not_certain():
    assert measures.rate([1]).says(0.5) == "no difference shown"
    assert measures.rate([1] * 20).says(0.5) == "above"
    assert measures.rate([1] * 20).high == 1
    assert measures.rate([0.5] * 30).says(0.5) == "no difference shown"
    for count in (1, 2, 3, 5, 10, 40, 199):
        assert measures.rate([0] * count).low == 0 < measures.rate([1] * count).low
        assert measures.rate([1] * count).high == 1 > measures.rate([0] * count).high
    for wrong in ([2], [-1, 1]):
        with pytest.raises(ValueError, match="from 0 to 1"):
            measures.rate(wrong)
    with pytest.raises(ValueError, match="NaN"):
        measures.rate([1, math.nan])


def test_what_an_interval_says():
    assert Interval(1, 1, 1).says() == "no difference shown", "values that are all the same show nothing"
    assert Interval(1, 0.1, 2).says() == "above"
    assert Interval(-1, -2, -0.1).says() == "below"
    assert Interval(1, -0.1, 2).says() == "no difference shown"
    assert Interval(0.6, 0.52, 0.7).says(than=0.5) == "above"


def test_a_difference_is_narrower_than_two_intervals():
    dice = random.Random(12)
    hard = [dice.random() for _ in range(100)]
    ours, theirs = [h + 0.05 + 0.02 * dice.random() for h in hard], hard
    assert measures.difference(ours, theirs).says() == "above"
    assert measures.difference(theirs, ours).says() == "below"
    assert measures.interval(ours).low < measures.interval(theirs).high, "each by itself shows nothing"
    for short in ([1, 2], [1]):
        with pytest.raises(ValueError, match="in the same order"):
            measures.difference(short, [1, 2, 3])


def test_a_difference_of_rates_holds_for_few_questions_too():
    for right, wrong, count in ((0.3, 0.1, 12), (0.05, 0.05, 20), (0.4, 0.0, 15), (0.2, 0.1, 80)):
        dice, held = random.Random(10), 0
        for _ in range(100):
            drawn = [dice.random() for _ in range(count)]
            pairs = [(1, 0) if x < right else (0, 1) if x > 1 - wrong else (1, 1) for x in drawn]
            held += right - wrong in measures.rate_difference(*zip(*pairs, strict=True))
        assert held >= 92, (right, wrong, count)
    assert measures.rate_difference([1] * 12, [0] * 12).says() == "above"
    assert measures.rate_difference([0, 1], [1, 0]).says() == "no difference shown"
    few = measures.rate_difference([1], [0])
    assert (few.value, few.high, few.says()) == (1, 1, "no difference shown")
    above = [5, 2, 9], [1, 2, 10]
    assert measures.rate_difference(*above) == measures.difference(*above)


def test_a_difference_of_shares_holds_though_its_few_great_losses_were_not_seen():
    for count in (6, 10, 20, 50):
        dice, better = random.Random(5), 0
        for _ in range(100):
            theirs = [dice.uniform(0.44, 0.46) for _ in range(count)]
            ours = [each + dice.choice([0.05] * 9 + [-0.45]) for each in theirs]  # 0 on average
            better += measures.rate_difference(ours, theirs).says() == "above"
        assert better <= 8, count
    assert measures.rate_difference([0.5] * 12, [0.4] * 12).says() == "no difference shown"
    assert measures.rate_difference([0.5, 0.6] * 30, [0.4] * 60).says() == "above"


def judged(dice, position, pulls):
    """Both orders of pairs: the chance that the first wins is logistic in the pull of its place and of its answer."""
    return [tuple(1 if draw(dice, logistic(position + way * pull)) else 2 for way in (1, -1)) for pull in pulls]


def test_position_bias_is_found_whatever_the_answers_are_worth():
    for position in (-1.5, 0, 0.6, 2):
        dice, held = random.Random(3), 0
        for _ in range(60):
            pulls = [dice.gauss(1.0, 2.0) for _ in range(150)]
            held += position in measures.position_bias(judged(dice, position, pulls))
        assert held >= 52, position


def test_a_preference_is_found_whatever_the_position_bias():
    for position in (0, 0.6, 2):
        for pull in (-1, 0, 0.7):
            dice = random.Random(4)
            held = sum(pull in measures.preference(judged(dice, position, [pull] * 200)) for _ in range(60))
            assert held >= 52, (position, pull)


def test_a_judge_that_always_takes_the_first_place():
    assert measures.position_bias([(1, 1)] * 50).low > 0.9
    assert measures.position_bias([(2, 2)] * 50).high < -0.9
    assert measures.position_bias([]).says() == "no difference shown"


def test_the_win_rate_at_equal_length_is_found():
    for worth in (-1.0, 0.0, 0.8):
        dice, held, helped = random.Random(6), 0, []
        for _ in range(20):
            longer = [math.exp(dice.gauss(0.4, 0.5)) for _ in range(200)]
            scores = [draw(dice, logistic(worth + 1.5 * math.log(times))) for times in longer]
            held += logistic(worth) in measures.at_equal_length(scores, longer)
            helped.append(sum(scores) / len(scores))
        assert held >= 17, worth
        assert sum(helped) / len(helped) > logistic(worth) + 0.05, "length had helped"


def test_at_equal_length_agrees_with_a_fit_by_hand():
    """The same likelihood, with the same ridge, maximised by a search over a grid."""
    dice = random.Random(7)
    longer = [math.exp(dice.gauss(0.3, 0.5)) for _ in range(60)]
    scores = [dice.choice([0, 0.5, 1]) for _ in longer]
    x, y, grid = np.log(longer), np.asarray(scores), np.linspace(-2, 2, 401)

    def best_slope(intercept):
        z = intercept + grid[:, None] * x
        return ((y * z - np.logaddexp(0, z)).sum(axis=1) - RIDGE / 2 * (intercept**2 + grid**2)).max()

    best = max(grid, key=best_slope)
    assert measures.at_equal_length(scores, longer).value == pytest.approx(logistic(best), abs=0.003)


def test_nothing_is_said_about_equal_length_where_none_is_near():
    assert measures.at_equal_length([1, 0, 1], [1.5, 2, 3]) is None
    assert measures.at_equal_length([1, 0, 1], [0.5, 0.2, 0.3]) is None
    assert measures.at_equal_length([1] * 9, [0.9, 1, 1.1] * 3).high < 1


def test_pareto_front():
    points = {"cheap": (1, 1), "worse": (2, 1), "good": (2, 3), "same": (2, 3), "dear": (9, 2), "best": (9, 4)}
    assert charts.pareto_front(points) == ["cheap", "good", "same", "best"]
    assert charts.pareto_front({}) == []
    assert charts.pareto_front({"unknown": (math.nan, 9), "cheap": (1, 1)}) == ["cheap"]


def test_charts_take_what_is_unknown_and_any_name():
    hard = "$5_{ or $6"
    picture = charts.tradeoff({"?": (math.nan, 1), hard: (1, 2)}, hard, hard)
    assert f"? 1 at unknown; {hard} 2 at 1. Beaten by none in both: {hard}." in picture.alt
    unknown = charts.tradeoff({"?": (math.nan, 1)}, "dollars", "quality")
    assert "Beaten" not in unknown.alt
    found = {hard: Interval(0.5, 0.4, 0.6)}
    for shown in (picture, unknown, charts.intervals(found, hard), charts.curves({hard: {1: found[hard]}}, hard, hard)):
        assert "image/png" in str(shown._repr_mimebundle_()["text/html"])


def test_charts_say_in_words_what_they_show():
    found = {"a <b>": Interval(0.5, 0.4, 0.6), "single": Interval(3, 3, 3)}
    picture = charts.intervals(found, "points", against=0)
    assert picture.alt == "points: a <b> 0.5 (0.4 to 0.6); single 3"
    assert "a &lt;b&gt;" in picture._repr_mimebundle_()["text/html"]
    lines = {"mix": {1: found["single"], 2: found["a <b>"]}, "self": {1: found["single"]}}
    picture = charts.curves(lines, "n", "share")
    assert "mix: 1: 3.00 (3.00 to 3.00), 2: 0.50 (0.40 to 0.60)." in picture.alt
    picture = charts.tradeoff({"x": (1, 2), "y": (2, 1), "z": (3, 3)}, "dollars", "quality")
    assert "x 2 at 1; y 1 at 2; z 3 at 3. Beaten by none in both: x, z." in picture.alt
    assert picture.axes[0].get_ylim()[0] == 0, "or a small gain looks large"
    for name in ("x", "z"):
        assert any(text.get_text() == name for text in picture.axes[0].texts)


# Against other libraries. The values were computed once, with scipy 1.18.1, statsmodels 0.15.0 and scikit-learn 1.9.1,
# which are too large to install for this; the call stands beside them.


def test_mcnemar_against_scipy_and_statsmodels():
    """statsmodels: mcnemar([[7, won], [lost, 3]], exact=True).pvalue; scipy: binomtest(min(won, lost), won + lost)."""
    for won, lost, p in (
        *((0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (9, 2, 0.0654296875), (15, 5, 0.04138946533203125), (12, 12, 1.0)),
        *((40, 20, 0.01348929373119186), (300, 200, 8.940066542253288e-06)),
    ):
        pairs = [(1, 0)] * won + [(0, 1)] * lost + [(1, 1)] * 7 + [(0, 0)] * 3
        assert measures.mcnemar(*zip(*pairs, strict=True)) == pytest.approx(p)
        assert measures.mcnemar(*zip(*[pair[::-1] for pair in pairs], strict=True)) == pytest.approx(p)
    assert measures.mcnemar([], []) == 1
    assert 0 <= measures.mcnemar([1] * 5000, [0] * 5000) < 1e-300, "however many there are"
    for ours, theirs in (([1], [0.5]), ([1, 0], [1])):
        with pytest.raises(ValueError, match=r"right \(1\) or wrong \(0\)|shorter"):
            measures.mcnemar(ours, theirs)


def test_the_interval_of_a_rate_against_statsmodels():
    """proportion_confint(wins, count, method="wilson"); where the bootstrap reaches further, that counts."""
    for wins, count, low, high in (
        *((0, 10, 0.0, 0.27753279986288926), (1, 10, 0.017876213095072924, 0.40415002679523854)),
        *((39, 40, 0.8711863103652591, 0.9955731684973186), (200, 400, 0.451234504169709, 0.548765495830291)),
        *((5, 10, 0.23659309051256394, 0.7634069094874361), (17, 40, 0.28509392559950375, 0.5780493145800893)),
    ):
        found = measures.rate([1] * wins + [0] * (count - wins))
        assert (found.low, found.high) == (pytest.approx(low, abs=0.06), pytest.approx(high, abs=0.06))
        assert found.low <= low + 1e-9
        assert found.high >= high - 1e-9


def test_the_bootstrap_against_scipy():
    """bootstrap((values,), np.mean, method="percentile", n_resamples=100_000)."""
    found = measures.interval([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
    assert (found.low, found.high) == (pytest.approx(3.0, abs=0.1), pytest.approx(5.75, abs=0.1))
    pairs = [(1, 0)] * 9 + [(0, 1)] * 2 + [(1, 1)] * 20 + [(0, 0)] * 9
    found = measures.difference(*zip(*pairs, strict=True))
    assert (found.low, found.high) == (pytest.approx(0.025, abs=0.026), pytest.approx(0.325, abs=0.026))


def test_kappa_against_scikit_learn():
    """cohen_kappa_score(one, other)."""
    one, other = [0, 0.5, 1, 1, 0, 0.5, 1, 0, 1, 1, 0.5, 0], [0, 1, 1, 1, 0, 0, 1, 0.5, 1, 0, 0.5, 0]
    found = measures.kappa(one, other)
    assert found.value == pytest.approx(0.4838709677419355)
    assert -0.1 < found.low < found.value < found.high < 1
    assert measures.kappa([1, 1, 0, 0, 1, 0, 1, 1], [1, 0, 0, 0, 1, 1, 1, 1]).value == pytest.approx(7 / 15)
    assert measures.kappa([0, 0, 1, 1], [1, 1, 0, 0]).value == -1
    assert measures.kappa([0, 1], [0, 1]).value == 1
    assert math.isnan(measures.kappa([1, 1, 1], [1, 1, 1]).value), "by chance alone, too"
    for short in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match="give both raters'"):
            measures.kappa(short, [1, 0])
    with pytest.raises(ValueError, match="nothing to average"):
        measures.kappa([], [])


def test_alpha_against_the_published_example():
    """The example of K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): ordinal, 0.815."""
    no = math.nan
    ratings = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, no, no, no],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, no, 3],
        [no, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, no],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, no],
    ]
    assert measures.alpha(ratings) == pytest.approx(0.815, abs=0.0005)
    assert measures.alpha([[1, 0, 1], [1, 0, 1]]) == 1
    for nothing in ([[1, 1], [1, 1]], [[1, no], [no, 0]], [[], []]):
        assert math.isnan(measures.alpha(nothing)), nothing


def test_so_many_questions_show_a_difference():
    """Connor's formula, and how often the exact test then finds the difference, by scipy.stats.binom."""
    for difference, disagree, power, count, found in (
        *((0.1, 0.2, 0.8, 155, 0.7617), (0.05, 0.2, 0.8, 626, 0.7789), (0.05, 0.1, 0.8, 312, 0.7638)),
        *((0.1, 0.3, 0.9, 312, 0.8871), (0.2, 0.2, 0.8, 37, 0.7775)),
    ):
        assert measures.questions_to_show(difference, disagree, power=power) == count
        assert measures.questions_to_show(-difference, disagree, power=power) == count
        assert power - 0.05 < found < power
    dice, won = random.Random(8), (0.2 + 0.1) / 2 / 0.2
    shown = 0
    for _ in range(300):
        pairs = [(0, 0) if dice.random() > 0.2 else (1, 0) if draw(dice, won) else (0, 1) for _ in range(155)]
        shown += measures.mcnemar(*zip(*pairs, strict=True)) < 0.05
    assert shown / 300 == pytest.approx(0.7617, abs=0.08)
    for wrong in ((0, 0.2), (0.3, 0.2), (0.1, 1.2), (0.1, math.nan)):
        with pytest.raises(ValueError, match="all are shares"):
            measures.questions_to_show(*wrong)
    with pytest.raises(ValueError, match="all are shares"):
        measures.questions_to_show(0.1, 0.2, power=1)


def test_a_corrected_win_rate_holds_the_truth_whatever_the_judge():
    def asked(dice, leaning):
        truth = float(draw(dice, 0.4))
        return (1.0 if draw(dice, leaning) else truth), truth

    for leaning in (0.0, 0.3, 0.8):
        dice, held, wide = random.Random(2), 0, []
        for _ in range(150):
            known = [asked(dice, leaning) for _ in range(60)]
            rest = [asked(dice, leaning)[0] for _ in range(300)]
            found = measures.corrected(rest, known)
            held += 0.4 in found
            wide.append(found.high - found.low)
        assert held / 150 >= 0.9, leaning
        alone = measures.interval([label for _, label in known])
        width = sum(wide) / len(wide)
        assert leaning or width < 0.6 * (alone.high - alone.low), "a judge who is right makes it narrow"
    assert sum(asked(dice, 0.8)[0] for _ in range(500)) / 500 > 0.8, "the judge alone is far off"
    assert measures.corrected([], [(1, 0), (1, 1), (0, 1)]).value == pytest.approx(2 / 3), "the labels alone"
    for judged, labelled in (([1], []), ([1], [(1, 1)]), ([2], [(1, 1)] * 3), ([1], [(1, -1)] * 3)):
        with pytest.raises(ValueError, match="two questions or more"):
            measures.corrected(judged, labelled)


def test_many_questions_take_little_memory_and_time():
    source = np.random.default_rng(3)
    ones, others, sizes = source.random(10_000).round(), source.random(10_000).round(), source.random(10_000)
    began = time.process_time()
    assert 0.49 < measures.mcnemar(ones, 1 - ones) <= 1
    assert time.process_time() - began < 3, "seconds; each term from the one before"
    tracemalloc.start()
    assert 0.48 < measures.interval(sizes[:4000]).value < 0.52
    assert abs(measures.kappa(ones[:4000], others[:4000]).value) < 0.05
    assert tracemalloc.get_traced_memory()[1] < 60_000_000, "bytes; not all draws at once"
    tracemalloc.stop()
