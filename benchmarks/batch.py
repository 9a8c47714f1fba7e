"""Ten thousand questions by batch, while all that can go wrong does, and the program is killed again and again.

``make bench-batch``. A question is a mixture of three proposers and an aggregator. The embedded
vendors run in a process of their own, whose clock passes an hour in a second while a job is open. Each fault of batches
hits 2 % of the jobs, or of the requests in them. The program that asks is killed with SIGKILL at ten moments. What was
paid for is counted in the vendors' own results, read from them at the end.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import common

import moa_helpers as moa
from moa_helpers.bulk import underway
from moa_helpers.catalogue import find
from moa_helpers.offline import faults
from moa_helpers.vendors.batches import adapter
from moa_helpers.vendors.streams import client

QUESTIONS, KILLS, CHANCE, SPEED, LIVE_SPEED = (
    int(os.environ.get("QUESTIONS", 10_000)),
    int(os.environ.get("KILLS", 10)),
    0.02,
    1.0,
    50.0,
)
MOMENTS = (3.0, 12.0)  # seconds after a start, within which it is killed
GOOD = ("complete", "partial", "single")
SAMPLE = 200  # questions that are also asked live, for the price
MIXTURE = {"reference_models": common.MODELS, "aggregator": common.AGGREGATOR, "max_tokens": 1024}
PACE = (0.2, 2.0)  # seconds between two looks at the jobs, as the clock goes fast


def asked(url: str, how: str, count: int) -> None:
    """Answer the questions in this process, and write down what came of it; run by itself."""
    common.use(url)
    underway.PACE = PACE
    found = moa.run(moa.answer_all(common.prompts(count), MIXTURE, path=f"{how}.sqlite", how=how, max_concurrency=16))
    outcomes: Counter[str] = Counter()
    costs = []
    for row in found:
        outcomes[row.outcome] += 1
        costs.append((row.id, row.cost_usd, row.outcome))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    Path(f"{how}.json").write_text(json.dumps({"outcomes": outcomes, "costs": costs, "megabytes": memory}))


def start(url: str, how: str, count: int) -> subprocess.Popen[bytes]:
    """The same in another process."""
    command = [sys.executable, str(common.HERE / "batch.py"), url, how, str(count)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def peak(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process had so far, in megabytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0.0


@contextmanager
def serving(speed: float, wrong: str = "") -> Iterator[str]:
    """The embedded vendors in a process of their own; their address."""
    command = [sys.executable, "-m", "moa_helpers.offline", "--port", "0", "--seed", str(common.SEED)]
    command += ["--speed", str(speed), "--faults", wrong]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[2]
        process.terminate()


async def paid() -> tuple[Counter[str], int, int]:
    """How often each request was answered in a job, at the vendors; the jobs, and those whose results are gone."""
    answered: Counter[str] = Counter()
    jobs = gone = 0
    for vendor in ("openai", "anthropic", "mistral"):
        model = next(find(name) for name in (*common.MODELS, common.AGGREGATOR) if name.startswith(vendor))
        sdk, batches = client(model), adapter(model.vendor)
        async for made in batches.made(sdk, 0.0):
            jobs += 1
            keys: set[str] = set()
            try:
                for file in (await batches.look(sdk, made.id)).files:
                    keys |= {result.key async for result in batches.results(sdk, file) if result.answer}
            except Exception:  # its results are gone: what it did was paid for, and lost
                gone += 1
            answered.update(keys)
    await moa.close()
    return answered, jobs, gone


def main() -> None:
    """Run it, and store what was found."""
    began, kills, memory, moments = time.perf_counter(), 0, 0.0, random.Random(common.SEED)
    wrong = ";".join(f"*={kind},chance={CHANCE}" for kind, of in faults.OF.items() if of in ("item", "job"))
    with serving(SPEED, wrong) as url, serving(LIVE_SPEED) as of_live, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while True:
            process = start(url, "batch", QUESTIONS)
            until = time.perf_counter() + (moments.uniform(*MOMENTS) if kills < KILLS else math.inf)
            while process.poll() is None and time.perf_counter() < until:
                memory = max(memory, peak(process))
                time.sleep(0.2)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            print(f"killed {kills} times after {time.perf_counter() - began:.0f} s", flush=True)
        found = json.loads(Path("batch.json").read_text())
        seconds = time.perf_counter() - began
        start(url, "batch", QUESTIONS).wait()  # which asks again what has failed, such as lines that were refused
        again = json.loads(Path("batch.json").read_text())
        start(of_live, "live", SAMPLE).wait()
        live = json.loads(Path("live.json").read_text())
        common.use(url)
        answered, jobs, gone = asyncio.run(paid())
    whole = {id: cost for id, cost, outcome in found["costs"] if outcome == "complete"}
    pairs = [(whole[id], cost) for id, cost, outcome in live["costs"] if outcome == "complete" and id in whole]
    row = {
        "questions": QUESTIONS,
        "answered": sum(found["outcomes"].get(name, 0) for name in GOOD),
        "answered after one more start": sum(again["outcomes"].get(name, 0) for name in GOOD),
        **{f"of these {name}": number for name, number in found["outcomes"].items()},
        "jobs": jobs,
        "jobs whose results were gone": gone,
        "kills": kills,
        "requests answered": len(answered),
        "paid twice": sum(often > 1 for often in answered.values()),
        "price of live": statistics.fmean(batch for batch, _ in pairs) / statistics.fmean(usd for _, usd in pairs),
        "megabytes": max(memory, found["megabytes"]),
        "seconds": seconds,
    }
    about = {"faults": f"each kind of batches at {CHANCE:.0%}", "questions priced live": len(pairs)}
    note = "price of live: of the same questions, where all their calls were answered in both ways."
    common.report(
        "batch", f"{QUESTIONS:,} questions by batch", [{"what": k, "value": v} for k, v in row.items()], about, note
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asked(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
