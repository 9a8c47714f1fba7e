"""worth_it(): what it compares, and that its verdict claims no more than was seen."""

import math
from itertools import count as numbers

import pandas as pd
import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.pages import read
from tests.support.replies import A, B, C
from tests.support.scripts import SOL, answers, fails

MIXTURE = {"reference_models": [B, C, B], "aggregator": SOL}
exact = moa.scores.exact


@pytest.fixture
def worth(run, monkeypatch, script):
    """What is found where each strategy is right ("+"), wrong ("-") or without an answer ("x") in turn."""

    standins.enter(monkeypatch, script)
    number = numbers()

    def says(marks):
        def act(request):
            mark = marks[int(request.prompt.partition(" ")[0]) % len(marks)]
            return fails(400) if mark == "x" else answers({"+": "right", "-": "wrong"}[mark], after=2.0)

        return act

    def worth(one="+", samples="+", mixed="+", count=24, **options):
        script[A] = lambda request: says(samples if request.system else one)(request)
        script[SOL] = says(mixed)
        asked = [moa.Question(str(number), f"{number} is what?", "right") for number in range(count)]
        given = {"questions": asked, "single": A, "mixture": MIXTURE, "path": f"{next(number)}.sqlite"}
        return run(moa.worth_it(**given | options))

    return worth


def test_a_gain(worth, script):
    found = worth(one="+---", samples="++--", mixed="++++", score=exact)
    table = found.table()
    assert list(table.index) == ["one call", "3 samples", "mixture"]
    assert list(table.columns) == [
        *("calls", "quality", "gain", "gain_low", "gain_high", "usd_per_1000", "price", "seconds", "p95_s")
    ]
    assert list(table.calls) == [1, 4, 4]
    assert list(table.quality) == [0.25, 0.5, 1]
    assert table.gain["mixture"] == 0.75
    change = moa.measures.rate_difference(*(found.comparison.values(name, "score") for name in ("mixture", "one call")))
    assert (table.gain_low["mixture"], table.gain_high["mixture"]) == (change.low, change.high)
    assert math.isnan(table.gain["one call"])
    cost = found.comparison.table().cost_usd
    assert table.usd_per_1000["mixture"] == pytest.approx(1000 * cost["mixture"])
    assert table.price["mixture"] == pytest.approx(cost["mixture"] / cost["one call"])
    assert found.missing is None
    assert "the mixture is better than one call: its gain is 0.750 (0.500 to 0.917) on 24 questions" in found.verdict
    assert "Beside 3 samples of one model, it is better" in found.verdict
    assert f"1,000 questions: {table.usd_per_1000['mixture']:.3g} for the mixture, 0.02 for one call" in found.verdict
    assert "stand-ins" in found.verdict
    for shown in (str(found), read(found._repr_html_()).text):
        assert found.verdict in shown
        assert "offline stand-ins" in shown


def test_a_loss(worth):
    found = worth(mixed="+--", samples="+--", score=exact)
    assert "the mixture is worse than one call: its gain is -0.667" in found.verdict
    assert "Beside 3 samples of one model, no difference is shown" in found.verdict
    assert found.missing is None


def test_what_is_not_shown_says_how_much_is_missing(worth):
    found = worth(one="+-+-+", mixed="+++-+", score=exact, count=20)
    needed = moa.measures.questions_to_show(0.2, 0.2)
    assert found.missing == needed
    assert f"About {needed} new questions by themselves would probably show it" in found.verdict
    assert "the mixture is not shown to be better or worse than one call" in found.verdict
    same = worth(one="+-", mixed="+-", score=exact, count=20)
    assert same.missing is None
    assert "not shown to be better or worse than one call: its gain is 0.000" in same.verdict
    assert "new questions" not in same.verdict


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_questions_show_nothing_however_clear_they_look(worth, count):
    found = worth(one="-", mixed="+", score=exact, count=count)
    assert "not shown" in found.verdict
    assert found.missing == 6, "of six that all differ, a coin is an unlikely reason"
    assert math.isnan(found.table().p95_s["mixture"])


def test_one_question_says_nothing(worth):
    found = worth(one="-", mixed="+", score=exact, count=1)
    assert found.missing == moa.measures.questions_to_show(0.1, 0.2)
    assert found.verdict.startswith("One question shows nothing about quality")


def test_without_quality_it_is_about_money_and_time(worth):
    found = worth(questions="0 is one text")
    assert found.verdict.startswith("Quality was not compared")
    assert "better" not in found.verdict
    assert found.table().quality.isna().all()
    assert found.missing is None
    assert found.table().seconds["mixture"] > found.table().seconds["one call"]


def test_by_a_judge(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    mixture = {"reference_models": [A, B, C], "aggregator": A}
    found = run(moa.worth_it(offline.questions(4), A, mixture, judge=B, max_concurrency=32))
    table, rate = found.table(), found.comparison.win_rate("mixture")
    assert table.quality["one call"] == 0.5
    assert table.quality["mixture"] == rate.value
    assert (table.gain_low["mixture"], table.gain_high["mixture"]) == (rate.low - 0.5, rate.high - 0.5)
    assert found.verdict.startswith("By the judge, the mixture is better than one call: its gain is")
    with offline.judging(position=1000):
        broken = run(moa.worth_it(offline.questions(4), A, mixture, judge=B, max_concurrency=32))
    assert "is better" not in broken.verdict
    assert "broken" in str(broken)


def test_offline_it_says_which_questions_the_stand_ins_do_not_know(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    asked = [offline.questions()[0].prompt, "Why is the moon round?", "Why is the sun hot?"]
    for questions, says in ((asked, "2 of these 3 questions"), (asked[1:], "any of these questions")):
        found = run(moa.worth_it(questions, A, {"reference_models": [A, B, C], "aggregator": A}, judge=B))
        assert f"They do not know {says}, so it says nothing about quality either." in str(found)
    assert "do not know" not in run(moa.worth_it(asked[:1], A, MIXTURE)).verdict


def test_an_unknown_price(worth, monkeypatch):
    found = worth(mixture={"reference_models": [A], "aggregator": "openai:new"}, score=exact, count=3)
    assert list(found.table().index) == ["one call", "1 sample", "mixture"]
    assert math.isnan(found.table().usd_per_1000["mixture"])
    assert math.isnan(found.table().price["mixture"])
    assert "1,000 questions: unknown for the mixture" in found.verdict
    assert "unknown" in str(found)


def test_a_strategy_that_fails(worth):
    found = worth(mixed="x", score=exact, count=10)
    assert "Of 10 questions, mixture failed on 10" in found.verdict
    assert "the mixture is worse" in found.verdict
    assert worth(one="x", count=1).table().quality.isna().all()


def test_a_budget_that_ends_it(worth):
    found = worth(score=exact, budget_usd=0.06, count=40)
    assert 0 < len(found.comparison.answers) < 120
    assert "of 40 questions were asked" in found.verdict
    assert "budget_usd" in str(found)
    none = worth(score=exact, budget_usd=1e-6)
    assert none.verdict.startswith("No question was answered, so nothing is shown. Stopped")
    assert none.table().quality.isna().all()


def test_a_score_may_be_above_one(worth):
    found = worth(one="+-", score=lambda question, answer: 10 * (answer == "right"), count=20)
    assert "its gain is 5.000 (2.500 to 7.500) on 20 questions" in found.verdict


def test_small_gains_need_as_many_questions_as_their_interval(worth):
    found = worth(one="-", mixed="+", score=lambda question, answer: 0.1 * (answer == "right") + 0.4, count=10)
    assert found.missing == math.ceil(moa.measures.Z / 0.1)
    parts = {"right": (0.3, 0.9, 0.2, 0.7), "wrong": (0.3, 0.7, 0.9, 0.2)}  # the mean differs by 1e-17, not by 0
    level = worth(one="+", mixed="-", score=lambda question, answer: parts[answer][int(question.id)], count=4)
    assert 0 < abs(level.table().gain["mixture"]) < 1e-9
    assert level.missing is None


def test_questions_come_from_a_table_or_a_file(worth, tmp_path):
    table = pd.DataFrame({"prompt": ["0 is what?", "1 is what?"], "reference": ["right", "right"]})
    table.rename_axis("id").to_csv(tmp_path / "mine.csv")
    for questions in (table, "mine.csv", tmp_path / "mine.csv"):
        assert worth(questions=questions, score=exact).table().quality["one call"] == 1


def test_a_second_start_asks_nothing(worth, script):
    first = worth(one="+-", score=exact, count=5, path="worth.sqlite")
    assert script.asked
    second = worth(one="+-", score=exact, count=5, path="worth.sqlite")
    assert not script.asked
    assert second.verdict == first.verdict


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"single": MIXTURE}, TypeError, "single must be a model"),
        ({"mixture": A}, TypeError, "mixture must have reference_models"),
        ({"mixture": {"reference_models": [A]}}, TypeError, "'mixture' has no aggregator"),
        ({"judge": B, "score": exact}, ValueError, "a judge or a score"),
        ({"single": "gpt-7"}, moa.UnknownModel, "names no model"),
        ({"questions": "missing.csv"}, FileNotFoundError, "missing"),
        ({"questions": "MISSING.CSV"}, FileNotFoundError, "MISSING"),
        ({"questions": []}, ValueError, "empty"),
        ({"questions": " "}, ValueError, "empty"),
        ({"budget": 3}, TypeError, "budget"),
        ({"budget_usd": -1}, ValueError, "budget_usd"),
        ({"score": moa.scores.number}, TypeError, "score must take"),
        ({"score": exact}, ValueError, "1 of 1 questions cannot be scored, so no call was made"),
    ],
)
def test_bad_input_is_refused_before_any_call(run, script, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        run(moa.worth_it(**{"questions": ["Why?"], "single": A, "mixture": MIXTURE} | options))
    assert not script.asked
    assert not (tmp_path / "worth-it.sqlite").exists()
