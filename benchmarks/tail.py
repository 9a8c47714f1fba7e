"""How long one waits for three models: for all of them, for two of three, with second requests. ``make bench-tail``.

Every contender gets the same questions, one after another at a steady pace, and the same seeded delays. Question,
seed, models and policies are those of notebook 5, at the real pace of the published latencies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import common
import peers

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins

SEED, SPEED, QUESTIONS, EVERY = 0, 1.0, 600, 0.05  # a new question every so many seconds
TICK = 0.08  # seconds between two pieces of a stream: fewer pieces than usual, as the machine's part is not the subject
HEDGE_AFTER, HEDGE_WITH = 4.2, "groq:openai/gpt-oss-20b"
DRAWN = 20_000  # questions for the figures from the draws alone, as many as in the notebook
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "ours, waiting for all": {},
    "ours, quorum 2 of 3": {"quorum": 2, "grace": 0.0},
    "ours, hedged to groq": {"hedge_after": HEDGE_AFTER, "hedge_with": HEDGE_WITH},
    "ours, hedged to the same": {"hedge_after": HEDGE_AFTER},
}
PEERS = {"naive recipe": peers.Naive, "litellm": peers.LiteLLM, "LangChain": peers.LangChain}


@dataclass
class Found:
    """What one contender took: waits in seconds, answers, and the client's share of a core."""

    waits: list[float]
    answers: int
    cpu: float


def contender(name: str, url: str) -> peers.Peer:
    """The contender of this name."""
    return PEERS[name](url) if name in PEERS else peers.Ours(url, **POLICIES[name])


def prompts(count: int) -> list[str]:
    """So many questions, different for the vendors, but of one length."""
    return [f"{offline.questions()[0].prompt} ({number})" for number in range(count)]


def run(name: str, url: str, count: int) -> Found:
    """Ask all the questions."""
    return asyncio.run(_run(contender(name, url), count))


async def _run(asked: peers.Peer, count: int) -> Found:
    waits: list[float] = []
    answers = 0

    async def one(prompt: str) -> None:
        nonlocal answers
        began = time.perf_counter()
        got = await asked.fan_out(common.MODELS, prompt)
        waits.append(time.perf_counter() - began)
        answers += len(got)

    await asyncio.gather(*(asked.fan_out(common.MODELS, f"Warm up {number}") for number in range(20)))
    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number, prompt in enumerate(prompts(count)):
            await asyncio.sleep(began + number * EVERY - time.perf_counter())
            group.create_task(one(prompt))
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    await asked.close()
    return Found(waits, answers, share)


# The same from the draws alone


@cache
def tokens(model: str) -> int:
    """How long the stand-in's answer is: about four characters a token, as the vendors count."""
    return -(-len(standins.answer(moa.find(model), "", prompts(1)[0])) // 4)


def delays(latency: offline.Latency, model: str, prompt: str, streamed: bool) -> float:
    """Seconds of the next request of a prompt to a model. A stream's last piece comes before its time is over."""
    ttft, rate = latency.draw(model, prompt)
    duration = tokens(model) / rate
    pieces = max(1, min(tokens(model), round(duration / TICK)))
    return ttft + duration * ((pieces - 1) / pieces if streamed else 1)


def drawn(name: str, count: int) -> tuple[list[float], float]:
    """The waits of a policy, and its extra calls over those planned, from the draws and nothing else."""
    latency, policy, waits, extra = offline.Latency(SEED), POLICIES.get(name, {}), [], 0
    for prompt in prompts(count):
        calls = []
        for model in common.MODELS:
            call = delays(latency, model, prompt, name in POLICIES)
            after = policy.get("hedge_after")
            if after is not None and call > after:
                extra += 1
                call = min(call, after + delays(latency, policy.get("hedge_with", model), prompt, True))
            calls.append(call)
        waits.append(sorted(calls)[policy.get("quorum", 3) - 1])
    return waits, extra / count / 3


def measure(count: int = QUESTIONS) -> list[dict[str, Any]]:
    """One row a contender."""
    rows = []
    for name in [*PEERS, *POLICIES]:
        with common.vendors(speed=SPEED, seed=SEED, tick=TICK) as vendors:
            began, cpu = time.perf_counter(), vendors.log()["cpu"]
            found = common.alone(run, name, vendors.url, count)
            log = vendors.settled(5)
            wall = time.perf_counter() - began
        asked = [entry for entry in log["log"] if not entry["prompt"].startswith("Warm up")]
        expected, extra = drawn(name, count)
        many, extra_of_many = drawn(name, DRAWN)
        rows.append(
            {
                "contender": name,
                **percentiles("", found.waits),
                **percentiles(" drawn", expected),
                f"p99 of {DRAWN:,}": common.percentile(many, 0.99),
                "extra calls, %": 100 * (len(asked) / (3 * count) - 1),
                "drawn, %": 100 * extra,
                f"of {DRAWN:,}, %": 100 * extra_of_many,
                "given up, %": 100 * (1 - found.answers / (3 * count)),
                "client CPU, %": 100 * found.cpu,
                "vendors CPU, %": 100 * (log["cpu"] - cpu) / wall,
            }
        )
        print(f"  {name}: {len(found.waits)} questions in {wall:.0f} s", flush=True)
    whole = rows[0]["p99"]
    return [row | {"p99 / naive": row["p99"] / whole} for row in rows]


def percentiles(what: str, waits: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    return {f"p{share}{what}": common.percentile(waits, share / 100) for share in (50, 95, 99)}


def main() -> None:
    """Measure, print, write."""
    common.report(
        "tail",
        "Wait for three models, in seconds",
        measure(),
        {"seed": SEED, "speed": SPEED, "questions": QUESTIONS, "a question every": f"{EVERY} s"},
        "'drawn': computed from the same seeded delays without any network, for the same questions, and for "
        f"{DRAWN:,}.\n'given up': answers that the policy does not wait for. CPU: share of one core in use, for what "
        "part the machine has in the waits.",
    )


if __name__ == "__main__":
    main()
