"""What a store has is not asked again: it is marked, costs nothing, and is heard at once or as it once came."""

import asyncio

import pytest

import moa_helpers as moa
from moa_helpers.limits.scope import Scope
from tests.support import clock
from tests.support.events import check_events, collect
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, fails, hangs

THREE = [LUNA, HAIKU, SMALL]


class Kept:
    """A store in memory."""

    def __init__(self, *, recorded_speed=False):
        self.recorded_speed, self.replies = recorded_speed, {}

    def find(self, request):
        return self.replies.get((request.model.name, request.text, request.sample))

    def keep(self, request, reply):
        if reply.ok:
            self.replies[request.model.name, request.text, request.sample] = reply

    def check(self):
        pass


@pytest.fixture
def twice(run, script):
    """Run something with a store, then a second time; both results, and the store."""

    def twice(make, *, recorded_speed=False, before_again=lambda: None):
        store = Kept()

        async def with_store():
            with Scope(store=store).open():
                began = clock.now()
                return await make(), clock.now() - began

        first, _ = run(with_store())
        store.recorded_speed = recorded_speed
        before_again()
        again, took = run(with_store())
        return first, again, took

    return twice


def test_a_reply(twice, script, question):
    first, again, took = twice(lambda: moa.ask(LUNA, question))
    assert script.asked == []
    assert (first.kept, again.kept) == (False, True)
    assert (again.cost_usd, again.least_usd, again.first_cost_usd) == (0.0, 0.0, first.cost_usd)
    for name in ("text", "ttft", "elapsed", "attempts", "input_tokens", "output_tokens", "answered_by"):
        assert getattr(again, name) == getattr(first, name), name
    assert took == 0


@pytest.mark.parametrize("recorded_speed", [False, True])
def test_a_mixture_is_heard_again_with_its_times(recorded_speed, twice, script, question):
    script[SMALL], script[SOL] = answers("One two three.", after=3), answers("So it is, and so on.", after=2)

    def make():
        return collect(question, THREE, SOL, layers=3)

    (_, first), (events, again), took = twice(make, recorded_speed=recorded_speed)
    assert script.asked == []
    check_events(events, again)
    assert [reply.text for reply in again.replies] == [reply.text for reply in first.replies]
    assert again.cost_usd == 0
    assert all(reply.kept for reply in again.replies)
    assert again.elapsed == pytest.approx(first.elapsed)
    assert again.ttft == pytest.approx(first.ttft)
    assert took == pytest.approx(first.elapsed if recorded_speed else 0, abs=1e-6)
    for one, other in zip(first.replies, again.replies, strict=True):
        assert other.started - again.started == pytest.approx(one.started - first.started)
    if recorded_speed:
        assert len(events) > 2 * len(again.replies)


@pytest.mark.parametrize("recorded_speed", [False, True])
def test_a_quorum_asks_no_one_again(recorded_speed, twice, script, question):
    script[SMALL] = hangs()
    first, again, took = twice(lambda: moa.fan_out(THREE, question, quorum=2), recorded_speed=recorded_speed)
    if not recorded_speed:
        assert script.asked == []
    assert [reply.text for reply in again.good] == [reply.text for reply in first.good]
    assert [reply.kept for reply in again] == [True, True, False]
    assert took == pytest.approx(1.2 if recorded_speed else 0, abs=1e-6)


def test_what_failed_is_asked_again_alone(twice, script, question):
    script[HAIKU] = fails(401)

    def mend():
        script[HAIKU] = answers("Now it answers.")

    first, again, _ = twice(lambda: moa.mixture_of_agents(question, THREE, SOL), before_again=mend)
    assert (first.outcome, again.outcome) == ("partial", "complete")
    assert [asked.model for asked in script.asked] == [HAIKU, SOL], "the aggregator reads other references now"
    assert [reply.kept for reply in again.replies] == [True, False, True, False]
    assert again.aggregator.started >= max(reply.ended for reply in again.layers[0])


def test_a_hedged_call_costs_nothing_again(twice, script, question):
    script[LUNA] = [hangs(), answers("Second.")]
    first, (again,), _ = twice(lambda: moa.fan_out([LUNA], question, hedge_after=2))
    assert first[0].by_hedge
    assert script.asked == []
    assert (again.text, again.kept, again.cost_usd) == ("Second.", True, 0.0)


def test_stopped_while_it_is_heard_again(run, script, question):
    script[LUNA] = answers("One two three four five six seven.", after=2, per_piece=1)
    store = Kept()

    async def with_store(seconds):
        with Scope(store=store).open():
            async with asyncio.timeout(seconds):
                return await moa.ask(LUNA, question)

    run(with_store(None))
    store.recorded_speed = True
    with pytest.raises(TimeoutError) as caught:
        run(with_store(4))
    (reply,) = caught.value.replies
    assert (reply.abandoned, reply.kept, reply.cost_usd) == (True, True, 0.0)
    assert reply.text == "One two three", "what had come until then"
    assert script.asked == []
