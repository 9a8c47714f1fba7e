"""Calls within rates: they wait for room, are never sent too late or too large, and heed what a vendor asks for."""

import asyncio

import pytest

import moa_helpers as moa
from moa_helpers.limits.rates import Rate, Rates
from moa_helpers.limits.scope import Scope
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, fails

A_MINUTE_LATER = pytest.approx(62.2)  # than the end of an answer of three words, of which the first took a second


async def within(rates, call):
    """Make a call in a scope with these rates."""
    with Scope(rates=Rates(rates)).open():
        return await call()


def test_what_has_no_room_is_sent_a_minute_after_the_end_of_what_had_it(script, run, question):
    rates = {"openai": Rate(requests=2)}
    replies = run(within(rates, lambda: moa.fan_out([LUNA, SOL, LUNA, HAIKU, SOL], question, timeout=5)))
    assert all(reply.ok for reply in replies)
    assert script.times(LUNA) == [0, A_MINUTE_LATER]
    assert script.times(SOL) == [0, A_MINUTE_LATER], "the models of a vendor share its rate"
    assert script.times(HAIKU) == [0]
    assert replies[2].elapsed == pytest.approx(1.2), "it began when it was sent; a timeout is for the attempt"


def test_tokens_are_set_aside_at_the_most_and_settled_when_they_are_known(script, run, question):
    script.default = answers(tokens=(100, 200))
    rates = {"openai": Rate(tokens=2500)}  # two at a time; then 300 for each one that has ended
    run(within(rates, lambda: moa.fan_out([LUNA] * 10, question, max_tokens=1000)))
    assert sum(when < 60 for when in script.times()) == 5, "4 that have ended and 1 that may take 1000 fit"
    assert len(script.times()) == 10
    assert script.most["openai"] == 2


def test_each_attempt_takes_room_and_one_that_failed_takes_all_that_was_set_aside(script, run, question):
    script[LUNA] = [fails(500), fails(429), answers()]
    (reply,) = run(within({"openai": Rate(requests=1)}, lambda: moa.fan_out([LUNA], question, retries=2)))
    assert reply.ok
    assert script.times() == pytest.approx([0, 61, 122], abs=1e-6)


def test_a_call_that_waits_for_its_rate_until_the_deadline_is_never_sent(script, run, question):
    rates = {"openai": Rate(requests=2)}
    replies = run(within(rates, lambda: moa.fan_out([LUNA] * 4 + [HAIKU], question, deadline=30)))
    assert [reply.failure and reply.failure.kind for reply in replies] == [None, None, "deadline", "deadline", None]
    assert script.counts() == {LUNA: 2, HAIKU: 1}
    assert run(_time_of(within(rates, lambda: moa.fan_out([LUNA] * 3, question, deadline=30)))) == pytest.approx(30)


async def _time_of(coroutine):
    began = asyncio.get_running_loop().time()
    await coroutine
    return asyncio.get_running_loop().time() - began


def test_whoever_is_asked_to_wait_has_all_others_at_that_vendor_wait(script, run, question):
    script[LUNA] = [fails(429, after=1, retry_after=20), answers()]
    models = [LUNA, *[SOL] * 4, *[SMALL] * 4]
    replies = run(within(None, lambda: moa.fan_out(models, question, max_concurrency=3)))
    assert all(reply.ok for reply in replies)
    assert script.times(LUNA) == pytest.approx([0, 21])
    early = [when for when in script.times(SOL) if when < 1]
    assert len(early) == 2
    assert all(when >= 21 - 1e-9 for when in script.times(SOL)[2:])
    assert all(when < 61 for when in script.times(SMALL))


def test_without_rates_nobody_waits_for_a_call_that_was_asked_to(script, run, question):
    script[LUNA] = [fails(429, after=1, retry_after=20), answers()]
    run(moa.fan_out([LUNA, *[SOL] * 4], question, max_concurrency=3))
    assert max(script.times(SOL)) < 5


def test_what_is_larger_than_a_whole_minute_has_failed_and_was_not_sent(script, run, question):
    rates = {"openai": Rate(tokens=1000), "mistral": Rate(tokens=5000)}
    replies = run(within(rates, lambda: moa.fan_out([LUNA, SMALL], question, max_tokens=1000)))
    assert [reply.failure and reply.failure.kind for reply in replies] == ["too_large", None]
    assert replies[0].failure.message.startswith(f"{LUNA}: too large: A request to openai may take 1,01")
    assert (replies[0].attempts, replies[0].cost_usd) == ((), 0.0)
    assert script.counts() == {SMALL: 1}


def test_an_aggregator_that_turns_out_too_large_fails_alone(script, run, question):
    script[HAIKU], script[SMALL] = answers("word " * 500), answers("word " * 500)
    script.default = answers()
    rates = {"openai": Rate(tokens=1000)}
    options = {"reference_models": [HAIKU, SMALL], "aggregator": LUNA, "max_tokens": 800}
    answer = run(within(rates, lambda: moa.mixture_of_agents(question, **options)))
    assert answer.outcome == "aggregator_failed"
    assert script.counts() == {HAIKU: 1, SMALL: 1}


def test_rates_of_a_scope_around_hold_as_well(script, run, question):
    async def asked():
        with Scope(rates=Rates({"openai": Rate(requests=3)})).open():
            await within({"openai": Rate(requests=2)}, lambda: moa.fan_out([LUNA] * 3, question))
            await moa.fan_out([LUNA], question)

    run(asked())
    assert script.times() == [0, 0, A_MINUTE_LATER, pytest.approx(63.4)]


def test_a_call_that_is_cancelled_in_line_is_not_sent_and_keeps_no_room(script, run, question):
    async def asked():
        with Scope(rates=Rates({"openai": Rate(requests=1)})).open():
            await moa.ask(LUNA, question)
            waiting = asyncio.create_task(moa.ask(LUNA, question))
            await asyncio.sleep(30)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await moa.ask(LUNA, question)

    run(asked())
    assert script.times() == [0, A_MINUTE_LATER]
