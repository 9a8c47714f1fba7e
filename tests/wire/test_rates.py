"""Rates, counted at a server: what the vendors' headers say arrives, and no window of a minute holds too much.

A minute is less than a second here. What is counted holds however slow the machine is.
"""

import bisect
import time

import pytest
from aiohttp import web

import moa_helpers as moa
from moa_helpers import calls
from moa_helpers.limits import rates as limits
from moa_helpers.limits.rates import Rate, Rates
from moa_helpers.limits.scope import Scope
from tests.support.recorder import chat, messages
from tests.support.scripts import HAIKU, LUNA, SMALL

MINUTE = 0.3  # seconds
USED = 10  # tokens of each answer of the recorder
HEADERS = {
    LUNA: {"X-RateLimit-Limit-Requests": "500", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6ms"},
    HAIKU: {"anthropic-ratelimit-requests-limit": "50", "Retry-After": "0"},
    SMALL: {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-tokens-minute": "4999911"},
}


def answer(request, body, headers=None, status=200):
    """In the form that was asked for, streamed or whole."""
    if status != 200:
        return web.json_response({"error": {"message": "Too many."}}, status=status, headers=headers)
    if body.get("stream"):
        write = messages if request.path.endswith("/messages") else chat
        return web.Response(body=write("served"), content_type="text/event-stream", headers=headers)
    if request.path.endswith("/messages"):
        usage = {"input_tokens": 7, "output_tokens": 3}
        whole = {"id": "1", "type": "message", "role": "assistant", "model": "served", "stop_reason": "end_turn"}
        content = [{"type": "text", "text": "Hello there."}]
        return web.json_response(whole | {"content": content, "usage": usage}, headers=headers)
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": USED}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "served"}
    return web.json_response(whole | {"choices": [choice], "usage": usage}, headers=headers)


def test_what_the_responses_say_of_rates_arrives(models, live, recorder, run, question, monkeypatch):
    learnt = {}
    monkeypatch.setattr(Rates, "learn", lambda rates, vendor, headers: learnt.update({vendor: dict(headers)}))
    by_path = {name.partition(":")[0]: headers for name, headers in HEADERS.items()}

    async def answering(request, body):
        return answer(request, body, by_path[request.path.split("/")[1]])

    recorder.answer = answering

    async def asked():
        with Scope(rates=Rates()).open():
            return await moa.fan_out(models, question)

    assert all(reply.ok for reply in run(asked()))
    small = {vendor: {name.lower(): value for name, value in told.items()} for vendor, told in by_path.items()}
    assert learnt == small


@pytest.fixture
def counted(recorder, live, monkeypatch):
    """When each request arrived at the vendor, which refuses every fifth of them."""
    monkeypatch.setattr(limits, "MINUTE", MINUTE)
    arrived = []

    async def answering(request, body):
        arrived.append(time.perf_counter())
        return answer(request, body, {"retry-after": "0.1"}, status=429 if len(arrived) % 5 == 0 else 200)

    recorder.answer = answering
    return arrived


def most(arrived):
    """The most requests in any minute."""
    return max(bisect.bisect_left(arrived, when + MINUTE) - first for first, when in enumerate(arrived))


@pytest.mark.parametrize("rate", [Rate(requests=6), Rate(tokens=400), Rate(6, 10_000)])
def test_no_minute_at_the_vendor_holds_more_than_was_set(rate, counted, run, question):
    async def asked():
        with Scope(rates=Rates({"openai": rate})).open():
            return await moa.fan_out([LUNA] * 20, question, max_tokens=100, retries=6)

    assert all(reply.ok for reply in run(asked()))
    assert 20 <= len(counted) <= 26
    assert most(counted) <= (rate.requests or rate.tokens / USED)


def test_answer_all_keeps_them_too(counted, run):
    questions = [f"How many are {number} and one?" for number in range(20)]
    answers = run(moa.answer_all(questions, LUNA, rates={"openai": Rate(requests=6)}, retries=6))
    assert len(answers) == 20
    assert {row.text for row in answers} == {"Hello there."}
    assert 20 <= len(counted) <= 26
    assert most(counted) <= 6


@pytest.mark.parametrize("streamed", [True, False])
def test_the_headers_come_with_the_first_piece(streamed, live, recorder, run, question):
    """From each vendor, before anything else of its answer."""

    async def answering(request, body):
        return answer(request, body, {"X-RateLimit-Limit-Tokens": "7", "x-other": "1"})

    recorder.answer = answering

    async def first(model):
        request = moa.plan.plan_fan_out([model], question).bound(streamed=streamed).stages[0][0]
        return [chunk.headers async for chunk in calls.stream(request)]

    for model in (LUNA, HAIKU, SMALL):
        headers, *others = run(first(model))
        assert headers == {"x-ratelimit-limit-tokens": "7"}
        assert {*others} == {None}
