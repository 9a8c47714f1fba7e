"""compare(): what it counts and judges, what it refuses, and how many calls and dollars it allows itself."""

import math
from collections import Counter
from dataclasses import replace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.pages import read
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import CLIENT, answers, breaks_off, fails

MIXTURE = {"reference_models": MODELS, "aggregator": A}
STRATEGIES = {
    "single": A,
    "best of 3": {"reference_models": [A] * 3, "aggregator": A, "pick": True},
    "self-moa": {"reference_models": [A] * 3, "aggregator": A},
    "moa": MIXTURE,
}
NULL = "null answer"


@pytest.fixture
def compare(run, monkeypatch, script):
    return standins.comparing(run, monkeypatch, script)


# What it gives


def test_the_table(compare, script):
    questions = offline.questions()
    found = compare(questions, STRATEGIES, judge=B, null_checks=5)
    table = found.table()
    assert list(table.index) == list(STRATEGIES)
    with_interval = ["points_share", "points_wrong", "win_rate", "win_rate_at_equal_length"]
    assert list(table.columns) == [
        *("questions", "failed", "calls", "cost_usd", "seconds", "characters"),
        *(f"{name}{end}" for name in with_interval for end in ("", "_low", "_high")),
    ]
    assert list(table.questions) == [10] * 4
    assert list(table.calls) == [1, 4, 4, 4]
    assert math.isnan(table.win_rate["single"])
    for name in STRATEGIES:
        own = [each for each in found.answers if each.strategy == name]
        assert [each.question for each in own] == [question.id for question in questions]
        scores = [offline.score(q.prompt, each.text) for q, each in zip(questions, own, strict=True)]
        right = sum(score.covered / score.possible for score in scores) / len(questions)
        assert table.points_share[name] == pytest.approx(right)
        assert table.points_wrong[name] == pytest.approx(sum(score.wrong for score in scores) / len(questions))
        assert table.characters[name] == pytest.approx(sum(len(each.text) for each in own) / len(questions))
        assert table.points_share_low[name] < table.points_share[name] < table.points_share_high[name]
    judged = sum(2 for each in found.judgements if each.places)
    assert len(script.asked) == judged + 10 * 13
    assert Counter(each.strategy for each in found.judgements)[NULL] == 5
    planned = moa.estimate_comparison(questions, STRATEGIES, judge=B, null_checks=5)
    assert planned.calls == 10 * 13 + 2 * (10 * 3 + 5)
    assert planned.usd < planned.most_usd
    assert 0 < found.cost_usd < planned.most_usd


def test_what_it_shows(compare, capsys):
    found = compare(["Why is the sky blue?", "<b>Who?</b>"], {"one <i>": A, "mix": MIXTURE}, judge=[B, C])
    shown = read(found._repr_html_()).text
    for text in (shown, str(found)):
        for words in ("2 of 2 questions", "offline stand-ins", "one <i>", "baseline", f"${found.cost_usd:.6f}"):
            assert words in text
    assert list(found.judges_table().index) == [B, C]
    first, last = capsys.readouterr().err.splitlines()
    assert "0 of 2 questions" in first, "and while it ran, in a log: few lines"
    assert "2 of 2 questions" in last


def test_scores_are_the_mean_of_the_judges(compare):
    found = compare(offline.questions(), {"single": A, "moa": MIXTURE}, judge=[A, C])
    one, other, both = (found.scores("moa", judge) for judge in (A, C, None))
    assert both == {name: (one[name] + other[name]) / 2 for name in one}
    assert one != other
    assert found.win_rate("moa").value == pytest.approx(sum(both.values()) / len(both))


def test_without_a_judge(compare, script):
    found = compare(["Why is the sky blue?"], STRATEGIES)
    assert found.judgements == ()
    assert len(script.asked) == 13
    assert found.table().win_rate.isna().all()
    assert found.win_rate("moa") is None
    table = found.judges_table()
    assert table.empty
    assert list(table.columns) == list(compare(["Why?"], {"single": A}, judge=B).judges_table().columns)


def test_what_is_not_there_is_refused(compare):
    found = compare(offline.questions()[:1], {"single": A, "other": B}, judge=C)
    assert found.win_rate(NULL).value == 0
    for ask in (found.scores, found.win_rate, found.win_rate_at_equal_length, lambda name: found.values(name, "calls")):
        with pytest.raises(ValueError, match=r"'othr' is no strategy .* single, other"):
            ask("othr")
    with pytest.raises(ValueError, match="is no judge of this comparison, which has mistral"):
        found.scores("other", B)


def test_an_answer_that_failed_loses_and_two_tie(compare, script, question):
    strategies = {"single": A, "other": B, "third": C}
    script[B] = fails(400)
    found = compare([question], strategies, judge=A)
    assert found.scores("other") == {question: 0.0}
    assert list(found.table().failed) == [0, 1, 0]
    assert [each.outcome for each in found.answers] == ["ok", "bad_request", "ok"]
    script[A] = fails(400)
    found = compare([question + " "], strategies, judge=C)
    assert [*found.scores("other").values(), *found.scores("third").values()] == [0.5, 1.0]


def test_a_judgement_that_fails_is_left_out(compare, script, question):
    script[A], script[B], script[C] = answers("One."), answers("Two."), fails(400)
    found = compare([question], {"single": A, "other": B}, judge=C, null_checks=0)
    assert found.scores("other") == {}
    assert found.judges_table().unread[C] == 1
    assert found.warnings == (f"{C}: nothing was judged",)


def test_the_judge_sees_the_known_answer(compare, script):
    question = moa.Question("sum", "What is 2 + 2?", reference="It is 4, as everybody knows.")
    script[A] = script[B] = answers("Four.")
    compare([question], {"single": A, "other": B}, judge=C, null_checks=1)
    judged = [asked.request.system for asked in script.asked if asked.model == C]
    assert len(judged) == 2, "the two answers are the same text, so only the null answer is judged"
    assert all("It is 4, as everybody knows." in system for system in judged)


# Limits


def test_no_more_calls_at_once_than_allowed(compare, script):
    strategies = {"moa": MIXTURE, "self": STRATEGIES["self-moa"]}
    for limit in (3, {"openai": 2, "mistral": 1}):
        compare(offline.questions()[:4], strategies, judge=C, max_concurrency=limit, path=f"{limit}.jsonl")
        most = {"all": limit} if isinstance(limit, int) else limit
        assert {name: script.most[name] for name in most} == most


def test_a_budget_is_kept_and_a_later_start_goes_on(compare, script):
    questions, strategies = offline.questions(), {"single": A, "moa": MIXTURE}
    script.default = replace(script.default, tokens=(500, 1500))
    one = moa.estimate_comparison(questions[:1], strategies, judge=B).most_usd
    whole = compare(questions, strategies, judge=B, path="whole.jsonl")
    wanted, calls, starts, finished, spent = len(script.asked), 0, 0, 0, 0.0
    while finished < 10:
        found = compare(questions, strategies, judge=B, budget_usd=1.6 * one)
        starts, calls = starts + 1, calls + len(script.asked)
        assert found.cost_usd - spent <= 1.6 * one
        spent, before, finished = found.cost_usd, finished, len(found.answers) // 2
        assert finished > before, "each start should get further"
        if finished < 10:
            assert f"{finished} of 10 questions" in str(found)
            assert "Start again with the same budget_usd to go on" in found.problem
    assert starts > 1
    assert standins.without_times(found).equals(standins.without_times(whole))
    assert calls == wanted


def test_a_budget_for_questions_of_many_prices_comes_to_an_end(compare):
    """Amounts that are set aside and freed again leave nothing behind, or it would be waited for for ever."""
    questions = [*offline.questions(), *("word " * size for size in (10, 700, 33, 2000, 4))]
    dearest = max(moa.estimate_comparison([each], {"single": A}).most_usd for each in questions)
    for times in (2.2, 3.0, 3.2):
        budget = times * dearest
        found = compare(questions, {"single": A}, path=f"{times}", max_concurrency=4, budget_usd=budget)
        assert len(found.answers) >= 2
        assert found.cost_usd <= budget


def test_a_call_that_failed_without_a_known_cost_is_booked_at_its_most(compare, script):
    one = moa.estimate_comparison(["Why?"], {"single": A}).most_usd
    script.default = breaks_off(tokens=None)
    options = {"budget_usd": 3.1 * one, "retries": 0, "max_concurrency": 1}
    found = compare([f"Why {n}?" for n in range(9)], {"single": A}, **options)
    assert len(found.answers) == 3
    assert "budget_usd does not cover" in found.problem


def test_a_budget_below_one_question(compare, script, question):
    found = compare([question], {"single": A}, budget_usd=1e-9)
    assert found.answers == ()
    for words in ("0 of 1 questions", "may cost", "Start again with a budget_usd above that"):
        assert words in str(found)
    assert not script.asked


def test_an_unknown_cost_is_not_shown_as_nothing(compare, question, capsys):
    found = compare([question], {"single": "openai:new"})
    assert found.cost_usd is None
    for text in (str(found), found._repr_html_(), found._repr_markdown_()):
        assert "unknown" in text
        assert "nan" not in text
    assert "1 of 1 questions · 1 calls made · unknown" in capsys.readouterr().err


def test_an_estimate_says_the_limits_that_it_is_made_for():
    for size in (100, 8000):
        assert moa.estimate_comparison(["Why?"], {"m": MIXTURE | {"max_tokens": size}}).max_tokens == size
    short = moa.estimate_comparison(["Why?"], {"a": A}, judge=B, max_tokens=100, answer_tokens=4000)
    assert (short.answer_tokens, short.max_tokens) == (100, 100)
    assert short == moa.estimate_comparison(["Why?"], {"a": A}, judge=B, max_tokens=100, answer_tokens=100)


# What is refused before any call: questions, strategies, options, and what is raised

ONE, SINGLE = ["Why?"], {"single": A}
BY_THE_ESTIMATE_TOO = [
    ("Why?", SINGLE, {}, ValueError, "given in a list"),
    ([], SINGLE, {}, ValueError, "is empty"),
    (["Why?", 7], SINGLE, {}, TypeError, "Question 2 must be a text"),
    ([moa.Question("a", "1?"), moa.Question("a", "2?")], SINGLE, {}, ValueError, "'a' appears twice"),
    ([moa.Question("a", "1?", 4)], SINGLE, {}, TypeError, "must be text, not int"),
    ([moa.Question([1], "1?")], SINGLE, {}, TypeError, "id of question 1 must be text"),
    (ONE, {}, {}, ValueError, "no strategy"),
    (ONE, [A], {}, TypeError, "as a mapping"),
    (ONE, {"x": 7}, {}, TypeError, "'x' must be a model's name"),
    (ONE, {NULL: A}, {}, ValueError, "is the name of the control"),
    (ONE, {"m": MIXTURE | {"depth": 3}}, {}, TypeError, "depth"),
    (ONE, {"m": {"reference_models": [A]}}, {}, TypeError, "'m' has no aggregator"),
    (ONE, {"m": MIXTURE | {"_check_only": True}}, {}, TypeError, "has '_check_only'"),
    (ONE, {"m": MIXTURE | {"max_tokens": "x"}}, {}, TypeError, "max_tokens must be"),
    (ONE, {"m": MIXTURE | {"max_tokens": 9}}, {"max_tokens": "x"}, TypeError, "max_tokens"),
    (ONE, {"m": MIXTURE | {"deadline": 1}}, {}, ValueError, "use timeout"),
    (ONE, {"m": MIXTURE | {"hedge_after": 1, "hedge_with": 5}}, {}, TypeError, "not by int"),
    (ONE, SINGLE, {"judge": 5}, TypeError, "judge is a model's name"),
    (ONE, SINGLE, {"judge": "gpt-7"}, moa.UnknownModel, "names no model"),
    (ONE, SINGLE, {"judge": [B, B]}, ValueError, "listed twice"),
    (ONE, SINGLE, {"judge": [[B]]}, TypeError, "not by list"),
    (ONE, SINGLE, {"null_checks": -1}, ValueError, "null_checks"),
]
HEDGED = MIXTURE | {"hedge_after": 1, "hedge_with": "openai:new"}
BY_COMPARE = [
    (["Why?", " "], SINGLE, {}, ValueError, "prompt is empty"),
    (["a\ud800b"], SINGLE, {}, ValueError, "lone surrogate"),
    (ONE, SINGLE | {"x": "gpt-7"}, {}, moa.UnknownModel, "names no model"),
    (ONE, {"m": MIXTURE | {"aggregator": "x:y"}}, {}, moa.UnknownModel, "names no model"),
    (ONE, {"m": MIXTURE | {"quorum": 4}}, {}, ValueError, "quorum is 4"),
    (["Why is the sky blue?", "Why? " * 3000], {"m": MIXTURE | {"budget_usd": 0.006}}, {}, ValueError, r"cost \$0.007"),
    (ONE, {"m": HEDGED}, {"budget_usd": 9}, ValueError, "no price is known for openai:new"),
    (ONE, {"x": "openai:new"}, {"budget_usd": 1}, ValueError, "no price is known for openai:new"),
    (["Why?", "Why? " * 100_000], {"x": B}, {"budget_usd": 9}, ValueError, "no price is known for anthropic"),
    (ONE, SINGLE, {"max_concurrency": 0}, ValueError, "max_concurrency"),
    (ONE, SINGLE, {"max_concurrency": None}, TypeError, "not None"),
    (ONE, SINGLE, {"budget_usd": -1}, ValueError, "budget_usd"),
    (ONE, SINGLE, {"timeout": -1}, ValueError, "timeout"),
]


def test_bad_input_is_refused_before_any_call(compare, script, tmp_path):
    for questions, strategies, options, kind, words in (*BY_THE_ESTIMATE_TOO, *BY_COMPARE):
        with pytest.raises(kind, match=words):
            compare(questions, strategies, **options)
        assert not script.asked
        assert not (tmp_path / "comparison.sqlite").exists()
    for questions, strategies, options, kind, words in BY_THE_ESTIMATE_TOO:
        with pytest.raises(kind, match=words):
            moa.estimate_comparison(questions, strategies, **options)


def test_bad_input_says_where(compare):
    with pytest.raises(ValueError, match="quorum") as caught:
        compare(["Why?"], {"m": MIXTURE | {"quorum": 4}})
    assert caught.value.__notes__ == ["(the strategy 'm')"]


def test_live_a_missing_key_is_refused_before_any_call(compare, script, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
    monkeypatch.setattr(CLIENT, lambda model: moa.connection(model.name))
    moa.setup("live")
    with pytest.raises(moa.MissingKey, match="MISTRAL_API_KEY"):
        compare(["Why?"], SINGLE, judge=C)
    assert not script.asked
    assert not (tmp_path / "comparison.sqlite").exists()


# Members, aggregators in turn, and conversations


def test_a_member_is_a_strategy_and_a_judge_of_its_own(compare, script):
    doubter, brief = moa.Member(A, system="Doubt it."), moa.Member(B, system="Be brief.")
    strategies = {"plain": A, "doubter": doubter, "moa": {"reference_models": [A, doubter], "aggregator": [brief, C]}}
    for path in ("first.sqlite", "second.sqlite", "second.sqlite"):
        found = compare(["Why?"], strategies, judge=[B, brief], null_checks=0, path=path, budget_usd=1)
        assert len({each.judge for each in found.judgements}) == 2
        assert found.judges == (B, f'{B} (system "Be brief.")')
    assert not script.asked
    changed = strategies | {"doubter": moa.Member(A, system="Believe it.")}
    compare(["Why?"], changed, path="second.sqlite")
    assert script.counts() == {A: 1}


def test_an_aggregator_that_failed_is_counted(compare, script):
    script[B] = fails(400, after=2)
    answered = compare(["Why?"], {"m": {"reference_models": [A], "aggregator": [B, C]}}).answers[0]
    assert (answered.outcome, answered.calls, answered.seconds) == ("complete", 3, pytest.approx(0.1 + 2 + 0.1))


def test_a_question_is_a_conversation(compare, script):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    talks = [*turns, {"role": "assistant", "content": "So."}, {"role": "user", "content": "Why is the sky blue?"}]
    questions = [moa.Question("one", turns), moa.Question("all", talks), moa.Question("text", "Why?")]
    assert moa.estimate_comparison(questions, {"a": A}, judge=B).calls
    first = compare(questions, {"a": A, "m": MIXTURE}, judge=B, null_checks=0, budget_usd=1)
    assert [each.outcome for each in first.answers] == ["ok", "complete"] * 3
    assert compare(questions, {"a": A, "m": MIXTURE}, judge=B, null_checks=0) == first
    assert not script.asked
    with pytest.raises(ValueError, match="must end with a message of the user"):
        compare([moa.Question("one", talks[:3])], {"a": A})
