"""What a judge is swayed by. The stand-in's own numbers are known, so they must be found again."""

import asyncio
import math
import re
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import answers, fails

measures = moa.measures
MIXTURE = {"reference_models": MODELS, "aggregator": A}
SHORT = {"single": A, "other": C}
PADDING = (
    " That is what there is to say about it, and it is well worth keeping in mind whenever the question comes up." * 4
)


@pytest.fixture
def compare(run, monkeypatch, script):
    return standins.comparing(run, monkeypatch, script)


@pytest.fixture
def answered(compare):
    """Some questions and an answer to each by two models."""
    questions = offline.questions(8)
    found = compare(questions, SHORT)
    return questions, *([a.text for a in found.answers if a.strategy == name] for name in SHORT)


def verdicts(run, questions, pairs, judge):
    async def all_of_them():
        each = [moa.judge(q.prompt, *pair, judge) for q, pair in zip(questions, pairs, strict=True)]
        return await asyncio.gather(*each)

    return run(all_of_them())


def scores(run, questions, pairs, judge):
    return [verdict.score for verdict in verdicts(run, questions, pairs, judge)]


# One verdict


def test_a_judge_is_asked_in_both_orders(run, script, question):
    """The place that it chose in each order, and what they come to."""
    for said, places, score, words in (
        (["1", "2"], (1, 2), 1.0, "one"),
        (["2", "1"], (2, 1), 0.0, "other"),
        (["1", "1"], (1, 1), 0.5, "a tie"),
        (["0", "2"], (0, 2), 0.5, "a tie"),
        (["1", "Well."], (1, None), None, "unknown"),
    ):
        script[B] = [answers(each) for each in said]
        found = run(moa.judge(question, "First text.", "Second text.", B, known="It scatters."))
        assert (found.places, found.score) == (places, score)
        assert f"{B} prefers: {words}" in str(found)
        one, other = (asked.request for asked in script.asked)
        assert one.system.index("First text.") < one.system.index("Second text.")
        assert other.system.index("Second text.") < other.system.index("First text.")
        assert "It scatters." in one.system
        assert one.role == other.role == "judge"
        assert [reply.text for reply in found.replies] == said


def test_a_judgement_that_failed_is_none(run, script, question):
    script[B] = [fails(400), answers("1")]
    found = run(moa.judge(question, "One.", "Two.", B))
    assert (found.places, found.score) == ((None, 1), None)
    assert "no judgement" in str(found)


def test_equal_texts_are_a_draw_without_a_call(run, script, question):
    found = run(moa.judge(question, "Same. ", "Same.", B))
    assert (found.places, found.score, found.replies) == ((0, 0), 0.5, moa.Replies())
    assert not script.asked


def test_what_says_nothing_is_refused(run, script, question):
    for options, kind, words in (
        ({"known": 0}, TypeError, "known"),
        ({"known": "  "}, ValueError, "known"),
        ({"one": None}, TypeError, "one must be an answer's text"),
        ({"model": "gpt-7"}, moa.UnknownModel, "names no model"),
        ({"prompt": " "}, ValueError, "prompt is empty"),
        ({"max_tokens": "x"}, TypeError, "max_tokens"),
        ({"timeout": -1}, ValueError, "timeout"),
    ):
        with pytest.raises(kind, match=words):
            run(moa.judge(**{"prompt": question, "one": "One.", "other": "Two.", "model": B} | options))
    assert not script.asked


# What sways a judge, found again


def test_the_swap_finds_the_position_bias(compare):
    found = compare(offline.questions(12), SHORT, judge=B, null_checks=0)
    row = found.judges_table().loc[B]
    truth = offline.Judging().position
    assert row.position_bias_low < truth < row.position_bias_high
    assert row.position_bias_low > 0, "with so many questions it must be clear that there is one"
    first = [each.places[0] for each in found.judgements if each.places]
    with offline.judging(position=-truth):
        turned = compare(offline.questions(12), SHORT, judge=B, null_checks=0).judges_table().loc[B]
        assert turned.position_bias_low < -truth < turned.position_bias_high
    assert first.count(1) > first.count(2), "in one order alone, the first place wins"


def test_the_length_bias_is_found_by_padding(run, answered):
    questions, texts, _ = answered
    pairs = [(text + PADDING, text) for text in texts]
    found = verdicts(run, questions, pairs, B)
    longer = [math.log((len(text) + len(PADDING)) / len(text)) for text in texts]
    pull = measures.preference(verdict.places for verdict in found)
    expected = offline.Judging().length * sum(longer) / len(longer)
    assert pull.low < expected < pull.high
    with offline.judging(length=0):
        none = measures.preference(verdict.places for verdict in verdicts(run, questions, pairs, B))
    assert none.low < 0 < none.high


def test_length_control_takes_away_what_only_length_won(run, answered):
    """Answers that differ in nothing but padding; the judge likes length and nothing else."""
    questions, texts, _ = answered
    pairs = [(t + PADDING * (n % 4), t + PADDING * (n % 2)) for n, t in enumerate(texts)]
    with offline.judging(points=0, length=3, family=0, position=0):
        found = scores(run, questions, pairs, B)
    raw = measures.interval(found)
    controlled = measures.at_equal_length(found, [len(one) / len(other) for one, other in pairs])
    assert raw.says(0.5) == "above"
    assert controlled.says(0.5) == "no difference shown"


def test_a_judge_prefers_its_own_family_and_a_third_does_not(run, answered):
    questions, *texts = answered
    pairs = list(zip(*texts, strict=True))
    by = {judge: scores(run, questions, pairs, judge) for judge in MODELS}
    assert measures.difference(by[A], by[C]).says() == "above"
    assert measures.interval(by[A]).value > measures.interval(by[B]).value > measures.interval(by[C]).value


def test_a_null_answer_loses(compare):
    found = compare(offline.questions(3), {"single": A}, judge=B, null_checks=30)
    assert found.judges_table().null_lost[B] >= 0.9
    assert found.warnings == ()


def test_a_broken_judge_is_reported(compare):
    chose = r"broken: in 10 of 10 pairs it chose the place, not the answer"
    for sways, words in (({"position": 1000}, chose), ({"position": -1000}, chose), ({"points": -2}, "say nothing")):
        with offline.judging(**sways):
            found = compare(offline.questions(), {"single": A, "moa": MIXTURE}, judge=B, null_checks=8)
        assert found.judges_table().pairs[B] == 10
        (warning,) = found.warnings
        assert warning.startswith(B)
        assert pytest.approx(0.5) == found.win_rate("moa").value or "broken" not in warning
        assert re.search(words, warning), warning
        assert warning in str(found)


def judgements(*places, nulls=()):
    pairs = [moa.Judged(str(n), "moa", B, each, moa.Verdict(B, each, ()).score, 0.0) for n, each in enumerate(places)]
    controls = [moa.Judged(str(n), "null answer", B, (1, 1), score, 0.0) for n, score in enumerate(nulls)]
    return moa.Comparison(("single", "moa"), (B,), len(pairs), (), (*pairs, *controls), Path("x"))


def test_the_verdict_on_a_judge():
    nulls = [0] * 20
    for found, verdict in (
        (judgements(*[(1, 2), (2, 1)] * 10), "usable"),
        (judgements(*[(1, 2), (2, 1)] * 10, nulls=[0] * 19 + [1]), "usable"),
        (judgements(*[(1, 1)] * 20, nulls=nulls), "broken: in 20 of 20 pairs"),
        (judgements(*[(1, 1), (1, 2)] * 10, nulls=nulls), "doubtful on these answers: it stayed with one in 10 of 20"),
        (judgements(*[(0, 0)] * 20), "doubtful: it never stayed"),
        (judgements(*[(0, 1)] * 20), "doubtful: it never stayed"),
        (judgements(*[(1, 2)] * 20, nulls=[0] * 15 + [None] * 5), "usable"),
        (judgements(*[(1, 2)] * 20, nulls=[0] * 15 + [1] * 5), "doubtful: only 75%"),
        (judgements(nulls=[0] * 5), "usable"),
        (judgements(), "nothing was judged"),
    ):
        assert found.judges_table().verdict[B].startswith(verdict)
        assert bool(found.warnings) is (verdict != "usable")


def test_the_verdict_flips_with_the_knowledge(compare):
    """What a comparison concludes follows from what the stand-ins know."""
    none = "no difference shown"
    strategies = {"self-moa": {"reference_models": [A] * 3, "aggregator": A}, "moa": MIXTURE}
    for world, right, wrong in (
        ({}, "above", "above"),
        ({"alike": 1}, none, none),
        ({"recall": {A: 0.9}, "credulity": {A: 0.0}}, none, "above"),
    ):
        with offline.knowledge(**world):
            found = compare(offline.questions(6), strategies)
        for what, verdict in (("points_share", right), ("points_wrong", wrong)):
            change = measures.difference(found.values("moa", what), found.values("self-moa", what))
            assert change.says() == verdict, (world, what, change)
