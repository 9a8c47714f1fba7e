"""What real servers say when they refuse, as raw bytes through each real SDK: the reader hears what and where."""

import json
import random
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading

import pytest

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, SMALL

MODELS = (LUNA, HAIKU, SMALL)


class Answering(socketserver.StreamRequestHandler):
    """Reads a request and writes the server's raw answer."""

    def handle(self):
        if self.rfile.peek(1)[:1] == b"\x16":  # TLS, which this port does not speak
            self.wfile.write(b"HTTP/1.1 400 X\r\n\r\n")
            self.connection.shutdown(socket.SHUT_WR)
            self.rfile.read()  # till it hangs up; else it might be told of a reset and not see the words
            return
        length = 0
        while (line := self.rfile.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.rfile.read(length)
        self.wfile.write(self.server.answer)


class Raw(socketserver.ThreadingTCPServer):
    """A server on loopback that answers whatever it is told to."""

    daemon_threads, allow_reuse_address, asked, answer = True, True, 0, b""

    def says(self, status, body="", *headers):
        body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        kind = () if any("content-type" in header for header in headers) else ("content-type: application/json",)
        head = "\r\n".join([f"HTTP/1.1 {status} X", "connection: close", *kind, *headers])
        self.answer = f"{head}\r\n\r\n".encode() + body

    def get_request(self):
        self.asked += 1  # each request has a connection of its own
        return super().get_request()

    @property
    def place(self):
        return f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture(scope="module")
def _server():
    with Raw(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(_server, live_at):
    live_at(f"http://{_server.place}")
    return _server


@pytest.fixture
def failures(run, server, way):
    """How each SDK's call fails, at its first attempt."""

    def failures(models=MODELS, **options):
        replies = run(moa.fan_out(models, "Why?", **{"retries": 0, **options}))
        assert not any(reply.ok for reply in replies)
        for reply in replies:
            assert reply.failure.message.startswith(f"{reply.model}: {reply.failure.kind.replace('_', ' ')}")
            assert "dummy-" not in reply.failure.message
            assert len(reply.failure.message) < 700
            assert len(reply.attempts) == 1
        return [reply.failure for reply in replies]

    return failures


TEXT, HTML = "content-type: text/plain", "content-type: text/html; charset=utf-8"
REFUSALS = {
    "a detail": (400, {"detail": "max_tokens is too large"}, "bad_request", "max_tokens is too large"),
    "details": (422, {"detail": [{"loc": ["body", "n"], "msg": "must be 1"}]}, "bad_request", "body.n: must be 1"),
    "a message": (400, {"object": "error", "message": "No such thing.", "code": 4}, "bad_request", "No such thing."),
    "a text": (400, {"error": "No such thing."}, "bad_request", "No such thing."),
    "a description": (401, {"error": "bad", "error_description": "It has expired."}, "authentication", "It has"),
    "a list": (400, [{"error": {"code": 400, "message": "API key not valid."}}], "authentication", "API key not"),
    "in itself": (400, {"error": {"error": {"message": "Inner words."}}}, "bad_request", "Inner words."),
    "fields": (422, {"errors": {"n": ["must be a whole number"]}}, "bad_request", "must be a whole number."),
    "a text in JSON": (400, '"No such thing."', "bad_request", "No such thing."),
    "an event": (400, 'data: {"error": {"message": "No such thing."}}\n\n', "bad_request", "No such thing."),
    "a code of Cloudflare's": (524, "error code: 524", "server_error", "error code: 524."),
    "Groq's own status": (498, {"error": {"message": "Flex tier capacity exceeded"}}, "overloaded", "Flex tier"),
    "markup": (502, {"error": {"message": "Told: <title>502 Bad Gateway</title>"}}, "server_error", "Told: 502 Bad"),
    "nothing": (500, "", "server_error", "No reason was given."),
    "deep JSON": (400, "[" * 100_000, "bad_request", "[[[["),
    "half a character": (400, b'{"detail": "a \\ud800 b \\u001b[31m"}', "bad_request", "a b [31m."),
    "not active": (429, {"error": {"message": "Not active", "code": "billing_not_active"}}, "quota", "Not active."),
    "credits": (403, {"error": {"message": "Insufficient credits"}}, "quota", "Insufficient credits."),
    "context": (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, "too_large", "x."),
    "context size": (400, {"error": {"type": "exceed_context_size_error", "message": "9 > 8"}}, "too_large", "9 > 8."),
    "moved": (308, "", "malformed", "No reason was given."),
    "not modified": (304, "", "malformed", "No reason was given."),
    "not allowed": (405, {"detail": "Method Not Allowed"}, "not_found", "Method Not Allowed."),
    "a proxy's login": (407, "", "connection", "proxy"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_reaches_the_reader_whatever_its_envelope(name, server, failures):
    status, body, kind, words = REFUSALS[name]
    server.says(status, body)
    for failure in failures():
        assert (failure.kind, failure.status) == (kind, status)
        assert f": {words}" in failure.message or kind == "connection"
        assert words in failure.message


def test_a_page_is_told_by_its_title_and_a_text_as_it_is(server, failures):
    server.says(502, "<html><head><title>502 Bad Gateway</title></head><body>Much</body></html>", HTML)
    assert {(each.kind, each.message.count(": 502 Bad Gateway.")) for each in failures()} == {("server_error", 1)}
    server.says(400, "Plain words\nof a proxy", TEXT)
    assert all(": Plain words of a proxy." in each.message for each in failures())
    server.says(400, "gew\u00e4hlt".encode("latin-1"), f"{TEXT}; charset=latin-1")
    assert all(": gew\u00e4hlt." in each.message for each in failures())
    server.says(400, b"\xff\xfe words", TEXT)
    assert all("words." in each.message for each in failures())


def test_what_is_not_compressed_as_it_says_is_malformed(server, failures):
    for status in (200, 400):
        server.says(status, '{"error": "x"}', "content-encoding: gzip")
        assert {each.kind for each in failures()} == {"malformed"}


def test_an_empty_good_answer_is_malformed(server, failures):
    for status in (200, 204):
        server.says(status)
        assert {each.kind for each in failures()} == {"malformed"}


def test_a_wrong_address_is_told_from_a_wrong_model(server, failures, live_at, monkeypatch):
    server.says(404, {"detail": "Not Found"})
    for failure in failures():
        assert failure.kind == "not_found"
        assert f"Asked: http://{server.place}/" in failure.message
        assert "/v1" in failure.message
        assert "model" in failure.message
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "MISTRAL_BASE_URL"):
        monkeypatch.setenv(variable, f"http://{server.place}/v1/v1")
    moa.setup("live")
    assert all("holds /v1 twice" in failure.message for failure in failures())
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{server.place}")
    moa.setup("live")
    (failure,) = failures([LUNA])
    assert "Most addresses end in /v1, and this one has none." in failure.message


def test_a_retry_after_of_nothing_does_not_hammer(server, run, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda least, most: least)
    server.says(429, {"error": {"message": "slow"}}, "retry-after: 0")
    server.asked = 0
    reply = run(moa.ask(LUNA, "Why?", retries=3))
    assert (server.asked, reply.failure.kind) == (4, "rate_limit")
    assert reply.elapsed >= 0.3


def test_a_year_of_twenty_digits_costs_nobodys_answer(server, failures):
    server.says(429, {"error": {"message": "slow"}}, "retry-after: Wed, 21 Oct 20151021202120212021 07:28:00 GMT")
    assert [(each.kind, each.retry_after) for each in failures()] == [("rate_limit", None)] * 3


def test_a_quota_is_not_tried_again_and_a_loading_server_is(server, run):
    server.says(429, {"error": {"message": "You exceeded your current quota."}})
    server.asked = 0
    assert run(moa.ask(SMALL, "Why?")).failure.kind == "quota"
    assert server.asked == 1
    server.says(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    reply = run(moa.ask(SMALL, "Why?", retries=0, timeout=1))
    assert (reply.failure.kind, server.asked) == ("loading", 3)
    assert "still loading after" in reply.failure.message


# Within a good answer


def event(data):
    return f"data: {json.dumps(data)}\n\n"


HALF = {
    "id": "1",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}],
}
EVENTS = {
    "a number": ({"error": {"code": 402, "message": "Insufficient credits."}}, "quota", "Insufficient credits."),
    "a number as text": ({"error": {"code": "429", "message": "Slow."}}, "rate_limit", "Slow."),
    "a name": ({"error": {"code": "server_error", "message": "It broke."}}, "server_error", "It broke."),
    "a sentence": ({"code": "It is unavailable", "error": "Timed out waiting"}, "overloaded", "Timed out waiting"),
    "only a text": ({"error": "It broke."}, "server_error", "It broke."),
    "beside a choice": (HALF | {"error": {"code": 503, "message": "Too many."}}, "overloaded", "Too many."),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_error_within_a_good_answer_keeps_what_came_and_says_what_it_is(name, server, run):
    data, kind, words = EVENTS[name]
    server.says(200, event(HALF) + event(data), "content-type: text/event-stream")
    for reply in run(moa.fan_out([LUNA, SMALL], "Why?", retries=0)):
        assert (reply.failure.kind, reply.failure.status) == (kind, None)
        assert words in reply.failure.message
        assert reply.text.startswith("Hel")


def test_json_or_a_page_in_place_of_a_stream_says_what_it_says(server, failures):
    server.says(200, {"error": {"message": "Streaming is off here.", "code": 400}})
    assert all("Streaming is off here." in failure.message for failure in failures())
    server.says(200, "<html><title>Log in</title></html>", HTML)
    for failure in failures():
        assert failure.kind == "malformed"
        assert "instead of an answer: Log in." in failure.message


ANTHROPICS = {
    "overloaded_error": "overloaded",
    "rate_limit_error": "rate_limit",
    "billing_error": "quota",
    "timeout_error": "timeout",
    "api_error": "server_error",
}


def test_an_error_within_anthropics_stream_is_told_by_its_type(server, failures):
    begun = {"type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 1}}
    for name, kind in ANTHROPICS.items():
        data = {"type": "error", "error": {"type": name, "message": "Some words."}}
        start = event({"type": "message_start", "message": begun})
        server.says(200, f"event: message_start\n{start}event: error\n{event(data)}", "content-type: text/event-stream")
        (failure,) = failures([HAIKU])
        assert failure.kind == kind
        assert ": Some words. " in failure.message


# Connections


@pytest.fixture
def at(monkeypatch, failures):
    """How each SDK's call to another address fails."""

    def at(url, **options):
        for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "MISTRAL_BASE_URL"):
            monkeypatch.setenv(variable, url)
        moa.setup("live")
        return failures(**options)

    return at


def test_a_server_that_does_not_run_is_named(at):
    for failure in at("http://me:pass-word@127.0.0.1:9/v1"):
        assert (failure.kind, failure.final) == ("connection", False)
        assert "Nothing answers at 127.0.0.1:9: is the server running" in failure.message
        assert "pass-word" not in failure.message


def test_a_server_that_hangs_up_or_speaks_something_else_is_named(server, failures):
    server.answer = b""
    assert all(f"{server.place} closed the connection before it answered" in each.message for each in failures())
    server.says(200, event(HALF), "content-type: text/event-stream", "content-length: 9999")
    assert all(f"{server.place} closed the connection in the middle" in each.message for each in failures())
    server.answer = b"SSH-2.0-x\r\n\r\n"
    assert all(server.place in each.message for each in failures())
    head = b"HTTP/1.1 200 OK\r\n"
    for odd in (b"no colon\r\n\r\n", b"x: %b\r\n\r\n" % (b"x" * 200_000), b"transfer-encoding: chunked\r\n\r\nzz\r\n"):
        server.answer = head + odd
        assert {(each.kind, each.final) for each in failures()} == {("connection", True)}, odd[:20]


def test_tls_to_a_plain_port_is_named_and_not_tried_again(server, at):
    for failure in at(f"https://{server.place}/v1", retries=2):
        assert (failure.kind, failure.final) == ("connection", True)
        assert f"{server.place} does not speak TLS" in failure.message


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate")
def test_a_certificate_that_is_not_trusted_is_named_and_not_tried_again(at, tmp_path):
    files = tmp_path / "own.key", tmp_path / "own.crt"
    made = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2 -keyout"
    )
    subprocess.run([*made.split(), files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])

    class Secure(Raw):
        def get_request(self):
            plain, address = super().get_request()
            return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, request, client_address):
            """The clients refuse the certificate."""

    with Secure(("127.0.0.1", 0), Answering) as secure:
        threading.Thread(target=secure.serve_forever, args=(0.05,), daemon=True).start()
        for failure in at(f"https://{secure.place}/v1", retries=2):
            assert (failure.kind, failure.final) == ("connection", True)
            assert f"The certificate of {secure.place} is not trusted" in failure.message
        secure.shutdown()
