"""Several aggregators: the next is tried where one fails, and it is said who failed and who wrote."""

from contextlib import aclosing

import pytest

import moa_helpers as moa
from moa_helpers.steps.ranking import reminder
from tests.support.events import check_events, collect
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, SOL, answers, breaks_off, fails, hangs

TWO = [LUNA, HAIKU]
THREE = [SOL, SMALL, OSS]


def failed(answer):
    return [(reply.model, reply.failure and reply.failure.kind) for reply in answer.failed_aggregators]


def test_the_first_is_enough(script, run, question):
    answer = run(moa.mixture_of_agents(question, TWO, THREE))
    assert (answer.outcome, answer.aggregator.model, answer.failed_aggregators) == ("complete", SOL, ())
    assert set(script.counts()) == {*TWO, SOL}
    assert run(moa.mixture_of_agents(question, TWO, SOL)).heading == answer.heading


@pytest.mark.parametrize("broken", [[], [SOL], [SOL, SMALL], THREE])
def test_the_next_is_tried_where_one_fails(broken, script, run, question):
    for model in broken:
        script[model] = fails(401)
    answer = run(moa.mixture_of_agents(question, TWO, THREE))
    asked = THREE[: len(broken) + 1]
    assert [asked.model for asked in script.asked[2:]] == asked
    assert answer.aggregator.model == asked[-1]
    assert failed(answer) == [(model, "authentication") for model in asked[:-1]]
    assert answer.outcome == ("aggregator_failed" if broken == THREE else "complete")
    assert bool(answer.text) == (broken != THREE)
    assert len(answer.replies) == 2 + len(asked)
    assert all(model in answer.heading for model in broken)
    systems = {asked.request.system for asked in script.asked[2:]}
    assert systems == {moa.aggregator_system(answer.layers[0])}
    assert moa.from_json(moa.to_json(answer)) == answer


FAULTS = {
    "cut off": (breaks_off(), "incomplete"),
    "in time": (hangs("Half"), "timeout"),
    "empty": (answers(""), "empty"),
    "overloaded": (fails(529), "overloaded"),
}


@pytest.mark.parametrize("how", FAULTS)
def test_what_a_failed_one_wrote_is_void(how, script, run, question):
    script[SOL], kind = FAULTS[how]
    events, answer = run(collect(question, TWO, [SOL, SMALL], retries=0))
    check_events(events, answer)
    assert failed(answer) == [(SOL, kind)]
    assert answer.text == answer.aggregator.text
    void = max(place for place, event in enumerate(events) if isinstance(event, moa.Retrying))
    assert events[void].index is None
    heard = [event.text for event in events[void:] if isinstance(event, moa.AggregatorDelta)]
    assert "".join(heard).strip() == answer.text.strip()
    assert [reply.model for reply in answer.critical_path[1:]] == [SOL, SMALL]


def test_slow_is_no_failure(script, run, question):
    script[SOL] = answers("Late.", after=50)
    answer = run(moa.mixture_of_agents(question, TWO, [SOL, SMALL], hedge_after=5))
    assert (answer.text, failed(answer)) == ("Late.", [])


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_calls": 3}, "max_calls or budget_usd leaves no call"),
        ({"deadline": 5}, "the deadline has passed"),
    ],
)
def test_no_room_for_the_next_one_is_said(limits, reason, script, run, question):
    script[SOL] = hangs() if "deadline" in limits else fails(401)
    answer = run(moa.mixture_of_agents(question, TWO, [SOL, SMALL], retries=0, **limits))
    assert (answer.outcome, answer.aggregator.model, failed(answer)) == ("aggregator_failed", SOL, [])
    assert f"{SMALL} was not asked instead: {reason}" in answer.heading
    assert SMALL not in script.counts()


def test_it_is_paid_for_out_of_what_the_failed_one_left(script, run, question):
    most = moa.estimate(question, TWO, SOL).most_usd
    cheap = moa.estimate(question, TWO, SMALL)
    assert cheap.stages[1][1] < moa.estimate(question, TWO, SOL).stages[1][1]
    script[SOL] = fails(401)
    answer = run(moa.mixture_of_agents(question, TWO, [SOL, SMALL], budget_usd=most))
    assert answer.outcome == "complete"
    script[SOL] = hangs("Half")  # which may have cost all of it
    answer = run(moa.mixture_of_agents(question, TWO, [SOL, SOL], budget_usd=most, retries=0))
    assert (answer.outcome, script.counts()[SOL]) == ("aggregator_failed", 1)


def test_a_ranker_that_names_none_has_failed(script, run, question):
    script[SOL], script[SMALL] = answers("I cannot say."), answers("2")
    answer = run(moa.mixture_of_agents(question, TWO, [SOL, SMALL], pick=True))
    assert (answer.outcome, answer.picked.model, failed(answer)) == ("complete", HAIKU, [(SOL, None)])
    assert SOL in answer.heading
    assert all(asked.request.reminder == reminder() for asked in script.asked[2:])


def test_members_and_the_same_one_again(script, run, question):
    script[SOL] = [fails(401), answers("At last.")]
    answer = run(moa.mixture_of_agents(question, TWO, [SOL, moa.Member(SOL, system="Be kind.")]))
    assert answer.text == "At last."
    assert [asked.request.sample for asked in script.asked[2:]] == [0, 1]
    assert script.asked[-1].request.after == moa.aggregator_system(answer.layers[0])


def test_stopped_between_two(script, run, question):
    script[SOL] = fails(401)

    async def stopped():
        async with aclosing(moa.stream_mixture(question, TWO, [SOL, SMALL])) as events:
            async for event in events:
                if isinstance(event, moa.Retrying):
                    raise KeyError

    with pytest.raises(KeyError):
        run(stopped())
    assert script.now["all"] == 0
