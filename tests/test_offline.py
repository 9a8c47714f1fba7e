"""The embedded vendors as a server: limits, bad requests, faults, and ``python -m moa_helpers.offline``."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter

import pytest
from anthropic import Anthropic, AsyncAnthropic
from mistralai.client import Mistral
from openai import AsyncOpenAI, OpenAI

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins
from moa_helpers.offline.server import OfflineVendors, Server

HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


def post(url, body, **headers):
    """A plain HTTP client: status and text."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, HEADERS | headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def says(model, prompt, system="", **options):
    return standins.answer(moa.find(model), system, prompt, **options)


def test_max_tokens_cuts(models, question, run):
    whole = run(moa.fan_out(models, question))
    cut = run(moa.fan_out(models, question, max_tokens=20))
    for long, short in zip(whole, cut, strict=True):
        assert (long.truncated, short.truncated) == (False, True)
        assert short.output_tokens == 20
        assert long.text.startswith(short.text)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "malformed"),
        (b"[]", {}, 400, "malformed"),
        ({"model": "gpt-6-luna"}, {}, 400, "malformed"),
        ({"model": "gpt-6-luna", "messages": []}, {}, 400, "no user message"),
        ({"model": "gpt-6-luna", "messages": "hello"}, {}, 400, "malformed"),
        ({}, {"authorization": ""}, 401, "No API key"),
        ({"temperature": 1}, {}, 400, "Unsupported parameter: temperature"),
        ({"max_tokens": 5}, {}, 400, "takes max_completion_tokens"),
        ({"max_completion_tokens": "many"}, {}, 400, "malformed"),
        ({"stream_options": "all"}, {}, 400, "malformed"),
        ({}, {"x-moa-sample": "second"}, 400, "malformed"),
        ({}, {"x-moa-fault": "flood"}, 400, "There is no fault"),
        ({}, {"x-moa-fault": "429,retry_after=2"}, 429, "too many requests"),
    ],
)
def test_bad_requests_are_refused_with_words(body, headers, status, words):
    if isinstance(body, dict) and "model" not in body:
        body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hello?"}]} | body
    found, text = post(f"{offline.start().url}/openai/v1/chat/completions", body, **headers)
    assert found == status
    assert words in json.loads(text)["error"]["message"]


def test_a_server_of_ones_own_takes_faults_and_ends(question):
    server = Server(OfflineVendors(speed=20, faults="mistral=429,retry_after=2,times=1; openai:gpt-6-sol=401"))
    ask = {"messages": [{"role": "user", "content": question}]}
    statuses = [
        post(f"{server.url}/v1/chat/completions", ask | {"model": model})[0]
        for model in ("mistral-small-2603", "mistral-small-2603", "gpt-6-sol", "gpt-6-sol", "gpt-6-luna")
    ]
    server.stop()
    assert statuses == [429, 200, 401, 401, 200]
    with pytest.raises(urllib.error.URLError):
        post(f"{server.url}/v1/chat/completions", ask)


@pytest.mark.parametrize("text", ["openai=flood", "openai=429,for=3", "openai"])
def test_faults_that_do_not_exist_are_refused(text):
    with pytest.raises(ValueError, match=r"There is no fault|takes retry_after and times"):
        OfflineVendors(faults=text)


# As a program


def test_help_shows_curl_examples():
    command = [sys.executable, "-m", "moa_helpers.offline", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout
    assert shown.count("curl ") >= 3
    for words in ("/v1/models", "/v1/chat/completions", "/v1/messages", "retry_after=2", offline.questions()[0].prompt):
        assert words in shown
    assert all(kind in shown for kind in offline.KINDS)


def test_a_wrong_fault_on_the_command_line_is_explained():
    command = [sys.executable, "-m", "moa_helpers.offline", "--faults", "openai=flood"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=30)
    assert ended.returncode == 2
    assert "There is no fault 'flood'" in ended.stderr


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="module")
def program():
    """The address of ``python -m moa_helpers.offline`` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moa_helpers.offline", "--port", str(port), "--speed", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        assert process.poll() is None, process.stdout.read().decode()
        try:
            post(f"{url}/v1/chat/completions", b"{}")
            break
        except urllib.error.URLError:
            time.sleep(0.05)
    yield url
    process.terminate()
    process.communicate(timeout=20)


def test_the_program_answers_each_sdk_streaming_and_not(program, models, question):
    asked = {"messages": [{"role": "user", "content": question}]}
    ids = [model.partition(":")[2] for model in models]
    found = Counter()
    with OpenAI(base_url=f"{program}/v1", api_key="any") as sdk:
        whole = sdk.chat.completions.create(model=ids[0], **asked).choices[0].message.content
        events = list(sdk.chat.completions.create(model=ids[0], stream=True, **asked))
        found[whole] += whole == "".join(event.choices[0].delta.content or "" for event in events)
    with Anthropic(base_url=program, api_key="any") as sdk:
        whole = sdk.messages.create(model=ids[1], max_tokens=500, **asked).content[0].text
        with sdk.messages.stream(model=ids[1], max_tokens=500, **asked) as stream:
            found[whole] += whole == "".join(stream.text_stream)
    with Mistral(server_url=program, api_key="any") as sdk:
        whole = sdk.chat.complete(model=ids[2], **asked).choices[0].message.content
        with sdk.chat.stream(model=ids[2], **asked) as stream:
            found[whole] += whole == "".join(event.data.choices[0].delta.content or "" for event in stream)
    assert found == Counter({says(model, question): 1 for model in models})


def test_the_program_answers_the_asynchronous_clients(program, models, question, run):
    asked = {"messages": [{"role": "user", "content": question}]}
    ids = [model.partition(":")[2] for model in models]

    async def ask_all():
        async with (
            AsyncOpenAI(base_url=f"{program}/v1", api_key="any") as one,
            AsyncAnthropic(base_url=program, api_key="any") as two,
            Mistral(server_url=program, api_key="any") as three,
        ):
            return await asyncio.gather(
                one.chat.completions.create(model=ids[0], **asked),
                two.messages.create(model=ids[1], max_tokens=500, **asked),
                three.chat.complete_async(model=ids[2], **asked),
            )

    first, second, third = run(ask_all())
    texts = [first.choices[0].message.content, second.content[0].text, third.choices[0].message.content]
    assert texts == [says(model, question) for model in models]


def test_the_program_answers_a_plain_client(program, models, question):
    asked = {"model": models[0].partition(":")[2], "messages": [{"role": "user", "content": question}]}
    url = f"{program}/v1/chat/completions"
    text, another = (
        json.loads(post(url, asked, **headers)[1])["choices"][0]["message"]["content"]
        for headers in ({}, {"x-moa-sample": "1"})
    )
    assert (text, another) == (says(models[0], question), says(models[0], question, sample=1))
    assert text != another
    _, stream = post(url, asked | {"stream": True})
    assert re.fullmatch(r"(data: \{.*\}\n\n)+data: \[DONE\]\n\n", stream)
    assert post(url, asked, **{"x-moa-fault": "503"})[0] == 503
    with urllib.request.urlopen(f"{program}/anthropic/v1/models", timeout=20) as listing:
        assert {model["owned_by"] for model in json.load(listing)["data"]} == {"anthropic"}
