"""Each way in which a vendor can fail, once at each vendor, through its real SDK: nothing is lost, and no key shows."""

import asyncio
import logging
import random

import pytest

import moa_helpers as moa
from moa_helpers import calls, offline
from moa_helpers.vendors.errors import RETRIED

# fault -> kind of failure, or None where the answer is usable
KINDS = {
    "400": "bad_request",
    "401": "authentication",
    "403": "permission",
    "404": "not_found",
    "413": "too_large",
    "422": "bad_request",
    "429": "rate_limit",
    "500": "server_error",
    "503": "overloaded",
    "529": "overloaded",
    "reset": "connection",
    "truncated_body": "connection",
    "truncated_stream": "incomplete",
    "error_event": "server_error",
    "malformed_json": "malformed",
    "empty": "empty",
    "length": None,
    "content_filter": "content_filter",
    "liar": None,
    "injector": None,
}
# The same of one vendor, by its place: Anthropic's error events have a type, and Mistral has no word for withholding.
ELSEWHERE = {("error_event", 1): "overloaded", ("content_filter", 2): "server_error"}
HANGING = ("hang", "slow_body", "stalled_stream")
HALVES = ("truncated_body", "truncated_stream", "error_event", "malformed_json", "length", "stalled_stream")


def everything_shown(replies, caplog):
    shown = [show(result) for result in (replies, *replies) for show in (repr, str)]
    shown += [show for result in (replies, *replies) for show in (result._repr_html_(), result._repr_markdown_())]
    return "\n".join([*shown, *(reply.failure.message for reply in replies if reply.failure), caplog.text])


def test_no_fault_is_forgotten():
    assert {*KINDS, *HANGING, "any"} == set(offline.KINDS)


@pytest.mark.parametrize("fault", KINDS)
def test_a_fault_at_each_vendor(fault, models, question, well, vendors, run, live_at, caplog):
    """In live mode with made-up keys, so that a key could show."""
    caplog.set_level(logging.DEBUG)
    live_at(offline.start().url)
    with offline.fault("*", fault, retry_after=2.5):
        replies = run(moa.fan_out(models, question, retries=0))
    assert [reply.model for reply in replies] == models
    assert vendors.asked == dict.fromkeys(models, 1)
    assert "dummy-" not in everything_shown(replies, caplog)
    for reply in replies:
        kind = ELSEWHERE.get((fault, models.index(reply.model)), KINDS[fault])
        assert (reply.failure.kind if reply.failure else None) == kind, reply
        assert reply.ok is (kind is None)
        (attempt,) = reply.attempts
        assert attempt.failure == reply.failure
        if kind:
            assert reply.failure.message.startswith(f"{reply.model}: ")
            assert reply.failure.status == (int(fault) if fault.isdigit() else None)
            assert reply.failure.retry_after == (2.5 if fault.isdigit() else None)
        if fault.isdigit():
            assert (reply.text, reply.cost_usd) == ("", 0.0)
        the_text_is_right(fault, question, reply, well[reply.model])


def the_text_is_right(fault, question, reply, usual):
    if fault in HALVES:
        assert usual.text.startswith(reply.text)
        assert 0 < len(reply.text) < len(usual.text), "what had arrived was lost"
    if fault == "length":
        assert (reply.finish_reason, reply.truncated) == ("length", True)
    elif fault == "liar":
        assert offline.score(question, reply.text).wrong > offline.score(question, usual.text).wrong
    elif fault == "injector":
        assert "Ignore all earlier instructions" in reply.text


def test_a_fault_at_one_vendor_leaves_the_others_well(models, question, well, run):
    for model in models:
        with offline.fault(model.partition(":")[0], "truncated_body"):
            replies = run(moa.fan_out(models, question, retries=0))
        assert [reply.model for reply in replies] == models
        for reply in replies:
            assert reply.ok is (reply.model != model)
            assert reply.text == well[reply.model].text or reply.model == model


@pytest.mark.parametrize("fault", HANGING)
def test_what_hangs_is_stopped_and_keeps_what_came(fault, models, question, well, vendors, run, monkeypatch):
    """Nothing more will ever come: so each call is cancelled once it has what it will get."""
    stream, heard = calls.stream, set()

    async def listening(request):
        async for chunk in stream(request):
            if chunk.text:
                heard.add(request.model.name)
            yield chunk

    async def ask(model):
        asking = asyncio.create_task(moa.ask(model, question, retries=0))
        while not (model in heard or (vendors.asked[model] and fault != "stalled_stream")):
            await asyncio.sleep(0.005)
        await asyncio.wait([asking], timeout=0.1)
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await asking
        return caught.value.replies[0]

    async def ask_all():
        return await asyncio.gather(*map(ask, models))

    monkeypatch.setattr(calls, "stream", listening)
    with offline.fault("*", fault):
        replies = run(ask_all())
    for reply in replies:
        assert (reply.failure.kind, reply.abandoned, reply.ok) == ("cancelled", True, False)
        assert reply.cost_usd is None
        the_text_is_right(fault, question, reply, well[reply.model])


def test_what_hangs_runs_into_the_time_out(models, question, vendors, run):
    with offline.fault("*", "hang"):
        replies = run(moa.fan_out(models, question, timeout=0.2, retries=0))
    assert {reply.failure.kind for reply in replies} == {"timeout"}
    assert all(reply.elapsed >= 0.2 for reply in replies)


def test_what_may_pass_is_tried_again_on_the_wire(models, question, well, vendors, run, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda least, most: 0.0)  # no pauses
    for fault in [fault for fault, kind in KINDS.items() if kind in RETRIED]:
        vendors.asked.clear()
        with offline.fault("*", fault, times=3):
            replies = run(moa.fan_out(models, question, retries=3))
        assert [reply.failure for reply in replies] == [None] * 3
        assert [reply.text for reply in replies] == [well[model].text for model in models], "a void attempt shows"
        assert sum(len(reply.attempts) for reply in replies) == sum(vendors.asked.values()) == 6
        known = [reply.cost_usd is not None for reply in replies if len(reply.attempts) > 1]
        assert set(known) == {fault.isdigit()}, "what is refused costs nothing"


def test_retry_after_is_obeyed_on_the_wire(models, question, well, vendors, run):
    with offline.fault("*", 429, retry_after=0.2, times=3):
        replies = run(moa.fan_out(models, question, retries=3))
    assert sum(len(reply.attempts) for reply in replies) == 6
    for reply in replies:
        assert (reply.failure, reply.text) == (None, well[reply.model].text)
        for before, after in zip(reply.attempts, reply.attempts[1:], strict=False):
            assert after.started - (before.started + before.elapsed) >= 0.2


def test_a_share_of_the_requests_is_hit(models, run):
    prompts = [f"Question {number}?" for number in range(12)]

    async def ask_all():
        return await asyncio.gather(*(moa.ask(models[0], prompt, retries=0) for prompt in prompts))

    with offline.fault("openai", 503, chance=0.5):
        replies = run(ask_all())
    assert {reply.failure and reply.failure.kind for reply in replies} == {None, "overloaded"}
    with offline.fault("openai", "any", chance=0):
        assert run(moa.ask(models[0], prompts[0])).ok
    with pytest.raises(ValueError, match="chance of a fault is 2"):
        offline.fault("openai", "any", chance=2)
    with pytest.raises(ValueError, match="no fault 'flood'; there are"):
        offline.fault("openai", "flood")


@pytest.mark.slow
def test_any_mix_of_faults_ends_and_leaves_nothing_open(models, question, well, run):
    """Time-outs of the few that hang are what takes the time."""

    async def ask_all():
        asked = (moa.fan_out(models, question, retries=0, timeout=2) for _ in range(20))
        return [reply for replies in await asyncio.gather(*asked) for reply in replies]

    with offline.fault("*", "any", chance=0.7):
        replies = run(ask_all())
    assert len(replies) == 60
    assert {reply.failure.kind for reply in replies if reply.failure} <= {*KINDS.values(), "timeout"}
    assert all(reply.text.strip() for reply in replies if reply.ok)
