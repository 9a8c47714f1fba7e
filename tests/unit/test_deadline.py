"""Limits of time: of an attempt, of a call, of a fan-out, of each stage of a mixture, and the caller's own."""

import asyncio

import pytest

import moa_helpers as moa
from tests.support import clock
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, fails, hangs


def test_a_deadline_ends_all_and_keeps_what_had_arrived(script, run, question):
    script[HAIKU], script[SMALL] = hangs(), hangs("Because the air", after=1)
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL], question, deadline=2, timeout=30))
    assert [reply.failure and reply.failure.kind for reply in replies] == [None, "deadline", "deadline"]
    assert [reply.text for reply in replies] == ["gpt-6-luna says 0.", "", "Because the air"]
    assert [reply.elapsed for reply in replies] == pytest.approx([1.2, 2, 2])
    assert [reply.ttft for reply in replies] == [pytest.approx(1), None, pytest.approx(1)]
    assert script.hows() == ["done", "cancelled", "cancelled"]
    assert (replies[2].cost_usd, replies[2].least_usd) == (None, pytest.approx(moa.find(SMALL).cost(100, 0)))


@pytest.mark.parametrize(
    ("timeout", "deadline", "kind", "elapsed"),
    [
        (3, None, "timeout", 3),
        (3, 4, "timeout", 3),
        (3, 3, "timeout", 3),
        (3, 2, "deadline", 2),
        (30, 0.01, "deadline", 0.01),
    ],
)
def test_whichever_comes_first(timeout, deadline, kind, elapsed, script, run, question):
    script[LUNA] = hangs()
    reply = run(moa.ask(LUNA, question, timeout=timeout, deadline=deadline, retries=0))
    assert (reply.failure.kind, reply.elapsed) == (kind, pytest.approx(elapsed))
    assert f"raise {kind}=" in reply.failure.message


def test_a_deadline_is_for_all_attempts_and_the_pauses_between_them(script, run, question):
    script[LUNA] = [fails(429, after=1, retry_after=2), fails(503, after=1, retry_after=1), hangs()]
    reply = run(moa.ask(LUNA, question, deadline=6, timeout=4, retries=5))
    assert [attempt.started for attempt in reply.attempts] == pytest.approx([0, 3, 5])
    assert (reply.failure.kind, reply.elapsed) == ("deadline", pytest.approx(6)), "of its 4 s, only one was left"


def test_no_retry_is_paused_for_that_the_deadline_would_forbid(script, run, question):
    script.default = fails(500, after=0.25)
    (*replies,) = run(moa.fan_out([LUNA] * 30, question, deadline=20, retries=500))
    for reply in replies:
        assert 2 < len(reply.attempts) < 80
        assert reply.failure.kind == "server_error" or reply.elapsed == pytest.approx(20)
        assert reply.elapsed <= 20 + 1e-9
        if reply.elapsed < 20 - 1e-9:
            assert reply.failure.message.endswith(" s, and the deadline comes first.")


def test_a_call_that_waits_in_line_until_the_deadline_is_never_made(script, run, question):
    script.default = hangs()
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL], question, deadline=1.5, max_concurrency=1))
    assert [reply.failure.kind for reply in replies] == ["deadline"] * 3
    assert [len(reply.attempts) for reply in replies] == [1, 0, 0]
    assert script.counts() == {LUNA: 1}
    assert [reply.cost_usd for reply in replies] == [None, 0, 0], "only of the one that was made it is unknown"


def test_time_in_line_counts_for_the_deadline_and_for_no_time_out(script, run, question):
    script.default = answers("Two seconds.", after=2, per_piece=0)
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL], question, deadline=5, timeout=2.5, max_concurrency=1))
    assert [reply.failure and reply.failure.kind for reply in replies] == [None, None, "deadline"]
    assert [(reply.elapsed, asked.at) for reply, asked in zip(replies, script.asked, strict=True)] == [
        (pytest.approx(2), pytest.approx(0)),
        (pytest.approx(2), pytest.approx(2)),
        (pytest.approx(1), pytest.approx(4)),
    ]


def test_each_stage_of_a_mixture_has_the_whole_deadline(script, run, question):
    script[LUNA], script[HAIKU] = answers(after=1.5), [answers("Quick."), hangs("Too", after=0.5)]
    script[SOL] = hangs("The sky", after=1)
    answer = run(moa.mixture_of_agents(question, [LUNA, HAIKU], SOL, layers=3, deadline=3, timeout=30))
    assert script.times() == pytest.approx([0, 0, 1.7, 1.7, 4.7])
    assert [reply.failure and reply.failure.kind for reply in answer.layers[1]] == [None, "deadline"]
    assert (answer.outcome, answer.text) == ("aggregator_failed", "")
    assert (answer.aggregator.failure.kind, answer.aggregator.text) == ("deadline", "The sky")
    assert answer.elapsed == pytest.approx(7.7)


def limited_by_timeout(coroutine):
    async def limited():
        async with asyncio.timeout(2):
            await coroutine

    return limited()


@pytest.mark.parametrize("limit", [limited_by_timeout, lambda coroutine: asyncio.wait_for(coroutine, 2)])
@pytest.mark.parametrize(
    "call",
    [
        lambda: moa.ask(SMALL, "Why?"),
        lambda: moa.fan_out([LUNA, SMALL], "Why?"),
        lambda: moa.mixture_of_agents("Why?", [LUNA, SMALL], SOL),
    ],
)
def test_the_callers_own_limit_of_time_carries_the_replies(limit, call, script, run):
    async def caught():
        with pytest.raises(TimeoutError) as caught:
            await limit(call())
        return caught.value.__context__.replies  # up to Python 3.11.2 asyncio.timeout sets no __cause__

    script[SMALL] = hangs("Half an", after=1)
    *others, reply = run(caught())
    assert [reply.text for reply in others] in ([], ["gpt-6-luna says 0."])
    assert (reply.text, reply.abandoned, reply.elapsed) == ("Half an", True, pytest.approx(2))
    assert script.hows(SMALL) == ["cancelled"]


def test_a_thousand_calls_that_are_slow_to_begin_keep_their_deadline(script, run, question):
    """An SDK blocks the loop for 15 ms a call: fifteen seconds, if all of them began in one turn."""

    def slow_to_begin(request):
        asyncio.get_running_loop().jumping.now += 0.015
        return answers("Yes.", after=0.5)

    async def timed(limits):
        return await moa.fan_out([LUNA] * 1000, question, **limits), clock.now()

    script[LUNA] = slow_to_begin
    for limits, kind in (({"deadline": 3}, "deadline"), ({"quorum": 50}, "cancelled")):
        replies, seconds = run(timed(limits))
        assert seconds < 3.02
        assert len(replies.good) >= 50, "what had arrived in time was read in time"
        assert {reply.failure.kind for reply in replies if not reply.ok} == {kind}


def test_calls_of_their_own_keep_theirs_too(script, run, question):
    def slow_to_begin(request):
        asyncio.get_running_loop().jumping.now += 0.015
        return hangs()

    async def timed():
        replies = await asyncio.gather(*(moa.ask(LUNA, question, deadline=2) for _ in range(500)))
        return {reply.failure.kind for reply in replies}, clock.now()

    script[LUNA] = slow_to_begin
    kinds, seconds = run(timed())
    assert kinds == {"deadline"}
    assert seconds < 2.02
