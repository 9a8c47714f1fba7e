"""Cancelled at every turn of the loop, once or several times: it ends, leaves nothing behind, and loses nothing."""

import asyncio
import random
from contextlib import aclosing

import anyio
import pytest

import moa_helpers as moa
from tests.support import clock, standins
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, breaks_off, fails, hangs

WHY = "Why?"
CLOSING = 0.125  # seconds that a stream takes to close; a cancellation meanwhile would leave it open


def one_call(script):
    script[LUNA] = [fails(429, after=0.1, retry_after=0.3), answers("One two three.", after=0.1, closing=CLOSING)]
    return moa.ask(LUNA, WHY)


def three_at_once(script):
    script[LUNA] = [answers("In good time.", after=0.3), hangs("Half an", after=0.2, closing=CLOSING)]
    script[HAIKU] = [breaks_off("Half an", after=0.1), answers("Late.", after=0.1, closing=CLOSING)]
    return moa.fan_out([LUNA, LUNA, HAIKU], WHY, timeout=0.7, retries=1, max_concurrency={"openai": 1})


def second_requests(script):
    script[LUNA] = [hangs("Half an", after=0.1, closing=CLOSING)]
    script[SMALL] = [answers("Slow and good.", after=0.6)]
    script[HAIKU] = [answers("In its place.", after=0.3), hangs("Half", after=0.1, closing=CLOSING)]
    return moa.fan_out([LUNA, SMALL], WHY, hedge_after=0.25, hedge_with=HAIKU, max_calls=4, timeout=5)


def quorum_and_grace(script):
    script[LUNA], script[HAIKU] = answers("First.", after=0.2), answers("Second of them.", after=0.2)
    script[SMALL] = hangs("Never", after=0.3, closing=CLOSING)
    return moa.fan_out([LUNA, SMALL, HAIKU, SMALL], WHY, quorum=2, grace=0.3, max_concurrency=3)


def three_layers(script):
    script[LUNA], script[HAIKU] = answers("One.", after=0.1), answers("Two.", after=0.2, closing=CLOSING)
    script[SOL] = [breaks_off("Half", after=0.1), answers("All of it.", after=0.1)]
    return moa.mixture_of_agents(WHY, [LUNA, HAIKU], SOL, layers=3, retries=1, max_calls=6, shuffle_seed=1)


def a_ranker(script):
    script[LUNA], script[SOL] = answers("One.", after=0.2), answers("2", after=0.2)
    return moa.mixture_of_agents(WHY, [LUNA, LUNA], SOL, pick=True, robust=True)


async def a_stream(script):
    """Read by whoever leaves the loop at once when cancelled."""
    async with aclosing(moa.stream_mixture(WHY, [LUNA, HAIKU], SOL, hedge_after=0.2, timeout=5)) as events:
        script[LUNA] = [hangs("Half", after=0.1, closing=CLOSING), answers("One.", after=0.1)]
        async for event in events:
            if isinstance(event, moa.MixtureDone):
                answer = event.answer
    return answer


def a_panel(script):
    return moa.watch(three_layers(script))


def a_comparison(script):
    script[LUNA], script[HAIKU] = answers("One.", after=0.1), hangs("Half", after=0.2, closing=CLOSING)
    mixture = {"reference_models": [LUNA, HAIKU], "aggregator": SOL, "quorum": 1, "grace": 0.2}
    return moa.compare([WHY], {"single": LUNA, "mixture": mixture})


SCENARIOS = [one_call, three_at_once, second_requests, quorum_and_grace, three_layers, a_ranker, a_stream]


def turns_of(scenario, script, run):
    """How many turns the loop makes for it, if nobody cancels it."""
    made = []
    random.seed(1)  # of the backoff: the same turns each time
    run(scenario(script), on_turn=lambda number, task: made.append(number))
    return len(made)


def cancelled_at(turns, scenario, script, run):
    """Cancel it at each of these turns: what it gave or carried, whether it gave it, and how long it took to end."""
    first = []
    random.seed(1)

    def cancel(number, task):
        if number in turns:
            first.append(task.get_loop().time())
            task.cancel()

    async def caught():
        try:
            result = await scenario(script)
        except asyncio.CancelledError as error:
            assert first, "nobody cancelled it"
            return error.replies, False, clock.now() + clock.START - first[0]
        replies = result.replies if isinstance(result, moa.Answer) else result
        return moa.Replies([replies]) if isinstance(replies, moa.Reply) else replies, True, 0.0

    return run(caught(), on_turn=cancel)


def check(replies, whole, seconds, script):
    """What holds whenever it was cancelled; that no task and no stream is left is seen by ``run``."""
    assert isinstance(replies, moa.Replies)
    assert seconds <= CLOSING + 1e-9, "it ends as soon as its streams are closed"
    assert "left open" not in script.hows()
    known = [other for reply in replies for other in (reply, *reply.hedged)]
    texts = [reply.text for reply in known]
    assert not [text for text in script.written_last() if text not in texts], "what had arrived was lost"
    good = [reply.text for reply in known if reply.ok]
    assert not [text for text in script.written if text not in good], "a complete answer was lost"
    assert whole or not [reply for reply in known if reply.failure and reply.failure.kind == "unexpected"]
    assert sum(len(reply.attempts) for reply in replies) == len(script.asked), "an attempt is missing"
    for reply in replies:
        assert reply.ok or reply.failure.kind in ("cancelled", "timeout", "incomplete", "rate_limit", "deadline")
        assert reply.elapsed >= 0
        assert reply.least_usd == pytest.approx(sum(attempt.least_usd for attempt in reply.attempts))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cancelled_at_every_turn(scenario, script, run):
    last = turns_of(scenario, script, run)
    carried = set()
    for turn in range(1, last + 1):
        replies, whole, seconds = cancelled_at([turn], scenario, script, run)
        check(replies, whole, seconds, script)
        carried.add("".join(reply.text for reply in replies))
        assert not whole or turn >= last - 3, "the cancellation was swallowed"
    assert len(carried) > 2, "what is carried grows"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cancelled_again_while_it_ends(scenario, script, run):
    """As by a reader who presses Stop several times, or in the moment of a time-out."""
    for turn in range(1, turns_of(scenario, script, run) + 1):
        check(*cancelled_at([turn, turn + 1, turn + 2, turn + 5], scenario, script, run), script)


def test_it_carries_what_was_paid_for_in_the_order_asked(script, run):
    async def give_up():
        task = asyncio.create_task(moa.mixture_of_agents(WHY, [LUNA, SMALL, HAIKU], SOL, layers=3))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies

    script[SMALL], script[SOL] = fails(401), hangs("Half an", after=1)
    replies = run(give_up())
    assert [reply.model for reply in replies] == [LUNA, SMALL, HAIKU] * 2 + [SOL]
    kinds = [None, "authentication", None] * 2 + ["cancelled"]
    assert [reply.failure and reply.failure.kind for reply in replies] == kinds
    assert (replies[-1].text, replies[-1].elapsed) == ("Half an", pytest.approx(2.6))
    assert replies.least_usd == pytest.approx(2 * moa.find(LUNA).cost(200, 40) + moa.find(SOL).cost(100, 0))


@pytest.mark.parametrize("state", ["in line", "before the first word", "in a pause"])
def test_a_call_that_has_nothing_yet_is_carried_too(state, script, run):
    script[LUNA] = fails(429, retry_after=30) if state == "in a pause" else hangs()

    async def give_up():
        models = [HAIKU, LUNA] if state == "in line" else [LUNA]
        task = asyncio.create_task(moa.fan_out(models, WHY, max_concurrency=1))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies

    *_, reply = run(give_up())
    assert (reply.model, reply.text, reply.failure.kind, reply.ttft) == (LUNA, "", "cancelled", None)
    assert (len(reply.attempts), reply.elapsed) == ((0, 0) if state == "in line" else (1, pytest.approx(1)))
    assert reply.cost_usd == (None if state == "before the first word" else 0)


@pytest.mark.parametrize("deaf", [1, 2, 5])
def test_a_stream_that_loses_its_cancellation_is_cancelled_again(deaf, script, run):
    """HTTP clients may, in the moment of connecting: it is tried again every quarter of a second."""
    script[SMALL] = hangs("Never", after=1000, deaf=deaf)
    replies = run(moa.fan_out([LUNA, SMALL], WHY, quorum=1, timeout=2000))
    assert [reply.ok for reply in replies] == [True, False]
    assert script.hows(SMALL) == ["cancelled"]
    (asked,) = (asked for asked in script.asked if asked.model == SMALL)
    assert asked.ended == pytest.approx(1.2 + 0.25 * deaf)


@pytest.mark.parametrize("closing", [0.3, 0.9, 1.9])
def test_a_stream_that_closes_slowly_is_left_to_close(closing, script, run):
    script[SMALL] = hangs("Half an", after=0.1, closing=closing)
    run(moa.fan_out([LUNA, SMALL], WHY, quorum=1))
    assert script.hows(SMALL) == ["cancelled"]
    (asked,) = (asked for asked in script.asked if asked.model == SMALL)
    assert asked.ended == pytest.approx(1.2 + closing)


TURN = 0.001  # virtual seconds that a turn of the loop takes, where the clock would stand still
MORE = [a_panel, a_comparison]


@pytest.fixture
def _no_server(monkeypatch, script):
    standins.enter(monkeypatch, script)


@pytest.mark.usefixtures("_no_server")
@pytest.mark.parametrize("scenario", [*SCENARIOS, *MORE])
def test_cancelled_at_every_turn_from_one_on(scenario, script, run, tmp_path):
    """As anyio does, under which Starlette runs: it ends with its streams, and goes round no longer than that."""
    whole = turns_of(scenario, script, run)
    for start in range(1, whole + 1, max(1, whole // 12)):
        (tmp_path / "comparison.sqlite").unlink(missing_ok=True)
        random.seed(1)

        def cancel(number, task, start=start):
            if number >= start:
                task.cancel()
                task.get_loop().jumping.now += TURN
            assert number < start + CLOSING / TURN + 30, "it goes round and round"

        with pytest.raises(asyncio.CancelledError) as caught:
            run(scenario(script), on_turn=cancel)
        assert "left open" not in script.hows()
        if scenario is a_comparison:
            assert len(caught.value.comparison.answers) in (0, 2)
        else:
            assert sum(len(reply.attempts) for reply in caught.value.replies) == len(script.asked)


@pytest.mark.usefixtures("_no_server")
@pytest.mark.parametrize("scenario", [*SCENARIOS, *MORE])
def test_a_scope_of_anyio_that_is_over_ends_it(scenario, script, run):
    def pass_time(number, task):
        task.get_loop().jumping.now += TURN

    async def scoped():
        with anyio.move_on_after(0.25) as scope:
            await scenario(script)
        return scope.cancelled_caught, clock.now()

    over, seconds = run(scoped(), on_turn=pass_time)
    assert over
    assert seconds < 0.25 + CLOSING + 0.05
    assert "left open" not in script.hows()


def reading(script, leave):
    """Read a stream, and do this at the event of that number."""

    async def read():
        async with aclosing(moa.stream_mixture(WHY, [LUNA, HAIKU], SOL)) as events:
            number = 0
            async for _ in events:
                number += 1
                leave(number)

    return read()


def test_a_stream_carries_its_replies_whenever_its_reader_is_cancelled(script, run):
    """Between the last events, too: cancelled by itself, in the next turn, or in the one after that."""
    whole = []
    run(reading(script, whole.append))
    for last in range(1, len(whole)):
        for turns in (0, 1, 2):

            def leave(number, last=last, turns=turns):
                if number == last:
                    later(turns, asyncio.current_task().cancel)

            with pytest.raises(asyncio.CancelledError) as caught:
                run(reading(script, leave))
            texts = [reply.text for reply in caught.value.replies]
            assert [text for text in script.written if text not in texts] == []
            assert len(texts) >= 2


def later(turns, action):
    """Do it in so many turns of the loop."""
    if turns:
        asyncio.get_running_loop().call_soon(later, turns - 1, action)
    else:
        action()
