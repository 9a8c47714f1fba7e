"""The embedded vendors as any HTTP client sees them: bad requests, faults of whole answers, a server of one's own."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from moa_helpers import offline
from moa_helpers.offline.server import OfflineVendors, Server

HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


def exchange(url, body=None, seconds=60, method=None, **headers):
    """A plain HTTP client: status, headers and text."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=seconds)
    try:
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        path = place.path + (f"?{place.query}" if place.query else "")
        connection.request(method or ("GET" if body is None else "POST"), path, sent, HEADERS | headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def ask(url, body=None, seconds=60, **headers):
    """The same: status and text."""
    status, _, text = exchange(url, body, seconds, **headers)
    return status, text


def chat(model_id, prompt, **rest):
    return {"model": model_id, "messages": [{"role": "user", "content": prompt}], **rest}


BAD = [
    (b"{", {}, 400, "malformed"),
    (b"[]", {}, 400, "malformed"),
    ({"messages": None}, {}, 400, "malformed"),
    ({"messages": []}, {}, 400, "no user message"),
    ({"messages": "hello"}, {}, 400, "malformed"),
    ({}, {"authorization": ""}, 401, "No API key"),
    ({"temperature": 0.5}, {}, 400, "Unsupported parameter: temperature"),
    ({"max_tokens": 5}, {}, 400, "takes max_completion_tokens"),
    ({"max_completion_tokens": "many"}, {}, 400, "malformed"),
    ({"stream_options": "all"}, {}, 400, "malformed"),
    ({}, {"x-moa-sample": "second"}, 400, "malformed"),
    ({}, {"x-moa-fault": "flood"}, 400, "There is no fault"),
    ({}, {"x-moa-fault": "429,retry_after=2"}, 429, "too many requests"),
]


def test_bad_requests_are_refused_with_words():
    url = f"{offline.start().url}/openai/v1/chat/completions"
    for body, headers, status, words in BAD:
        whole = body if isinstance(body, bytes) else chat("gpt-6-luna", "Hello?") | body
        found, text = ask(url, whole, **headers)
        assert found == status, text
        assert words in json.loads(text)["error"]["message"]
    assert ask(url, {"model": "gpt-6-luna"})[0] == 400
    without_limit = ask(f"{offline.start().url}/v1/messages", chat("claude-haiku-5-5", "Hello?"))
    assert without_limit[0] == 400
    assert "max_tokens: Field required" in without_limit[1]


def test_a_server_of_ones_own_takes_faults_and_ends(question):
    server = Server(OfflineVendors(speed=1000, faults="mistral=429,retry_after=2,times=1; openai:gpt-6-sol=401"))
    url = f"{server.url}/v1/chat/completions"
    asked = ("mistral-small-2603", "mistral-small-2603", "gpt-6-sol", "gpt-6-sol", "gpt-6-luna")
    statuses = [ask(url, chat(model, question))[0] for model in asked]
    server.stop()
    assert statuses == [429, 200, 401, 401, 200]
    with pytest.raises(ConnectionError):
        ask(url, chat("gpt-6-luna", question))
    with pytest.raises(OSError, match="in use"):
        Server(OfflineVendors(), port=urlsplit(offline.start().url).port)


def test_a_server_repeats_its_random_faults_for_its_seed():
    """Over HTTP, where a fault that refuses sends no Retry-After unless it was given one."""

    def statuses(seed):
        server = Server(OfflineVendors(speed=1000, seed=seed, faults="*=429,chance=0.5"))
        try:
            url = f"{server.url}/v1/chat/completions"
            return [ask(url, chat("gpt-6-luna", f"{number}?"))[0] for number in [*range(8)] * 2]
        finally:
            server.stop()

    first = statuses(5)
    assert first == statuses(5)
    assert set(first) == {200, 429}
    assert first != statuses(6)


def test_faults_of_answers_that_are_not_streamed(question):
    asked, url = chat("gpt-6-luna", question), f"{offline.start().url}/openai/v1/chat/completions"

    def hit_by(fault, **options):
        return ask(url, asked, **options, **{"x-moa-fault": fault})

    for fault in ("truncated_body", "truncated_stream", "reset"):
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            hit_by(fault)
    with pytest.raises(TimeoutError):
        hit_by("stalled_stream", seconds=0.5)
    status, text = hit_by("error_event")
    assert status == 500
    assert "failed halfway" in json.loads(text)["error"]["message"]
    status, text = hit_by("malformed_json")
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    for fault, finish in (("empty", "stop"), ("content_filter", "content_filter")):
        (choice,) = json.loads(hit_by(fault)[1])["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("", finish)
