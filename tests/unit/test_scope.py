"""What calls share, seen from outside while they run: which calls there are, and what is known of each."""

import asyncio

import pytest

import moa_helpers as moa
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.values import Limits
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, fails, hangs


def at(moments, coroutine, look):
    """Run it in a scope, and look at the scope at these moments; the last look is at its end."""

    async def looking():
        scope, seen, now = Scope(), [], 0.0
        task = asyncio.create_task(coroutine, context=scope.context())
        for moment in moments:
            await asyncio.sleep(moment - now)
            now = moment
            seen.append(look(scope))
        await task
        return [*seen, look(scope)]

    return looking()


def test_what_each_call_does(script, run, question):
    script[LUNA] = [fails(429, after=1, retry_after=2), answers("One two.", after=1, per_piece=2)]
    script[HAIKU] = answers("Later.", after=1)
    asking = moa.fan_out([LUNA, HAIKU], question, max_concurrency=1)
    states = run(at([0.5, 1.5, 3.5, 4.5, 6.5], asking, lambda scope: [call.state for call in scope.calls]))
    assert states == [
        ["waiting", "queued"],
        ["pausing", "waiting"],
        ["waiting", "done"],
        ["writing", "done"],
        ["done", "done"],
        ["done", "done"],
    ]


def test_what_is_known_of_a_call_at_any_moment(script, run, question):
    script[LUNA] = [fails(429, after=1, retry_after=2), answers("One two.", after=1, per_piece=2)]
    seen = run(at([0.5, 2, 3.5, 4.5], moa.ask(LUNA, question), lambda scope: scope.replies[0]))
    assert [reply.text for reply in seen] == ["", "", "", "One ", "One two."]
    assert [reply.elapsed for reply in seen] == pytest.approx([0.5, 2, 3.5, 4.5, 6])
    assert [len(reply.attempts) for reply in seen] == [1, 1, 2, 2, 2], "the one under way is there"
    assert [reply.attempts[-1].elapsed for reply in seen] == pytest.approx([0.5, 1, 0.5, 1.5, 3])
    assert [reply.cost_usd for reply in seen[:4]] == [None, 0, None, None], "while it runs, its cost is not known"
    assert seen[3].least_usd == pytest.approx(moa.find(LUNA).cost(100, 0))
    assert [reply.failure and reply.failure.kind for reply in seen] == [
        "cancelled",
        "rate_limit",
        *["cancelled"] * 2,
        None,
    ]


def test_a_hedged_call_has_sent_one_request_and_then_two(script, run, question):
    script[LUNA], script[HAIKU] = hangs(), answers("Other.")
    asking = moa.fan_out([LUNA], question, hedge_after=2, hedge_with=HAIKU)

    def look(scope):
        (call,) = scope.calls
        return [(one.request.model.name, one.request.role, one.state) for one in call.sent], call.ok

    before, between, after = run(at([1, 2.5], asking, look))
    first, second = (LUNA, ""), (HAIKU, "second request")
    assert before == ([(*first, "waiting")], False)
    assert between == ([(*first, "waiting"), (*second, "waiting")], False)
    assert after == ([(*first, "done"), (*second, "done")], True)


def test_the_scope_around_knows_the_calls_of_all_stages(script, run, question):
    mixture = moa.mixture_of_agents(question, [LUNA, HAIKU], SOL, layers=3)
    *_, models = run(at([], mixture, lambda scope: [(c.request.model.name, c.request.role) for c in scope.calls]))
    layers = [(model, f"layer {layer}") for layer in (1, 2) for model in (LUNA, HAIKU)]
    assert models == [*layers, (SOL, "aggregator")]


def test_places_of_the_scope_around_hold_for_all_within(script, run, question):
    """As a comparison bounds all its mixtures together, whatever each of them allows."""

    async def both():
        with Scope(Limits(max_concurrency={"mistral": 1, "all": 3})).open() as scope:
            calls = (moa.fan_out([LUNA, SMALL, SMALL], question, max_concurrency=2) for _ in range(2))
            await asyncio.gather(*calls)
        return len(scope.calls)

    assert run(both()) == 6
    assert (script.most["mistral"], script.most["all"]) == (1, 3)


def test_what_is_raised_carries_the_replies_of_all_within(script, run, question):
    async def fail():
        with Scope().open():
            await moa.ask(LUNA, question)
            await moa.fan_out([HAIKU, SMALL], question)
            raise RuntimeError("my own bug")

    with pytest.raises(RuntimeError, match="my own bug") as caught:
        run(fail())
    assert [(reply.model, reply.ok) for reply in caught.value.replies] == [(LUNA, True), (HAIKU, True), (SMALL, True)]


def test_no_call_counts_in_a_scope_that_has_ended(script, run, question):
    async def after():
        with Scope().open() as scope:
            await moa.ask(LUNA, question)
        await moa.ask(HAIKU, question)
        return [reply.model for reply in scope.replies]

    assert run(after()) == [LUNA]


def test_a_scope_that_does_not_remember_its_calls_still_tells_the_scope_around(script, run, question):
    async def ask():
        with Scope().open() as around, Scope(remembers=False).open() as within:
            await moa.fan_out([LUNA, HAIKU], question)
        return [call.request.model.name for call in around.calls], within.calls

    assert run(ask()) == ([LUNA, HAIKU], [])


class Broken:
    """A store that cannot be written any more."""

    def find(self, request):
        return None

    def check(self):
        raise TimeoutError("the disk does not answer")


def test_a_time_out_that_is_none_of_ours_is_raised(script, run, question):
    async def kept():
        with Scope(store=Broken()).open():
            await moa.fan_out([LUNA, HAIKU], question, quorum=1)

    with pytest.raises(TimeoutError, match="the disk does not answer"):
        run(kept())
    assert not script.asked


def test_without_a_first_token_there_is_no_ttft(script, run, question):
    script[SOL] = fails(401)
    assert run(moa.mixture_of_agents(question, [LUNA], SOL)).ttft is None
    assert run(moa.mixture_of_agents(question, [LUNA], HAIKU)).ttft > 0
