"""What a judge is swayed by. The stand-in's own numbers are known, so they must be found again."""

import asyncio
import math
import re
from pathlib import Path

import pytest
from test_compare import MIXTURE, STRATEGIES, A, B, C

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.evaluation import measures
from moa_helpers.evaluation.comparison import NULL

SHORT = {"single": A, "other": C}
PADDING = (
    " That is what there is to say about it, and it is well worth keeping in mind whenever the question comes up." * 4
)


def verdicts(run, questions, pairs, judge):
    async def all_of_them():
        return await asyncio.gather(
            *[moa.judge(q.prompt, *pair, judge) for q, pair in zip(questions, pairs, strict=True)]
        )

    return run(all_of_them())


@pytest.fixture
def answers(compare):
    """Some questions and an answer to each by two models."""
    questions = offline.questions(8)
    found = compare(questions, SHORT)
    return questions, *([a.text for a in found.answers if a.strategy == name] for name in SHORT)


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


def test_the_length_bias_is_found_by_padding(run, answers):
    questions, texts, _ = answers
    found = verdicts(run, questions, [(text + PADDING, text) for text in texts], B)
    longer = [math.log((len(text) + len(PADDING)) / len(text)) for text in texts]
    pull = measures.preference(verdict.places for verdict in found)
    expected = offline.Judging().length * sum(longer) / len(longer)
    assert pull.low < expected < pull.high
    with offline.judging(length=0):
        none = measures.preference(v.places for v in verdicts(run, questions, [(t + PADDING, t) for t in texts], B))
    assert none.low < 0 < none.high


def test_length_control_takes_away_what_only_length_won(run, answers):
    """Answers that differ in nothing but padding; the judge likes length and nothing else."""
    questions, texts, _ = answers
    pairs = [(t + PADDING * (n % 4), t + PADDING * (n % 2)) for n, t in enumerate(texts)]
    with offline.judging(points=0, length=3, family=0, position=0):
        found = verdicts(run, questions, pairs, B)
    scores = [verdict.score for verdict in found]
    raw = measures.interval(scores)
    controlled = measures.at_equal_length(scores, [len(one) / len(other) for one, other in pairs])
    assert raw.says(0.5) == "above"
    assert controlled.says(0.5) == "no difference shown"


def test_a_judge_prefers_its_own_family_and_a_third_does_not(run, answers):
    questions, ours, theirs = answers
    pairs = list(zip(ours, theirs, strict=True))
    scores = {judge: [v.score for v in verdicts(run, questions, pairs, judge)] for judge in (A, B, C)}
    assert measures.difference(scores[A], scores[C]).says() == "above"
    assert measures.interval(scores[A]).value > measures.interval(scores[B]).value > measures.interval(scores[C]).value


def test_a_null_answer_loses(compare):
    found = compare(offline.questions(3), {"single": A}, judge=B, null_checks=30)
    assert found.judges_table().null_lost[B] >= 0.9
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("sways", "words"),
    [
        ({"position": 1000}, r"broken: in 10 of 10 pairs it chose the place, not the answer"),
        ({"position": -1000}, r"broken: in 10 of 10 pairs"),
        ({"points": -2}, "doubtful: only .* say nothing lost"),
    ],
)
def test_a_broken_judge_is_reported(sways, words, compare):
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
    return moa.Comparison(
        ("single", "moa"),
        (B,),
        len(pairs),
        (),
        (*pairs, *(moa.Judged(str(n), NULL, B, (1, 1), score, 0.0) for n, score in enumerate(nulls))),
        Path("x"),
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (judgements(*[(1, 2), (2, 1)] * 10), "usable"),
        (judgements(*[(1, 2), (2, 1)] * 10, nulls=[0] * 19 + [1]), "usable"),
        (judgements(*[(1, 1)] * 20, nulls=[0] * 20), "broken: in 20 of 20 pairs"),
        (
            judgements(*[(1, 1), (1, 2)] * 10, nulls=[0] * 20),
            "doubtful on these answers: it stayed with one in 10 of 20",
        ),
        (judgements(*[(0, 0)] * 20), "doubtful: it never stayed"),
        (judgements(*[(0, 1)] * 20), "doubtful: it never stayed"),
        (judgements(*[(1, 2)] * 20, nulls=[0] * 15 + [None] * 5), "usable"),
        (judgements(*[(1, 2)] * 20, nulls=[0] * 15 + [1] * 5), "doubtful: only 75%"),
        (judgements(nulls=[0] * 5), "usable"),
        (judgements(), "nothing was judged"),
    ],
)
def test_the_verdict_on_a_judge(found, verdict):
    assert found.judges_table().verdict[B].startswith(verdict)


# The verdict follows what the stand-ins know


@pytest.mark.parametrize(
    ("world", "right", "wrong"),
    [
        ({}, "above", "above"),
        ({"alike": 1}, "no difference shown", "no difference shown"),
        ({"recall": {A: 0.9}, "credulity": {A: 0.0}}, "no difference shown", "above"),
    ],
)
def test_the_verdict_flips_with_the_knowledge(world, right, wrong, compare):
    strategies = {"self-moa": STRATEGIES["self-moa"], "moa": MIXTURE}
    with offline.knowledge(**world):
        found = compare(offline.questions(6), strategies)
    for what, verdict in (("points_share", right), ("points_wrong", wrong)):
        change = measures.difference(found.values("moa", what), found.values("self-moa", what))
        assert change.says() == verdict, (what, change)


@pytest.mark.parametrize(("known", "kind"), [(0, TypeError), ("  ", ValueError)])
def test_a_known_answer_that_says_nothing_is_refused(known, kind, run, vendors, question):
    with pytest.raises(kind, match="known"):
        run(moa.judge(question, "One.", "Two.", B, known=known))
    assert not vendors.asked


def test_without_a_judge_the_table_has_the_same_columns(compare, question):
    table = compare([question], {"single": A}).judges_table()
    assert table.empty
    assert list(table.columns) == list(compare([question], {"single": A}, judge=B).judges_table().columns)
