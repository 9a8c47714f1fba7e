"""Second requests for slow calls: when they are sent, which answer counts, and what is said about both."""

import asyncio

import pytest

import moa_helpers as moa
from tests.support import clock
from tests.support.events import check_events, collect
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, breaks_off, fails, hangs


def hedged(question, *, after=2.0, **options):
    """One call to Luna, and once it is slow a second one to Haiku."""
    return moa.fan_out([LUNA], question, **{"hedge_after": after, "hedge_with": HAIKU, "timeout": 30, **options})


def test_a_slow_call_is_answered_by_a_second_request_to_another_model(script, run, question):
    script[LUNA], script[HAIKU] = hangs("Half an", after=1), answers("The other one.", after=1.5)
    (reply,) = run(hedged(question, system="Be brief.", max_tokens=50))
    assert script.times() == pytest.approx([0, 2])
    assert (reply.model, reply.written_by, reply.by_hedge) == (LUNA, HAIKU, True)
    assert (reply.text, reply.answered_by) == ("The other one.", "claude-haiku-5-5")
    assert reply.summary == f"answered in 3.70 s by its second request, to {HAIKU}"
    assert (reply.ttft, reply.elapsed) == (pytest.approx(3.5), pytest.approx(3.7))
    first, second = reply.hedged
    assert (first.model, first.text, first.failure.kind, first.elapsed) == (LUNA, "Half an", "cancelled", reply.elapsed)
    assert (second.model, second.text, second.ok, second.elapsed) == (HAIKU, reply.text, True, pytest.approx(1.7))
    assert [attempt.started for attempt in reply.attempts] == pytest.approx([0, 2])
    assert reply.cost_usd is None, "what the abandoned request costs is not known"
    assert reply.least_usd == pytest.approx(moa.find(LUNA).cost(100, 0) + moa.find(HAIKU).cost(100, 20))
    asked = script.asked[1].request
    assert (asked.prompt, asked.system, asked.max_tokens, asked.role) == (question, "Be brief.", 50, "second request")
    assert script.hows() == ["cancelled", "done"]


def test_without_another_model_it_goes_to_the_same_and_is_another_sample(script, run, question):
    script[LUNA] = [hangs(), answers(), answers()]
    replies = run(moa.fan_out([LUNA, LUNA], question, hedge_after=2, timeout=30))
    assert [asked.request.sample for asked in script.asked] == [0, 1, 2]
    assert (replies[0].by_hedge, replies[0].written_by, replies[0].text) == (True, LUNA, "gpt-6-luna says 2.")
    assert replies[1].hedged == ()


@pytest.mark.parametrize("act", [answers("Just in time.", after=1.75), fails(401, after=1.75), answers("", after=1.75)])
def test_a_call_that_ends_before_it_is_slow_gets_no_second_request(act, script, run, question):
    script[LUNA] = act
    (reply,) = run(hedged(question))
    assert (script.counts(), reply.hedged) == ({LUNA: 1}, ())
    assert reply.elapsed == pytest.approx(1.75 + 0.1 * (reply.text.count(" ")))


def test_slow_is_who_has_no_complete_answer_even_if_it_writes(script, run, question):
    script[LUNA], script[HAIKU] = answers("One two three", after=1, per_piece=1), answers("Other.", after=0.5)
    (reply,) = run(hedged(question, after=2.5))
    assert (script.times(HAIKU), reply.text, reply.elapsed) == ([2.5], "One two three", pytest.approx(3))
    (reply,) = run(hedged(question, after=2.25))
    assert (reply.text, reply.elapsed, reply.hedged[0].text) == ("Other.", pytest.approx(2.75), "One two ")


def test_slow_counts_from_the_first_attempt_retries_and_pauses_included(script, run, question):
    script[LUNA], script[HAIKU] = [fails(429, after=1, retry_after=9), answers("Yes.")], hangs()
    (reply,) = run(hedged(question, after=5))
    assert script.times(HAIKU) == pytest.approx([5])
    assert (reply.ok, reply.by_hedge, reply.written_by) == (True, False, LUNA), "the first still counts meanwhile"
    assert reply.hedged[1].failure.kind == "cancelled"
    assert [attempt.started for attempt in reply.attempts] == pytest.approx([0, 5, 10])
    assert "second request" not in reply.summary
    assert reply.elapsed == pytest.approx(11)


@pytest.mark.parametrize("places", [1, {"openai": 1}])
def test_waiting_in_line_is_not_being_slow(places, script, run, question):
    """Even where there is a place for a second request, at another vendor."""
    options = {"max_concurrency": places, "hedge_after": 2.5, "hedge_with": HAIKU}
    replies = run(moa.fan_out([LUNA] * 4, question, **options))
    assert replies[3].started - replies[0].started == pytest.approx(3.6)
    assert all(reply.ok and not reply.hedged for reply in replies)
    assert script.counts() == {LUNA: 4}


def test_a_retry_of_the_first_is_not_sent_once_the_second_has_answered(script, run, question):
    """It waits for the only place, which the second has."""
    script[LUNA] = [fails(429, retry_after=2.5), answers()]
    (reply,) = run(hedged(question, max_concurrency=1))
    assert (reply.by_hedge, script.counts()) == (True, {LUNA: 1, HAIKU: 1})


@pytest.mark.parametrize("act", [fails(401), answers(""), answers("No.", finish="content_filter"), breaks_off("Ha")])
def test_a_second_request_that_fails_does_not_end_the_first(act, script, run, question):
    script[LUNA], script[HAIKU] = answers("It took me long.", after=7), act
    (reply,) = run(hedged(question, retries=0))
    assert (reply.ok, reply.by_hedge, reply.text) == (True, False, "It took me long.")
    assert reply.hedged[1].failure.kind not in ("cancelled", "deadline")
    assert reply.elapsed == pytest.approx(7.3)


def test_a_first_request_that_fails_meanwhile_does_not_end_the_second(script, run, question):
    script[LUNA] = [fails(429, retry_after=3), fails(401)]
    script[HAIKU] = [fails(429, retry_after=4), answers("At last.")]
    (reply,) = run(hedged(question))
    assert (reply.by_hedge, reply.text, reply.elapsed) == (True, "At last.", pytest.approx(7.1))
    assert reply.hedged[0].failure.kind == "authentication"
    assert [attempt.started for attempt in reply.attempts] == pytest.approx([0, 2, 3, 6])
    assert reply.cost_usd == pytest.approx(moa.find(HAIKU).cost(100, 20)), "three refusals cost nothing"


@pytest.mark.parametrize(("first", "second", "ended"), [(3, 0.5, 3), (3, 4, 6)])
def test_when_both_fail_the_first_failure_is_told_at_the_end_of_both(first, second, ended, script, run, question):
    script[LUNA], script[HAIKU] = fails(403, after=first), fails(401, after=second)
    (reply,) = run(hedged(question))
    assert (reply.ok, reply.by_hedge) == (False, False)
    assert (reply.failure.kind, reply.hedged[1].failure.kind) == ("permission", "authentication")
    assert (reply.elapsed, reply.summary) == (pytest.approx(ended), f"failed (permission) after {ended:.2f} s")


def test_each_of_both_has_its_own_time_out_and_retries(script, run, question):
    script.default = hangs()
    (reply,) = run(hedged(question, timeout=5, retries=0))
    assert [other.failure.kind for other in reply.hedged] == ["timeout", "timeout"]
    assert [other.elapsed for other in reply.hedged] == pytest.approx([5, 5])
    assert reply.elapsed == pytest.approx(7)


def test_when_both_are_good_at_once_the_first_counts(script, run, question):
    script[LUNA], script[HAIKU] = answers("First.", after=4), answers("Second.", after=2)
    (reply,) = run(hedged(question))
    assert (reply.text, reply.by_hedge, [other.ok for other in reply.hedged]) == ("First.", False, [True, True])
    assert reply.cost_usd == pytest.approx(moa.find(LUNA).cost(100, 20) + moa.find(HAIKU).cost(100, 20))


def test_the_deadline_ends_both(script, run, question):
    script[LUNA], script[HAIKU] = hangs("One", after=1), hangs("Two", after=1)
    (reply,) = run(hedged(question, deadline=5))
    assert [(other.text, other.failure.kind) for other in reply.hedged] == [("One", "deadline"), ("Two", "deadline")]
    assert (reply.failure.kind, reply.elapsed) == ("deadline", pytest.approx(5))


def test_when_the_first_has_failed_and_the_second_is_stopped_nobody_waited_for_it(script, run, question):
    script[LUNA], script[HAIKU], script[SMALL] = [fails(429, retry_after=3), fails(401)], hangs(), answers(after=6)
    replies = run(moa.fan_out([LUNA, SMALL], question, hedge_after=2, hedge_with=HAIKU, quorum=1))
    assert replies[0].abandoned
    assert replies[0].hedged[0].failure.kind == "authentication"
    assert replies.slowest is replies[1]


WINNERS = {
    "the first": ([fails(429, retry_after=4), answers("I am first.")], hangs(), False),
    "the first, while the second writes": (answers("I am first.", after=4), hangs("Half an", after=1), True),
    "the second": (hangs(), answers("I am second."), False),
    "the second, after the first wrote": (hangs("Half an", after=1), answers("I am second."), True),
    "the second, though the first wrote and began anew": (
        [breaks_off("Half an", after=2.5), hangs("Half another")],
        answers("I am second.", after=6),
        True,
    ),
}


@pytest.mark.parametrize("winner", WINNERS)
def test_the_events_say_when_a_second_request_goes_out_and_what_is_void(winner, script, run, question):
    script[LUNA], script[HAIKU], written = WINNERS[winner]
    options = {"hedge_after": 2, "hedge_with": HAIKU, "timeout": 30}
    events, answer = run(collect(question, [LUNA], SOL, **options))
    check_events(events, answer)
    (reply,) = answer.layers[0]
    by = "second" if winner.startswith("the second") else "first"
    assert (reply.text, reply.by_hedge) == (f"I am {by}.", by == "second")
    (hedging,) = (event for event in events if isinstance(event, moa.Hedging))
    assert (hedging.layer, hedging.index, hedging.hedge) == (1, 0, moa.Hedge(HAIKU, 2))
    deltas = [event for event in events if isinstance(event, moa.ProposerDelta)]
    assert {event.model for event in deltas} <= {LUNA, HAIKU}
    voided = [event for event in events if isinstance(event, moa.Retrying) and event.layer == 1]
    assert any(event.retry.failure.kind == "cancelled" for event in voided) == written


def test_once_the_text_of_one_is_void_the_other_is_heard_as_it_writes(script, run, question):
    async def listen():
        events = moa.stream_mixture(question, [LUNA], SOL, hedge_after=2, hedge_with=HAIKU)
        return [(clock.now(), event) async for event in events if isinstance(event, moa.ProposerDelta)]

    script[LUNA] = [breaks_off("Half", after=3), hangs()]
    script[HAIKU] = answers("I am second.", after=4, per_piece=1)
    heard = [(at, event.model, event.text) for at, event in run(listen())]
    assert heard == [
        (pytest.approx(3), LUNA, "Half"),
        (pytest.approx(6), HAIKU, "I "),
        (pytest.approx(7), HAIKU, "am "),
        (pytest.approx(8), HAIKU, "second."),
    ]


def test_a_mixture_says_who_answered_instead(script, run, question):
    script[SMALL], script[HAIKU] = hangs(), answers("Haiku's own.")
    options = {"layers": 3, "hedge_after": 2, "hedge_with": HAIKU, "timeout": 30}
    answer = run(moa.mixture_of_agents(question, [LUNA, SMALL], SOL, **options))
    assert answer.outcome == "complete"
    assert answer.heading.count(f"{SMALL} answered in 3.10 s by its second request, to {HAIKU}") == 2
    table = answer.table()
    assert list(table.second_request[table.model == SMALL]) == [f"{HAIKU} (its answer counts)"] * 2
    assert script.times(SOL) == pytest.approx([6.2])
    assert answer.critical_path == (answer.layers[0][1], answer.layers[1][1], answer.aggregator)
    second = [asked.request for asked in script.asked if asked.model == HAIKU]
    assert [request.system is None for request in second] == [True, False], "it reads what the first one reads"


def test_an_aggregator_gets_no_second_request(script, run, question):
    script[SOL] = answers("Slow.", after=9)
    answer = run(moa.mixture_of_agents(question, [LUNA], SOL, hedge_after=2, hedge_with=HAIKU))
    assert (answer.text, answer.aggregator.hedged, script.counts()) == ("Slow.", (), {LUNA: 1, SOL: 1})


def test_cancellation_ends_both_and_keeps_what_they_wrote(script, run, question):
    async def give_up():
        task = asyncio.create_task(hedged(question))
        await asyncio.sleep(4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies

    script[LUNA], script[HAIKU] = hangs("One", after=1), hangs("Two", after=1)
    (reply,) = run(give_up())
    assert [(other.text, other.failure.kind) for other in reply.hedged] == [("One", "cancelled"), ("Two", "cancelled")]


def test_a_second_request_that_is_never_sent_is_not_announced(script, run, question):
    """With a single place, it waits in line until the first is done, and is then not needed."""
    events, answer = run(collect(question, [LUNA], SOL, hedge_after=0.5, max_concurrency=1))
    assert not [event for event in events if isinstance(event, moa.Hedging)]
    (reply,) = answer.layers[0]
    assert (reply.hedged, len(reply.attempts)) == ((), 1)
    assert reply.cost_usd == pytest.approx(moa.find(LUNA).cost(100, 20))


def test_a_model_for_second_requests_needs_a_time_for_them(script, run, question):
    for call in (
        moa.fan_out([LUNA], question, hedge_with=HAIKU),
        moa.mixture_of_agents(question, [LUNA], SOL, hedge_with=HAIKU),
    ):
        with pytest.raises(ValueError, match="hedge_with is the model for second requests: give hedge_after too"):
            run(call)
    assert not script.asked
