"""The embedded vendors as a server, here and as ``python -m moa_helpers.offline``: what any client gets from them."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import anthropic.types
import mistralai.client.models
import openai.types.chat
import pytest
from anthropic import Anthropic, AsyncAnthropic
from mistralai.client import Mistral
from openai import AsyncOpenAI, OpenAI

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import __main__ as program_of
from moa_helpers.offline import standins
from moa_helpers.offline.server import OfflineVendors, Server
from tests.support.waiting import wait_until
from tests.wire.test_plain_client import ask, chat


def says(model, prompt, **options):
    return standins.answer(moa.find(model), "", prompt, **options)


def test_max_tokens_cuts(models, question, well, run):
    for reply in run(moa.fan_out(models, question, max_tokens=20)):
        assert (reply.truncated, reply.output_tokens) == (True, 20)
        assert well[reply.model].text.startswith(reply.text)
        assert not well[reply.model].truncated


def test_a_model_that_is_not_listed_works_with_its_cost_unknown(run, question):
    reply = run(moa.ask("openai:gpt-99-nova", question))
    assert reply.ok
    assert reply.output_tokens > 0
    assert reply.cost_usd is None
    assert "unknown" in str(reply)


# As a program


def command_line(monkeypatch, capsys, *arguments):
    """What the program says and how it ends, or the vendors and the port with which it serves."""
    served = []

    def serve(vendors, port):
        served.append((vendors, port))
        os.kill(os.getpid(), signal.SIGTERM)
        return SimpleNamespace(url="http://here", stop=lambda: served.append("stopped"))

    monkeypatch.setattr(program_of, "Server", serve)
    monkeypatch.setattr(sys, "argv", ["offline", *arguments])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        program_of.main()
        assert served.pop() == "stopped"
        return served[0]
    except SystemExit as ended:
        said = capsys.readouterr()
        return ended.code, said.out + said.err
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_command_line(monkeypatch, capsys):
    code, shown = command_line(monkeypatch, capsys, "--help")
    assert code == 0
    assert shown.count("curl ") >= 3
    words = ("/v1/models", "/v1/chat/completions", "/v1/messages", "retry_after=2", "*=any,chance=0.1")
    assert [
        word
        for word in (*words, offline.questions()[0].prompt, *offline.KINDS, *offline.BATCH_KINDS)
        if word not in shown
    ] == []
    vendors, port = command_line(monkeypatch, capsys, "--port", "99", "--speed", "7", "--faults", "*=429,times=1")
    assert (vendors.speed, vendors.faults.next("openai", "openai:any").kind, port) == (7.0, "429", 99)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--faults openai=flood", "There is no fault 'flood'"),
        ("--faults *=429,times=some", "times is 'some'; it must be a whole number"),
        ("--faults *=429,retry_after=nan", "retry_after is nan"),
        ("--faults *=429,retry_after", "retry_after is ''; it must be a number"),
        ("--faults =;=", "'' is neither '*' nor one of the vendors"),
        ("--speed 0", "must be above 0"),
        ("--speed -1", "must be above 0"),
        ("--speed nan", "The speed is nan"),
        ("--speed inf", "The speed is inf"),
        ("--seed 1.5", "invalid int value: '1.5'"),
        ("--port many", "invalid port value: 'many'"),
        ("--port 99999", "99999 is no port; a port is from 0 to 65535"),
        ("--port -1", "-1 is no port"),
        ("--port 65536", "65536 is no port"),
    ],
)
def test_a_wrong_option_is_named(arguments, message, monkeypatch, capsys):
    code, shown = command_line(monkeypatch, capsys, *arguments.split())
    assert (code, message in shown) == (2, True), shown


def test_options_win_over_variables(monkeypatch, capsys):
    monkeypatch.setenv("MOA_OFFLINE_SPEED", "33")
    monkeypatch.setenv("MOA_OFFLINE_FAULTS", "*=503")
    monkeypatch.setenv("MOA_OFFLINE_SEED", "")
    vendors, port = command_line(monkeypatch, capsys)
    assert (vendors.speed, vendors.faults.next("openai", "openai:any").kind, port) == (33.0, "503", 8000)
    vendors, _ = command_line(monkeypatch, capsys, "--speed", "5", "--faults", "")
    assert (vendors.speed, vendors.faults.next("openai", "openai:any")) == (5.0, None)
    monkeypatch.delenv("MOA_OFFLINE_SPEED")
    Path(".env").write_text("MOA_OFFLINE_SPEED=44\nMOA_OFFLINE_FAULTS=*=401\nMOA_OFFLINE_SEED=\n")
    vendors, _ = command_line(monkeypatch, capsys)
    assert (vendors.speed, vendors.faults.next("openai", "openai:any").kind) == (44.0, "503"), "the environment wins"
    Path(".env").write_text("MOA_OFFLINE_SPEED=45", encoding="utf-16")
    vendors, _ = command_line(monkeypatch, capsys)
    assert vendors.speed == 45.0
    Path(".env").write_bytes(b"M\0O")
    vendors, _ = command_line(monkeypatch, capsys)
    assert vendors.speed == 1.0
    assert ".env cannot be read (ValueError)" in capsys.readouterr().err
    monkeypatch.setenv("MOA_OFFLINE_SPEED", "fast")
    code, shown = command_line(monkeypatch, capsys)
    assert (code, "MOA_OFFLINE_SEED, _SPEED or _FAULTS cannot be read" in shown) == (2, True)


def test_a_port_that_is_taken_is_named(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(program_of, "Server", Server)
        monkeypatch.setattr(sys, "argv", ["offline", "--port", str(taken.getsockname()[1])])
        with pytest.raises(SystemExit):
            program_of.main()
    assert re.search(r"cannot serve on port \d+ \(.*in use\); try another with --port", capsys.readouterr().err)


def test_it_ends_at_a_signal_whatever_is_open(question):
    """Under each fault that keeps a request open, for longer than is waited here; and in this process."""
    faults = ("hang", "slow_body", "stalled_stream")
    for number in (signal.SIGINT, signal.SIGTERM):
        process, url = started()
        with contextlib.ExitStack() as stack:
            for fault, stream in itertools.product(faults, (False, True)):
                stack.enter_context(left_open(url, chat("gpt-6-luna", question, stream=stream), fault))
            process.send_signal(number)
            code = process.wait(30)
        assert (code, process.stdout.read()) == (0, "")
        process.stdout.close()
    server = Server(OfflineVendors(speed=1000))
    with left_open(server.url, chat("gpt-6-luna", question), "hang"):
        wait_until(lambda: server.vendors.under_way)
        server.stop()


@contextlib.contextmanager
def left_open(url, asked, fault):
    """A request that is at work at the server, and has no answer yet or half of one."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    headers = {"authorization": "Bearer any", "x-moa-fault": fault}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        if asked.get("stream") and fault != "hang":
            assert connection.getresponse().status == 200
        yield
    finally:
        connection.close()


def started():
    """``python -m moa_helpers.offline`` on a free port: the process, and its address."""
    command = [sys.executable, "-m", "moa_helpers.offline", "--port", "0", "--speed", "1000"]
    strict = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env=os.environ | strict, **piped)
    said = process.stdout.readline()
    assert said.startswith("Running on http://127.0.0.1:"), said + process.stdout.read()
    return process, said.split()[2]


@pytest.fixture(scope="module")
def program():
    """The address of ``python -m moa_helpers.offline`` on a free port."""
    process, url = started()
    yield url
    process.terminate()
    process.wait(120)
    process.stdout.close()


def addresses(program, vendor):
    """How a client reaches a vendor: embedded here, and at the program, which serves all at one address."""
    here = dict(moa.connection(vendor))
    there = {name: program + ("/v1" if vendor == "openai" else "") for name in here if name != "api_key"}
    return here, there | {"api_key": "any"}


# What it sends is read by each SDK's own types and validated in full: the SDKs themselves are lenient.


def test_openai_reads_it(program, models, question):
    asked = chat(models[0].partition(":")[2], question)
    for how in addresses(program, "openai"):
        with OpenAI(**how, max_retries=0) as client:
            whole = client.chat.completions.create(**asked)
            chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
            listed = {model.id for model in client.models.list()}
        openai.types.chat.ChatCompletion.model_validate(whole.to_dict())
        for chunk in chunks:
            openai.types.chat.ChatCompletionChunk.model_validate(chunk.to_dict())
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert whole.choices[0].message.content == text == says(models[0], question)
        assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage == whole.usage
        assert asked["model"] in listed


def test_anthropic_reads_it(program, models, question):
    asked = chat(models[1].partition(":")[2], question, max_tokens=900)
    for how in addresses(program, "anthropic"):
        with Anthropic(**how, max_retries=0) as client:
            whole = client.messages.create(**asked)
            with client.messages.stream(**asked) as stream:
                assert all(event.type for event in stream)
                final = stream.get_final_message()
        anthropic.types.Message.model_validate(whole.to_dict())
        assert whole.content[0].text == final.content[0].text == says(models[1], question)
        assert whole.stop_reason == final.stop_reason == "end_turn"
        for count in ("input_tokens", "output_tokens"):
            assert getattr(whole.usage, count) == getattr(final.usage, count) > 0


def test_mistral_reads_it(program, models, question):
    asked = chat(models[2].partition(":")[2], question)
    for how in addresses(program, "mistral"):
        with Mistral(**how) as client:
            whole = client.chat.complete(**asked)
            with client.chat.stream(**asked) as stream:
                events = list(stream)
        assert isinstance(whole, mistralai.client.models.ChatCompletionResponse)
        assert all(isinstance(event.data, mistralai.client.models.CompletionChunk) for event in events)
        text = "".join(event.data.choices[0].delta.content or "" for event in events)
        assert whole.choices[0].message.content == text == says(models[2], question)
        assert whole.choices[0].finish_reason == events[-1].data.choices[0].finish_reason == "stop"
        assert events[-1].data.usage == whole.usage


def test_the_asynchronous_clients_read_it(program, models, question, run):
    async def ask_all():
        async with (
            AsyncOpenAI(base_url=f"{program}/v1", api_key="any") as one,
            AsyncAnthropic(base_url=program, api_key="any") as two,
            Mistral(server_url=program, api_key="any") as three,
        ):
            first, second, third = (chat(model.partition(":")[2], question) for model in models)
            return await asyncio.gather(
                one.chat.completions.create(**first),
                two.messages.create(**second, max_tokens=500),
                three.chat.complete_async(**third),
            )

    first, second, third = run(ask_all())
    texts = [first.choices[0].message.content, second.content[0].text, third.choices[0].message.content]
    assert texts == [says(model, question) for model in models]


def test_a_plain_client_reads_it(program, models, question):
    asked, url = chat(models[0].partition(":")[2], question), f"{program}/v1/chat/completions"
    for headers, sample in (({}, 0), ({"x-moa-sample": "1"}, 1)):
        _, body = ask(url, asked, **headers)
        assert json.loads(body)["choices"][0]["message"]["content"] == says(models[0], question, sample=sample)
    assert says(models[0], question) != says(models[0], question, sample=1)
    _, stream = ask(url, asked | {"stream": True})
    assert re.fullmatch(r"(data: \{.*\}\n\n)+data: \[DONE\]\n\n", stream)
    assert ask(url, asked, **{"x-moa-fault": "503"})[0] == 503
