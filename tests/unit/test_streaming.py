"""A mixture as events: their order, what is void, and what happens when nobody listens any more."""

import asyncio
from contextlib import aclosing

import pytest

import moa_helpers as moa
from tests.support import clock
from tests.support.events import check_events, collect
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, breaks_off, fails, hangs

THREE = [LUNA, HAIKU, SMALL]


def test_events_arrive_while_it_happens_and_not_later(script, run, question):
    script[LUNA], script[SOL] = (
        answers("One two.", after=1, per_piece=0.5),
        answers("All of it.", after=1, per_piece=0.5),
    )
    script[HAIKU] = answers("Other.", after=1.25)

    async def listen():
        heard = []
        async for event in moa.stream_mixture(question, [LUNA, HAIKU], SOL):
            text = getattr(event, "text", None)
            heard.append((clock.now(), type(event).__name__, getattr(event, "index", None), text))
        return heard

    *heard, last = run(listen())
    assert heard == [
        (pytest.approx(1), "ProposerDelta", 0, "One "),
        (pytest.approx(1.25), "ProposerDelta", 1, "Other."),
        (pytest.approx(1.25), "ProposerDone", 1, None),
        (pytest.approx(1.5), "ProposerDelta", 0, "two."),
        (pytest.approx(1.5), "ProposerDone", 0, None),
        (pytest.approx(2.5), "AggregatorDelta", None, "All "),
        (pytest.approx(3), "AggregatorDelta", None, "of "),
        (pytest.approx(3.5), "AggregatorDelta", None, "it."),
    ]
    assert last[:2] == (pytest.approx(3.5), "MixtureDone")


MIXES = {
    "all well": ({}, {}),
    "cut off": ({LUNA: answers("Half an", finish="length")}, {"layers": 3}),
    "a retry": ({SMALL: [breaks_off("Half an"), answers()]}, {"retries": 1}),
    "a retry of the aggregator": ({SOL: [breaks_off("Half an"), answers()]}, {}),
    "all fail": (dict.fromkeys(THREE, fails(503)), {"retries": 0}),
    "one place": ({HAIKU: fails(401)}, {"quorum": 1, "max_concurrency": 1}),
    "a quorum": ({HAIKU: hangs("Half an"), SMALL: [breaks_off("Half an"), hangs("Ha")]}, {"quorum": 1, "grace": 5}),
    "second requests": ({HAIKU: [hangs("Half an"), answers()]}, {"hedge_after": 2, "layers": 3}),
    "the aggregator fails": ({SOL: hangs("Half an")}, {"timeout": 5, "retries": 0}),
    "a ranker": ({SOL: answers("2")}, {"pick": True}),
    "a ranker of layers": ({SOL: answers("1"), LUNA: breaks_off("Half an")}, {"pick": True, "layers": 3}),
    "robust": ({}, {"robust": True, "layers": 4, "stop_at": 0.9}),
    "the deadline": ({LUNA: hangs("Half an"), HAIKU: hangs()}, {"deadline": 3}),
}


@pytest.mark.parametrize("mix", MIXES)
def test_events_agree_with_the_answer_and_the_answer_with_that_of_a_mixture(mix, script, run, question):
    acts, options = MIXES[mix]
    for model, act in acts.items():
        script[model] = act
    events, answer = run(collect(question, THREE, SOL, **options))
    check_events(events, answer)
    alone = run(moa.mixture_of_agents(question, THREE, SOL, **options))
    assert (alone.text, alone.outcome, alone.cost_usd) == (answer.text, answer.outcome, answer.cost_usd)
    assert [reply.text for reply in alone.replies] == [reply.text for reply in answer.replies]


def test_a_retry_is_an_event_that_says_of_whom_and_why(script, run, question):
    script[HAIKU], script[SOL] = (
        [fails(429, retry_after=2), answers()],
        [breaks_off("Half"), fails(503, retry_after=1), answers()],
    )
    events, answer = run(collect(question, THREE, SOL, layers=3))
    retries = [event for event in events if isinstance(event, moa.Retrying)]
    assert [(event.layer, event.index, event.retry.failure.kind) for event in retries] == [
        (1, 1, "rate_limit"),
        (3, None, "incomplete"),
        (3, None, "overloaded"),
    ]
    assert [event.retry.wait for event in retries][::2] == [2, 1]
    assert [event.text for event in events if isinstance(event, moa.AggregatorDelta)][:1] == ["Half"]
    check_events(events, answer)


def test_what_a_ranker_writes_is_not_part_of_the_text(script, run, question):
    script[SOL] = [breaks_off("1"), answers("2")]
    events, answer = run(collect(question, THREE, SOL, pick=True))
    assert [event.text for event in events if isinstance(event, moa.AggregatorDelta)] == [answer.picked.text]


def test_leaving_the_loop_at_any_event_cancels_what_runs_at_once(script, run, question):
    script[SMALL] = answers("Last of three.", after=1.1)

    async def look_in(number):
        async with aclosing(moa.stream_mixture(question, THREE, SOL)) as events:
            async for event in events:
                number -= 1
                if not number:
                    last = event
                    break
        return last, clock.now(), len(asyncio.all_tasks())

    number, left = 0, []
    while not left or not isinstance(left[-1][0], moa.MixtureDone):
        number += 1
        left.append(run(look_in(number)))
        event, ended, tasks = left[-1]
        assert tasks == 1
        assert all(asked.at <= ended and asked.ended <= ended for asked in script.asked), "something went on"
        assert (SOL in script.counts()) >= isinstance(event, moa.AggregatorDelta)
        assert ("cancelled" in script.hows()) <= (ended < 2.5 - 1e-9)
    times = [1] * 2 + [1.1] * 3 + [1.2] * 5 + [1.3] * 2 + [2.3, 2.4, 2.5, 2.5]
    assert sorted(ended for _, ended, _ in left) == pytest.approx(times)


def test_without_aclosing_it_is_cancelled_when_the_loop_collects_it(script, run, question):
    async def look_in():
        async for event in moa.stream_mixture(question, THREE, SOL):
            first = event
            break
        await asyncio.sleep(0.25)  # what is left of the generator is closed by the loop
        return first, script.now["all"], len(asyncio.all_tasks())

    first, under_way, tasks = run(look_in())
    assert isinstance(first, moa.ProposerDelta)
    assert (under_way, tasks) == (0, 1)
    assert SOL not in script.counts()


def test_nobody_who_reads_slowly_misses_an_event(script, run, question):
    async def slowly():
        events = []
        async for event in moa.stream_mixture(question, THREE, SOL, timeout=5):
            events.append(event)
            await asyncio.sleep(3)
        return events

    events = run(slowly())
    check_events(events, events[-1].answer)
    assert events[-1].answer.elapsed == pytest.approx(2.4), "reading slowly holds nothing up"


def test_a_listener_that_breaks_ends_the_mixture(script, run, question):
    async def break_down():
        async with aclosing(moa.stream_mixture(question, THREE, SOL)) as events:
            async for _ in events:
                raise RuntimeError("my own bug")

    with pytest.raises(RuntimeError, match="my own bug"):
        run(break_down())
    assert set(script.hows()) == {"cancelled"}


def test_nothing_is_asked_before_the_first_event_is_wanted(script, run, question):
    async def never_read():
        events = moa.stream_mixture(question, THREE, SOL)
        await asyncio.sleep(5)
        await events.aclose()

    run(never_read())
    assert not script.asked
