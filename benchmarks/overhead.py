"""What a fan-out adds to its slowest call, and what a call costs in CPU over the bare SDK. ``make bench-overhead``."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

import common
import peers

import moa_helpers as moa
from moa_helpers.offline.server import TICK

# (a) wall time
SIZES, WALL_SPEED, WALL_ROUNDS = (3, 16, 64), 2.0, 3
# (b) CPU time: blocks of CALLS calls, AT_ONCE at a time. The vendors are fast, so that little time goes by in waiting,
# but send as many pieces as at the real pace: about 25 a second.
CPU_SPEED, CPU_ROUNDS, CALLS, AT_ONCE = 40.0, 16, 16, 8
Call = Callable[[str], Awaitable[Any]]


class Bare:
    """The SDKs and nothing else: one streamed request, its text and its token counts."""

    def __init__(self, url: str) -> None:
        from anthropic import AsyncAnthropic
        from mistralai.client import Mistral
        from openai import AsyncOpenAI

        self.clients: Any = (
            AsyncOpenAI(base_url=common.base_url(url, "openai"), api_key="dummy", max_retries=0),
            AsyncAnthropic(base_url=common.base_url(url, "anthropic"), api_key="dummy", max_retries=0),
            Mistral(server_url=common.base_url(url, "mistral"), api_key="dummy"),
        )

    async def stream(self, model: str, prompt: str) -> tuple[str, Any]:
        """One streamed call."""
        vendor, _, name = model.partition(":")
        openai, anthropic, mistral = self.clients
        asked: Any = {"model": name, "messages": [{"role": "user", "content": prompt}]}
        pieces: list[str] = []
        usage: Any = None
        if vendor == "anthropic":
            async with await anthropic.messages.create(**asked, max_tokens=common.MAX_TOKENS, stream=True) as events:
                async for event in events:
                    if event.type == "content_block_delta":
                        pieces.append(event.delta.text)
                    elif event.type == "message_delta":
                        usage = event.usage
            return "".join(pieces), usage
        if vendor == "mistral":
            stream = await mistral.chat.stream_async(**asked, max_tokens=common.MAX_TOKENS)
        else:
            options = {"include_usage": True}
            stream = await openai.chat.completions.create(
                **asked, max_completion_tokens=common.MAX_TOKENS, stream=True, stream_options=options
            )
        async with stream as events:
            async for event in events:
                event = event.data if vendor == "mistral" else event
                pieces.extend(choice.delta.content or "" for choice in event.choices)
                usage = event.usage or usage
        return "".join(pieces), usage

    async def close(self) -> None:
        """Close the clients."""
        for client in self.clients:
            await client.__aexit__(None, None, None)


async def fan_outs(url: str, log: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """Wall time of a fan-out over its slowest call: as that call's own clock has it, and as the vendor's has it."""
    contenders = [kind(url, 1 / WALL_SPEED) for kind in (peers.Naive, peers.LiteLLM, peers.LangChain, peers.Ours)]
    found: dict[tuple[str, int], list[tuple[float, float | None, float]]] = {}
    for number in range(-1, WALL_ROUNDS):  # the first round loads and connects
        for size in SIZES if number >= 0 else (max(SIZES),):
            models = [common.MODELS[place % 3] for place in range(size)]
            for contender in contenders:
                prompt = f"{common.prompts(1)[0]} round {number}"
                seen = len(log()["log"])
                gc.collect()
                began = time.perf_counter()
                if isinstance(contender, peers.Ours):
                    replies = await contender.replies(models, prompt)
                    wall = time.perf_counter() - began
                    own = max(reply.elapsed for reply in replies)
                    assert all(reply.ok for reply in replies), replies
                else:
                    assert len(await contender.fan_out(models, prompt)) == size
                    wall, own = time.perf_counter() - began, None
                slowest = max(entry["seconds"] for entry in log()["log"][seen:])
                if number >= 0:
                    found.setdefault((contender.name, size), []).append((wall, own, slowest))
    for contender in contenders:
        await contender.close()
    rows = []
    for (name, size), rounds in found.items():
        own = [wall / own for wall, own, _ in rounds if own]
        vendor = [wall / slowest for wall, _, slowest in rounds]
        rows.append(
            {
                "contender": name,
                "n": size,
                "wall, s": median(wall for wall, _, _ in rounds),
                "wall / slowest call's elapsed": f"{median(own):.4f} ({min(own):.4f} to {max(own):.4f})" if own else "",
                "wall / slowest at the vendor": f"{median(vendor):.3f} ({min(vendor):.3f} to {max(vendor):.3f})",
                "added, ms": 1000 * median(wall - slowest for wall, _, slowest in rounds),
            }
        )
    return sorted(rows, key=lambda row: row["n"])


async def block(call: Call, calls: int) -> float:
    """CPU milliseconds a call of this process, over so many calls."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: str) -> None:
        async with gate:
            await call(prompt)

    gc.collect()
    began = time.process_time()
    await asyncio.gather(*(one(prompt) for prompt in common.prompts(calls)))
    return 1000 * (time.process_time() - began) / calls


async def cpu(url: str, log: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """CPU of each contender for the same streamed calls, in turns."""
    bare, litellm, langchain, ours = Bare(url), peers.LiteLLM(url), peers.LangChain(url), peers.Ours(url)

    async def ask(model: str, prompt: str) -> None:
        reply = await moa.ask(model, prompt)
        assert reply.ok, reply.failure

    ways = {"bare SDK": bare.stream, "moa.ask": ask, "litellm": litellm.stream, "LangChain": langchain.stream}
    rows = []
    for model in common.MODELS:
        found: dict[str, list[float]] = {name: [] for name in ways}
        known: dict[str, set[int]] = {name: set() for name in ways}  # the connections that each way has used
        for name in ways:
            seen = len(log()["log"])
            await block(partial(ways[name], model), AT_ONCE)
            known[name] = {entry["port"] for entry in log()["log"][seen:]}
        opened = dict.fromkeys(ways, 0)
        for number in range(CPU_ROUNDS):
            order = list(ways)[number % 4 :] + list(ways)[: number % 4]
            for name in order:
                seen = len(log()["log"])
                took = await block(partial(ways[name], model), CALLS)
                found[name].append(took)
                ports = {entry["port"] for entry in log()["log"][seen:]}
                opened[name] += len(ports - known[name])
                known[name] |= ports
        for name, times in found.items():
            ratios = sorted(time / base for time, base in zip(times, found["bare SDK"], strict=True))
            rows.append(
                {
                    "model": model,
                    "way": name,
                    "CPU ms a call": median(times),
                    "over bare SDK": f"{median(ratios):.3f}",
                    "middle half": f"{ratios[len(ratios) // 4]:.3f} to {ratios[3 * len(ratios) // 4]:.3f}",
                    "least over least": f"{min(times) / min(found['bare SDK']):.3f}",
                    "new connections a call": f"{opened[name] / CPU_ROUNDS / CALLS:.2f}",
                }
            )
    for contender in (bare, litellm, langchain, ours):
        await contender.close()
    return rows


def main() -> None:
    """Measure, print, write."""
    with common.vendors(speed=CPU_SPEED, tick=TICK / CPU_SPEED) as vendors:
        rows = asyncio.run(cpu(vendors.url, vendors.log))
        log = vendors.log()["log"]
    pieces = [len(entry["text"]) for entry in log]
    common.report(
        "overhead_cpu",
        "CPU of the client's process for one streamed call",
        rows,
        {
            "seed": common.SEED,
            "calls": f"{CPU_ROUNDS} rounds of {CALLS} for each, {AT_ONCE} at a time, contenders in turn",
            "characters an answer": f"{sum(pieces) / len(pieces):.0f}, in as many pieces as at the real pace",
        },
        "Ratio: CPU of a block of calls over that of the bare SDK's block in the same round; median and middle half of "
        "the rounds,\nand the cheapest block over the bare SDK's cheapest, which other work disturbs less.",
    )
    with common.vendors(speed=WALL_SPEED) as vendors:
        rows = asyncio.run(fan_outs(vendors.url, vendors.log))
    common.report(
        "overhead_wall",
        "Wall time of asking n models at once",
        rows,
        {"seed": common.SEED, "speed": WALL_SPEED, "rounds": WALL_ROUNDS},
        "Ratios: wall time of the fan-out over its slowest call, by the call's own clock (Reply.elapsed) and by the "
        "vendor's (from request to end of answer); median and spread of rounds.",
    )


if __name__ == "__main__":
    main()
