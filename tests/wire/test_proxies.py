"""Variables for proxies and certificates: no call to this machine comes near them, and elsewhere they are named."""

import asyncio
import os
import socket
import threading

import pytest
from aiohttp import web
from anthropic import Anthropic, AsyncAnthropic
from mistralai.client import Mistral
from openai import AsyncOpenAI, OpenAI

import moa_helpers as moa
from tests.support.recorder import chat, messages
from tests.wire.test_clients import on_new_clients

PROMPT = "Why is the sky blue?"
ODD = ("socks5h://127.0.0.1:9", "proxy.invalid:3128", "ga rb::age", "http://127.0.0.1:99999", "://", "ftp://h", " ")


class FakeProxy:
    """Something that listens, and writes down who came."""

    def __init__(self):
        self.came, self._socket = [], socket.create_server(("127.0.0.1", 0))
        self.url = f"http://joe:dummy-word@127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            self.came.append(caller.recv(1000).decode(errors="replace"))
            caller.sendall(b"HTTP/1.1 407 Login first\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            caller.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)  # or its thread would go on, and serve whoever gets its number next
        self._socket.close()


@pytest.fixture
def proxy():
    proxy = FakeProxy()
    yield proxy
    proxy.close()


@pytest.fixture
def broken(proxy, monkeypatch):
    """Sets variables, one world after the other: ``for name in broken(): ...``."""

    def worlds(step=1):
        names = [name for both in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (both, both.lower())]
        settings = [(name, proxy.url) for name in names] + [(names[i % 6], odd) for i, odd in enumerate(ODD)]
        settings += [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_FILE", __file__), ("SSL_CERT_DIR", "/nowhere")]
        settings += [("no_proxy", "ga rb::age"), ("SSLKEYLOGFILE", "/nowhere/file")]
        settings += [("REQUESTS_CA_BUNDLE", "/nowhere")]
        for name, value in settings[::step]:
            with monkeypatch.context() as here:
                here.setenv(name, value)
                before = dict(os.environ)
                yield name, value
                assert dict(os.environ) == before

    return worlds


def test_no_variable_disturbs_our_own_clients(models, broken, proxy, run, way):
    for world in broken():
        assert [reply.failure for reply in run(on_new_clients(models))] == [None] * 3, world
    assert proxy.came == []


async def asked_by_hand(models):
    names = [model.partition(":")[2] for model in models]
    question = [{"role": "user", "content": PROMPT}]
    with OpenAI(**moa.connection("openai", sync=True), max_retries=0) as client:
        assert client.chat.completions.create(model=names[0], messages=question).choices
    with Anthropic(**moa.connection("anthropic", sync=True), max_retries=0) as client:
        assert client.messages.create(model=names[1], messages=question, max_tokens=99).content
    with Mistral(**moa.connection("mistral", sync=True)) as client:
        assert client.chat.complete(model=names[2], messages=question).choices
    async with AsyncOpenAI(**moa.connection("openai"), max_retries=0) as client:
        answers = [(await client.chat.completions.create(model=names[0], messages=question)).choices]
    async with AsyncAnthropic(**moa.connection("anthropic"), max_retries=0) as client:
        answers.append((await client.messages.create(model=names[1], messages=question, max_tokens=99)).content)
    async with Mistral(**moa.connection("mistral")) as client:
        answers.append((await client.chat.complete_async(model=names[2], messages=question)).choices)
    return answers


def test_no_variable_disturbs_clients_made_by_hand(models, broken, proxy, run):
    for world in broken(step=3):
        assert all(run(asked_by_hand(models))), world
    assert proxy.came == []


def test_a_connection_holds_more_only_where_a_variable_disturbs(models, proxy, monkeypatch):
    for vendor in ("openai", "anthropic", "mistral"):
        assert [type(value).__mro__[-2] for value in moa.connection(vendor).values()] == [str, str]
    monkeypatch.setenv("https_proxy", proxy.url)  # not for plain http, and well-formed
    assert list(moa.connection("openai")) == ["api_key", "base_url"]
    monkeypatch.setenv("http_proxy", proxy.url)
    assert list(moa.connection("openai")) == ["api_key", "base_url", "http_client"]
    assert list(moa.connection("mistral")) == ["api_key", "server_url", "client", "async_client"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert list(moa.connection("openai")) == ["api_key", "base_url"]


def test_a_proxy_that_lets_nothing_through_is_named(models, proxy, live_at, run, monkeypatch, way):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    live_at("https://vendor.invalid")
    for reply in run(on_new_clients(models)):
        assert (reply.failure.kind, reply.failure.final) == ("connection", True)
        assert " of HTTPS_PROXY does not let this through: 407 Login first." in reply.failure.message
        assert "dummy" not in reply.failure.message
    assert len(proxy.came) == 3
    assert all(request.startswith("CONNECT vendor.invalid:443") for request in proxy.came)


def test_a_broken_variable_is_named_before_any_call(models, live_at, run, monkeypatch, way):
    live_at("https://vendor.invalid")
    for name, value in (("HTTPS_PROXY", "socks9://joe:dummy-word@h:1"), ("SSL_CERT_FILE", "/nowhere")):
        with monkeypatch.context() as here:
            here.setenv(name, value)
            with pytest.raises(ValueError, match=f"{name} cannot be used: ") as caught:
                run(on_new_clients(models))
            assert "dummy" not in str(caught.value)


# Where else the environment reaches


def test_a_redirect_is_not_followed_and_is_named(models, recorder, live, run, way):
    for status in (301, 302, 303, 307, 308):
        recorder.requests.clear()

        async def elsewhere(request, body, status=status):
            return web.Response(status=status, headers={"Location": "http://elsewhere.invalid/v1?token=dummy-word"})

        recorder.answer = elsewhere
        for reply in run(on_new_clients(models)):
            assert (reply.failure.kind, reply.failure.status) == ("malformed", status)
            assert "sends requests on to http://elsewhere.invalid/v1: " in reply.failure.message
        assert len(recorder.requests) == 3


def test_a_login_in_an_address_is_sent_and_not_shown(models, recorder, live_at, run):
    settings = live_at(recorder.url.replace("://", "://joe:dummy%2Fword@"))
    recorder.refuse = True
    replies = run(on_new_clients(models))
    sent = {request["headers"]["Authorization"] for request in recorder.requests}
    assert sent == {"Basic am9lOmR1bW15L3dvcmQ="}
    for shown in (
        repr(replies),
        str(settings),
        repr(settings),
        *(repr(moa.connection(m.partition(":")[0])) for m in models),
    ):
        assert "joe" not in shown
        assert "word" not in shown


def test_a_login_needs_no_key(recorder, run, monkeypatch):
    monkeypatch.setenv("GROQ_BASE_URL", recorder.url.replace("://", "://joe:dummy-word@"))
    moa.setup("live")
    assert run(moa.ask("groq:any", PROMPT)).text == "Hello there."
    assert recorder.requests[0]["headers"]["Authorization"] == "Basic am9lOmR1bW15LXdvcmQ="


def test_a_server_that_says_the_key_instead_of_its_name(models, recorder, live, run, way):
    async def telling(request, body):
        key = request.headers.get("x-api-key") or request.headers["authorization"].removeprefix("Bearer ")
        write = messages if request.path.endswith("/messages") else chat
        return web.Response(body=write(f"hf-model-of-{key}"), content_type="text/event-stream")

    recorder.answer = telling
    assert [reply.answered_by for reply in run(on_new_clients(models))] == ["hf-model-of-[key]"] * 3


def test_more_than_a_hundred_mistral_calls_at_once(models, run, vendors, monkeypatch, way):
    async def go():
        calls = asyncio.create_task(moa.fan_out([models[2]] * 110, PROMPT, timeout=60))
        async with asyncio.timeout(60):
            while vendors.under_way < 110:
                await asyncio.sleep(0.01)
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls

    with moa.offline.fault("mistral", "hang"):
        run(go())
