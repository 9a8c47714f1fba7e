"""LangChain: ChatOpenAI (chat completions and responses) and ChatAnthropic."""

import asyncio

from asked import ANTHROPIC, BRIEF, OPENAI, SEASONS, SKY, left, refusal, tell
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

TALK = [SystemMessage(BRIEF), HumanMessage(SEASONS), AIMessage("The tilt of its axis."), HumanMessage(SKY)]
WAYS = {
    "chat": lambda model: ChatOpenAI(model=model, **OPENAI),
    "responses": lambda model: ChatOpenAI(model=model, use_responses_api=True, **OPENAI),
    "anthropic": lambda model: ChatAnthropic(model=model, **ANTHROPIC),
}


def synchronous(name, make):
    """Whole, in pieces, refused, and given up while the answer is written."""
    panel, nothing, broken, silent = map(make, ("panel", "nothing", "broken", "silent"))
    whole = panel.invoke(SKY)
    assert whole.usage_metadata["output_tokens"] > 0
    tell(f"{name}: whole", whole.text)
    tell(f"{name}: conversation", panel.invoke(TALK).text)
    tell(f"{name}: stream", "".join(piece.text for piece in panel.stream(TALK)))
    refusal(f"{name}: unknown", 404, nothing.invoke, input=SKY)
    refusal(f"{name}: all fail", 502, broken.invoke, input=SKY)
    refusal(f"{name}: all fail, stream", 502, lambda: list(broken.stream(SKY)))
    pieces = silent.stream(SKY)
    next(piece for piece in pieces if piece.text)
    pieces.close()
    left(f"{name}: hang-up")


async def asynchronous():
    """Several at once, and in pieces."""
    for name, make in WAYS.items():
        whole, talk = await make("panel").abatch([SKY, TALK])
        tell(f"{name}: batch", whole.text)
        tell(f"{name}: batch, conversation", talk.text)
        tell(f"{name}: async, stream", "".join([piece.text async for piece in make("panel").astream(SKY)]))


for name, make in WAYS.items():
    synchronous(name, make)
asyncio.run(asynchronous())
