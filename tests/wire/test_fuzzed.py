"""No body makes the embedded vendors fail: whatever is sent, they answer or say in their own format what is wrong."""

import asyncio
import gzip
import http.client
import json
import socket
import time
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moa_helpers.catalogue import rows
from moa_helpers.offline import asked
from moa_helpers.offline.asked import LARGEST
from moa_helpers.offline.server import OfflineVendors, Server

PATHS = ("/v1/chat/completions", "/v1/messages", "/openai/v1/chat/completions", "/mistral/v1/chat/completions")
PARAMETERS = [row["parameter"].split(".")[0] for row in rows(asked.Path(asked.__file__).with_name("parameters.csv"))]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-5, 0, 10**400, -(10**400), 2**63, 1e308, float("inf"), float("nan"), 0.5, -0.0, 20.0]),
    st.text(max_size=8),
    st.sampled_from(["no", "", "\ud800", "stop", "mistral:", "openai:gpt-6-luna", " ", "\0", "auto", "1e400"]),
)
VALUES = st.recursive(
    ODD,
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "content"]), each, max_size=4)
    ),
    max_leaves=6,
)
MODELS = st.sampled_from(["gpt-6-luna", "claude-haiku-5-5", "mistral-small-2603", "gpt-4o", "anything", "o3"])
PARTS = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "tool_result", "x"]), "text": ODD})
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": st.text() | ODD | st.lists(PARTS)}
)
BODIES = st.builds(
    lambda model, messages, odd: {"model": model, "messages": messages, "max_tokens": 9, **odd},
    MODELS,
    st.lists(MESSAGE | VALUES, max_size=3).map(lambda some: [*some, {"role": "user", "content": "Why?"}]) | VALUES,
    st.dictionaries(st.sampled_from(["model", "messages", "system", *PARAMETERS]), VALUES, max_size=3),
).map(lambda body: json.dumps(body).encode("utf-8", "surrogatepass"))
ANYTHING = BODIES | VALUES.map(json.dumps).map(str.encode) | st.binary(max_size=30)


@pytest.fixture(scope="module")
def quick():
    """A server that nobody waits for."""
    server = Server(OfflineVendors(speed=1e6))
    yield server
    server.stop()


def answers(server, path, body, **headers):
    """What the server sends: its status, and its body as JSON, or as text if it is a stream."""
    place = urlsplit(server.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    try:
        connection.request("POST", path, body, {"authorization": "Bearer any"} | headers)
        answer = connection.getresponse()
        text = answer.read()
        stream = answer.headers["content-type"] == "text/event-stream"
        return answer.status, text.decode() if stream else json.loads(text)
    finally:
        connection.close()


def is_answered(server, path, body, headers):
    status, said = answers(server, path, body, **headers)
    assert status in (200, 400, 404, 413), said
    if status != 200:
        message = said["message"] if "message" in said else said["error"]["message"]
        assert message
        assert not any(words in message for words in ("Error(", "Traceback", "NoneType", "'str'", "unhashable"))


@given(st.sampled_from(PATHS), ANYTHING, st.sampled_from([{}, {"x-moa-sample": "x"}, {"x-moa-fault": "429,times=x"}]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_body_makes_it_fail(quick, path, body, headers):
    is_answered(quick, path, body, headers)


@pytest.mark.slow
@given(
    st.sampled_from(PATHS),
    ANYTHING,
    st.dictionaries(st.sampled_from(["x-moa-sample", "x-moa-fault"]), st.text("019-=,;a.", max_size=9)),
)
@settings(max_examples=6000, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_body_of_thousands_makes_it_fail(quick, path, body, headers):
    is_answered(quick, path, body, headers)


WELL = b'{"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Why?"}]'
BROKEN = [
    (WELL + b', "max_completion_tokens": 1e400}', 400, "a whole number"),
    (WELL + b', "max_completion_tokens": NaN}', 400, "NaN, Infinity or a huge number"),
    (WELL + b', "temperature": -Infinity}', 400, "NaN, Infinity or a huge number"),
    (WELL + b', "seed": ' + b"9" * 5000 + b"}", 400, "a huge number"),
    (WELL + b', "metadata": ' + b"[" * 100_000 + b"}", 400, "nested too deep"),
    (WELL + b', "metadata": ' + b'{"a":' * 100_000 + b"1", 400, "nested too deep"),
    (WELL.replace(b"Why?", b"\\ud83d?") + b"}", 400, "no valid UTF-8"),
    (WELL.replace(b"Why?", b"\xed\xa0\xbd?") + b"}", 400, "no valid UTF-8"),
    (WELL.replace(b"gpt-6-luna", b"\\uDEAD") + b"}", 400, "no valid UTF-8"),
    (WELL.replace(b"Why?", b"\xff") + b"}", 400, "no valid UTF-8"),
    (WELL.replace(b'"gpt-6-luna"', b"null") + b"}", 400, "names no model"),
    (WELL.replace(b'"gpt-6-luna"', b"5") + b"}", 400, "names the model 5"),
    (WELL.replace(b'"gpt-6-luna"', b'["a"]') + b"}", 400, "names the model a list"),
    (WELL.replace(b"gpt-6-luna", b"x" * 3000) + b"}", 404, "an id of 3000 characters"),
    (WELL + b', "max_completion_tokens": -5}', 400, "from 1"),
    (WELL + b', "max_completion_tokens": 0}', 400, "from 1"),
    (WELL + b', "max_completion_tokens": true}', 400, "a whole number"),
    (WELL + b', "stream": "no"}', 400, "true or false"),
    (WELL + b', "stream": 1}', 400, "true or false"),
    (WELL + b', "n": 0}', 400, "from 1 to 128"),
    (WELL + b', "stop": [1]}', 400, "a text or a list of texts"),
    (WELL + b', "stop": [' + b'"x",' * 100 + b'"x"]}', 400, "a list of texts of up to 100"),
    (b"", 400, "cannot be read"),
    (b"null", 400, "must be an object"),
]


@pytest.mark.parametrize(("body", "status", "words"), BROKEN)
def test_what_is_broken_is_named_in_words(quick, body, status, words):
    found, said = answers(quick, "/v1/chat/completions", body)
    assert (found, words in said["error"]["message"]) == (status, True), said


def test_a_packed_body_is_refused_before_it_fills_the_memory(quick):
    for body, encoding in ((gzip.compress(bytes(10 * LARGEST)), "gzip"), (b"no gzip", "GZip"), (WELL, "br, gzip")):
        status, said = answers(quick, "/v1/chat/completions", body, **{"content-encoding": encoding})
        assert (status, "send it as it is" in said["error"]["message"]) == (400, True)
    assert answers(quick, "/v1/chat/completions", WELL + b"}", **{"content-encoding": "identity"})[0] == 200


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/messages", "request_too_large"), ("/openai/v1/chat/completions", "invalid_request_error")]
)
def test_a_body_that_is_too_large_is_refused(quick, path, kind):
    for size in (LARGEST + 1, 5 * LARGEST):
        status, said = answers(quick, path, b" " * size)
        assert (status, said["error"]["type"]) == (413, kind)
    status, said = answers(quick, "/mistral/v1/chat/completions", b" " * (LARGEST + 1))
    assert (status, said["type"]) == (413, "request_too_large")


@pytest.mark.parametrize("line", ["OPTIONS *", "CONNECT other.example:443", "GET /v1/../%00"])
def test_a_target_that_is_no_path_is_answered_in_words(quick, line):
    place = urlsplit(quick.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert "is not served here" in json.loads(body)["error"]["message"]


LONG = {
    "words": "word and " * 110_000,
    "blanks": " " * 300_000,
    "lines": "\n" * 300_000,
    "fences": "<reference-00000000 number=1>\n" * 10_000,
    "candidates": "<candidate-00000000 number=1>\nx\n</candidate-00000000>\n" * 1_000,
    "numbers": "1. a\n" * 60_000,
    "variants": "Why is the sky blue? (variant 2) " * 10_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_long_prompt_stops_no_other_request(quick, text):
    """The event loop works less than 50 ms at a time, by its own clock: this machine may have other work."""
    worked = []

    async def watch():
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            before, last = time.thread_time(), before
            worked.append(before - last)

    messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    body = json.dumps({"model": "gpt-6-luna", "messages": messages}).encode()
    most = []
    for _ in range(3):
        watching = asyncio.run_coroutine_threadsafe(watch(), quick._loop)
        assert answers(quick, "/v1/chat/completions", body)[0] == 200
        watching.cancel()
        most.append(max(worked))
        worked.clear()
    assert min(most) < 0.05
