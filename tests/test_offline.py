"""The embedded vendors as a server: limits, bad requests, faults, and ``python -m moa_helpers.offline``."""

import asyncio
import json
import os
import random
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
from moa_helpers.offline.faults import Faults
from moa_helpers.offline.latency import Latency
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


@pytest.mark.parametrize(
    "text", ["openai=flood", "openai=429,for=3", "openai", "*=any,chance=1.1", "*=hang,chance=-0.1", "*=429,chance=nan"]
)
def test_faults_that_do_not_exist_are_refused(text):
    with pytest.raises(ValueError, match=r"There is no fault|takes retry_after, times and chance|must be from 0 to 1"):
        OfflineVendors(faults=text)


# What is left to chance


def interleaved(draw, models, prompts, order):
    """What ``draw(model, prompt)`` gives each of three rounds of questions that come in an order of their own."""
    asked = [(model, prompt) for model in models for prompt in prompts] * 3
    random.Random(order).shuffle(asked)
    found = {pair: [] for pair in asked}
    for pair in asked:
        found[pair].append(draw(*pair))
    return found


def hits(seed, text, models, prompts, order=0):
    """Which kind of fault, if any, hit which request."""
    faults = Faults(text, seed)

    def draw(model, prompt):
        fault = faults.next(model.partition(":")[0], model, prompt)
        return fault and fault.kind

    return interleaved(draw, models, prompts, order)


def test_delays_do_not_depend_on_the_order_of_different_questions(models):
    prompts = [f"Question {number}?" for number in range(20)]
    one, two = (interleaved(Latency(3).draw, models, prompts, order) for order in (1, 2))
    assert one == two
    assert one != interleaved(Latency(4).draw, models, prompts, 1)
    delays = [ttft for drawn in one.values() for ttft, _ in drawn]
    assert len(set(delays)) > 0.9 * len(delays), "questions or their repeats share a delay"  # spikes of a model do


def test_a_chance_hits_its_share_and_any_draws_every_kind(models):
    prompts = [f"Question {number}?" for number in range(400)]
    one, two = (hits(3, "*=any,chance=0.3", models, prompts, order) for order in (1, 2))
    assert one == two
    assert one != hits(4, "*=any,chance=0.3", models, prompts)
    drawn = Counter(kind for kinds in one.values() for kind in kinds)
    share = 1 - drawn.pop(None) / (3 * 3 * 400)
    assert share == pytest.approx(0.3, abs=0.04)  # five standard deviations
    assert set(drawn) == set(offline.KINDS) - {"any"}
    assert max(drawn.values()) < 3 * min(drawn.values())
    for place in range(3):  # a request says nothing about the next one of the same prompt
        assert sum(kinds[place] is not None for kinds in one.values()) / 1200 == pytest.approx(0.3, abs=0.07)
    repeated = sum(None not in kinds for kinds in one.values()) / 1200
    assert repeated == pytest.approx(0.3**3, abs=0.025)


def test_a_fault_that_chance_passes_by_leaves_the_request_to_the_next(models):
    prompts = [f"Question {number}?" for number in range(100)]
    found = hits(0, "openai=hang,chance=0.5; *=429", models, prompts)
    drawn = Counter((model.partition(":")[0], kind) for (model, _), kinds in found.items() for kind in kinds)
    assert set(drawn) == {("openai", "hang"), ("openai", "429"), ("anthropic", "429"), ("mistral", "429")}
    assert drawn["openai", "hang"] / 300 == pytest.approx(0.5, abs=0.15)
    assert set(hits(0, "*=hang,chance=0", models, prompts)[models[0], prompts[0]]) == {None}
    some = hits(0, "*=hang,chance=0.5,times=5", models, prompts)
    assert sum(kind == "hang" for kinds in some.values() for kind in kinds) == 5


def test_a_server_repeats_its_random_faults_for_its_seed(models):
    """Over HTTP, where a fault that refuses sends no Retry-After unless it was given one."""

    def statuses(seed):
        server = Server(OfflineVendors(speed=1000, seed=seed, faults="*=429,chance=0.5"))
        asked = [
            {"model": models[0].partition(":")[2], "messages": [{"role": "user", "content": f"{n}?"}]}
            for n in "12345678"
        ]
        try:
            return [post(f"{server.url}/v1/chat/completions", ask)[0] for ask in asked * 2]
        finally:
            server.stop()

    first = statuses(5)
    assert first == statuses(5)
    assert set(first) == {200, 429}
    assert first != statuses(6)


def test_fault_takes_a_chance(models, run, vendors):
    prompts = [f"Question {number}?" for number in range(12)]

    async def ask_all():
        return await asyncio.gather(*(moa.ask(models[0], prompt, retries=0) for prompt in prompts))

    with offline.fault("openai", 503, chance=0.5):
        replies = run(ask_all())
    assert {reply.failure and reply.failure.kind for reply in replies} == {None, "overloaded"}
    with offline.fault("openai", "any", chance=0):
        assert run(moa.ask(models[0], prompts[0])).ok
    with pytest.raises(ValueError, match="chance of a fault is 2"):
        offline.fault("openai", "any", chance=2)


# As a program


def test_help_shows_curl_examples():
    command = [sys.executable, "-m", "moa_helpers.offline", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout
    assert shown.count("curl ") >= 3
    for words in (
        "/v1/models",
        "/v1/chat/completions",
        "/v1/messages",
        "retry_after=2",
        "*=any,chance=0.1",
        offline.questions()[0].prompt,
    ):
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
    for _ in range(1200):
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
