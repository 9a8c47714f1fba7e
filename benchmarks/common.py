"""What the benchmarks share: the vendors' process, the questions, the models, the table and the CSV file."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import VENDORS
from moa_helpers.offline.server import TICK

Result = TypeVar("Result")
HERE = Path(__file__).parent
MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]
AGGREGATOR = "openai:gpt-6-sol"
MAX_TOKENS = 2048
SEED = 20261123
PACKAGES = [
    "openai",
    "anthropic",
    "mistralai",
    "litellm",
    "langchain-core",
    "langchain-openai",
    "langchain-anthropic",
    "langchain-mistralai",
    "aiohttp",
    "httpx",
    "httpx2",
]


class Vendors:
    """The embedded vendors in another process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def log(self) -> dict[str, Any]:
        """What was asked and delivered so far; ``cpu``: seconds that the vendors' process has used."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/log", timeout=60) as answer:
            return dict(json.load(answer))

    def settled(self, within: float) -> dict[str, Any]:
        """The log once no request is under way, or after ``within`` seconds."""
        until = time.perf_counter() + within
        while (log := self.log())["under_way"] and time.perf_counter() < until:
            time.sleep(0.1)
        return log


@contextmanager
def vendors(*, speed: float, seed: int = SEED, faults: str = "", tick: float = TICK) -> Iterator[Vendors]:
    """Vendors that start anew, so that each contender gets the same delays and faults."""
    options = {"--seed": seed, "--speed": speed, "--faults": faults, "--tick": tick}
    command = [sys.executable, str(HERE / "vendors.py"), *(str(part) for pair in options.items() for part in pair)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Vendors(process.stdout.readline().strip())
        process.stdin.close()


def base_url(url: str, vendor: str) -> str:
    """The address of a vendor in the form that its own SDK takes."""
    return f"{url}/{vendor}" + ("/v1" if VENDORS[vendor].api == "openai" else "")


def use(url: str) -> None:
    """Have ``moa_helpers`` call the vendors at this address as if they were the real ones."""
    for vendor in VENDORS.values():
        if vendor.key_variable:
            os.environ |= {vendor.url_variable: base_url(url, vendor.name), vendor.key_variable: f"dummy-{vendor.name}"}
    moa.setup("live")


def alone(work: Callable[..., Result], *given: Any) -> Result:
    """Do some work in a new process, so that no contender inherits another's imports, clients or leftovers."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *given).result()


def prompts(count: int) -> list[str]:
    """So many different prompts, each a prepared question with a number behind it."""
    prepared = offline.questions()
    return [f"{prepared[number % len(prepared)].prompt} ({number})" for number in range(count)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1)]


def report(name: str, title: str, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], note: str) -> None:
    """Print a table and write it to ``results/NAME.csv``, with what it was measured with in lines that start with #."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([_shown(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    print(f"\n{title}")
    for line in cells:
        first, *others = (
            cell.ljust(w) if not place else cell.rjust(w)
            for place, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
    print(note)
    facts = {
        "what": title,
        "note": note,
        **about,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
        "versions": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    }
    for fact in about.items():
        print("{}: {}".format(*fact))
    (HERE / "results").mkdir(exist_ok=True)
    with (HERE / "results" / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {key}: {' '.join(str(value).split())}\n" for key, value in facts.items())
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _shown(value) for key, value in row.items()} for row in rows)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
