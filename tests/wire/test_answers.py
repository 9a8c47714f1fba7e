"""What vendors and networks send besides: byte by byte from the recorder, read by the real SDKs."""

import asyncio
import json
import logging

import pytest
from aiohttp import web

import moa_helpers as moa
from moa_helpers import calls
from tests.support import recorder as formats
from tests.wire.test_exchange import everything_shown

PROMPT = "What is it?"
STREAM = {"content-type": "text/event-stream"}


def chat(*deltas, finish="stop"):
    """A stream of chat completions with the given deltas."""
    events = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    events.append({"index": 0, "delta": {}, "finish_reason": finish})
    shell = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return "".join(f"data: {json.dumps(shell | {'choices': [event]})}\n\n" for event in events).encode()


def sends(body, status=200, **headers):
    """An answer of the recorder's: these bytes."""

    async def answer(request, asked):
        return web.Response(body=body, status=status, headers=STREAM | headers)

    return answer


def refuses(status, message):
    body = json.dumps({"error": {"message": message, "type": "error"}}).encode()
    return sends(body, status, **{"content-type": "application/json"})


def test_an_answer(models, live, run):
    for reply, name in zip(run(moa.fan_out(models, PROMPT)), models, strict=True):
        assert (reply.text, reply.finish_reason, reply.failure) == ("Hello there.", "stop", None)
        assert (reply.input_tokens, reply.output_tokens) == (7, 3)
        assert reply.cost_usd == pytest.approx(moa.find(name).cost(7, 3))
        assert (reply.model, reply.answered_by) == (name, "served-" + name.partition(":")[2])
        assert 0 < reply.ttft <= reply.elapsed
        assert len(reply.attempts) == 1
        assert reply.offline is False
        assert "stand-in" not in str(reply)


@pytest.mark.parametrize("ending", ["stays open", "is reset"])
def test_an_answer_is_complete_at_its_end_mark(ending, models, recorder, live, run, monkeypatch):
    """Even if the connection then stays open, or is reset. (Mistral's end mark may come with the end of the body.)"""
    stream, complete, closed = calls.stream, asyncio.Event(), []

    async def answer(request, asked):
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        write = formats.messages if request.path.endswith("/messages") else formats.chat
        await response.write(write("m"))
        try:
            await (complete.wait() if ending == "is reset" else asyncio.Event().wait())
        finally:  # the server cancels this once the client has gone
            closed.append(request.path)
        request.transport.abort()
        return response

    async def listening(request):
        async for chunk in stream(request):
            yield chunk
            if chunk.output_tokens == 3:  # what comes last; and the call has taken it
                complete.set()

    async def ask(model):
        complete.clear()
        asking = asyncio.create_task(moa.ask(model, PROMPT, retries=0))
        if ending == "is reset":
            return await asking
        await complete.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await asking
        while not closed:
            await asyncio.sleep(0.01)
        return caught.value.replies[0]

    monkeypatch.setattr(calls, "stream", listening)
    recorder.answer = answer
    for model in models[:2]:
        closed.clear()
        reply = run(ask(model))
        assert (reply.failure, reply.text, reply.output_tokens) == (None, "Hello there.", 3)


def test_a_character_split_between_two_pieces_is_whole_and_half_of_one_harms_nothing(models, recorder, live, run):
    recorder.answer = sends(chat({"content": "Look: \ud83d"}, {"content": "\ude00 and \ud83d"}))
    answer = run(moa.mixture_of_agents(PROMPT, models[:1], models[0]))
    assert answer.text == "Look: \U0001f600 and \ufffd"
    answer.text.encode()


def test_a_refusal_is_no_answer(models, recorder, live, run):
    recorder.answer = sends(chat({"refusal": "I cannot "}, {"refusal": "help with that."}))
    reply = run(moa.ask(models[0], PROMPT))
    assert (reply.failure.kind, reply.text) == ("content_filter", "I cannot help with that.")


def test_refusals_for_money_and_answers_lost_on_the_way(models, recorder, live, run):
    for status, message, kind, cost in (
        (402, "Pay first.", "quota", 0.0),
        (400, "Your credit balance is too low.", "quota", 0.0),
        (429, "insufficient_quota", "quota", 0.0),
        (504, "The gateway gave up.", "server_error", None),
    ):
        recorder.answer = refuses(status, message)
        for reply in run(moa.fan_out(models, PROMPT, retries=0)):
            assert (reply.failure.kind, reply.failure.status, reply.cost_usd) == (kind, status, cost)
            assert message.rstrip(".") in reply.failure.message


def test_a_page_instead_of_an_answer_is_malformed_and_not_asked_again(models, recorder, live, run):
    recorder.answer = sends(b"<html>Sign in to this network</html>", **{"content-type": "text/html"})
    for reply in run(moa.fan_out(models, PROMPT)):
        assert (reply.failure.kind, len(reply.attempts)) == ("malformed", 1), reply
    assert len(recorder.requests) == 3


def test_a_key_that_the_vendor_repeats_is_not_shown(models, recorder, live, run, caplog):
    caplog.set_level(logging.DEBUG)
    masked = "-".join(["sk", "abcd", "*******wxyz"])
    for before in ("Sorry: ", "x" * 185 + " ", "x" * 192 + " ", "Bearer ", f"Incorrect API key {masked}: "):
        recorder.requests.clear()
        recorder.refuse = before
        replies = run(moa.fan_out(models, PROMPT))
        assert {reply.failure.kind for reply in replies} == {"authentication"}
        assert len(recorder.requests) == 3
        shown = everything_shown(replies, caplog)
        assert "dummy" not in shown, "not even half of it"
        assert masked not in shown
