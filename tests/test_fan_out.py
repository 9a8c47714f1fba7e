"""Many calls at once: order, concurrency, quorum, deadline, cancellation, and several samples of one model."""

import asyncio
import time
from contextlib import ExitStack

import pytest
from conftest import two_ended, under_way_until

import moa_helpers as moa
from moa_helpers import offline


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_replies_come_in_the_order_asked(order, models, question, run):
    asked = [models[place] for place in order]
    replies = run(moa.fan_out(asked, question))
    assert [reply.model for reply in replies] == asked
    assert [reply.answered_by for reply in replies] == [model.partition(":")[2] for model in asked]


def test_order_holds_when_the_first_is_the_slowest(models, question, run):
    with offline.fault("openai", 429, retry_after=1, times=1):
        replies = run(moa.fan_out(models, question))
    assert [reply.model for reply in replies] == models
    assert replies[0].elapsed > max(replies[1].elapsed, replies[2].elapsed)
    assert all(reply.ok for reply in replies)


def test_calls_really_run_at_once(models, question, vendors, streams, run, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 4)
    start = time.perf_counter()
    replies = run(moa.fan_out(models * 3, question))
    elapsed = time.perf_counter() - start
    assert len(replies.good) == streams["all"] == 9
    assert elapsed < 0.6 * sum(reply.elapsed for reply in replies)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_limit_on_concurrency_is_held(limit, models, question, streams, run):
    replies = run(moa.fan_out(models * 2, question, max_concurrency=limit))
    assert len(replies.good) == 6
    assert streams["all"] == limit
    begins_and_ends = sorted(
        (moment, step)
        for reply in replies
        for moment, step in ((reply.started, 1), (reply.started + reply.elapsed, -1))
    )
    together = 0
    for _, step in begins_and_ends:
        together += step
        assert together <= limit


@pytest.mark.parametrize("quorum", [1, 2])
def test_a_quorum_cancels_the_rest_and_keeps_what_had_arrived(quorum, models, question, run):
    with ExitStack() as faults:
        for model in models[quorum:]:
            faults.enter_context(offline.fault(model, "stalled_stream"))
        for model in models[:quorum]:  # late, so that the others have written something by then
            faults.enter_context(offline.fault(model, 429, retry_after=1.2, times=1))
        replies = run(moa.fan_out(models, question, quorum=quorum, timeout=30))
    assert [reply.ok for reply in replies] == [place < quorum for place in range(3)]
    for reply in replies[quorum:]:
        assert reply.failure.kind == "cancelled"
        assert reply.text, "what had arrived was lost"
        assert (reply.finish_reason, reply.cost_usd) == (None, None)


def test_a_quorum_counts_good_answers_only(models, question, run):
    late = offline.fault("anthropic", 429, retry_after=1.2, times=2)
    with offline.fault("openai", 401), offline.fault("mistral", "empty"), late:
        replies = run(moa.fan_out([*models, models[1]], question, quorum=2))
    assert [reply.failure and reply.failure.kind for reply in replies] == ["authentication", None, "empty", None]


def test_a_deadline_ends_all_and_keeps_what_had_arrived(models, question, run):
    with offline.fault("anthropic", "hang"), offline.fault("mistral", "stalled_stream"):
        replies = run(moa.fan_out(models, question, deadline=2, timeout=30))
    assert [reply.failure and reply.failure.kind for reply in replies] == [None, "deadline", "deadline"]
    assert replies[1].text == ""
    assert replies[2].text, "what had arrived was lost"
    assert replies[2].ttft is not None
    assert max(reply.elapsed for reply in replies) < 10


def test_a_call_that_waits_in_line_until_the_deadline_is_never_made(models, question, vendors, run):
    with offline.fault("*", "hang"):
        replies = run(moa.fan_out(models, question, deadline=1.5, max_concurrency=1))
    assert {reply.failure.kind for reply in replies} == {"deadline"}
    assert [len(reply.attempts) for reply in replies] == [1, 0, 0]
    assert vendors.asked == {models[0]: 1}
    assert [reply.cost_usd for reply in replies] == [None, 0, 0]  # only of the one that was made it is unknown


def test_cancellation_ends_every_call_and_carries_the_replies(models, question, run):
    async def give_up():
        task = await under_way_until(two_ended, moa.fan_out(models, question, timeout=30))
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return caught.value.replies

    with offline.fault("mistral", "hang"):
        replies = run(give_up())
    assert isinstance(replies, moa.Replies)
    assert [reply.model for reply in replies] == models
    assert [reply.failure and reply.failure.kind for reply in replies] == [None, None, "cancelled"]
    assert replies[0].text
    assert replies[0].cost_usd > 0


def test_a_time_limit_around_it_carries_the_replies_too(models, question, run):
    async def limited():
        async with asyncio.timeout(None) as limit:
            task = await under_way_until(two_ended, moa.fan_out(models, question, timeout=30))
            limit.reschedule(0)
            await task

    with offline.fault("openai", "hang"), pytest.raises(TimeoutError) as caught:
        run(limited())
    # Up to Python 3.11.2 asyncio.timeout sets no __cause__.
    assert [reply.ok for reply in caught.value.__context__.replies] == [False, True, True]


def test_a_cancelled_wait_between_attempts(models, question, vendors, run):
    async def give_up():
        pauses = lambda live: any(call.state == "pausing" for call in live.calls)  # noqa: E731
        task = await under_way_until(pauses, moa.ask(models[0], question))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    with offline.fault("openai", 429, retry_after=20):
        assert run(give_up())
    assert vendors.asked.total() == 1


@pytest.mark.parametrize("place", range(3))
def test_the_same_model_several_times_gives_different_samples_repeatably(place, models, question, run):
    first, again = (run(moa.fan_out([models[place]] * 3, question)) for _ in range(2))
    texts = [reply.text for reply in first]
    assert len(set(texts)) == 3
    assert [reply.text for reply in again] == texts
    assert run(moa.ask(models[place], question)).text == texts[0]


def test_a_sample_does_not_depend_on_its_neighbours(models, question, run):
    luna = models[0]
    alone = [reply.text for reply in run(moa.fan_out([luna, luna], question))]
    among = run(moa.fan_out([models[1], luna, models[2], luna], question))
    assert [among[1].text, among[3].text] == alone


def test_replies_show_how_many_answered(models, question, run):
    with offline.fault("mistral", 503):
        replies = run(moa.fan_out(models, question, retries=0))
    assert str(replies).startswith("2 of 3 answered · $0.000107 · offline stand-ins")
    assert replies.good == (replies[0], replies[1])
    assert list(replies.table()["outcome"]) == ["ok", "ok", "overloaded"]
    assert models[2] in replies.timeline().alt
