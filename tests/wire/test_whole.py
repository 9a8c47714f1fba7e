"""Requests whose answers are asked whole: the same body, headers and reply as through the SDK, and the same ends."""

import asyncio
import gc
import inspect
import json
import warnings
from contextlib import ExitStack, suppress
from dataclasses import replace
from operator import attrgetter

import pytest
from aiohttp import web

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.bulk.strategies import answered
from moa_helpers.plan import plan_fan_out
from moa_helpers.vendors import whole
from moa_helpers.vendors.arriving import Arriving
from moa_helpers.vendors.requests import Malformed, Refused
from tests.support.scripts import HAIKU, LUNA, SMALL
from tests.wire.conftest import ask_whole

PROMPT = "Why is the sky blue, \u201cnaïve\u201d \U0001f600?"
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": PROMPT},
]
FIELDS = (
    *("text", "thinking", "finish_reason", "answered_by", "input_tokens", "output_tokens", "thinking_tokens"),
    *("cached_tokens", "cost_usd", "failure", "offline", "warnings"),
)
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
MEMBERS = [
    moa.Member(LUNA, system="Be brief.", effort="low", max_tokens=77),
    moa.Member(
        LUNA,
        extra={
            "seed": 3,
            "top_p": None,
            "stop": ["a"],
            "tools": [TOOL],
            "extra_body": {"safety": None, "deep": {"seed": 1}},
            "extra_headers": {"X-Mine": "mine", "OpenAI-Project": "other"},
            "extra_query": {"api-version": "2026-01-01 a", "list": ["1", "2"], "flag": True, "deep": {"x": "1"}},
        },
    ),
    moa.Member("vllm:m", temperature=0, extra={"extra_body": {"top_k": 4}}),
    moa.Member(HAIKU, system="Be brief.", effort="high"),
    moa.Member(
        HAIKU,
        extra={
            "thinking": {"type": "disabled"},
            "stop_sequences": ["a"],
            "extra_body": {"top_k": 3},
            "extra_query": {"beta": "true"},
            "extra_headers": {"anthropic-beta": "a,b"},
        },
    ),
    moa.Member(SMALL, system="Be brief.", temperature=0.0),
    moa.Member(
        SMALL,
        extra={
            "random_seed": 3,
            "stop": ["a"],
            "top_p": 0.5,
            "safe_prompt": True,
            "response_format": {"type": "json_object"},
            "tools": [TOOL],
            "http_headers": {"X-Mine": "mine"},
        },
    ),
]
CREATE = {"openai": "chat.completions.create", "anthropic": "messages.create", "mistral": "chat.complete_async"}
OF_THE_WAY = {
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "x-stainless-retry-count",
    "x-stainless-timeout",
}
TEXT = "Hello there."


def bound(model, prompt="Why?"):
    """The request for a model that is to be asked whole."""
    ((request,),) = plan_fan_out([model], prompt).bound(streamed=False).stages
    return request


@pytest.fixture
def of(run):
    """The same, outside of the event loop."""

    async def later(*given):
        return bound(*given)

    return lambda *given: run(later(*given))


def read(request, chunks):
    """How an answer ends that holds these pieces."""
    arriving = Arriving(request.model)
    for chunk in chunks:
        arriving.take(chunk)
    return arriving.fields() | {"failure": arriving.problem()}


async def asked(request):
    return [chunk async for chunk in whole.ask(request)]


@pytest.fixture
def compared(recorder, live, run):
    """What the SDK's own unstreamed call sends, and what is sent here: path, query, headers and body of each."""
    sent = []

    async def answer(request, body):
        headers = {name.lower(): value for name, value in request.headers.items()}
        sent.append((request.path, sorted(request.query.items()), headers, body))
        return web.json_response({"error": {"message": "Enough."}}, status=400)

    async def both(request):
        sdk = whole.SDKS[request.model.vendor.api]
        with suppress(Exception):
            await attrgetter(CREATE[request.model.vendor.api])(request.sdk)(**sdk.arguments(request))
        through_the_sdk = [*sent]
        with pytest.raises(whole.BadStatus):
            await asked(request)
        return through_the_sdk, sent[-1]

    def compared(request):
        sent.clear()
        recorder.answer = answer
        by_sdk, ours = run(both(request))
        for *_, headers, _body in (*by_sdk, ours):
            for name in OF_THE_WAY:
                headers.pop(name, None)
        for *_, body in by_sdk:
            body.pop("stream", None)
            for message in body["messages"]:
                if message.get("prefix") is False:  # which Mistral's SDK adds to an assistant's, and is the default
                    del message["prefix"]
        return by_sdk, ours

    return compared


@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_what_is_sent_is_what_the_sdk_would_send(member, compared, of):
    request = of(member, TURNS)
    (by_sdk,), ours = compared(request)
    assert ours == by_sdk
    assert ours[-1] == json.loads(json.dumps(whole.body(request)))


@pytest.mark.parametrize("model", [LUNA, HAIKU, SMALL])
def test_each_argument_of_the_sdk_goes_where_the_sdk_puts_it(model, compared, of):
    """A new version of an SDK may send one as a header, or call it otherwise in the body."""
    request = of(model)
    vendor = request.model.vendor.api
    signature = inspect.signature(attrgetter(CREATE[vendor])(request.sdk))
    tried = {*signature.parameters} - {*whole.SDKS[vendor].OURS.split(), "self", "extra_body", "extra_query"}
    tried -= {*whole.HEADERS}
    known = 0
    for name in tried:
        for value in ("x", ["x"], 3, {"type": "text"}, True):
            by_sdk, ours = compared(replace(request, extra={name: value}))
            if by_sdk and (name in by_sdk[0][-1] or value in by_sdk[0][2].values()):  # it takes such a value
                assert ours == by_sdk[0], name
                known += 1
                break
    assert known > len(tried) / 2


def test_a_stage_of_a_mixture_marks_its_prompt_cache_whole_as_streamed(compared, of):
    for member in (
        moa.Member(HAIKU, extra={"cache_control": {"type": "ephemeral"}}),
        moa.Member(LUNA, extra={"extra_body": {"prompt_cache_options": {"mode": "explicit"}}}),
    ):
        (by_sdk,), ours = compared(replace(of(member), after="Answers so far: none."))
        assert ours == by_sdk
        assert "cache_" in json.dumps(ours[-1]["messages"])


def test_what_is_private_goes_to_openai_alone_and_a_login_in_place_of_a_key(recorder, live, live_at, run, monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: private\nAuthorization: private")
    run(moa.close())

    async def go(*models):
        for model in models:
            await asked(bound(model))
        await moa.close()

    run(go(LUNA, "groq:any"))
    first, second = (request["headers"] for request in recorder.requests)
    assert {first[name] for name in ("OpenAI-Organization", "OpenAI-Project", "x-mine")} == {"private"}
    assert "private" not in second.values()
    assert second["Authorization"] == "Bearer dummy-groq"
    recorder.requests.clear()
    live_at(recorder.url.replace("://", "://joe:dummy%2Fword@"))
    run(go(LUNA, HAIKU, SMALL))
    assert {request["headers"]["Authorization"] for request in recorder.requests} == {"Basic am9lOmR1bW15L3dvcmQ="}


def test_a_whole_answer_and_a_streamed_one_are_the_same_reply(models, question, run, vendors):
    async def both(model, system):
        plan = plan_fan_out([model], question, system=system)
        return [await answered(plan.bound(streamed=streamed)) for streamed in (True, False)]

    for model in (*models, "groq:llama-x", "colab:google/gemini-2.5-flash"):
        for system in (None, "Be brief."):
            streamed, at_once = run(both(model, system))
            same = {name: getattr(streamed, name) for name in FIELDS}
            assert same == {name: getattr(at_once, name) for name in FIELDS}
            assert (at_once.ok, at_once.ttft) == (True, None)
            assert streamed.ttft > 0


def test_a_time_to_first_token_that_nobody_saw_is_unknown(models, question, run):
    async def whole():
        return await answered(plan_fan_out(models[:1], question).bound(streamed=False))

    reply = run(whole())
    assert reply.ttft is None
    assert [line.split()[0] for line in str(reply).splitlines() if "unknown" in line] == ["unknown"]


def said(content, **choice):
    message = {"role": "assistant", "content": content}
    return {"model": "m", "choices": [{"message": message, "finish_reason": "stop"} | choice]}


def wrote(*content, **more):
    return {"type": "message", "model": "m", "content": [*content], "stop_reason": "end_turn"} | more


HMM = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": TEXT}]
TOLD = {"message": {"content": TEXT, "reasoning_content": "Hm."}}
ANSWERS = [  # the model, its answer, and what is to be read there
    (LUNA, said(TEXT), {"text": TEXT, "finish_reason": "stop"}),
    (LUNA, said(None), {"text": "", "failure": "empty"}),
    (LUNA, said(None) | {"usage": None}, {"input_tokens": None, "failure": "empty"}),
    (LUNA, said(TEXT) | {"usage": {"prompt_tokens": "?", "completion_tokens": -1}}, {"output_tokens": None}),
    (LUNA, said(TEXT) | {"usage": {"prompt_tokens": 5, "total_tokens": 12}}, {"input_tokens": 5, "output_tokens": 7}),
    (LUNA, said(TEXT, finish_reason=None), {"text": TEXT, "finish_reason": "stop", "failure": None}),
    (LUNA, said(TEXT, finish_reason="length"), {"finish_reason": "length", "failure": None}),
    (LUNA, said(TEXT, finish_reason="content_filter"), {"failure": "content_filter"}),
    (LUNA, said(None, message={"content": None, "refusal": "No."}), {"text": "No.", "failure": "content_filter"}),
    (LUNA, {"choices": []}, {"failure": "malformed"}),
    ("vllm:m", said("<think>Hm.</think>" + TEXT), {"text": TEXT, "thinking": "Hm."}),
    ("vllm:m", said(TEXT, **TOLD), {"text": TEXT, "thinking": "Hm."}),
    ("vllm:m", said("<think>Hm."), {"text": "", "thinking": "Hm.", "failure": "empty"}),
    (SMALL, said(HMM), {"text": TEXT, "thinking": "Hm."}),
    (SMALL, said([{"type": "text", "text": TEXT}]), {"text": TEXT, "thinking": ""}),
    (HAIKU, wrote({"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": TEXT}), {"thinking": "Hm."}),
    (HAIKU, wrote({"type": "text", "text": TEXT}), {"text": TEXT, "finish_reason": "stop", "failure": None}),
    (HAIKU, wrote(stop_reason="refusal"), {"text": "", "failure": "content_filter"}),
    (HAIKU, wrote(), {"failure": "empty"}),
    (
        HAIKU,
        wrote(
            {"type": "text", "text": TEXT}, usage={"input_tokens": 5, "cache_read_input_tokens": 9, "output_tokens": 3}
        ),
        {"input_tokens": 14, "cached_tokens": 9, "output_tokens": 3},
    ),
]


@pytest.mark.parametrize(("model", "answer", "expected"), ANSWERS)
def test_an_answer_is_read_alike_from_a_file_and_from_the_wire(model, answer, expected, recorder, live, run, of):
    async def send(request, body):
        return web.json_response(answer)

    recorder.answer, request = send, of(model)
    by_wire = read(request, run(asked(request)))
    assert read(request, whole.chunks(request, answer)) == by_wire
    by_wire["failure"] = by_wire["failure"] and by_wire["failure"].kind
    assert {name: by_wire[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": {"message": "It broke down"}}, Refused),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "It broke down"}}, Refused),
        ({"object": "error", "message": "It broke down", "code": 500}, Refused),
        ({"detail": "It broke down"}, Refused),
        ({"choices": [{"error": {"message": "It broke down"}}]}, Refused),
        ({"status": "It broke down"}, Malformed),
        ({"choices": "It broke down"}, Malformed),
        ([1], Malformed),
        (None, Malformed),
    ],
)
def test_what_is_no_answer_is_told(answer, error, live, of):
    for model in (LUNA, HAIKU, SMALL):
        if answer is None or "choices" not in answer or model is not HAIKU:
            with pytest.raises(error):
                [*whole.chunks(of(model), answer)]


def test_a_refusal_has_its_words_and_how_long_to_wait(models, recorder, live, run, asked_whole):
    async def refuse(request, body):
        return web.json_response({"error": {"message": "Slow down."}}, status=429, headers={"Retry-After": "7"})

    recorder.answer = refuse
    for reply in run(moa.fan_out(models, "Why?", retries=0)):
        assert (reply.failure.kind, reply.failure.status, reply.failure.retry_after) == ("rate_limit", 429, 7.0)
        assert "Slow down." in reply.failure.message


def test_what_a_vendor_tells_of_its_rates_is_passed_on(recorder, live, run, of):
    async def answer(request, body):
        return web.json_response(said(TEXT), headers={"X-RateLimit-Remaining-Requests": "3", "X-Other": "1"})

    recorder.answer = answer
    headers = [chunk.headers for chunk in run(asked(of(LUNA)))]
    assert [told for told in headers if told] == [{"x-ratelimit-remaining-requests": "3"}]


def test_a_call_that_is_stopped_hangs_up_at_once(models, run, vendors, monkeypatch):
    async def go():
        calls = asyncio.create_task(moa.fan_out(models, "Why?", timeout=60))
        while vendors.under_way < len(models):
            await asyncio.sleep(0.01)
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls
        while vendors.under_way:  # else this does not end
            await asyncio.sleep(0.01)

    ask_whole(monkeypatch)
    with ExitStack() as faults:
        for model in models:
            faults.enter_context(offline.fault(model.partition(":")[0], "hang"))
        run(go())


def test_an_event_loop_that_ends_leaves_no_session_open(models, question, caplog):
    async def go():
        assert (await answered(plan_fan_out(models[:1], question).bound(streamed=False))).ok

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the SDK's client, which asyncio.run cannot close
        asyncio.run(go())
        moa.run(go())  # which forgets the clients of the loop that has ended
        gc.collect()
    assert "Unclosed" not in caplog.text
