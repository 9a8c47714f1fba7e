"""One event loop, with its clients, for all tests of the wire; and stand-ins so fast that nobody waits for them."""

import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers import calls, offline
from moa_helpers.catalogue import VENDORS
from moa_helpers.offline.server import Server
from moa_helpers.vendors import colab as google
from moa_helpers.vendors import streams
from tests.support.recorder import Recorder
from tests.support.scripts import HAIKU, LUNA, SMALL
from tests.support.waiting import wait_until

SPEED = 1000.0
GOOGLE_COLAB = Path(__file__).parents[1] / "google_colab"


@pytest.fixture(scope="session")
def _runner():
    with asyncio.Runner() as runner:
        yield runner
        runner.run(moa.close())


@pytest.fixture
def run(_runner):
    """Run a coroutine; clients are shared with all other tests of the wire. It may leave no task behind."""

    async def alone(coroutine):
        try:
            return await coroutine
        finally:
            until = time.perf_counter() + 20  # the SDKs leave generators that asyncio closes at the next turns
            while len(asyncio.all_tasks()) > 1 and time.perf_counter() < until:
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"

    return lambda coroutine: _runner.run(alone(coroutine))


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Each test: an empty directory and .env, not on Colab, and offline settings."""
    (tmp_path / ".env").touch()  # found first, so none above it is read
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(google, "session", google.Session())
    moa.setup("offline")


@pytest.fixture(autouse=True)
def vendors(_fresh, monkeypatch):
    """The embedded vendors: fast, asked nothing yet, and with no connection that outlives the test that made it."""
    vendors = offline.start().vendors
    monkeypatch.setattr(vendors, "speed", SPEED)
    vendors.asked.clear()
    before = vendors.under_way  # none, but for what an earlier test was blamed for
    yield vendors
    wait_until(lambda: vendors.under_way <= before)
    assert vendors.under_way <= before, "a connection is still under way at the server"


@pytest.fixture(scope="session")
def clients():
    """The SDKs' clients that ask for batches, of the classes in ``tests.support.batches``; each is made once."""
    with ExitStack() as stack:

        @cache
        def client(kind, *options):
            made = kind(*options)
            stack.callback(getattr(made.client, "close", lambda: None))
            return made

        yield client


@pytest.fixture(params=["OpenAI", "Mistrals", "Anthropic"])
def vendor(request, clients):
    """One of them after the other."""
    from tests.support import batches

    return clients(getattr(batches, request.param))


@pytest.fixture
def models():
    """One small model of each of the three vendors."""
    return [LUNA, HAIKU, SMALL]


@pytest.fixture
def question():
    """A prepared question."""
    return offline.questions()[0].prompt


@pytest.fixture(scope="session")
def _well():
    return {}


@pytest.fixture
def well(_well, models, question, run, vendors):
    """What each model answers without a fault: its reply by its name."""
    if not _well:
        _well |= {reply.model: reply for reply in run(moa.fan_out(models, question))}
        assert all(reply.ok for reply in _well.values())
        vendors.asked.clear()
    return _well


@pytest.fixture
def colab(monkeypatch):
    """On Colab: its stand-in is there, fresh, and no mode is asked for."""
    monkeypatch.delenv("MOA_MODE")
    monkeypatch.syspath_prepend(GOOGLE_COLAB)
    before = set(sys.modules)
    from google.colab import ai, userdata

    yield SimpleNamespace(ai=ai, userdata=userdata)
    for name in [name for name in sys.modules if name.split(".")[0] == "google" and name not in before]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def _recorder():
    server = Server(Recorder())
    yield server
    server.stop()


@pytest.fixture(params=["streamed", "whole"])
def way(request, monkeypatch):
    """Both ways to send a request, one after the other."""
    if request.param == "whole":
        ask_whole(monkeypatch)
    return request.param


@pytest.fixture
def asked_whole(monkeypatch):
    """All requests are sent unstreamed."""
    ask_whole(monkeypatch)


def ask_whole(monkeypatch):
    monkeypatch.setattr(calls, "stream", lambda request: streams.stream(replace(request, streamed=False)))


@pytest.fixture
def recorder(_recorder):
    """A vendor that writes down what it is sent; ``.url`` is its address."""
    recorder = _recorder.vendors
    recorder.url, recorder.requests, recorder.refuse, recorder.answer = _recorder.url, [], False, None
    return recorder


@pytest.fixture
def live(recorder, monkeypatch):
    """Live mode with a made-up key for each vendor and every address pointing at the recorder, which counts as far."""
    return go_live(recorder.url, monkeypatch)


@pytest.fixture
def live_at(monkeypatch):
    """The same with another server's address: ``live_at(url)``."""
    return lambda url: go_live(url, monkeypatch)


def go_live(url, monkeypatch):
    monkeypatch.setattr("moa_helpers.limits.inputs.priced", moa.find)  # as if each vendor were at its own address
    monkeypatch.setattr("moa_helpers.limits.inputs.is_here", lambda model: False)
    for vendor in VENDORS.values():
        if vendor.url_variable and vendor.name != "local":
            monkeypatch.setenv(vendor.url_variable, f"{url}/{vendor.name}" + ("/v1" if vendor.api == "openai" else ""))
        if vendor.key_variable:
            monkeypatch.setenv(vendor.key_variable, f"dummy-{vendor.name}")
    monkeypatch.setenv("MOA_MODE", "live")
    return moa.setup()
