"""What cuts the tail and keeps to a budget: second requests, grace, places by vendor, max_calls, budget_usd."""

import asyncio
import re
import time

import pytest
from conftest import under_way_until

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import listed
from moa_helpers.offline import Latency, server

# Second requests


def test_a_slow_call_is_answered_by_a_second_request_to_another_model(models, question, vendors, run):
    with offline.fault("mistral", "hang"):
        replies = run(moa.fan_out(models, question, hedge_after=2, hedge_with=models[1], timeout=30))
    reply = replies[2]
    assert (reply.model, reply.written_by, reply.by_hedge) == (models[2], models[1], True)
    assert reply.answered_by == models[1].partition(":")[2]
    assert f"by its second request, to {models[1]}" in reply.summary, "the substitute is not named"
    first, second = reply.hedged
    assert (first.model, first.failure.kind) == (models[2], "cancelled")
    assert second.ok
    assert second.text == reply.text != replies[1].text
    assert 2 <= second.started - first.started < 10
    assert reply.started == first.started
    assert reply.ended == second.ended
    assert reply.ttft == pytest.approx(second.started + second.ttft - first.started)
    offset = second.started - first.started
    assert [attempt.started for attempt in reply.attempts] == pytest.approx([0, offset], abs=0.01)
    assert vendors.asked == {models[0]: 1, models[1]: 2, models[2]: 1}
    assert reply.cost_usd is None, "what the abandoned request costs is not known"
    assert reply.least_usd == second.cost_usd > 0
    assert replies.cost_usd is None
    assert replies.least_usd == pytest.approx(replies[0].cost_usd + replies[1].cost_usd + second.cost_usd)
    assert f"at least ${replies.least_usd:.6f}" in str(replies)


def test_without_another_model_the_second_request_goes_to_the_same_and_is_another_sample(models, question, run):
    usual = run(moa.ask(models[0], question))
    with offline.fault("openai", "hang", times=1):
        (reply,) = run(moa.fan_out(models[:1], question, hedge_after=0.4, timeout=30))
    assert reply.by_hedge
    assert reply.written_by == models[0]
    assert reply.text != usual.text


def test_a_quick_call_gets_no_second_request(models, question, vendors, run):
    replies = run(moa.fan_out(models, question, hedge_after=20))
    assert vendors.asked.total() == 3
    assert [reply.hedged for reply in replies] == [()] * 3


def test_the_first_request_still_counts_while_the_second_runs(models, question, run):
    with offline.fault("openai", 429, retry_after=1, times=1), offline.fault("anthropic", "hang"):
        (reply,) = run(moa.fan_out(models[:1], question, hedge_after=0.3, hedge_with=models[1], timeout=30))
    assert reply.ok
    assert not reply.by_hedge
    assert reply.written_by == models[0]
    assert reply.hedged[1].failure.kind == "cancelled"
    assert "second request" not in reply.summary


@pytest.mark.parametrize("kind", [401, "empty", "content_filter"])
def test_a_second_request_that_fails_does_not_end_the_first(kind, models, question, run):
    with offline.fault("openai", 429, retry_after=1.5, times=1), offline.fault("anthropic", kind):
        (reply,) = run(moa.fan_out(models[:1], question, hedge_after=0.3, hedge_with=models[1], timeout=30))
    assert reply.ok
    assert not reply.by_hedge
    assert not reply.hedged[1].ok
    assert reply.hedged[1].failure.kind != "cancelled"


def test_a_first_request_that_fails_meanwhile_does_not_end_the_second(models, question, run):
    first = offline.fault("openai", 429, retry_after=0.6, times=1)
    second = offline.fault("anthropic", 429, retry_after=1.5, times=1)
    with offline.fault("openai", 401), first, second:  # 401 is what the first request's second attempt meets
        (reply,) = run(moa.fan_out(models[:1], question, hedge_after=0.3, hedge_with=models[1], timeout=30))
    assert reply.by_hedge
    assert reply.hedged[0].failure.kind == "authentication"
    assert reply.elapsed > 1.5


def test_when_both_fail_the_first_failure_is_told(models, question, run):
    with offline.fault("openai", "hang"), offline.fault("anthropic", 401):
        (reply,) = run(moa.fan_out(models[:1], question, hedge_after=0.3, hedge_with=models[1], timeout=0.8, retries=0))
    assert not reply.ok
    assert (reply.failure.kind, reply.hedged[1].failure.kind) == ("timeout", "authentication")
    assert 0.79 <= reply.elapsed < 10
    assert not reply.by_hedge


def test_a_call_that_fails_before_it_is_slow_gets_no_second_request(models, question, vendors, run):
    with offline.fault("openai", 401):
        (reply,) = run(moa.fan_out(models[:1], question, hedge_after=5, hedge_with=models[1]))
    assert reply.failure.kind == "authentication"
    assert vendors.asked == {models[0]: 1}


def test_waiting_in_line_is_not_being_slow(models, question, vendors, run, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 1.5)  # a call takes about a second
    monkeypatch.setattr(vendors, "_latency", Latency(0))  # whose first delays hold no spike
    replies = run(moa.fan_out(models[:1] * 4, question, max_concurrency=1, hedge_after=2.5))
    assert replies[3].started - replies[0].started > 2.5, "the last must have waited in line for longer"
    assert all(reply.ok and not reply.hedged for reply in replies)
    assert vendors.asked == {models[0]: 4}


def test_the_deadline_ends_both_requests(models, question, run):
    started = time.perf_counter()
    with offline.fault("*", "hang"):
        replies = run(moa.fan_out(models, question, hedge_after=0.2, deadline=0.8, timeout=30))
    assert time.perf_counter() - started < 5
    assert {other.failure.kind for reply in replies for other in reply.hedged} == {"deadline"}


def test_cancellation_ends_both_requests_and_keeps_what_they_wrote(models, question, run):
    async def give_up():
        asking = moa.fan_out(models[:1], question, hedge_after=0.3, hedge_with=models[1], timeout=30)
        task = await under_way_until(lambda live: sum(bool(reply.text) for reply in live.replies) == 2, asking)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies

    with offline.fault("openai", "stalled_stream"), offline.fault("anthropic", "stalled_stream"):
        (reply,) = run(give_up())
    assert all(other.text and other.failure.kind == "cancelled" for other in reply.hedged)


def test_cancelled_twice_it_still_leaves_nothing_behind(models, question, run):
    async def give_up():
        task = asyncio.create_task(moa.fan_out(models, question, hedge_after=0.1, timeout=30))
        await asyncio.sleep(0.5)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}, "calls ran on when the fan-out had ended"

    with offline.fault("*", "hang"):
        run(give_up())


@pytest.mark.parametrize("winner", ["first", "second", "second, after the first wrote"])
def test_the_events_say_when_a_second_request_goes_out_and_what_is_void(winner, models, question, run):
    first, second = {
        "first": ((429, {"retry_after": 1, "times": 1}), ("hang", {})),
        "second": (("hang", {}), None),
        "second, after the first wrote": (("stalled_stream", {}), None),
    }[winner]

    async def listen():
        events, options = [], {"hedge_after": 0.6, "hedge_with": models[1], "timeout": 30}
        async for event in moa.stream_mixture(question, models[:1], models[2], **options):
            events.append(event)
        return events

    with offline.fault("openai", first[0], **first[1]):
        if second:
            with offline.fault("anthropic", second[0], **second[1]):
                events = run(listen())
        else:
            events = run(listen())
    hedging = [event for event in events if isinstance(event, moa.Hedging)]
    assert [(event.layer, event.index, event.hedge.model, event.hedge.after) for event in hedging] == [
        (1, 0, models[1], 0.6)
    ]
    written, text = False, ""
    for event in events:
        if isinstance(event, moa.Retrying):
            written, text = written or bool(text), ""
        elif isinstance(event, moa.ProposerDelta):
            text += event.text
        elif isinstance(event, moa.ProposerDone):
            assert event.reply.text == text
            assert event.reply.by_hedge == winner.startswith("second")
    assert written == (winner == "second, after the first wrote")


def test_a_mixture_says_who_answered_instead(models, question, run):
    with offline.fault("mistral", "hang"):
        answer = run(
            moa.mixture_of_agents(
                question, models, models[0], layers=3, hedge_after=0.6, hedge_with=models[1], timeout=30
            )
        )
    assert answer.outcome == "complete"
    substituted = rf"{models[2]} answered in [^;]* by its second request, to {models[1]}"
    assert len(re.findall(substituted, answer.heading)) == 2
    table = answer.table()
    assert list(table.second_request[table.model == models[2]]) == [f"{models[1]} (its answer counts)"] * 2
    assert "second request" in answer.timeline().alt
    assert answer.critical_path[-1] == answer.aggregator


def test_a_second_request_that_is_never_sent_is_not_announced_nor_paid_for(models, question, vendors, run):
    """With a single place, the second request waits in line until the first is done, and is then not needed."""
    vendors.speed, speed = 4, vendors.speed

    async def listen():
        events = moa.stream_mixture(question, models[:1], models[2], hedge_after=0.05, max_concurrency=1)
        return [event async for event in events]

    try:
        events = run(listen())
        with offline.fault("mistral", 503, times=1):
            replies = run(
                moa.fan_out([models[0], models[2]], question, hedge_after=0.05, max_concurrency=1, max_calls=3)
            )
    finally:
        vendors.speed = speed
    assert not [event for event in events if isinstance(event, moa.Hedging)]
    (reply,) = events[-1].answer.layers[0]
    assert (reply.hedged, len(reply.attempts)) == ((), 1)
    assert reply.cost_usd is not None
    assert [len(reply.attempts) for reply in replies] == [1, 2], "the retry was refused for a request never sent"
    assert vendors.asked == {models[0]: 2, models[2]: 3}


def test_when_the_first_has_failed_and_the_second_is_stopped_nobody_waited_for_it(models, question, run):
    late = offline.fault("mistral", 429, retry_after=1.5, times=1)
    first = offline.fault("openai", 429, retry_after=0.3, times=1)
    with offline.fault("openai", 401), first, offline.fault("anthropic", "hang"), late:
        replies = run(moa.fan_out([models[0], models[2]], question, hedge_after=0.1, hedge_with=models[1], quorum=1))
    assert replies[0].abandoned
    assert replies[0].hedged[0].failure.kind == "authentication"
    assert replies.slowest is replies[1]


@pytest.mark.parametrize("options", [{"quorum": 1}, {"hedge_after": 0.02}, {"hedge_after": 0.02, "quorum": 1}])
def test_no_request_is_sent_once_the_result_is_decided(options, models, question, vendors, run):
    for number in range(10):
        asked = models[:1] * (3 if "quorum" in options else 1)
        run(moa.fan_out(asked, f"{question} ({number})", max_concurrency=1, **options))
    assert vendors.asked == {models[0]: 10}


# Quorum and grace


def test_within_the_grace_late_answers_still_count(models, question, run):
    late = offline.fault("anthropic", 429, retry_after=1, times=1)
    with offline.fault("mistral", "hang"), late:
        at_once = run(moa.fan_out(models, question, quorum=1, timeout=30))
    late = offline.fault("anthropic", 429, retry_after=1, times=1)
    with offline.fault("mistral", "hang"), late:
        started = time.perf_counter()
        later = run(moa.fan_out(models, question, quorum=1, grace=2, timeout=30))
        elapsed = time.perf_counter() - started
    assert [reply.ok for reply in at_once] == [True, False, False]
    assert [reply.ok for reply in later] == [True, True, False]
    assert 1.9 < elapsed - later[0].elapsed < 10
    assert later.slowest is later[1]
    assert re.search(r"[\d.]+ s of [\d.]+ s waited for calls that gave nothing by then", later.timeline().alt)


def test_no_grace_is_waited_out_when_all_are_there(models, question, run):
    started = time.perf_counter()
    replies = run(moa.fan_out(models, question, quorum=2, grace=30))
    assert len(replies.good) == 3
    assert time.perf_counter() - started < 10


# Places


def test_each_vendor_has_its_own_places(models, question, streams, run):
    replies = run(moa.fan_out(models * 4, question, max_concurrency={"mistral": 1, "openai": 3, "all": 6}))
    assert len(replies.good) == 12
    assert (streams["mistral"], streams["openai"], streams["all"]) == (1, 3, 6)


def test_second_requests_take_places_too(models, question, streams, run):
    with offline.fault("openai", "hang", times=2):
        run(moa.fan_out(models[:1] * 4, question, hedge_after=0.2, max_concurrency=3, timeout=30))
    assert streams["all"] == 3


# Calls and dollars


def test_a_plan_above_its_limit_is_refused_before_any_call(models, question, vendors, run):
    with pytest.raises(ValueError, match="5 calls are planned, but max_calls is 4"):
        run(moa.mixture_of_agents(question, models[:2], models[2], layers=3, max_calls=4))
    plan = moa.estimate(question, models, models[0], layers=3)
    with pytest.raises(ValueError, match=rf"7 calls of up to 2048 tokens may cost \${plan.most_usd:.6f}"):
        run(moa.mixture_of_agents(question, models, models[0], layers=3, budget_usd=plan.most_usd * 0.999))
    with pytest.raises(ValueError, match="no price is known for ollama:some"):
        run(moa.fan_out(["ollama:some"], question, budget_usd=1))
    with pytest.raises(ValueError, match="no price is known for ollama:some"):
        run(moa.fan_out(models, question, budget_usd=1, hedge_after=1, hedge_with="ollama:some"))
    assert vendors.asked.total() == 0


def test_a_plan_just_within_its_limits_runs(models, question, run):
    plan = moa.estimate(question, models, models[0], layers=3)
    answer = run(
        moa.mixture_of_agents(
            question, models, models[0], layers=3, max_calls=plan.calls, budget_usd=plan.most_usd * 1.001
        )
    )
    assert answer.outcome == "complete"
    assert answer.cost_usd < plan.most_usd


@pytest.mark.parametrize(("max_calls", "asked"), [(3, 3), (4, 4), (9, 6)])
def test_retries_get_what_the_plan_leaves(max_calls, asked, models, question, vendors, run):
    with offline.fault("*", 503):
        replies = run(moa.fan_out(models, question, max_calls=max_calls, retries=1))
    assert vendors.asked.total() == asked
    refused = [reply for reply in replies if "Not tried again: max_calls" in reply.failure.message]
    assert len(refused) == 6 - asked


def test_second_requests_get_what_the_plan_leaves(models, question, vendors, run):
    with offline.fault("*", "hang"):
        replies = run(moa.fan_out(models, question, hedge_after=0.2, max_calls=4, timeout=1, retries=0))
    assert vendors.asked.total() == 4
    assert sum(bool(reply.hedged) for reply in replies) == 1


def test_the_aggregator_is_not_starved_by_retries_before_it(models, question, vendors, run):
    with offline.fault("mistral", 503):
        answer = run(moa.mixture_of_agents(question, models, models[0], max_calls=4, retries=5))
    assert (answer.outcome, vendors.asked.total()) == ("partial", 4)


def test_a_refusal_costs_nothing_so_the_budget_still_allows_a_retry(models, question, vendors, run):
    budget = moa.estimate(question, models).most_usd * 1.001
    with offline.fault("openai", 429, retry_after=0, times=2):
        replies = run(moa.fan_out(models, question, budget_usd=budget))
    assert len(replies.good) == 3
    assert len(replies[0].attempts) == 3


def test_what_was_abandoned_is_taken_for_spent(models, question, vendors, run):
    """Its cost is unknown, so what was set aside for it is not given back."""
    budget = moa.estimate(question, models[:1]).most_usd * 1.9
    with offline.fault("openai", "hang"):
        replies = run(moa.fan_out(models[:1], question, budget_usd=budget, timeout=1.5))
    assert len(replies[0].attempts) == vendors.asked.total() == 1
    assert "Not tried again: max_calls or budget_usd" in replies[0].failure.message


@pytest.mark.parametrize("layers", [2, 3])
def test_estimates_and_actuals_agree(layers, models, vendors, run):
    """Told how long the answers were, the estimate comes within 10 % of what all the questions together cost."""
    estimated = actual = 0.0
    for question in offline.questions():
        answer = run(moa.mixture_of_agents(question.prompt, models, models[1], layers=layers))
        tokens = [reply.output_tokens for reply in answer.replies]
        plan = moa.estimate(
            question.prompt, models, models[1], layers=layers, answer_tokens=round(sum(tokens) / len(tokens))
        )
        assert plan.calls == len(answer.replies)
        assert answer.cost_usd == answer.least_usd < plan.most_usd
        estimated, actual = estimated + plan.usd, actual + answer.cost_usd
    assert estimated == pytest.approx(actual, rel=0.05)


@pytest.mark.parametrize("max_tokens", [40, 400])
def test_the_vendors_bill_stays_within_the_budget(max_tokens, models, run, monkeypatch):
    """Every request counted, also those that were abandoned, with second requests and retries as far as allowed."""
    bill, plan = [], server._plan

    def priced(request, asked, model, *rest):
        made = plan(request, asked, model, *rest)
        bill.append(model.cost(made.input_tokens, made.output_tokens))
        return made

    monkeypatch.setattr(server, "_plan", priced)
    extra = 0
    for question in offline.questions()[:4]:
        options = {"layers": 3, "max_tokens": max_tokens}
        planned = moa.estimate(question.prompt, models * 2, models[0], **options)
        budget, made = planned.most_usd * 1.2, len(bill)
        with offline.fault("anthropic", "truncated_stream", times=2):
            moa_answer = moa.mixture_of_agents(
                question.prompt, models * 2, models[0], **options, budget_usd=budget, hedge_after=0.02
            )
            answer = run(moa_answer)
        assert sum(bill[made:]) <= budget
        assert answer.least_usd <= sum(bill[made:])
        extra += len(bill) - made - planned.calls
    assert extra > 0, "nothing was retried or asked a second time, so nothing was tested"


def test_what_was_spent_is_spent(models, question, vendors, run):
    """Attempts that cost something use the budget up, though each by itself would fit."""
    asked, tokens = ["mistral:mistral-small-2603"], 130
    budget = 2.2 * moa.estimate(question, asked, max_tokens=tokens).most_usd
    with offline.fault("mistral", "truncated_stream"):
        (reply,) = run(moa.fan_out(asked, question, max_tokens=tokens, budget_usd=budget, retries=9))
    assert vendors.asked.total() == 2
    assert "budget_usd leaves none" in reply.failure.message


def test_what_was_set_aside_and_not_sent_is_free_again(models, question, vendors, run):
    aggregator = "groq:openai/gpt-oss-120b"
    with offline.fault("groq", 503, times=1):
        answer = run(
            moa.mixture_of_agents(question, models[:1] * 4, aggregator, quorum=1, max_concurrency=1, max_calls=5)
        )
    assert answer.outcome == "single"
    assert vendors.asked == {models[0]: 1, aggregator: 2}
    vendors.asked.clear()
    with offline.fault("openai", 429, retry_after=20, times=1), offline.fault("groq", 503, times=1):
        answer = run(moa.mixture_of_agents(question, models[:2], aggregator, quorum=1, max_calls=4))
    assert answer.outcome == "single"
    assert (vendors.asked[models[1]], vendors.asked[aggregator]) == (1, 2)
    assert vendors.asked[models[0]] <= 1, "it may be stopped before the vendor hears of it"


def test_a_system_message_is_priced_too(models, question, vendors, run):
    system = "Answer at length, and in verse. " * 2000
    plan, short = (moa.estimate(question, models, system=text) for text in (system, None))
    assert plan.most_usd - short.most_usd > 3 * 0.05e-6 * len(system) / 4
    with pytest.raises(ValueError, match="may cost"):
        run(moa.fan_out(models, question, system=system, budget_usd=(plan.most_usd + short.most_usd) / 2))
    assert vendors.asked.total() == 0


def test_a_price_that_holds_to_a_length_is_unknown_above_it(question, run):
    model = next(model for model in listed().values() if model.prices_hold_to_input_tokens)
    long = question + " x" * 2 * model.prices_hold_to_input_tokens
    plan = moa.estimate(long, [model.name])
    assert plan.usd is plan.most_usd is None
    assert plan.unpriced == (f"{model.name} above {model.prices_hold_to_input_tokens:,} input tokens",)
    with pytest.raises(ValueError, match=rf"no price is known for {model.name} above"):
        run(moa.fan_out([model.name], long, budget_usd=1))
    with pytest.raises(ValueError, match=rf"no price is known for {model.name}, or not for so long a prompt"):
        run(moa.fan_out(["openai:gpt-6-luna"], long, budget_usd=9, hedge_after=1, hedge_with=model.name))


def test_an_unknown_price_stays_unknown(models, question, run):
    plan = moa.estimate(question, [*models, "ollama:some"], models[0])
    assert (plan.calls, plan.usd, plan.most_usd, plan.unpriced) == (5, None, None, ("ollama:some",))
    assert "unknown" in str(plan)
    assert "no price known for ollama:some" in str(plan)
    assert moa.estimate(question, models).calls == 3


def test_an_estimate_needs_no_key_and_makes_no_call(models, question, vendors, monkeypatch):
    monkeypatch.setenv("MOA_MODE", "live")
    assert moa.estimate(question, models, models[0], layers=4).calls == 10
    assert vendors.asked.total() == 0


# An answer that is complete counts, whatever becomes of the connection


def test_an_answer_is_complete_once_its_finish_reason_is_there(live, recorder, run):
    """The vendor says why the answer ended, and then never closes the stream."""
    from aiohttp import web

    async def endless(request, body):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        chunk = '{"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, '
        await response.write(f'data: {chunk}"delta": {{"content": "All."}}, "finish_reason": "stop"}}]}}\n\n'.encode())
        while not request.transport.is_closing():
            await asyncio.sleep(0.02)
        return response

    recorder.answer = endless
    reply = run(moa.ask("openai:gpt-6-luna", "Hello?", deadline=2))
    assert (reply.ok, reply.text, reply.finish_reason) == (True, "All.", "stop")
    assert reply.cost_usd is None
