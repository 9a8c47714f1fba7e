"""What all tests share: a clean environment, fresh offline settings, a loop, and a server that records requests."""

import asyncio
import json
import os
import signal
import time
from collections import Counter

import pytest
from aiohttp import web

OURS = (
    "MOA_",
    "OPENAI_",
    "ANTHROPIC_",
    "MISTRAL_",
    "TOGETHER_",
    "GROQ_",
    "OPENROUTER_",
    "CEREBRAS_",
    "VLLM_",
    "OLLAMA_",
    "MODEL_PROXY_",
)
KEPT = ("MOA_BROWSER", "MOA_CHROMIUM")  # they steer the browser tests
for name in [*os.environ]:
    if name.lower().endswith("_proxy") or (name.upper().startswith(OURS) and not name.upper().startswith(KEPT)):
        del os.environ[name]  # the developer's keys, addresses and proxies are none of the tests' business
os.environ |= {"MOA_MODE": "offline", "MOA_OFFLINE_SPEED": "20", "OLLAMA_HOST": "127.0.0.1:9"}

import moa_helpers as moa  # noqa: E402
from moa_helpers import calls, offline  # noqa: E402
from moa_helpers.catalogue import VENDORS  # noqa: E402
from moa_helpers.offline.server import Server  # noqa: E402
from moa_helpers.ui import panel  # noqa: E402
from moa_helpers.vendors import colab  # noqa: E402

MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]


def wait_until(holds, seconds=20):
    """Wait until it holds, but not for ever."""
    until = time.perf_counter() + seconds
    while not holds() and time.perf_counter() < until:
        time.sleep(0.01)


def pytest_configure(config):
    # matplotlib 3.10 (Colab's) uses names that newer versions of pyparsing call deprecated.
    config.addinivalue_line("filterwarnings", "ignore:.* deprecated - use .*:DeprecationWarning:matplotlib")


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Each test: an empty .env, the environment as above, and offline settings; no connection may outlive it."""
    before = dict(os.environ)
    (tmp_path / ".env").touch()  # found first, so none above it is read
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(colab, "session", colab.Session())
    moa.setup("offline")
    yield
    os.environ.clear()
    os.environ.update(before)
    wait_until(lambda: not offline.start().vendors.under_way, 5)
    assert offline.start().vendors.under_way == 0, "a connection is still under way at the server"


@pytest.fixture(scope="module")
def _loop():
    moa.setup("offline")  # the file before may have ended in live mode
    with asyncio.Runner() as runner:
        # The first call loads the SDKs, which no test should have to wait for.
        runner.run(moa.fan_out(MODELS, "Hello?"))
        yield runner
        runner.run(moa.close())


@pytest.fixture
def run(_loop):
    """Run a coroutine, on one loop for the whole file so that clients are shared; it may leave no task behind."""

    async def alone(coroutine):
        try:
            return await coroutine
        finally:
            until = time.perf_counter() + 5  # the SDKs leave generators that asyncio closes at the next turns
            while len(asyncio.all_tasks()) > 1 and time.perf_counter() < until:
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"

    return lambda coroutine: _loop.run(alone(coroutine))


@pytest.fixture
def interruptible():
    """An interrupt raises KeyboardInterrupt, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def models():
    """One small model of each of the three vendors."""
    return list(MODELS)


@pytest.fixture
def question():
    """A prepared question."""
    return offline.questions()[0].prompt


@pytest.fixture
def vendors():
    """The embedded vendors, asked nothing yet."""
    vendors = offline.start().vendors
    vendors.asked.clear()
    return vendors


@pytest.fixture
def streams(monkeypatch):
    """How many requests were under way at most, in all and by vendor, seen from where they are sent."""
    now, most, stream = Counter(), Counter(), calls.stream

    async def counted(request):
        for name in (request.model.vendor.name, "all"):
            now[name] += 1
            most[name] = max(most[name], now[name])
        try:
            async for chunk in stream(request):
                yield chunk
        finally:
            now.subtract([request.model.vendor.name, "all"])

    monkeypatch.setattr(calls, "stream", counted)
    return most


async def under_way_until(holds, coroutine):
    """A task of the coroutine, once ``holds(live)`` of its calls, a ``panel.Live``; to be cancelled then."""
    live = panel.Live()
    task = asyncio.create_task(coroutine, context=calls.watched_by(live))
    while not holds(live) and not task.done():
        await asyncio.sleep(0.01)
    return task


def two_ended(live):
    """What to wait for where the third of three calls never ends."""
    return live.ended == 2


@pytest.fixture
def compare(run, tmp_path, vendors, monkeypatch):
    """compare() with a file of this test's own, and quick stand-ins."""
    monkeypatch.setattr(vendors, "speed", 500)

    def compare(questions, strategies, **options):
        options = {"path": tmp_path / "calls.jsonl", "max_concurrency": 32, **options}
        return run(moa.compare(questions, strategies, **options))

    return compare


@pytest.fixture(scope="session")
def _recorder():
    server = Server(Recorder())
    yield server
    server.stop()


@pytest.fixture
def recorder(_recorder):
    """A vendor that writes down what it is sent; ``.url`` is its address."""
    recorder = _recorder.vendors
    recorder.url, recorder.requests, recorder.refuse, recorder.answer = _recorder.url, [], False, None
    return recorder


@pytest.fixture
def live(recorder, monkeypatch):
    """Live mode with a made-up key for each vendor and every address pointing at the recorder."""
    return go_live(recorder.url, monkeypatch)


@pytest.fixture
def live_at(monkeypatch):
    """The same with another server's address: ``live_at(url)``."""
    return lambda url: go_live(url, monkeypatch)


def go_live(url, monkeypatch):
    for vendor in VENDORS.values():
        if vendor.url_variable:
            monkeypatch.setenv(vendor.url_variable, f"{url}/{vendor.name}" + ("/v1" if vendor.api == "openai" else ""))
        if vendor.key_variable:
            monkeypatch.setenv(vendor.key_variable, f"dummy-{vendor.name}")
    monkeypatch.setenv("MOA_MODE", "live")
    return moa.setup()


class Recorder:
    """Answers every request with "Hello there." in the smallest valid stream of the wire format asked for.

    With ``refuse`` it answers 401 and repeats the key in its message instead, as some vendors do; with ``answer``, a
    coroutine function, it lets that answer.
    """

    def application(self):
        application = web.Application()
        application.router.add_post("/{path:.*}", self._answer)
        return application

    async def _answer(self, request):
        body = await request.json()
        self.requests.append({"path": request.path, "headers": request.headers.copy(), "body": body})
        if self.answer:
            return await self.answer(request, body)
        if self.refuse:
            key = request.headers["authorization"].removeprefix("Bearer ")
            message = f"{self.refuse}{key} is not a valid key"
            return web.json_response({"error": {"message": message, "type": "authentication_error"}}, status=401)
        write = _messages if request.path.endswith("/messages") else _chat
        return web.Response(body=write("served-" + body["model"]), content_type="text/event-stream")


def _chat(model):
    def chunk(choices, **usage):
        data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices} | usage
        return f"data: {json.dumps(data)}\n\n"

    def choice(text, finish=None):
        return [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}]

    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    events = [chunk(choice("Hello ")), chunk(choice("there.")), chunk(choice("", "stop")), chunk([], usage=usage)]
    return ("".join(events) + "data: [DONE]\n\n").encode()


def _messages(model):
    start = {"id": "1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None}
    events = [
        {"type": "message_start", "message": start | {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
