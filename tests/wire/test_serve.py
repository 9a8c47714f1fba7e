"""A mixture as a model: the official clients, in each format, streaming and not; and what is told beside the text."""

import asyncio
import json

import anthropic.types
import openai.types.chat
import openai.types.responses
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.serve import service
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL
from tests.support.serving import PANEL, PATHS, asking, post, serving


@pytest.fixture
def alone(run, question):
    """The answer of the same mixture, asked in process."""
    return run(moa.mixture_of_agents(question, **PANEL))


def clients(server):
    return (
        AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0),
        AsyncAnthropic(base_url=server.url, api_key="any", max_retries=0),
    )


def test_openai(run, question, alone):
    async def exchange():
        async with serving() as (server, _), clients(server)[0] as client:
            asked = {"model": "panel", "messages": [{"role": "user", "content": question}]}
            whole = await client.chat.completions.create(**asked, temperature=0.3, user="me", tools=[], stop=None)
            stream = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            return whole, [event async for event in stream], [model.id async for model in client.models.list()]

    whole, events, listed = run(exchange())
    openai.types.chat.ChatCompletion.model_validate(whole.to_dict())
    for event in events:
        openai.types.chat.ChatCompletionChunk.model_validate(event.to_dict())
    assert listed == ["panel"]
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert whole.choices[0].message.content == text == alone.text
    assert whole.choices[0].finish_reason == events[-2].choices[0].finish_reason == "stop"
    assert whole.usage == events[-1].usage
    assert whole.usage.prompt_tokens == sum(reply.input_tokens for reply in alone.replies)
    assert whole.usage.completion_tokens == sum(reply.output_tokens for reply in alone.replies)
    assert whole.moa["ignored"] == ["temperature", "user"]
    told = events[-1].moa
    assert (told["outcome"], told["calls"], told["offline"], told["kept"]) == ("complete", 4, True, 0)
    assert told["heading"] == alone.heading == "synthesised from 3 of 3"
    assert told["cost_usd"] == pytest.approx(alone.cost_usd)
    assert [member["model"] for member in told["members"]] == [LUNA, HAIKU, SMALL, SOL]


def test_anthropic(run, question, alone):
    async def exchange():
        async with serving() as (server, _), clients(server)[1] as client:
            asked = {"model": "panel", "max_tokens": 900, "messages": [{"role": "user", "content": question}]}
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                events = [event async for event in stream]
                return whole, events, await stream.get_final_message(), [one.id async for one in client.models.list()]

    whole, events, final, listed = run(exchange())
    anthropic.types.Message.model_validate(whole.to_dict())
    assert listed == ["panel"]
    assert whole.content[0].text == final.content[0].text == alone.text
    assert whole.stop_reason == final.stop_reason == "end_turn"
    for count in ("input_tokens", "output_tokens"):
        assert getattr(whole.usage, count) == getattr(final.usage, count) > 0
    last = next(event for event in events if event.type == "message_delta")
    assert last.moa["outcome"] == whole.moa["outcome"] == "complete"


def test_responses(run, question, alone):
    async def exchange():
        async with serving() as (server, _), clients(server)[0] as client:
            whole = await client.responses.create(model="panel", input=question)
            async with client.responses.stream(model="panel", input=[{"role": "user", "content": question}]) as stream:
                events = [event async for event in stream]
                return whole, events, await stream.get_final_response()

    whole, events, final = run(exchange())
    openai.types.responses.Response.model_validate(whole.to_dict())
    assert whole.output_text == final.output_text == alone.text
    assert whole.usage == final.usage
    assert whole.moa["outcome"] == final.moa["outcome"] == "complete"
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert (whole.status, events[-1].type) == ("completed", "response.completed")


def test_a_limit_cuts_the_answer_alone(run, question):
    async def exchange():
        async with serving() as (_, client):
            found = []
            for path, name in zip(PATHS, ("max_completion_tokens", "max_tokens", "max_output_tokens"), strict=True):
                found.append(await post(client, path, asking(path, question, **{name: 20})))
            return found

    chat, message, response = (body for _, _, body in run(exchange()))
    assert chat["choices"][0]["finish_reason"] == "length"
    assert message["stop_reason"] == "max_tokens"
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    for body in (chat, message, response):
        assert "cut off at its token limit" in body["moa"]["heading"]
    assert chat["usage"]["completion_tokens"] > 100, "the proposers were cut, too"


def test_headers_tell_the_same(run, question):
    async def exchange():
        async with serving() as (_, client):
            return await post(client, PATHS[0], asking(PATHS[0], question))

    status, headers, body = run(exchange())
    assert (status, headers["x-moa-outcome"], headers["x-moa-calls"]) == (200, "complete", "4")
    assert headers["x-moa-heading"] == body["moa"]["heading"]
    assert float(headers["x-moa-cost-usd"]) == pytest.approx(body["moa"]["cost_usd"])
    assert headers["x-moa-members"] == ", ".join([LUNA, HAIKU, SMALL, SOL])
    assert headers["x-moa-offline"] == "1"
    assert headers["x-request-id"].startswith("req_")
    assert "access-control-allow-origin" not in headers


def test_a_conversation_goes_in_whole(run, recorder, live, question):
    """With several system messages, a developer's, parts, and what an assistant thought."""
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "My name "}, {"type": "text", "text": "is Ada."}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hello."}]},
        {"role": "user", "content": "Who am I?"},
    ]
    input_turns = [turn | {"content": str_or_input(turn["content"])} for turn in turns]

    async def exchange():
        async with serving({"reference_models": [LUNA], "aggregator": LUNA}) as (_, client):
            for path, messages, more in (
                (PATHS[0], turns, {}),
                (PATHS[1], turns[2:], {"system": [{"type": "text", "text": "Be brief.\n\nBe kind."}]}),
                (PATHS[2], input_turns[1:], {"instructions": "Be brief."}),
            ):
                await post(client, path, asking(path, messages, **more))

    run(exchange())
    asked = [request["body"] for request in recorder.requests]
    first = [body for body in asked if "reference-" not in json.dumps(body)]
    assert len(first) == 3
    for one in first:
        assert [message["role"] for message in one["messages"]] == ["system", "user", "assistant", "user"]
        said = [message["content"] for message in one["messages"]]
        assert said == ["Be brief.\n\nBe kind.", "My name is Ada.", "Hello.", "Who am I?"]


def str_or_input(content):
    if isinstance(content, str):
        return content
    return [{"type": "input_text", "text": part["text"]} for part in content if "text" in part]


def test_progress_is_told_where_it_is_wanted(run, question):
    async def exchange(**settings):
        async with serving(**settings) as (server, _), clients(server)[0] as one, clients(server)[1] as two:
            asked = {"model": "panel", "messages": [{"role": "user", "content": question}]}
            chunks = [chunk async for chunk in await one.chat.completions.create(**asked, stream=True)]
            async with two.messages.stream(**asked, max_tokens=900) as stream:
                final = await stream.get_final_message()
            async with one.responses.stream(model="panel", input=question) as stream:
                response = await stream.get_final_response()
        thoughts = "".join(getattr(chunk.choices[0].delta, "reasoning_content", "") for chunk in chunks)
        return thoughts, final.content, response.output_text

    thoughts, content, text = run(exchange(progress=True))
    assert thoughts.count("Layer 1: ") == content[0].thinking.count("Layer 1: ") == 3
    assert f"Layer 1: {HAIKU} answered in " in thoughts
    assert content[1].text == text
    thoughts, content, _ = run(exchange())
    assert (thoughts, [block.type for block in content]) == ("", ["text"])


def test_a_silent_stream_says_that_it_is_alive(run, question, monkeypatch):
    monkeypatch.setattr(service, "KEEP_ALIVE", 0.02)

    async def exchange():
        slow = PANEL | {"quorum": 2, "grace": 0.2}
        with offline.fault(SMALL, "hang"):
            async with serving(slow) as (server, client), clients(server)[0] as one, clients(server)[1] as two:
                raw = []
                for path in PATHS:
                    async with client.post(path, json=asking(path, question, stream=True)) as answer:
                        raw.append(await answer.text())
                asked = {"model": "panel", "messages": [{"role": "user", "content": question}]}
                chunks = [chunk async for chunk in await one.chat.completions.create(**asked, stream=True)]
                async with two.messages.stream(**asked, max_tokens=900) as stream:
                    final = await stream.get_final_message()
                async with one.responses.stream(model="panel", input=question) as stream:
                    return raw, chunks, final, await stream.get_final_response()

    raw, chunks, final, response = run(exchange())
    chat, messages, responses = raw
    for text, sign, first in (
        (chat, ": the models are at work\n\n", '"content": "'),
        (messages, 'event: ping\ndata: {"type": "ping"}\n\n', "text_delta"),
        (responses, ": the models are at work\n\n", "output_text.delta"),
    ):
        assert sign in text[: text.rindex(first)]
    assert chunks[-1].moa["outcome"] == "partial"
    assert final.content[0].text == response.output_text != ""


def test_a_stream_is_silent_while_others_write(run, question, monkeypatch):
    """The proposers' own pieces are not sent, so they are no sign of life."""

    async def writes_for_ever(plan, listen):
        while True:
            listen(moa.ProposerDelta(1, 0, LUNA, "Blue. "))
            await asyncio.sleep(0.01)

    monkeypatch.setattr(service, "KEEP_ALIVE", 0.1)
    monkeypatch.setattr(service, "run_mixture", writes_for_ever)

    async def exchange():
        async with (
            asyncio.timeout(20),
            serving(drain_seconds=0) as (_, client),
            client.post(PATHS[0], json=asking(PATHS[0], question, stream=True)) as answer,
        ):
            head = await answer.content.readuntil(b"the models are at work\n\n")
            answer.close()
            return head

    assert b'"content": ""' in run(exchange())


def test_each_client_gets_its_own_answer(run):
    """Many at once, of two mixtures, in all formats, streaming and not."""
    prompts = [prepared.prompt for prepared in offline.questions()[:4]]

    async def one(client, number, path, stream):
        asked = asking(path, prompts[number], stream=stream)
        async with client.post(path, json=asked) as answer:
            return await answer.text()

    async def exchange():
        wanted = [await moa.mixture_of_agents(prompt, **PANEL) for prompt in prompts]
        async with serving() as (_, client):
            kinds = [(number, path, stream) for number in range(len(prompts)) for path in PATHS for stream in (0, 1)]
            texts = await asyncio.gather(*(one(client, number, path, bool(stream)) for number, path, stream in kinds))
        return wanted, list(zip(kinds, texts, strict=True))

    wanted, found = run(exchange())
    firsts = [answer.text.splitlines()[0] for answer in wanted]
    for (number, _, stream), text in found:
        if not stream:
            assert json.dumps(wanted[number].text)[1:-1] in text
        others = [first for first in firsts if first != firsts[number]]
        assert [other for other in others if json.dumps(other)[1:-1] in text] == []
