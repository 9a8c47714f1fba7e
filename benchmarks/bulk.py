"""What many questions cost, asked live: CPU, throughput, memory, and a second start. ``make bench-bulk``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import common
import peers
from comparison import megabytes

import moa_helpers as moa
from moa_helpers.fanout import run_all
from moa_helpers.limits.scope import Scope
from moa_helpers.plan import plan_fan_out

AT_ONCE, BLOCK, ROUNDS = 64, 512, 5
FAN_OUT, FAN_ROUNDS = 64, 9
DELAY, FAN_DELAY, SPREAD = 0.1, 1.0, 0.4  # seconds, and the sigma of the logarithm of a fan-out's delays
SIZES = (1_000, 10_000)
ONE = common.MODELS[0]


@contextmanager
def light(delay: float, spread: float = 0.0) -> Iterator[str]:
    """The address of a vendor that takes next to no CPU, in a process of its own."""
    command = [sys.executable, str(common.HERE / "light.py"), "--delay", str(delay), "--spread", str(spread)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


class Ours(peers.Ours):
    """``moa_helpers``, where nobody watches: no answer is streamed."""

    async def replies(self, models: Sequence[str], prompt: str) -> Any:
        """The replies, failed ones included."""
        plan = plan_fan_out(models, prompt, **self.options).bound(streamed=False)
        with Scope(plan.limits).open() as scope:
            return await run_all(plan.stages[0], scope)


async def answered(model: str, prompts: Sequence[str], folder: str) -> None:
    """All prompts by ``answer_all``, each call kept in a file."""
    path = Path(folder, f"{time.monotonic_ns()}.sqlite")
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        answers = await moa.answer_all(prompts, model, path=path, max_concurrency=AT_ONCE)
    assert all(row.ok for row in answers)


async def each(call: Callable[..., Any], model: str, prompts: Sequence[str]) -> None:
    """All prompts by single calls."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: str) -> None:
        async with gate:
            assert await call(model, prompt)

    await asyncio.gather(*(one(prompt) for prompt in prompts))


async def calls(url: str, folder: str) -> list[dict[str, Any]]:
    """CPU and throughput of each contender for the same calls, none of them streamed, in turns."""
    bare, litellm, langchain = (kind(url) for kind in (peers.Naive, peers.LiteLLM, peers.LangChain))
    common.use(url)

    async def ours(model: str, prompts: Sequence[str]) -> None:
        await answered(model, prompts, folder)

    ways: dict[str, Any] = {
        name: lambda model, prompts, peer=peer: each(peer.one, model, prompts)
        for name, peer in (("bare SDK", bare), ("litellm", litellm), ("LangChain", langchain))
    }
    ways["moa.answer_all"] = ours
    rows = []
    for model in common.MODELS:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(-1, ROUNDS):  # the first round loads and connects
            order = list(ways)[number % 4 :] + list(ways)[: number % 4]
            for name in order:
                prompts = [f"{prompt} [{number}]" for prompt in common.prompts(BLOCK)]
                gc.collect()
                began, cpu = time.perf_counter(), time.process_time()
                await ways[name](model, prompts)
                took = 1000 * (time.process_time() - cpu) / BLOCK, BLOCK / (time.perf_counter() - began)
                if number >= 0:
                    found[name].append(took)
        of_peers = [*zip(*(rounds for name, rounds in found.items() if name != "moa.answer_all"), strict=True)]
        leanest = [min(cpu for cpu, _ in each) for each in of_peers]
        quickest = [max(rate for _, rate in each) for each in of_peers]
        for name, rounds in found.items():
            cpu_ratios = sorted(cpu / least for (cpu, _), least in zip(rounds, leanest, strict=True))
            rates = sorted(rate / most for (_, rate), most in zip(rounds, quickest, strict=True))
            rows.append(
                {
                    "model": model,
                    "way": name,
                    "CPU ms a call": median(cpu for cpu, _ in rounds),
                    "CPU over the leanest peer's": f"{median(cpu_ratios):.2f}",
                    "its spread": f"{cpu_ratios[0]:.2f} to {cpu_ratios[-1]:.2f}",
                    "calls a second": median(rate for _, rate in rounds),
                    "over the quickest peer's": f"{median(rates):.2f}",
                    "spread": f"{rates[0]:.2f} to {rates[-1]:.2f}",
                }
            )
    for peer in (bare, litellm, langchain):
        await peer.close()
    await moa.close()
    return rows


async def fan_outs(url: str) -> list[dict[str, Any]]:
    """Wall time of asking many models at once, over that of the slowest answer as the vendor has it."""
    contenders = [peers.Naive(url), peers.LiteLLM(url), peers.LangChain(url), Ours(url)]
    found: dict[str, list[tuple[float, float]]] = {contender.name: [] for contender in contenders}
    models = [common.MODELS[place % 3] for place in range(FAN_OUT)]
    for number in range(-1, FAN_ROUNDS):
        for contender in contenders[number % 4 :] + contenders[: number % 4]:
            slowest(url)
            gc.collect()
            began = time.perf_counter()
            assert len(await contender.fan_out(models, f"{common.prompts(1)[0]} round {number}")) == FAN_OUT
            wall = time.perf_counter() - began
            if number >= 0:
                found[contender.name].append((wall, await asyncio.to_thread(slowest, url)))
    for contender in contenders:
        await contender.close()
    rows = []
    for name, rounds in found.items():
        ratios = sorted(wall / slow for wall, slow in rounds)
        rows.append(
            {
                "contender": name,
                "n": FAN_OUT,
                "wall, s": median(wall for wall, _ in rounds),
                "wall / slowest at the vendor": f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})",
                "added, ms": 1000 * median(wall - slow for wall, slow in rounds),
            }
        )
    return rows


def slowest(url: str) -> float:
    """The seconds of the slowest answer since this was last asked."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
        return float(json.load(answer))


def many(url: str, count: int, path: str) -> dict[str, float]:
    """So many questions from a generator, in a process of its own."""
    common.use(url)
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        moa.run(moa.answer_all(common.prompts(AT_ONCE), ONE, path=f"{path}.warm", max_concurrency=AT_ONCE))
        before, began, cpu = megabytes(), time.perf_counter(), time.process_time()
        asked = (f"Question {number}: why is the sky blue?" for number in range(count))
        found = moa.run(moa.answer_all(asked, ONE, path=path, max_concurrency=AT_ONCE))
    assert len(found) == count
    assert sum(row.ok for row in found) == count
    return {
        "seconds": time.perf_counter() - began,
        "CPU ms a call": 1000 * (time.process_time() - cpu) / count,
        "MB before": before,
        "MB at most": megabytes(),
        "calls made": sum(not row.kept for row in found),
    }


def memory(url: str, folder: str) -> list[dict[str, Any]]:
    """What the process of a thousand and of ten thousand questions holds, and what a second start takes."""
    rows = []
    for count in SIZES:
        path = os.path.join(folder, f"{count}.sqlite")
        for start in ("first", "second"):
            found = common.alone(many, url, count, path)
            rows.append({"questions": count, "start": start, **found, "file MB": os.path.getsize(path) / 1e6})
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("calls", "fan-out", "memory"))
    only = parser.parse_args().only
    about = {"answers": "572 characters, from a server that costs next to nothing, in a process of its own"}
    with tempfile.TemporaryDirectory() as folder:
        if only in (None, "calls"):
            with light(DELAY) as url:
                rows = asyncio.run(calls(url, folder))
            common.report(
                "bulk_calls",
                f"CPU and throughput of one call that is not streamed, {AT_ONCE} at once",
                rows,
                {"delay": f"{DELAY:g} s", "calls": f"{ROUNDS} rounds of {BLOCK} for each, contenders in turn", **about},
                "Ratios: within a round, over the peer that took least CPU in it and over the one that was quickest; "
                "median and spread of rounds.\nmoa.answer_all also plans, prices and keeps each call in a file.",
            )
        if only in (None, "fan-out"):
            with light(FAN_DELAY, SPREAD) as url:
                rows = asyncio.run(fan_outs(url))
            common.report(
                "bulk_fan_out",
                f"Wall time of asking {FAN_OUT} models at once, not streamed",
                rows,
                {"delay": f"{FAN_DELAY:g} s, lognormal, sigma {SPREAD:g}", "rounds": FAN_ROUNDS, **about},
                "Ratio: wall time of the fan-out over its slowest answer, from the request's arrival at the vendor to "
                "the answer's leaving; median and spread of rounds.",
            )
        if only in (None, "memory"):
            with light(DELAY) as url:
                rows = memory(url, folder)
            common.report(
                "bulk_memory",
                f"moa.answer_all on many questions, {AT_ONCE} at once, each start in a process of its own",
                rows,
                {"delay": f"{DELAY:g} s", **about},
                "MB: the most memory of the process so far, after the first 64 questions and at the end. A second "
                "start finds all in the file.",
            )


if __name__ == "__main__":
    main()
