"""The SDKs' clients: which hosts they reach, how they are closed, and that a cancelled call leaves none at work."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import warnings
import weakref

import pytest

import moa_helpers as moa
from moa_helpers import calls, offline

PROMPT = "Why is the sky blue?"


async def on_new_clients(models, **options):
    """Proxies and private headers are read when a client is made."""
    await moa.close()
    replies = await moa.fan_out(models, PROMPT, retries=0, **options)
    await moa.close()
    return replies


def test_a_proxy_is_used_for_other_hosts(models, recorder, monkeypatch, run, way):
    monkeypatch.setenv("http_proxy", recorder.url)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://vendor.invalid/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
    moa.setup("live")
    (reply,) = run(on_new_clients(models[:1]))
    assert reply.text == "Hello there."
    assert recorder.requests[0]["headers"]["Host"] == "vendor.invalid"


def test_what_is_meant_for_openai_goes_to_no_other_host(models, recorder, live, run, monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: private")
    run(on_new_clients([models[0], "groq:any"]))
    private = {request["path"]: "private" in request["headers"].values() for request in recorder.requests}
    assert private == {"/openai/v1/chat/completions": True, "/groq/v1/chat/completions": False}


def test_nobody_at_the_address_is_a_lost_connection(models, run, live_at, way):
    live_at("http://127.0.0.1:9")
    for reply in run(on_new_clients(models)):
        assert (reply.failure.kind, reply.cost_usd) == ("connection", None)


# Ending


@pytest.fixture
def used(monkeypatch):
    """The clients with which requests are sent."""
    stream, used = calls.stream, []

    def noted(request):
        used.append(request.sdk)
        return stream(request)

    monkeypatch.setattr(calls, "stream", noted)
    return used


def test_many_event_loops_leave_no_clients_behind(models):
    loops = []

    async def go():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert (await moa.ask(models[0], PROMPT)).ok

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio.run ends before anybody could close the clients
        for run_to_its_end in (asyncio.run, asyncio.run, moa.run):
            run_to_its_end(go())
            gc.collect()
    assert [loop() for loop in loops] == [None] * 3, "closed loops are kept"


def test_clients_that_nobody_closed_start_no_task_in_another_loop(models):
    async def go():
        assert all(reply.ok for reply in await moa.fan_out(models, PROMPT))

    async def another():
        await go()  # frees the clients of the loop that has ended
        await moa.close()
        for _ in range(2):  # the HTTP client is freed after Mistral's own
            gc.collect()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(go())
        asyncio.run(another())


def test_a_name_server_that_hangs_keeps_nobody_waiting(models, recorder, monkeypatch):
    """Neither the end of ``moa.run`` nor the calls to others: eight more than its threads would have been."""
    at_work, look_up, answer = [], socket.getaddrinfo, threading.Event()

    def hanging(host, *args, **options):
        if host not in ("dead.invalid", b"dead.invalid"):
            return look_up(host, *args, **options)
        at_work.append(host)
        answer.wait()
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    monkeypatch.setenv("GROQ_BASE_URL", "http://dead.invalid/v1")
    monkeypatch.setenv("GROQ_API_KEY", "dummy-groq")
    monkeypatch.setenv("VLLM_BASE_URL", f"http://localhost:{recorder.url.rpartition(':')[2]}/v1")
    moa.setup("live")
    try:
        replies = moa.run(moa.fan_out(["groq:any"] * 40 + ["vllm:any"], PROMPT, deadline=5, quorum=1))
    finally:
        answer.set()
    assert len(at_work) == 40
    assert replies[-1].text == "Hello there."
    assert {reply.failure.kind for reply in replies[:-1]} == {"cancelled"}


FORKED = """
import os, sys
import moa_helpers as moa

def asked():
    replies = moa.run(moa.fan_out(sys.argv[1:], "Why?", retries=0))
    return [reply.failure.kind if reply.failure else "ok" for reply in replies]

print(asked(), flush=True)
if (child := os.fork()) == 0:
    with moa.offline.fault("openai", 500):
        print(asked(), flush=True)
    print(asked(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(asked(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_process_has_stand_ins_and_clients_of_its_own(models):
    ways = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        [sys.executable, "-c", FORKED, models[0], "groq:any"],
        env=os.environ | ways,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.splitlines() == ["['ok', 'ok']", "['server_error', 'ok']", "['ok', 'ok']", "['ok', 'ok']"], (
        ran.stderr
    )


def test_moa_run_leaves_no_client_open_and_no_thread(models, question, used):
    before = threading.active_count()
    assert all(reply.ok for reply in moa.run(moa.fan_out(models, question)))
    assert threading.active_count() == before
    openai, anthropic, _ = used
    assert openai.is_closed()
    assert anthropic.is_closed()


def test_one_client_that_does_not_close_leaves_no_other_open(models, question, used, run):
    async def broken(*error):
        raise OSError("reset while closing")

    async def go():
        await moa.close()
        await moa.fan_out([*models, "groq:any"], question)
        first, middle, _, last = used
        closing = [first.__aexit__, last.__aexit__]
        first.__aexit__ = last.__aexit__ = broken
        with pytest.raises(OSError, match="reset while closing"):
            await moa.close()
        for close in closing:
            await close(None, None, None)
        return middle.is_closed()

    assert run(go())


def test_a_connection_that_does_not_close_costs_no_answer(models, question, used):
    async def go():
        reply = await moa.ask(models[0], question)
        close = used[0].__aexit__

        async def broken(*error):
            await close(*error)
            raise OSError("reset while closing")

        used[0].__aexit__ = broken
        return reply

    with pytest.warns(UserWarning, match="reset while closing"):
        assert moa.run(go()).ok


def test_a_second_cancellation_leaves_no_connection_open(models, question, run, vendors):
    """As when Stop comes in the moment of a time-out: the client is just closing the connection."""

    async def cancel_twice(model, turns):
        call = asyncio.create_task(moa.ask(model, question))
        while not vendors.under_way:
            await asyncio.sleep(0.005)
        call.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(20):
            while vendors.under_way:
                await asyncio.sleep(0.005)

    for fault in ("hang", "stalled_stream"):
        with offline.fault("*", fault):
            for model in models:
                for turns in range(4):
                    run(cancel_twice(model, turns))


def test_cancelled_while_the_sdk_looks_at_the_head_of_an_answer(models, question, run, vendors, monkeypatch):
    """Mistral's SDK does so in a thread, and forgets the connection if it is cancelled then."""
    to_thread, reached = asyncio.to_thread, asyncio.Event()

    async def held(function, *arguments):
        result = await to_thread(function, *arguments)
        if vendors.under_way:  # so this is not what it does before the request
            reached.set()
            await asyncio.get_running_loop().create_future()
        return result

    async def go():
        asking = asyncio.create_task(moa.ask(models[2], question))
        await reached.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    monkeypatch.setattr(asyncio, "to_thread", held)
    with offline.fault("mistral", "stalled_stream"):
        run(go())
