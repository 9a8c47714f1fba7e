"""What all tests share: a clean environment and offline settings; and, for those with a server, a loop and a recorder.

``tests/unit`` replaces ``_fresh`` and ``run`` by those without a server, on a virtual clock.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support import environment as test_environment

test_environment.clean()

import moa_helpers as moa  # noqa: E402
from moa_helpers import calls, offline  # noqa: E402
from moa_helpers.catalogue import VENDORS  # noqa: E402
from moa_helpers.vendors import colab  # noqa: E402
from tests.support.waiting import two_ended, under_way_until, wait_until  # noqa: E402, F401

# For as long as there are tests that write `from conftest import ...` or `from test_panel import ...`:
sys.modules.setdefault("conftest", sys.modules[__name__])
sys.path.append(str(Path(__file__).parent))

MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]


def __getattr__(name):
    """The recorder's formats under their old names."""
    if name in ("_chat", "_messages"):
        from tests.support import recorder

        return getattr(recorder, name[1:])
    raise AttributeError(name)


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
    from moa_helpers.offline.server import Server
    from tests.support.recorder import Recorder

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
