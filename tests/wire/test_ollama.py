"""A server on the reader's machine is found by what it answers; anything else on its port costs a moment only."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest
from aiohttp import web

import moa_helpers as moa
from moa_helpers.offline.server import Server
from tests.support.waiting import wait_until


@pytest.fixture
def answering():
    """A server whose ``answer`` at /api/tags may be changed."""
    place = SimpleNamespace(answer=lambda: web.Response(text=""))

    async def tags(request):
        return place.answer()

    application = web.Application()
    application.router.add_get("/api/tags", tags)
    server = Server(SimpleNamespace(application=lambda: application))
    place.url = server.url
    yield place
    server.stop()


def test_a_running_ollama_is_noticed(answering, monkeypatch):
    answering.answer = lambda: web.json_response({"models": [{"name": "llama3.2:3b"}, {"name": "qwen"}]})
    monkeypatch.setenv("OLLAMA_HOST", answering.url.removeprefix("http://"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    found = []
    wait_until(lambda: found.append(moa.setup()) or found[-1].ollama_models)  # each gives it 0.3 s, of a busy machine
    assert found[-1].mode == "offline"
    assert found[-1].ollama_models == ("ollama:llama3.2:3b", "ollama:qwen")


def test_something_else_on_that_port_is_no_ollama(answering, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", answering.url)
    for body in ("[]", '{"models": 5}', '{"models": [{}]}', '{"models": ["llama"]}', "<html>", ""):
        answering.answer = lambda body=body: web.Response(text=body)
        assert moa.setup().ollama_models == ()
    answering.answer = lambda: web.json_response({"models": [{"name": "qwen"}]}, status=500)
    assert moa.setup().ollama_models == ()


def test_a_port_that_is_silent_or_speaks_no_http_costs_a_moment_only(monkeypatch):
    for greeting in (b"", b"SSH-2.0-Server\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"):
        over = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def greet(greeting=greeting, over=over, listening=listening):
                with listening.accept()[0] as connection:
                    connection.sendall(greeting)
                    over.wait(0 if greeting else 60)

            thread = threading.Thread(target=greet)
            thread.start()
            monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{listening.getsockname()[1]}")
            began = time.perf_counter()
            assert moa.setup("offline").ollama_models == ()
            assert time.perf_counter() - began < 30, "it was waited for"
            over.set()
            thread.join()
