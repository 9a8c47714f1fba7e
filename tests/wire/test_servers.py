"""The embedded vendors as a server, here and as ``python -m moa_helpers.offline``: what any client gets from them."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading

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
    """What the program says and how it ends, or the arguments with which it serves."""
    served = []
    monkeypatch.setattr(program_of.web, "run_app", lambda application, **how: served.append(how))
    monkeypatch.setattr(sys, "argv", ["offline", *arguments])
    try:
        program_of.main()
        return served
    except SystemExit as ended:
        said = capsys.readouterr()
        return ended.code, said.out + said.err


def test_the_command_line(monkeypatch, capsys):
    code, shown = command_line(monkeypatch, capsys, "--help")
    assert code == 0
    assert shown.count("curl ") >= 3
    words = ("/v1/models", "/v1/chat/completions", "/v1/messages", "retry_after=2", "*=any,chance=0.1")
    assert [word for word in (*words, offline.questions()[0].prompt, *offline.KINDS) if word not in shown] == []
    for arguments, message in (
        (["--faults", "openai=flood"], "There is no fault 'flood'"),
        (["--speed", "0"], "must be above 0"),
        (["--port", "many"], "invalid int value: 'many'"),
    ):
        code, shown = command_line(monkeypatch, capsys, *arguments)
        assert code == 2
        assert message in shown
    (how,) = command_line(monkeypatch, capsys, "--port", "99", "--seed", "7", "--faults", "*=any,chance=0.1")
    assert (how["host"], how["port"]) == ("127.0.0.1", 99)

    def in_use(application, **how):
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(program_of.web, "run_app", in_use)
    with pytest.raises(SystemExit):
        program_of.main()
    assert "cannot serve on port 99 (Address already in use); try another with --port" in capsys.readouterr().err


@pytest.fixture(scope="module")
def program():
    """The address of ``python -m moa_helpers.offline`` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moa_helpers.offline", "--port", str(port), "--speed", "1000"]
    strict = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env=os.environ | strict, **piped)
    said, serving = [], threading.Event()

    def listen():  # to its end, so that it never waits for a reader
        for line in process.stdout:
            said.append(line)
            if "Running on" in line:
                serving.set()
        serving.set()

    listening = threading.Thread(target=listen)
    listening.start()
    serving.wait(120)
    assert process.poll() is None, "".join(said)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(120)
    listening.join()
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
    _, listing = ask(f"{program}/anthropic/v1/models")
    assert {model["owned_by"] for model in json.loads(listing)["data"]} == {"anthropic"}
