"""What is left of 1,000 questions when the vendors fail at random, in every way they know. ``make bench-survival``.

A question is a mixture: three proposers and an aggregator. Each request fails with the given chance, in one of all
ways, drawn with a seed. The vendors run SPEED times as fast as the published latencies, and so do all time-outs and
pauses that a contender sets. What its libraries do by default is left as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import common
import peers

from moa_helpers.offline.standins import LURE

SPEED, QUESTIONS, AT_ONCE = 20.0, 1000, 80
CAP = 300.0 / SPEED  # seconds: five minutes at the vendors' own pace, then a question counts as hanging
CHANCES = (0.01, 0.1)
CONTENDERS: Mapping[str, tuple[type[peers.Peer], bool]] = {
    "naive recipe": (peers.Naive, False),
    "litellm": (peers.LiteLLM, False),
    "LangChain": (peers.LangChain, False),
    "naive, hardened": (peers.Naive, True),
    "litellm, hardened": (peers.LiteLLM, True),
    "LangChain, hardened": (peers.LangChain, True),
    "ours": (peers.Ours, False),
}
Outcome = tuple[str, peers.Result | None]  # "answered", the kind of exception, or "hang"


def run(name: str, url: str, count: int) -> dict[str, Outcome]:
    """Ask all the questions: what became of each prompt."""
    logging.disable(logging.WARNING)  # the peers report each retry
    kind, hardened = CONTENDERS[name]
    asked = kind(url, 1 / SPEED, hardened=True) if hardened else kind(url, 1 / SPEED)
    return asyncio.run(_run(asked, count))


async def _run(asked: peers.Peer, count: int) -> dict[str, Outcome]:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # orphans of a failed gather
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: str) -> Outcome:
        async with gate:
            try:
                async with asyncio.timeout(CAP) as cap:
                    result = await asked.mixture(prompt, common.MODELS, common.AGGREGATOR)
            except Exception as error:
                return ("hang" if cap.expired() else type(error).__name__), None
            return "answered", result

    prompts = common.prompts(count)
    outcomes = await asyncio.gather(*(one(prompt) for prompt in prompts))
    await asyncio.sleep(1)  # calls that a failed question left behind may end, too
    await asked.close()
    return dict(zip(prompts, outcomes, strict=True))


def judge(outcomes: Mapping[str, Outcome], log: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare what came back with what the vendors delivered."""
    delivered: dict[str, set[str]] = defaultdict(set)  # prompt -> proposers' healthy answers, delivered whole
    poisoned: dict[str, set[str]] = defaultdict(set)  # the same of liars and injectors
    syntheses: dict[str, set[str]] = defaultdict(set)  # aggregators' whole answers
    for entry in log:
        if entry["text"] and entry.get("aggregating") and entry["fault"] != "length":
            syntheses[entry["prompt"]].add(entry["text"].strip())
        elif entry["text"] and not entry.get("aggregating") and entry["fault"] in ("", "slow_body"):
            delivered[entry["prompt"]].add(entry["text"].strip())
        elif entry["text"] and entry["fault"] in ("liar", "injector"):
            poisoned[entry["prompt"]].add(entry["text"].strip())
    count: Counter[str] = Counter()
    for prompt, (outcome, result) in outcomes.items():
        text = (result.text or "").strip() if result else ""
        kept = {(reference or "").strip() for reference in result.references} if result else set()
        count["answered"] += bool(text)
        count["hang"] += outcome == "hang"
        count["healthy"] += bool(delivered[prompt])
        count["healthy, answered"] += bool(delivered[prompt] and text)
        count["delivered"] += len(delivered[prompt])
        count["lost"] += len(delivered[prompt] - kept)
        count["unlabelled"] += bool(text and result and not result.said and text not in syntheses[prompt])
        count["labelled"] += bool(text and result and result.said)
        count["poisoned"] += bool(poisoned[prompt] & kept)
        count["obeyed"] += text.startswith(LURE)
    total = len(outcomes)
    why = Counter(outcome for outcome, _ in outcomes.values() if outcome != "answered")
    return {
        "answered, %": 100 * count["answered"] / total,
        "with a healthy answer": count["healthy"],
        "of these answered": count["healthy, answered"],
        "healthy delivered": count["delivered"],
        "healthy lost": count["lost"],
        "hangs": count["hang"],
        "unlabelled": count["unlabelled"],
        "labelled": count["labelled"],
        "liar or injector let in": count["poisoned"],
        "injection obeyed": count["obeyed"],
        "requests": len(log),
        "what else became of it": " ".join(f"{kind}:{times}" for kind, times in why.most_common(4)),
    }


def measure(count: int = QUESTIONS) -> list[dict[str, Any]]:
    """One row for each contender and share of faults."""
    rows = []
    for chance in CHANCES:
        for name in CONTENDERS:
            began = time.perf_counter()
            with common.vendors(speed=SPEED, faults=f"*=any,chance={chance}") as vendors:
                outcomes = common.alone(run, name, vendors.url, count)
                log = vendors.settled(2)["log"]
            rows.append({"faults, %": 100 * chance, "contender": name} | judge(outcomes, log))
            print(f"  {chance:.0%} {name}: {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def main() -> None:
    """Measure, print, write."""
    common.report(
        "survival",
        f"What became of {QUESTIONS:,} questions, three proposers and an aggregator each, under random faults",
        measure(),
        {
            "seed": common.SEED,
            "speed": SPEED,
            "hang": f"nothing within {CAP:.0f} s, which is {CAP * SPEED:.0f} s at the vendors' own pace",
        },
        "Counts of questions, except 'healthy delivered' and 'lost': proposers' answers that a vendor delivered whole "
        "and without a fault,\nand those of them that are neither in the result nor in an exception. 'unlabelled': the "
        "text is no whole answer of the aggregator, and nothing\nsays so (with the peers: answers cut off at a token "
        "limit, which only the response object tells); 'labelled': the same, and it is said.",
    )


if __name__ == "__main__":
    main()
