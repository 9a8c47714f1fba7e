"""compare() with a score: what it makes of answers, what a function of one's own may do, and a panel that is shared."""

import asyncio
import math
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.evaluation import reading
from tests.support import standins
from tests.support.pages import read
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import answers, fails

scores, measures = moa.scores, moa.measures
MIXTURE = {"reference_models": MODELS, "aggregator": A}
BOTH = {"single": A, "moa": MIXTURE}
CHECKABLE = offline.questions(checkable=True)
PANEL = {"first": MIXTURE, "second": MIXTURE | {"aggregator": B}, "pick": MIXTURE | {"pick": True}}


@pytest.fixture
def compare(run, monkeypatch, script):
    return standins.comparing(run, monkeypatch, script)


@pytest.fixture
def said(compare, script):
    """What a score makes of such answers to as many questions, of which A is the baseline and says "right"."""

    def said(*texts, score=scores.exact, **options):
        script[A] = answers("right")
        questions = [moa.Question(str(number), f"{number}?", "right") for number in range(len(texts))]
        script[B] = [answers(text) if text else fails(400) for text in texts]
        return compare(questions, {"one": A, "other": B}, score=score, max_concurrency=1, **options)

    return said


# What it shows


def test_each_strategy_is_scored_against_the_first(compare):
    found = compare(CHECKABLE, BOTH, score=scores.exact)
    table = found.table()
    for name in BOTH:
        own = [each for each in found.scored if each.strategy == name]
        assert [each.question for each in own] == [question.id for question in CHECKABLE]
        right = [each.value or 0 for each in own]
        assert right == [each.points_right for each in found.answers if each.strategy == name], "the truth is known"
        assert found.values(name, "score") == right
        assert table.score[name] == pytest.approx(sum(right) / 40)
        assert table.score_low[name] < table.score[name] < table.score_high[name]
        assert table.unparsed[name] == sum(each.value is None for each in own)
        assert table.unscored[name] == 0
    assert table.unparsed.sum() > 0
    ours, theirs = (found.values(name, "score") for name in ("moa", "single"))
    change = measures.rate_difference(ours, theirs)
    assert (table.score_difference["moa"], table.score_difference_low["moa"]) == (change.value, change.low)
    assert table.mcnemar_p["moa"] == measures.mcnemar(ours, theirs)
    assert math.isnan(table.score_difference["single"])
    assert math.isnan(table.mcnemar_p["single"])
    rows = found.scores_table()
    assert list(rows.columns) == ["question", "strategy", "reference", "score", "read", "problem", "text"]
    assert len(rows) == 80
    for row in rows.itertuples():
        assert row.read in row.text
    for shown in (str(found), read(found._repr_html_()).text):
        assert f"{table.score['moa']:.2f} (" in shown
        assert f"{table.mcnemar_p['moa']:.3g}" in shown


def test_unparsed_is_not_wrong_and_no_answer_is(said):
    found = said("right", "left", "left\n\nor right", None)
    assert [each.value for each in found.scored if each.strategy == "other"] == [1, 0, None, 0]
    assert [each.read for each in found.scored if each.strategy == "other"] == ["right", "left", "", ""]
    other = found.table().loc["other"]
    assert (other.score, other.unparsed, other.failed) == (0.25, 1, 1)
    assert other.score_difference == -0.75
    assert any("nothing to read in 1 answers" in warning for warning in found.warnings)


def test_without_a_score_nothing_is_said_of_one(compare):
    found = compare(["Why?"], {"single": A})
    assert "score" not in found.table().columns
    assert found.scores_table().empty
    assert found.values("single", "score") == []
    assert "unparsed" not in str(found)


def test_a_share_is_a_score_too(said):
    found = said("right", "left", score=lambda question, answer: len(answer) / 10)
    assert list(found.table().score) == [0.5, pytest.approx(0.45)]
    assert math.isnan(found.table().mcnemar_p["other"]), "only what is right or wrong has one"
    seven = said("right", score=lambda question, answer: 7)
    assert seven.table().score["other"] == 7
    assert "7.00" in str(seven)
    assert "%" not in str(seven)


# A function of one's own


def test_any_function_is_a_score(said):
    async def slowly(question, answer):
        await asyncio.sleep(1)
        return answer == question.reference

    for score in (
        slowly,
        lambda question, answer: answer == "right",
        lambda q, a: scores.Score(float(a == "right"), a),
    ):
        assert said("right", "left", score=score).values("other", "score") == [1, 0]
    assert [each.value for each in said("x", "y", score=lambda question, answer: None).scored] == [None] * 4
    assert said("x", score=lambda question, answer: math.nan).scored[1].value is None


def test_what_a_score_raises_is_a_problem_of_its_row(said):
    async def late(question, answer):
        raise KeyError("no such row")

    def odd(question, answer):
        return {"left": 1 / 0}[answer] if answer == "left" else True

    for score, problem in ((odd, "ZeroDivisionError: division by zero"), (late, "KeyError: 'no such row'")):
        found = said("right", "left", "right", score=score)
        assert found.scored[3].problem == problem
        assert len(found.answers) == 6, "what was paid for is there"
        assert any(problem.partition(":")[0] in warning for warning in found.warnings)
    assert math.isnan(found.table().score["other"])
    other = said("right", "left", "right", score=odd).table().loc["other"]
    assert (other.score, other.unscored, other.unparsed) == (1, 1, 0)
    for wrong in (lambda q, a: "right", lambda q, a: [1], lambda q, a: object()):
        assert said("right", score=wrong).scored[1].problem.startswith(("TypeError: float()", "ValueError: could not"))
    for endless in (math.inf, -math.inf, scores.Score(math.inf)):
        found = said("right", score=lambda question, answer, value=endless: value)
        assert "a score is a number" in found.scored[1].problem
        assert found.table().unscored["other"] == 1, "and the table is there all the same"


def test_what_a_score_read_is_no_longer_than_what_the_extractors_look_at(said):
    assert len(said("right" * 100_000).scored[1].read) == reading.READ
    assert said("right", score=lambda question, answer: scores.Score(1.0, None)).scored[1].read == ""


def test_what_is_no_score_is_refused_before_any_call(compare, script):
    for wrong in (scores.number, scores.choice, "exact", 5, lambda answer: 1):
        with pytest.raises(TypeError, match="must take a question and an answer"):
            compare(["Why?"], {"single": A}, score=wrong)
    assert not script.asked


@pytest.mark.parametrize(
    "score",
    [
        *(scores.exact, scores.contains, scores.number(), scores.choice("AB"), scores.pattern("x")),
        scores.runs(on_this_machine=True),
    ],
)
def test_what_these_scores_cannot_score_is_refused_before_any_call(compare, script, score):
    known = [moa.Question("a", "Is it 1?", "A) 1"), moa.Question("b", "Is it 2?", "B) 2")]
    for without in ([moa.Question("c", "Why?")], [moa.Question("c", "Why?"), "Why so?"]):
        wrong = rf"{len(without)} of {2 + len(without)} questions cannot be scored.* 'c' has no reference"
        with pytest.raises(ValueError, match=wrong):
            compare([*known, *without], BOTH, score=score)
    assert not script.asked
    assert compare(known, {"single": A}, score=score).answers


def test_a_reference_that_a_score_cannot_read_is_refused_as_well(compare, script):
    for score in (scores.number(), scores.choice("AB")):
        with pytest.raises(ValueError, match=r"1 of 1 questions cannot be scored.* The reference of 'a' has no"):
            compare([moa.Question("a", "Why?", "Because.")], BOTH, score=score)
    assert not script.asked
    found = compare(["Why?"], {"single": A}, score=lambda question, answer: question.reference is None)
    assert found.values("single", "score") == [1], "a function of one's own may need no reference"


def test_a_file_is_scored_again_without_a_call(compare, script):
    first = compare(CHECKABLE[:8], BOTH, score=scores.exact, judge=C, null_checks=0)
    for score in (scores.number(), scores.contains, None):
        again = compare(CHECKABLE[:8], BOTH, score=score, judge=C, null_checks=0)
        assert not script.asked
        assert (again.answers, again.judgements) == (first.answers, first.judgements)
    assert again.scored == ()


def test_code_is_run_in_a_comparison(script, monkeypatch):
    """On the real clock, which processes have."""
    standins.enter(monkeypatch, script)
    question = moa.Question("add", "Write add(a, b).", "assert add(1, 2) == 3")
    script[A] = answers("```python\ndef add(a, b):\n    return a + b\n```", after=0)
    script[B] = answers("```python\ndef add(a, b):\n    return a * b\n```", after=0)
    score = scores.runs(on_this_machine=True)
    found = asyncio.run(moa.compare([question], {"one": A, "other": B}, score=score))
    assert [(each.value, each.read) for each in found.scored] == [(1, "passed"), (0, "AssertionError")]


# A panel that is shared


def test_a_shared_panel_is_asked_once(compare, script):
    strategies = {"single": C} | PANEL
    found = compare(CHECKABLE[:3], strategies, share_panel=True, judge=B, null_checks=0)
    roles = Counter(asked.request.role for asked in script.asked)
    assert (roles["layer 1"], roles["aggregator"], roles[""]) == (3 * 3, 3 * 3, 3)
    told = [asked.request.system for asked in script.asked if asked.request.role == "aggregator"]
    told = [system for system in told if "<candidate-" not in system]
    assert len(told) == 2 * len({*told}) == 6, "both who write read the same answers"
    again = compare(CHECKABLE[:3], strategies, share_panel=True, judge=B, null_checks=0)
    assert not script.asked
    assert again == found
    compare(CHECKABLE[:3], strategies)
    assert Counter(asked.request.role for asked in script.asked)["layer 1"] == 3 * 9, "apart, each asks its own"


def test_the_cost_of_a_shared_panel_is_counted_once(compare, script):
    for shared in (False, True):
        planned = moa.estimate_comparison(CHECKABLE[:2], PANEL, share_panel=shared)
        found = compare(CHECKABLE[:2], PANEL, share_panel=shared, path=f"{shared}.sqlite")
        assert planned.calls == len(script.asked) == 2 * (6 if shared else 12)
        assert planned.usd < planned.most_usd
        with closing(sqlite3.connect(f"{shared}.sqlite")) as file:
            ((spent,),) = file.execute("SELECT total(usd) FROM calls")
        assert found.cost_usd == pytest.approx(spent)
        assert found.table().calls.sum() == 12, "each strategy's own, as if it were alone"


def test_what_fails_in_a_shared_panel_fails_for_all(compare, script):
    script[B] = fails(400)
    found = compare(CHECKABLE[:1], PANEL | {"second": MIXTURE | {"aggregator": C}}, share_panel=True)
    assert script.counts()[B] == 1
    assert [each.outcome for each in found.answers] == ["partial"] * 3
    script[B] = standins.StandIn(after=0.1, tokens=(200, 100))
    found = compare(CHECKABLE[:1], PANEL | {"second": MIXTURE | {"aggregator": C}}, share_panel=True)
    assert script.counts()[B] == 1, "what failed is asked again in the next start"
    assert [each.outcome for each in found.answers] == ["complete"] * 3


def test_a_panel_can_only_be_shared_by_the_same_proposers(compare, script):
    for change in ({"reference_models": MODELS[:2]}, {"max_tokens": 7}, {"reference_models": MODELS[::-1]}):
        with pytest.raises(ValueError, match="'first' and 'odd' ask different proposers"):
            compare(["Why?"], PANEL | {"odd": MIXTURE | change}, share_panel=True)
    with pytest.raises(ValueError, match="'shared panel' is the name of the panel"):
        compare(["Why?"], {"shared panel": A})
    assert not script.asked
    assert compare(["Why?"], {"a": A, "b": B}, share_panel=True).answers, "where no mixture is, there is no panel"


def test_a_shared_panel_is_not_cut_by_one_strategys_quorum(compare, script):
    strategies = {
        "hasty": MIXTURE | {"quorum": 1, "grace": 0.0},
        "patient": MIXTURE | {"hedge_after": 0.01, "hedge_with": B},
    }
    script[C] = replace(script.default, after=5)
    found = compare(CHECKABLE[:1], strategies, share_panel=True)
    assert [each.outcome for each in found.answers] == ["complete"] * 2
    assert script.counts() == {A: 3, B: 1, C: 1}


# Rates


def test_rates_hold_in_a_comparison(compare, script):
    compare([f"{number}?" for number in range(6)], {"a": A}, rates={"openai": moa.Rate(requests=2)})
    times = sorted(script.times())
    assert [later - earlier >= 60 for earlier, later in zip(times, times[2:], strict=False)] == [True] * 4


# Who agrees with whom


def test_judges_the_score_and_ones_own_labels(compare):
    found = compare(CHECKABLE, {"a": A, "b": B}, score=scores.exact, judge=[B, C], null_checks=0)
    ours, theirs = found.values("b", "score"), found.values("a", "score")
    pairs = zip(CHECKABLE[:20], ours, theirs, strict=False)
    labels = {question.id: (1 + one - other) / 2 for question, one, other in pairs}
    table = found.agreement("b", labels)
    assert list(zip(table.one, table.other, strict=True)) == [
        *((B, C), (B, "score"), (B, "labels"), (C, "score"), (C, "labels"), ("score", "labels"), ("all", ""))
    ]
    by_pair = table.set_index(["one", "other"])
    same = by_pair.loc[("score", "labels")]
    assert (same.same, same.kappa, same.alpha) == (1, 1, 1)
    assert 10 < same.questions <= 20, "what the score did not read is left out"
    judged = by_pair.loc[(C, "score")]
    assert 0 < judged.kappa < 1
    assert judged.kappa_low < judged.kappa < judged.kappa_high
    assert 0 < by_pair.loc[("all", "")].alpha < 1
    assert list(compare(CHECKABLE[:1], {"a": A, "b": B}).agreement("b").columns) == list(table.columns)
    corrected = found.corrected_win_rate("b", labels)
    assert corrected.low < corrected.value < corrected.high
    for wrong in ({"no such": 1}, {CHECKABLE[0].id: 2}, {CHECKABLE[0].id: "b"}):
        for ask in (found.agreement, found.corrected_win_rate):
            with pytest.raises(ValueError, match=r"give 1, 0\.5 or 0 by the id"):
                ask("b", wrong)
    with pytest.raises(ValueError, match="no strategy of this comparison"):
        found.agreement("othr")


def test_a_judge_that_likes_length_alone_agrees_less_with_the_score(compare):
    kappas = []
    for leaning in ({"points": 6, "length": 0, "position": 0, "family": 0}, {"points": 0, "length": 5}):
        with offline.judging(**leaning):
            found = compare(CHECKABLE, {"a": A, "b": B}, score=scores.exact, judge=C, null_checks=0)
        kappas.append(found.agreement("b").kappa[0])
    assert kappas[0] > 0.5 > 0.25 > kappas[1]


def test_what_a_rate_cannot_hold_is_refused_or_fails_alone(compare, script):
    options = {"max_tokens": 50, "judge": B, "null_checks": 0}
    for rates in ({"openai": moa.Rate(tokens=40)}, {"anthropic": moa.Rate(tokens=1000)}):
        with pytest.raises(ValueError, match="but its rate is"):
            compare(["Why?"], BOTH, rates=rates, **options)
        assert not script.asked
    script[C] = answers("word " * 400, per_piece=0)
    found = compare(["Why?", "Why so?"], BOTH, rates={"openai": moa.Rate(tokens=700)}, **options)
    assert [each.outcome for each in found.answers] == ["ok", "aggregator_failed"] * 2
    assert found.scores("moa") == {"Why?": 0.0, "Why so?": 0.0}, "as an answer that failed"
