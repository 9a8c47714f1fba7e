"""What arrives half, late or in the wrong moment, and what the reader does in the middle of a call."""

import _thread
import asyncio
import gc
import json
import random
import signal
import threading
import time
import warnings

import pytest
from aiohttp import web
from conftest import _chat, _messages, two_ended, under_way_until, wait_until

import moa_helpers as moa
from moa_helpers import calls, offline
from moa_helpers.vendors import errors as failures
from moa_helpers.vendors import streams as vendors

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


# The vendor


@pytest.mark.parametrize("ending", ["stays open", "is reset"])
@pytest.mark.parametrize("position", [0, 1])
def test_an_answer_is_complete_at_its_end_mark(position, ending, models, recorder, live, run):
    async def answer(request, asked):
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        await response.write(_messages("m") if position else _chat("m"))
        if ending == "stays open":
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.02)
        else:
            await asyncio.sleep(0.1)
            request.transport.abort()
        return response

    recorder.answer = answer
    reply = run(moa.ask(models[position], PROMPT, timeout=4, retries=0))
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


@pytest.mark.parametrize(
    ("status", "message", "kind", "cost"),
    [
        (402, "Pay first.", "quota", 0.0),
        (400, "Your credit balance is too low.", "quota", 0.0),
        (429, "insufficient_quota", "quota", 0.0),
        (504, "The gateway gave up.", "server_error", None),
    ],
)
def test_refusals_for_money_and_answers_lost_on_the_way(status, message, kind, cost, models, recorder, live, run):
    body = json.dumps({"error": {"message": message, "type": "error"}}).encode()
    recorder.answer = sends(body, status, **{"content-type": "application/json"})
    for model in models:
        reply = run(moa.ask(model, PROMPT, retries=0))
        assert (reply.failure.kind, reply.failure.status, reply.cost_usd) == (kind, status, cost)


def test_a_page_instead_of_an_answer_is_malformed_and_not_asked_again(models, recorder, live, run):
    recorder.answer = sends(b"<html>Sign in to this network</html>", **{"content-type": "text/html"})
    for reply in run(moa.fan_out(models, PROMPT)):
        assert (reply.failure.kind, len(reply.attempts)) == ("malformed", 1), reply


def test_what_is_meant_for_openai_goes_to_no_other_host(models, recorder, live, run, monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: private")

    async def on_new_clients():
        await moa.close()
        await moa.fan_out([models[0], "groq:any"], PROMPT)
        await moa.close()

    run(on_new_clients())
    private = {request["path"]: "private" in request["headers"].values() for request in recorder.requests}
    assert private == {"/openai/v1/chat/completions": True, "/groq/v1/chat/completions": False}


# Retries


def test_backoff_doubles_with_full_jitter_up_to_its_cap(models, vendors, run, monkeypatch):
    drawn = []
    monkeypatch.setattr(random, "uniform", lambda least, most: drawn.append((least, most)) or 0.0)
    with offline.fault(models[0], 500):
        run(moa.ask(models[0], PROMPT, retries=6))
    assert drawn == [(0, 0.5), (0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0), (0, 8.0)]


def test_a_pause_between_attempts_keeps_no_place(models, run):
    with offline.fault(models[0], 429, retry_after=1, times=1):
        first, *others = run(moa.fan_out(models, PROMPT, max_concurrency=1))
    assert [attempt.failure is None for attempt in first.attempts] == [False, True]
    again = first.started + first.attempts[1].started
    assert all(reply.started < again for reply in others)


# The reader


def test_setup_in_the_middle_of_a_call_redirects_nothing(models, question, recorder, live_at, run):
    async def go():
        task = asyncio.create_task(moa.mixture_of_agents(question, models, models[0]))
        await asyncio.sleep(0.02)
        live_at(recorder.url)
        return await task

    answer = run(go())
    assert recorder.requests == []
    assert (answer.outcome, {reply.offline for reply in answer.replies}) == ("complete", {True})


def test_the_deadline_holds_for_the_aggregator_too(models, question, run):
    began = time.perf_counter()
    with offline.fault("openai", "hang"):
        answer = run(moa.mixture_of_agents(question, models[1:], models[0], deadline=1))
    assert answer.outcome == "aggregator_failed"
    assert answer.aggregator.failure.kind == "deadline"
    assert time.perf_counter() - began < 10


def test_a_cancelled_stream_carries_the_replies(models, question, run):
    async def read():
        async for _ in moa.stream_mixture(question, models, models[0]):
            pass

    async def go():
        task = await under_way_until(two_ended, read())
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies

    with offline.fault("mistral", "hang"):
        replies = run(go())
    assert [reply.ok for reply in replies] == [True, True, False]


@pytest.mark.parametrize("again_after", [None, 0.0])
def test_a_fan_out_cancelled_once_or_twice_carries_the_replies(again_after, models, question, run):
    async def go():
        task = await under_way_until(two_ended, moa.fan_out(models, question))
        task.cancel()
        if again_after is not None:
            await asyncio.sleep(again_after)
            task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies

    with offline.fault("mistral", "hang"):
        replies = run(go())
    assert [reply.ok for reply in replies] == [True, True, False]


def test_many_event_loops_leave_no_clients_behind(models):
    async def go():
        assert (await moa.ask(models[0], PROMPT)).ok
        return len(vendors._clients)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio.run ends before anybody could close the clients
        kept = [asyncio.run(go()) for _ in range(4)]
        vendors._clients.clear()
        gc.collect()
    assert len(set(kept)) == 1, "closed loops are kept"


def test_an_interrupt_before_the_loop_exists_ends_moa_run(interruptible, monkeypatch):
    real, came = asyncio.run, threading.Event()

    def interrupt(number, frame):
        came.set()
        raise KeyboardInterrupt

    def late(coroutine):
        _thread.interrupt_main()
        assert came.wait(20)
        time.sleep(0.2)  # so that the interrupt is answered before there is a loop
        return real(coroutine)

    monkeypatch.setattr(asyncio, "run", late)
    ran = []

    async def work():
        ran.append(True)

    signal.signal(signal.SIGINT, interrupt)
    with pytest.raises(KeyboardInterrupt):
        moa.run(work())
    assert ran == []


def test_interrupts_one_after_another_lose_nothing(interruptible, models, question, vendors):
    """As of a reader who presses Stop several times."""

    def interrupt(number, frame):
        while frame and frame.f_code is not moa.run.__code__:
            frame = frame.f_back
        if frame:  # else it came when the run had ended
            raise KeyboardInterrupt

    def press():
        wait_until(lambda: vendors.under_way)
        time.sleep(1)
        for _ in range(3):
            _thread.interrupt_main()
            time.sleep(0.1)

    async def slow_to_end():  # so that the later interrupts come while the first is waited for
        try:
            return await moa.ask(models[2], question)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
            raise

    signal.signal(signal.SIGINT, interrupt)
    pressing = threading.Thread(target=press)
    pressing.start()
    with offline.fault("mistral", "stalled_stream"), pytest.raises(KeyboardInterrupt) as caught:
        moa.run(slow_to_end())
    assert "moa.run" not in {thread.name for thread in threading.enumerate()}
    pressing.join()
    (reply,) = caught.value.replies
    assert reply.abandoned
    assert reply.text, "what had arrived was lost"


def test_a_connection_that_does_not_close_costs_no_answer(models, question, monkeypatch):
    async def broken(close=vendors.close):
        await close()
        raise OSError("reset while closing")

    monkeypatch.setattr(vendors, "close", broken)
    with pytest.warns(UserWarning, match="reset while closing"):
        reply = moa.run(moa.ask(models[0], question))
    assert reply.ok


def test_one_client_that_does_not_close_leaves_no_other_open(models, question, run):
    class Broken:
        async def __aexit__(self, *error):
            raise OSError("reset while closing")

    async def go():
        assert (await moa.ask(models[0], question)).ok
        clients = vendors._clients[asyncio.get_running_loop()]
        (good,) = clients.values()
        clients |= {("first",): Broken(), ("last",): Broken()}
        clients.update({name: clients.pop(name) for name in list(clients) if clients[name] is good})
        with pytest.raises(OSError, match="reset while closing"):
            await moa.close()
        return good.is_closed()

    assert run(go())


def test_a_cancelled_call_has_what_had_arrived(models, question, run):
    async def go():
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(moa.ask(models[2], question), 2)
        return caught.value.__cause__.replies

    with offline.fault("mistral", "stalled_stream"):
        (reply,) = run(go())
    assert reply.abandoned
    assert reply.text


def test_every_failure_has_advice():
    assert set(failures.STATUS_KINDS.values()) | set(failures.RETRIED) <= set(failures.ADVICE)
    assert calls.LONGEST_WAIT > calls.BACKOFF_CAP


@pytest.mark.parametrize("turns", range(4))
def test_a_second_cancellation_leaves_no_connection_open(turns, models, question, run, vendors):
    """As when Stop comes in the moment of a time-out: the client is just closing the connection."""

    async def cancel_twice(model):
        call = asyncio.create_task(moa.ask(model, question))
        while not vendors.under_way:
            await asyncio.sleep(0.005)
        call.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        until = time.perf_counter() + 2
        while vendors.under_way and time.perf_counter() < until:
            await asyncio.sleep(0.01)
        assert not vendors.under_way, f"{model} is still at work"

    for model in models:
        with offline.fault(model.partition(":")[0], "hang"):
            run(cancel_twice(model))


def test_a_task_that_loses_its_cancellation_is_cancelled_again(run):
    """HTTP clients may, in the moment of connecting."""
    lost = []

    async def deaf():
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    async def stopped():
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0.01)
        await asyncio.wait_for(calls.stop([task]), 5)
        return task.cancelled()

    assert run(stopped())
    assert lost
