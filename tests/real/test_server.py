"""A real server and a real model: what is on the wire, a mixture, a stop, what is refused, and the tool that serves."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from anthropic import AsyncAnthropic
from mistralai.client import Mistral
from openai import AsyncOpenAI

import moa_helpers as moa
from tests.notebooks.cells import ROOT
from tests.real.conftest import MODEL
from tests.support.waiting import wait_until

ID = MODEL.partition(":")[2]
QUESTION = "What is the capital of France?"
MESSAGES = [{"role": "user", "content": QUESTION}]
STORY = "Tell a long story about a dog, a cat and a horse."


def writing(address):
    """How many calls the server is working on."""
    with urllib.request.urlopen(f"{address}/slots") as answer:
        return sum(slot["is_processing"] for slot in json.load(answer))


def test_openai_sdk(run):
    async def exchange():
        async with AsyncOpenAI(**moa.connection(MODEL)) as client:
            listed = [model.id async for model in client.models.list()]
            asked = {"model": ID, "messages": MESSAGES, "max_tokens": 40, "temperature": 0}
            whole = await client.chat.completions.create(**asked)
            pieces = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            return listed, whole, [event async for event in pieces]

    listed, whole, events = run(exchange())
    assert listed == [ID]
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert 0 < whole.usage.completion_tokens <= 40 < whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert next(event.usage for event in events if event.usage).prompt_tokens == whole.usage.prompt_tokens


def test_the_other_two_sdks_ask_the_same_server(run):
    async def exchange():
        async with AsyncAnthropic(**moa.connection(MODEL, "anthropic")) as client:
            message = await client.messages.create(model=ID, messages=MESSAGES, max_tokens=40, system="Be brief.")
        async with Mistral(**moa.connection(MODEL, "mistral")) as client:
            return message, await client.chat.complete_async(model=ID, messages=MESSAGES, max_tokens=40)

    message, answer = run(exchange())
    assert message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_a_reply_is_whole_counted_and_free(run):
    reply = run(moa.ask(MODEL, QUESTION, max_tokens=40))
    assert reply.ok, reply.failure
    assert 0 < reply.ttft <= reply.elapsed
    assert reply.input_tokens > 10
    assert 0 < reply.output_tokens <= 40
    assert (reply.cost_usd, reply.thinking, reply.warnings, reply.answered_by) == (0.0, "", (), ID)


def test_a_mixture_of_more_calls_than_the_server_has_places(run):
    answer = run(moa.mixture_of_agents(QUESTION, [MODEL] * 6, MODEL, max_tokens=60))
    assert answer.outcome == "complete", answer.heading
    assert answer.text == answer.aggregator.text != ""
    assert answer.cost_usd == 0.0
    assert len({reply.text for reply in answer.layers[0]}) > 1, "samples should differ"


@pytest.mark.parametrize("limit", [{}, {"deadline": 2.0}, {"timeout": 2.0, "retries": 0}], ids=str)
def test_the_server_stops_writing_when_nobody_waits_any_more(run, address, limit):
    async def stopped():
        task = asyncio.create_task(moa.fan_out([MODEL] * 3, STORY, max_tokens=2000, **limit))
        while await asyncio.to_thread(writing, address) < 3 and not task.done():
            await asyncio.sleep(0.05)
        if not limit:
            task.cancel()
        await asyncio.wait([task])

    run(stopped())
    wait_until(lambda: writing(address) == 0, seconds=10)
    assert writing(address) == 0


def test_too_long_a_prompt_is_refused_as_such_and_not_tried_again(run):
    reply = run(moa.ask(MODEL, "word " * 6000, max_tokens=20))
    assert reply.failure.kind == "too_large", reply.failure
    assert len(reply.attempts) == 1


def test_a_model_that_is_not_there_is_refused_before_any_call():
    with pytest.raises(moa.UnknownModel, match=ID):
        moa.connection("local:another")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, None])
def test_the_server_ends_with_the_command_however_that_ends(how):
    command = [sys.executable, "-c", "import os; print(os.environ['LOCAL_BASE_URL'], flush=True); input()"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/local.py"), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    with process:
        address = process.stdout.readline().strip()
        assert writing(address) == 0
        process.stdin.write("\n") if how is None else process.send_signal(how)
    wait_until(lambda: not answers(address), seconds=10)
    assert not answers(address)


def answers(address):
    try:
        return writing(address) == 0
    except OSError:
        return False
