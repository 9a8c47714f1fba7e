"""The anthropic SDK, synchronous and asynchronous."""

import asyncio

from anthropic import Anthropic, AsyncAnthropic
from asked import ANTHROPIC, ASKED, BEFORE, BRIEF, arrived, left, refusal, tell

PLAIN = {"model": "panel", "max_tokens": 1000, "messages": ASKED}
TALK = PLAIN | {"system": [{"type": "text", "text": BRIEF}], "messages": [*BEFORE, *ASKED]}


def synchronous():
    """All cases."""
    with Anthropic(**ANTHROPIC) as client:
        assert {model.id for model in client.models.list()} >= {"panel", "broken"}
        whole = client.messages.create(**PLAIN)
        assert whole.stop_reason == "end_turn"
        assert whole.usage.output_tokens > 0
        tell("whole", whole.content[0].text)
        told = client.messages.create(**PLAIN, system=BRIEF)
        assert told.usage.input_tokens > whole.usage.input_tokens
        tell("system", told.content[0].text)
        tell("conversation", client.messages.create(**TALK).content[0].text)
        for case, options in (("stream", PLAIN), ("stream, conversation", TALK)):
            with client.messages.stream(**options) as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
            assert final.content[0].text == text
            assert final.usage.output_tokens > 0
            tell(case, text)
        for case, model, status in (("unknown", "nothing", 404), ("all fail", "broken", 502)):
            asked = PLAIN | {"model": model}
            refusal(case, status, client.messages.create, **asked)
            refusal(f"{case}, stream", status, client.messages.create, **asked, stream=True)
        with client.messages.stream(**PLAIN | {"model": "silent"}) as stream:
            next(iter(stream.text_stream))
        left("hang-up")


async def asynchronous():
    """The cases that differ: whole, streamed, and given up by a time-out of the application's own."""
    async with AsyncAnthropic(**ANTHROPIC) as client:
        tell("async", (await client.messages.create(**PLAIN)).content[0].text)
        async with client.messages.stream(**TALK) as stream:
            tell("async, stream", "".join([text async for text in stream.text_stream]))
        task = asyncio.create_task(client.messages.create(**PLAIN | {"model": "silent"}))
        await asyncio.to_thread(arrived)
        task.cancel()
        await asyncio.wait([task])
        left("async, cancelled")


synchronous()
asyncio.run(asynchronous())
