"""The openai SDK, synchronous and asynchronous: chat completions and responses."""

import asyncio

from asked import ASKED, BEFORE, BRIEF, OPENAI, SKY, TOLD, arrived, left, refusal, tell
from openai import AsyncOpenAI, OpenAI


def said(chunks):
    """The text of a stream of chat completions, whose last chunk counts the tokens."""
    assert chunks[-1].usage.completion_tokens > 0
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def synchronous():
    """All cases."""
    with OpenAI(**OPENAI) as client:
        assert {model.id for model in client.models.list()} >= {"panel", "broken"}
        ask = client.chat.completions.create
        whole = ask(model="panel", messages=ASKED)
        assert whole.usage.total_tokens > 0
        assert whole.choices[0].finish_reason == "stop"
        assert whole.moa["outcome"] == "complete"
        tell("whole", whole.choices[0].message.content)
        told = ask(model="panel", messages=[TOLD, *ASKED])
        assert told.usage.prompt_tokens > whole.usage.prompt_tokens
        tell("system", told.choices[0].message.content)
        talk = ask(model="panel", messages=[TOLD, *BEFORE, *ASKED])
        assert talk.usage.prompt_tokens > told.usage.prompt_tokens
        tell("conversation", talk.choices[0].message.content)
        options = {"model": "panel", "stream": True, "stream_options": {"include_usage": True}}
        tell("stream", said(list(ask(messages=ASKED, **options))))
        tell("stream, conversation", said(list(ask(messages=[TOLD, *BEFORE, *ASKED], **options))))
        answer = client.responses.create(model="panel", input=SKY, instructions=BRIEF)
        assert answer.status == "completed"
        tell("responses", answer.output_text)
        with client.responses.stream(model="panel", input=[*BEFORE, *ASKED]) as events:
            pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
            assert events.get_final_response().output_text == "".join(pieces)
        tell("responses, stream", "".join(pieces))
        for case, model, status in (("unknown", "nothing", 404), ("all fail", "broken", 502)):
            refusal(case, status, ask, model=model, messages=ASKED)
            refusal(f"{case}, stream", status, ask, model=model, messages=ASKED, stream=True)
        with ask(model="silent", messages=ASKED, stream=True) as chunks:
            next(chunk for chunk in chunks if chunk.choices[0].delta.content)
        left("hang-up")


async def asynchronous():
    """The cases that differ: whole, streamed, and given up by a time-out of the application's own."""
    async with AsyncOpenAI(**OPENAI) as client:
        ask = client.chat.completions.create
        whole, chunks = await asyncio.gather(
            ask(model="panel", messages=ASKED),
            ask(model="panel", messages=ASKED, stream=True, stream_options={"include_usage": True}),
        )
        tell("async", whole.choices[0].message.content)
        tell("async, stream", said([chunk async for chunk in chunks]))
        task = asyncio.create_task(ask(model="silent", messages=ASKED))
        await asyncio.to_thread(arrived)
        task.cancel()
        await asyncio.wait([task])
        left("async, cancelled")


synchronous()
asyncio.run(asynchronous())
