"""Intervals that hold what they say, estimates that find what was put in, and charts that say it in words."""

import math
import random

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
    picture = charts.tradeoff({"x": (1, 2), "y": (2, 1), "z": (3, 3)}, "dollars", "quality", named=["x", "z"])
    assert "x 2 at 1; z 3 at 3, and 1 others. Beaten by none in both: x, z." in picture.alt
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["1 others"]
    for name in ("x", "z"):
        assert any(text.get_text() == name for text in picture.axes[0].texts)
