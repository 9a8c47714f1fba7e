"""Odd but real streams, read through the real SDKs: none loses an answer, none is taken for what it is not."""

import asyncio
import gzip
import json
import random
import time
import zlib

import pytest
from aiohttp import web

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, SMALL

VLLM = "vllm:m"
TEXT = "Hello there."
SSE, JSON, HTML = "text/event-stream", "application/json", "text/html"
START = {"type": "message_start", "message": {"type": "message", "role": "assistant", "model": "m", "content": []}}
STOP = {"type": "message_stop"}


def sse(*events, end="\n\n"):
    """A stream of these events; Anthropic's have a name."""
    named = [(f"event: {event['type']}\n" if "type" in event else "", json.dumps(event)) for event in events]
    return "".join(f"{name}data: {data}{end}" for name, data in named)


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]} | more


def says(text, finish=None, **more):
    return chunk({"content": text}, finish, **more)


def bare(**fields):
    """An event with these fields alone."""
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | fields


def begins(**usage):
    return START | {"message": START["message"] | {"usage": usage}}


def writes(text, kind="text"):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": f"{kind}_delta", kind: text}}


def ends(reason="end_turn", **more):
    return {"type": "message_delta", "delta": {"stop_reason": reason}} | more


def used(read, written, **more):
    return {"usage": {"prompt_tokens": read, "completion_tokens": written} | more}


@pytest.fixture
def ask(recorder, live, run, way):
    """Ask a model that is answered with this body."""

    def ask(model, body, content_type=SSE, status=200, headers=None, **options):
        async def answer(request, asked):
            sent = body if isinstance(body, bytes) else body.encode()
            return web.Response(body=sent, status=status, headers={"content-type": content_type, **(headers or {})})

        recorder.answer = answer
        return run(moa.ask(model, "Why?", **{"retries": 0, **options}))

    return ask


H, T = "Hello ", "there."
WHOLE = {  # streams that hold TEXT, whole
    "parts": sse(says([{"type": "text", "text": H}]), says([{"type": "text", "text": T}], "stop")),
    "parts without a type": sse(says([{"text": H}, T]), says("", "stop")),
    "one part": sse(says({"type": "text", "text": TEXT}, "stop")),
    "a nested text": sse(says([{"type": "text", "text": {"value": TEXT}}], "stop")),
    "parts beside the text": sse(says([{"type": "text", "text": TEXT}, {"type": "reference", "ids": [1]}], "stop")),
    "no delta": sse(says(H), bare(choices=[{"index": 0}]), says(T, "stop")),
    "null delta": sse(says(H), bare(choices=[{"index": 0, "delta": None}]), says(T, "stop")),
    "null delta at the end": sse(says(TEXT), bare(choices=[{"delta": None, "finish_reason": "stop"}])),
    "no choices": sse(bare(), says(TEXT, "stop"), bare(usage=None)),
    "null choices": sse(bare(choices=None), says(TEXT, "stop"), bare(choices=None)),
    "empty choices": sse(bare(choices=[]), says(TEXT, "stop"), bare(choices=[])),
    "a null choice": sse(bare(choices=[None]), says(TEXT, "stop")),
    "null content first": sse(chunk({"role": "assistant", "content": None}), says(TEXT, "stop")),
    "the end with the last piece": sse(says(H), says(T, "stop")),
    "no reason, but an end mark": sse(says(TEXT)) + "data: [DONE]\n\n",
    "an empty reason": sse(says(H, ""), says(T, "")),
    "an empty reason, then usage": sse(says(TEXT, ""), bare(choices=[], **used(1, 2))),
    "no model": sse({"choices": [{"delta": {"content": TEXT}, "finish_reason": "stop"}]}),
    "comments": f": hello\n\n{sse(says(H))}: still here\n\n:\n\n{sse(says(T, 'stop'))}",
    "a byte order mark": "\ufeff" + sse(says(TEXT, "stop")),
    "CR LF": sse(says(H), says(T, "stop"), end="\r\n\r\n"),
    "no line between": sse(says(H), says(T, "stop"), end="\n") + "data: [DONE]\n",
    "no line at the end": sse(says(H), says(T, "stop")).rstrip(),
    "other fields": "id: 1\nretry: 5\n\n" + sse(says(TEXT, "stop")).replace("data: ", "data:"),
    "null errors": sse(says(H, error=None), says(T, "stop", error={})),
    "a message that repeats it": sse(
        says(TEXT), bare(choices=[{"message": {"content": TEXT}, "finish_reason": "stop"}])
    ),
    "a broken model name": sse(says(TEXT, "stop", model="m\ud800")),
    "signs of life": f"data:\n\ndata: ping\n\n{sse(says(H))}event: heartbeat\ndata: 17\n\n{sse(says(T, 'stop'))}",
    "a place in a queue": sse({"message": "You are third"}, {"status": "queued"}, says(TEXT, "stop")),
    "names of events": sse(says(H), says(T, "stop")).replace("data:", "event: message\ndata:"),
    "a quoted end mark": sse(says(TEXT)) + 'data: "[DONE]"\n\n',
    "JSON in a text": "".join(f"data: {json.dumps(json.dumps(each))}\n\n" for each in (says(H), says(T, "stop"))),
    "errors that say nothing": sse(says(H, error={"code": 0, "message": ""}), says(T, "stop", error={"code": None})),
    "an error after the end": sse(says(TEXT, "stop"), {"error": {"message": "It broke down"}}),
    "results of a filter": sse(
        bare(choices=[], model="", prompt_filter_results=[{}]),
        says(TEXT, "stop"),
        bare(choices=[{"content_filter_results": {"error": {"message": "not filtered"}}}]),
    ),
    "a reason with each piece": sse(says(H, "stop"), says(T, "stop")),
    "another word for the reason": sse(says(TEXT, "EOS_token")),
    "a whole answer after the pieces": sse(
        says(H), says(T, "stop"), bare(object="chat.completion", choices=[{"message": {"content": TEXT}}])
    ),
    "a message in place of pieces": sse(bare(choices=[{"message": {"content": TEXT}, "finish_reason": "stop"}])),
    "text beside the delta": sse(bare(choices=[{"text": TEXT, "delta": {"content": TEXT}, "finish_reason": "eos"}])),
    "parts it does not know": sse(says([{"type": "citation", "text": [5]}, {"type": "text", "text": TEXT}], "stop")),
    "odd numbers": sse(says(TEXT, "stop")).replace('"created": 1', '"created": ' + "9" * 5000),
}
MESSAGES = {
    "no usage anywhere": sse(START, writes(TEXT), ends(), STOP),
    "null usage": sse(begins(), writes(TEXT), ends(usage=None), STOP),
    "text in the block's start": sse(
        START, {"type": "content_block_start", "content_block": {"type": "text", "text": H}}, writes(T), ends(), STOP
    ),
    "events it does not know": sse(START, {"type": "ping"}, {"type": "new"}, writes(TEXT), ends(), STOP),
    "no reason": sse(START, writes(TEXT), STOP),
    "a null delta": sse(START, {"type": "content_block_delta", "delta": None}, writes(TEXT), ends(), STOP),
    "what its tools did": sse(
        START,
        *(
            {"type": "content_block_start", "content_block": block | {"type": kind}}
            for kind, block in (
                ("server_tool_use", {"input": {}}),
                ("web_search_tool_result", {"content": [{"type": "web_search_result", "text": "no"}]}),
                ("text_editor_code_execution_tool_result", {"content": {"type": "x_view_result", "content": "no"}}),
                ("mcp_tool_result", {"content": [{"type": "text", "text": "no"}]}),
                ("redacted_thinking", {"data": "no"}),
            )
        ),
        writes(TEXT),
        {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {"cited_text": "no"}}},
        ends(),
        STOP,
    ),
    "a ping that is none": f"event: ping\ndata: ping\n\n{sse(START, writes(TEXT), ends(), STOP)}",
    "no type but the event's": "event: message_start\ndata: {}\n\n" + sse(writes(TEXT), ends(), STOP),
}
COMPLETION = {"id": "1", "object": "chat.completion", "model": "m"} | used(7, 3)
NOT_STREAMED = [
    (LUNA, COMPLETION | {"choices": [{"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}),
    (SMALL, COMPLETION | {"choices": [{"message": {"content": TEXT}, "delta": None, "finish_reason": "stop"}]}),
    (VLLM, COMPLETION | {"choices": [{"message": {"content": TEXT}}]}),
    (VLLM, COMPLETION | {"choices": [{"text": TEXT, "finish_reason": "stop"}]}),
    (
        HAIKU,
        {"type": "message", "model": "m", "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn"}
        | {"usage": {"input_tokens": 7, "output_tokens": 3}},
    ),
]


def test_no_harmless_oddity_loses_an_answer(ask):
    cases = [(LUNA, name, body) for name, body in WHOLE.items()]
    cases += [(SMALL, name, body) for name, body in WHOLE.items() if name.startswith(("null", "no ", "parts"))]
    cases += [(HAIKU, name, body) for name, body in MESSAGES.items()]
    for model, name, body in cases:
        reply = ask(model, body)
        assert (reply.text, reply.failure, reply.finish_reason) == (TEXT, None, "stop"), (model, name)
        str(reply).encode()


@pytest.mark.parametrize("shape", ["compact", "indented", "after a blank line"])
def test_an_answer_that_is_not_streamed_is_taken_as_it_was_paid_for(shape, ask):
    for model, body in NOT_STREAMED:
        sent = "\n" * (shape == "after a blank line") + json.dumps(body, indent=2 if shape == "indented" else None)
        reply = ask(model, sent, JSON)
        assert (reply.text, reply.failure, reply.finish_reason) == (TEXT, None, "stop"), model
        assert (reply.input_tokens, reply.output_tokens, reply.answered_by) == (7, 3, "m")


def test_events_without_their_form_are_read_line_by_line(ask):
    lines = "\n".join(json.dumps(event) for event in (says(H), says(T, "stop")))
    assert ask(VLLM, lines, "application/x-ndjson").text == TEXT


def nan(event):
    return json.dumps(event).replace('"?"', "NaN")


# Usage, and what is known of it.
USAGE = [
    ([used(100, 20)], (100, 20)),
    ([{}], (None, None)),
    ([{"usage": None}], (None, None)),
    ([{"usage": {}}, {"usage": []}, {"usage": "none"}], (None, None)),
    ([used(0, 0)], (None, None)),
    ([used(100, 0)], (100, None)),
    ([used(100, 20), used(0, 0)], (100, 20)),
    ([used(100, 20), {"usage": None}], (100, 20)),
    ([used(100, 1), used(100, 20)], (100, 20)),
    ([used(12.0, 3.0)], (12, 3)),
    ([used(-5, -1)], (None, None)),
    ([used(12.5, True)], (None, None)),
    ([used("12", [3])], (None, None)),
    ([used({"total": 1}, 10**400)], (None, None)),
    ([used("?", "?")], (None, None)),
    ([used(1e400, 10**12)], (None, None)),
    ([used(100, 20, total_tokens=170)], (100, 70)),  # what was thought is in the total alone
    ([used(100, 0, total_tokens=170)], (100, 70)),
    ([used(100, 20, total_tokens=20)], (100, 20)),
    ([used(100, 20, total_tokens="?")], (100, 20)),
    ([{"usage": {"prompt_tokens": 100, "total_tokens": 120}}], (100, 20)),
    ([{"x_groq": {"id": "1"} | used(100, 20)}], (100, 20)),
    ([{"choices": [{"index": 0} | used(100, 20)]}], (100, 20)),
]


def test_a_count_that_cannot_be_is_unknown_and_so_is_the_cost(ask):
    for first in (True, False):
        for events, (read, written) in USAGE:
            usages = [bare(choices=[]) | usage for usage in events]
            body = [*usages, says(TEXT), says("", "stop")] if first else [says(TEXT), says("", "stop"), *usages]
            model = LUNA if first else SMALL
            reply = ask(model, "".join(f"data: {nan(event)}\n\n" for event in body))
            assert (reply.ok, reply.input_tokens, reply.output_tokens) == (True, read, written), events
            assert reply.cost_usd == moa.find(model).cost(read, written)
            assert (reply.cost_usd is None) == (None in (read, written))


@pytest.mark.parametrize(
    ("start", "end", "known"),
    [
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 1000, "output_tokens": 45}, (1000, 45)),
        ({"input_tokens": 1000, "output_tokens": 1}, {"output_tokens": 45}, (1000, 45)),
        ({"input_tokens": 1000, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 45}, (1000, 45)),
        ({"input_tokens": 1000, "output_tokens": 1}, {}, (1000, None)),
        ({"input_tokens": 1, "cache_read_input_tokens": 36, "cache_creation_input_tokens": 0}, {}, (37, None)),
        ({"input_tokens": 1, "cache_creation_input_tokens": 36}, {"input_tokens": 1, "output_tokens": 3}, (37, 3)),
        ({}, {"input_tokens": 0, "cache_read_input_tokens": 36, "output_tokens": 3}, (36, 3)),
        ({"input_tokens": None}, {"input_tokens": None, "output_tokens": 0}, (None, None)),
        ({"input_tokens": 5, "cache_read_input_tokens": -4}, {"output_tokens": 10**400}, (5, None)),
    ],
)
def test_anthropics_counts_may_come_at_either_end_and_hold_what_is_cached(start, end, known, ask):
    reply = ask(HAIKU, sse(begins(**start), writes(TEXT), ends(usage=end), STOP))
    assert (reply.text, reply.input_tokens, reply.output_tokens) == (TEXT, *known)
    assert (reply.cost_usd is None) == (None in known)


def test_no_usage_of_a_vendor_opens_the_purse(recorder, live, run, monkeypatch):
    async def answer(request, asked):
        events = [
            says(TEXT, **used("?", "?")),
            bare(choices=[], **used(-1000000, -1000000)),
            {"error": "It broke down"},
        ]
        return web.Response(body="".join(f"data: {nan(event)}\n\n" for event in events), content_type=SSE)

    recorder.answer = answer
    monkeypatch.setattr(random, "uniform", lambda least, most: 0.0)  # no pauses
    most = moa.estimate("Why?", [LUNA], LUNA, max_tokens=100).stages[0][1]
    replies = run(moa.fan_out([LUNA], "Why?", max_tokens=100, budget_usd=2.5 * most, retries=9))
    assert (len(recorder.requests), replies.cost_usd) == (2, None)


@pytest.mark.parametrize(
    "event",
    [
        says(5),
        says(True),
        says([{"type": "text", "text": 5}]),
        chunk("x") | {"choices": 5},
        says(TEXT, ["stop"]),
        says(TEXT, {"reason": "stop"}),
        says(TEXT, 5),
        says(TEXT, "stop", model=5),
        says(TEXT, "stop", model=["m"]),
    ],
)
def test_a_text_that_is_none_spoils_its_own_call_alone(event, recorder, live, run):
    async def answer(request, asked):
        events = [says("Hel"), event] if "openai" in request.path else [says(TEXT, "stop")]
        return web.Response(body=sse(*events), content_type=SSE)

    recorder.answer = answer
    bad, good = run(moa.fan_out([LUNA, SMALL], "Why?"))
    assert (good.text, bad.failure.kind, bad.text[:3], len(bad.attempts)) == (TEXT, "malformed", "Hel", 1)
    assert "please report" not in bad.failure.message


ERRORS = [  # an error in a good answer: what was sent, and words that the reader must see
    (sse(says("Hel"), {"error": {"message": "It broke down.", "code": 500}}), "It broke down"),
    (sse(says("Hel"), says("", "error", error={"code": 402, "message": "Insufficient credits."})), "Insufficient"),
    (sse(says("Hel"), {"code": "unavailable", "error": "It broke down"}), "It broke down"),
    (sse(says("Hel"), {"object": "error", "message": "It broke down", "code": 500}), "It broke down"),
    (sse(says("Hel"), {"detail": "It broke down"}), "It broke down"),
    (sse(says("Hel"), {"type": "error", "error": {"type": "api_error", "message": "It broke down"}}), "It broke down"),
    (sse(says("Hel"), bare(choices=[{"error": {"message": "It broke down"}, "finish_reason": "error"}])), "broke down"),
    (sse(says("Hel")) + 'data: [{"error": {"message": "It broke down"}}]\n\n', "It broke down"),
    (sse(says("Hel")) + "data: It broke down\n\n", "It broke down"),
    (sse(says("Hel")) + 'data: "It broke down"\n\n', "It broke down"),
    (sse(says("Hel")) + 'event: error\ndata: {"type": "odd", "message": "It broke down"}\n\n', "It broke down"),
    (sse(says("Hel")) + 'data: {"error": "It broke down \\ud800"}\n\n', "It broke down"),
    (sse(says("Hel")) + "event: error\ndata: 503 It broke down\n\n", "It broke down"),
    (sse(says("Hel")) + '{"error": {"message": "It broke down"}}', "It broke down"),
    (sse(says("Hel")) + '{\n  "error": "It broke down"\n}\n', "It broke down"),
    (sse(says("Hel")) + 'error: {"code": 500, "message": "It broke down"}\n\n', "It broke down"),
    (sse(says("Hel")) + "data: It broke down\n\ndata: [DONE]\n\n", "It broke down"),
    (sse(says("Hel"), bare(choices=[], x_groq={"id": "1", "error": "It broke down"})), "It broke down"),
]


def test_an_error_in_a_stream_is_told(ask):
    for body, words in ERRORS:
        for model in (LUNA, SMALL):
            reply = ask(model, body)
            assert words in reply.failure.message, (model, body)
            assert reply.failure.kind not in ("unexpected", "incomplete"), (model, body)
            assert (reply.text, reply.cost_usd) == ("Hel", None)
            str(reply).encode()


INSTEAD = [  # what came instead of a stream: its type, its bytes, words that the reader must see
    (JSON, b'{"error": {"message": "streaming is off here", "code": 400}}', "streaming is off here"),
    (JSON, b'{"detail": "streaming is off here"}', "streaming is off here"),
    (JSON, b'{"message": "no Route matched with those values"}', "no Route matched"),
    (JSON, b'[{"error": {"code": 400, "message": "API key not valid"}}]', "API key not valid"),
    (JSON, b'"streaming is off here"', "streaming is off here"),
    (HTML, b"\n<!doctype html>\n<html>Sign in to this network</html>", "Sign in to this network"),
    (SSE, b"<html>Sign in to this network</html>", "Sign in to this network"),
    ("text/plain", b"Ollama is running", "Ollama is running"),
    (JSON, b'{"choices": null, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}', "login fail"),
    (JSON, b'{"status": "ok", "version": "1.2"}', "1.2"),
]
MALFORMED = [
    (HTML, b"<html>Sign in</html>", {}, 200),
    (JSON, b"{", {}, 200),
    (JSON, b"[" * 100_000, {}, 200),
    (SSE, b"data: " + b"[" * 100_000 + b"\n\n", {}, 200),
    (SSE, b'data: {"choices": [{"delta": {"con\n\n', {}, 200),
    (SSE, sse(says([[[[[[[[[["deep"]]]]]]]]]])).encode(), {}, 200),
    (SSE, b"", {}, 200),
    (SSE, b"\n\n: nothing\n\n", {}, 200),
    (JSON, b"", {}, 204),
    (JSON, b"", {}, 304),
    (SSE, sse(says(TEXT, "stop")).encode(), {"content-encoding": "gzip"}, 200),
    (SSE, b"\x1f\x8b\x08 no gzip", {"content-encoding": "gzip"}, 200),
    (SSE, gzip.compress(gzip.compress(sse(says(TEXT, "stop")).encode())), {"content-encoding": "gzip, gzip"}, 200),
    (SSE, gzip.compress(sse(says(TEXT, "stop")).encode()), {}, 200),
    (SSE, b"data: \xff\xfe\x00{\n\n", {}, 200),
]


def test_what_came_instead_of_a_stream_is_told(ask):
    for model in (LUNA, HAIKU, SMALL):
        for kind, body, words in INSTEAD:
            reply = ask(model, body, kind)
            assert words in reply.failure.message, (model, body)
            assert "please report" not in reply.failure.message, (model, body)


def test_what_cannot_be_read_is_malformed_and_asked_once(ask, recorder):
    for model in (LUNA, HAIKU, SMALL):
        for kind, body, headers, status in MALFORMED:
            recorder.requests.clear()
            reply = ask(model, body, kind, status, headers, retries=2)
            assert (reply.failure.kind, len(recorder.requests)) == ("malformed", 1), (model, body[:60], reply.failure)
            assert "please report" not in reply.failure.message


def test_what_is_compressed_is_read_and_cut_short_it_is_incomplete(ask):
    body = gzip.compress(sse(says(H), says(T, "stop")).encode())
    deflated = zlib.compress(sse(says(TEXT, "stop")).encode())
    for model in (LUNA, SMALL):
        assert ask(model, body, headers={"content-encoding": "gzip"}).text == TEXT
        assert ask(model, deflated, headers={"content-encoding": "deflate"}).text == TEXT
        cut = gzip.compress(sse(says("Hello there. " * 9)).encode())
        assert not ask(model, cut[:-20], headers={"content-encoding": "gzip"}).ok
    assert ask(LUNA, sse(says(TEXT))).failure.kind == "incomplete"
    assert ask(LUNA, sse({"choices": [{"delta": {"content": TEXT}}]})).failure.kind == "incomplete"


THINKS = [  # models that think aloud, each in another way
    (VLLM, sse(says("<think>Maybe 4, "), says("maybe 5.</think>\n\nIt is 4."), says("", "stop"))),
    (VLLM, sse(says("<thi"), says("nk>\nMaybe 4, maybe 5.\n</th"), says("ink>\n"), says("\nIt is 4.", "stop"))),
    (VLLM, sse(says("Maybe 4, maybe 5.</think>"), says("It is 4.", "stop"))),
    (VLLM, sse(chunk({"reasoning_content": "Maybe 4, maybe 5."}), says("It is 4."), says("", "stop"))),
    (
        VLLM,
        sse(
            chunk({"reasoning": "Maybe 4, ", "content": ""}), chunk({"reasoning": "maybe 5."}), says("It is 4.", "stop")
        ),
    ),
    (
        LUNA,
        sse(
            chunk({"reasoning": "Maybe 4, maybe 5.", "reasoning_content": "Maybe 4, maybe 5."}),
            says("It is 4.", "stop"),
        ),
    ),
    (
        LUNA,
        sse(
            chunk({"reasoning_details": [{"type": "reasoning.text", "text": "Maybe 4, maybe 5."}]}),
            says("It is 4.", "stop"),
        ),
    ),
    (
        VLLM,
        sse(
            chunk({"reasoning": "Maybe 4, maybe 5."}),
            says("<think>Maybe 4, maybe 5.</think>"),
            says("It is 4.", "stop"),
        ),
    ),
    (VLLM, sse(chunk({"reasoning": ["?", 5]}), says("<think>Maybe 4, maybe 5.</think>It is 4.", "stop"))),
    (
        HAIKU,
        sse(
            START, writes("Maybe 4, maybe 5.", "thinking"), writes("x=", "signature"), writes("It is 4."), ends(), STOP
        ),
    ),
    (HAIKU, sse(START, writes("<think>Maybe 4, maybe 5.</think>It is 4."), ends(), STOP)),
    (
        SMALL,
        sse(
            says([{"type": "thinking", "thinking": [{"type": "text", "text": "Maybe 4, maybe 5."}]}]),
            says("It is 4.", "stop"),
        ),
    ),
    (SMALL, sse(says("[THINK]Maybe 4, maybe 5.[/THINK]It is 4.", "stop"))),
    (VLLM, sse(chunk({"reasoning": {"content": "Maybe 4, maybe 5."}}), says("</think>\n\nIt is 4.", "stop"))),
    (VLLM, sse(chunk({"reasoning": "<think>Maybe 4, maybe 5.</think>\n"}), says("It is 4.", "stop"))),
    (VLLM, sse(says("<think>Maybe 4,", "stop"), says(" maybe 5.</th", "stop"), says("ink>It is 4.", "stop"))),
    (VLLM, sse(bare(choices=[{"text": "<think>Maybe 4, maybe 5.</think>It is 4.", "finish_reason": "stop"}]))),
]


def test_thinking_is_kept_apart_from_the_answer(ask):
    for model, body in THINKS:
        reply = ask(model, body)
        assert (reply.text, reply.thinking, reply.failure) == ("It is 4.", "Maybe 4, maybe 5.", None), (model, body)
        assert moa.from_json(moa.to_json(reply)) == reply


def test_thinking_is_counted_where_it_is_reported(ask):
    details = {"completion_tokens_details": {"reasoning_tokens": 12}}
    usage = used(10, 20, **details)
    assert ask(VLLM, sse(says("<think>Hm.</think>4", "stop"), bare(choices=[], **usage))).thinking_tokens == 12
    zero = used(10, 20, completion_tokens_details={"reasoning_tokens": 0})
    assert ask(VLLM, sse(says("4", "stop", **zero))).thinking_tokens == 0
    assert ask(VLLM, sse(says("<think>Hm.</think>4", "stop", **zero))).thinking_tokens is None
    assert ask(VLLM, sse(says("4", "stop", **used(10, 20, reasoning_tokens=12)))).thinking_tokens == 12
    told = {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 12}}
    assert ask(HAIKU, sse(START, writes("4"), ends(usage=told), STOP)).thinking_tokens == 12


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (VLLM, sse(says("<think>Hm. Hm."), says("", "length"))),
        (VLLM, sse(chunk({"reasoning": "Hm. Hm."}), says("", "length"))),
        (VLLM, sse(chunk({"reasoning_content": "Hm. Hm."}), says("", "stop"))),
        (HAIKU, sse(START, writes("Hm. Hm.", "thinking"), ends("max_tokens"), STOP)),
    ],
)
def test_an_answer_that_was_all_thinking_says_so(model, body, ask):
    reply = ask(model, body)
    assert (reply.failure.kind, reply.text, reply.thinking, reply.ttft) == ("empty", "", "Hm. Hm.", None)
    assert "thinking" in reply.failure.message
    assert "max_tokens" in reply.failure.message


def test_no_reference_carries_its_authors_thinking(recorder, live, run):
    async def answer(request, asked):
        return web.Response(body=sse(says("<think>SECRET</think>It is 4.", "stop")), content_type=SSE)

    recorder.answer = answer
    answer = run(moa.mixture_of_agents("Why?", [LUNA, SMALL], LUNA))
    assert "SECRET" not in json.dumps(recorder.requests[-1]["body"])
    assert (answer.text, [reply.thinking for reply in answer.replies]) == ("It is 4.", ["SECRET"] * 3)


def test_a_listener_reads_the_answer_alone(recorder, live, run):
    async def answer(request, asked):
        return web.Response(
            body=sse(says("Hm. "), says("Hm.</think>"), says("It is "), says("4.", "stop")), content_type=SSE
        )

    async def listen():
        heard = ""
        async for event in moa.stream_mixture("Why?", [LUNA], LUNA):
            if isinstance(event, moa.AggregatorDelta):
                heard += event.text
            elif isinstance(event, moa.Retrying) and event.index is None:
                heard += "|"
        return heard, event.answer.text

    recorder.answer = answer
    assert run(listen()) == ("Hm. |It is 4.", "It is 4.")


@pytest.mark.parametrize("filler", [sse(says("")), sse(says("word ")), ": nothing\n", "data: {}\n\n"])
def test_much_at_once_blocks_nobody_and_ends_in_time(filler, recorder, live, run):
    """A few kilobytes on the wire are twenty megabytes here."""
    packed = gzip.compress((sse(says("Hel")) + filler * (20_000_000 // len(filler))).encode(), 1)

    async def answer(request, asked):
        return web.Response(body=packed, headers={"content-type": SSE, "content-encoding": "gzip"})

    async def ask():
        asking, longest = asyncio.create_task(moa.ask(LUNA, "Why?", retries=0, timeout=0.5)), 0.0
        while not asking.done():
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
        return await asking, longest

    recorder.answer = answer
    reply, longest = run(ask())
    assert (reply.ok, reply.text[:3]) == (False, "Hel")
    assert longest < 0.2, "seconds of this thread's work at a stretch"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("content_filter: RECITATION", "content_filter"),
        ("SAFETY", "content_filter"),
        ("sensitive", "content_filter"),
        ("insufficient_system_resource", "server_error"),
        ("abort", "server_error"),
    ],
)
def test_an_answer_that_was_stopped_is_none(reason, kind, ask):
    assert ask(VLLM, sse(says("Hel", reason))).failure.kind == kind


def test_an_endless_answer_is_stopped_and_what_came_is_kept(ask):
    text = "word " * 200_000
    for events in ([says(text)] * 6, [chunk({"reasoning": text})] * 6):
        reply = ask(LUNA, sse(says("Hel"), *events))
        assert (reply.failure.kind, reply.text[:3]) == ("malformed", "Hel")
        assert "does not end" in reply.failure.message
        assert len(reply.text) + len(reply.thinking) < 4_000_000 + len(text)
