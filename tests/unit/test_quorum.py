"""Enough answers are enough: a quorum, the grace after it, and what is not sent once the result is decided."""

import pytest

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, SOL, answers, fails, hangs


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_a_quorum_stops_the_rest_and_keeps_what_had_arrived(quorum, script, run, question):
    script[LUNA], script[HAIKU] = answers("First one.", after=2), answers("The second one.", after=3)
    script[SMALL] = answers("The third comes last.", after=1, per_piece=1)
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL], question, quorum=quorum))
    assert [reply.ok for reply in replies] == [number <= quorum for number in (1, 2, 3)]
    ended = {1: 2.1, 2: 3.2, 3: 4}[quorum]
    assert max(reply.elapsed for reply in replies) == pytest.approx(ended)
    assert replies[2].text == {1: "The third ", 2: "The third comes ", 3: "The third comes last."}[quorum]
    for reply in replies[quorum:]:
        assert (reply.failure.kind, reply.abandoned, reply.finish_reason) == ("cancelled", True, None)
        assert (reply.cost_usd, reply.elapsed) == (None, pytest.approx(ended))
    assert script.hows() == ["done" if reply.ok else "cancelled" for reply in replies]
    assert replies.slowest is replies[quorum - 1]


def test_a_quorum_counts_good_answers_only(script, run, question):
    script[LUNA], script[SMALL] = fails(401), answers("")
    script[HAIKU] = [answers(after=4), answers(after=5), hangs()]
    replies = run(moa.fan_out([LUNA, SMALL, HAIKU, HAIKU, HAIKU], question, quorum=2))
    assert [reply.failure and reply.failure.kind for reply in replies] == [
        "authentication",
        "empty",
        None,
        None,
        "cancelled",
    ]
    assert replies[4].elapsed == replies[3].elapsed == pytest.approx(5.2)


def test_a_quorum_that_cannot_be_reached_waits_for_all(script, run, question):
    script[LUNA], script[SMALL] = fails(401), answers(after=9)
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL], question, quorum=3))
    assert [reply.ok for reply in replies] == [False, True, True]


def test_answers_of_the_same_moment_all_count(script, run, question):
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL, OSS], question, quorum=2))
    assert len(replies.good) == 4


@pytest.mark.parametrize(
    ("grace", "good", "ended"), [(0, [1], 1.2), (2, [1, 3], 3.2), (4.5, [1, 3, 5], 5.7), (30, [1, 3, 5, 7], 7.2)]
)
def test_within_the_grace_late_answers_still_count(grace, good, ended, script, run, question):
    script[LUNA] = [answers("Late again yes.", after=seconds) for seconds in (5, 1, 7, 3)]
    replies = run(moa.fan_out([LUNA] * 4, question, quorum=1, grace=grace))
    assert [seconds for reply, seconds in zip(replies, (5, 1, 7, 3), strict=True) if reply.ok] == sorted(
        good, key=[5, 1, 7, 3].index
    )
    assert max(reply.elapsed for reply in replies) == pytest.approx(ended)


def test_the_grace_begins_with_the_quorum_and_no_later_answer_prolongs_it(script, run, question):
    script[LUNA] = [answers("Yes.", after=seconds) for seconds in (1, 2, 3, 4, 5, 6)]
    replies = run(moa.fan_out([LUNA] * 6, question, quorum=2, grace=2.5))
    assert [reply.ok for reply in replies] == [True] * 4 + [False] * 2
    assert replies[5].elapsed == pytest.approx(4.5)
    assert replies.slowest is replies[3]
    assert "0.50 s of 4.50 s waited for calls that gave nothing by then" in replies.timeline().alt


def test_within_the_grace_a_retry_may_still_be_made(script, run, question):
    script[HAIKU] = [fails(503, after=2, retry_after=1), answers("At last.")]
    replies = run(moa.fan_out([LUNA, HAIKU], question, quorum=1, grace=5))
    assert [reply.ok for reply in replies] == [True, True]
    assert script.times(HAIKU) == pytest.approx([0, 3])


@pytest.mark.parametrize("options", [{"quorum": 1}, {"hedge_after": 0.25}, {"hedge_after": 0.25, "quorum": 1}])
def test_no_request_is_sent_once_the_result_is_decided(options, script, run, question):
    """A place comes free in the moment between the last answer that was needed and the end."""
    run(moa.fan_out([LUNA] * (3 if "quorum" in options else 1), question, max_concurrency=1, **options))
    assert script.counts() == {LUNA: 1}


def test_the_deadline_ends_a_grace(script, run, question):
    script[SMALL] = hangs()
    replies = run(moa.fan_out([LUNA, SMALL], question, quorum=1, grace=30, deadline=5))
    assert (replies[1].failure.kind, replies[1].elapsed) == ("deadline", pytest.approx(5))


def test_a_quorum_is_for_each_layer_of_a_mixture(script, run, question):
    script[SMALL] = hangs("Half an")
    answer = run(moa.mixture_of_agents(question, [LUNA, SMALL, HAIKU], SOL, layers=3, quorum=2, grace=0.5))
    assert [[reply.ok for reply in layer] for layer in answer.layers] == [[True, False, True]] * 2
    assert script.times(SOL) == pytest.approx([3.4])
    assert (answer.outcome, answer.quorum) == ("partial", 2)
    assert f"{SMALL} stopped after 1.70 s" in answer.heading
    assert [reply.model for reply in answer.critical_path][-1] == SOL


@pytest.mark.parametrize(("models", "quorum"), [([LUNA], 2), ([LUNA, HAIKU], 3)])
def test_a_quorum_above_the_number_of_models_is_refused(models, quorum, script, run, question):
    for call in (
        moa.fan_out(models, question, quorum=quorum),
        moa.mixture_of_agents(question, models, SOL, quorum=quorum),
        moa.mixture_of_agents(question, None, SOL, layers=[[LUNA] * 3, models], quorum=quorum),
    ):
        with pytest.raises(ValueError, match=f"quorum is {quorum}, but only {len(models)} models are asked"):
            run(call)
    assert not script.asked
