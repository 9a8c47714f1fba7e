"""litellm, which reads the vendor from the model's name; both formats."""

import asyncio

import litellm
from asked import ASKED, BEFORE, TOLD, URL, left, refusal, tell

TALK = [TOLD, *BEFORE, *ASKED]
WAYS = {"openai": {"api_base": f"{URL}/v1"}, "anthropic": {"api_base": URL}}
litellm.suppress_debug_info = True


def said(chunks):
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def asynchronous(options):
    """One answer, streamed, beside another that is whole."""
    whole, chunks = await asyncio.gather(
        litellm.acompletion(messages=ASKED, **options), litellm.acompletion(messages=TALK, stream=True, **options)
    )
    tell(f"{name}: async", whole.choices[0].message.content)
    tell(f"{name}: async, stream", said([chunk async for chunk in chunks]))


for name, way in WAYS.items():
    panel, nothing, broken = (
        {"model": f"{name}/{mixture}", "api_key": "any", "num_retries": 0, "max_retries": 0, **way}
        for mixture in ("panel", "nothing", "broken")
    )
    whole = litellm.completion(messages=ASKED, **panel)
    assert whole.usage.completion_tokens > 0
    tell(f"{name}: whole", whole.choices[0].message.content)
    tell(f"{name}: conversation", litellm.completion(messages=TALK, **panel).choices[0].message.content)
    tell(f"{name}: stream", said(litellm.completion(messages=TALK, stream=True, **panel)))
    asyncio.run(asynchronous(panel))
    refusal(f"{name}: unknown", 404, litellm.completion, messages=ASKED, **nothing)
    refusal(f"{name}: all fail", 502, litellm.completion, messages=ASKED, **broken)
    refusal(f"{name}: all fail, stream", 502, litellm.completion, messages=ASKED, stream=True, **broken)


async def leave(options):
    """Give up while the answer is written."""
    chunks = await litellm.acompletion(messages=ASKED, stream=True, **options)
    while not (await anext(chunks)).choices[0].delta.content:
        pass
    await chunks.aclose()


for name, way in WAYS.items():
    asyncio.run(leave({"model": f"{name}/silent", "api_key": "any", **way}))
    left(f"{name}: hang-up")
