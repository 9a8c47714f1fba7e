"""What a long comparison takes: memory, time, places, and what a second start costs. ``make bench-comparison``."""

from __future__ import annotations

import resource
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import common

import moa_helpers as moa
from moa_helpers import offline

SIZES, AT_ONCE, SPEED = (100, 300, 1000), 64, 20.0
ONE = common.MODELS[0]
STRATEGIES: dict[str, Any] = {
    "single": ONE,
    "best of 3": {"reference_models": [ONE] * 3, "aggregator": ONE, "pick": True},
    "self-moa": {"reference_models": [ONE] * 3, "aggregator": ONE},
    "moa": {"reference_models": common.MODELS, "aggregator": ONE},
}
JUDGE = common.MODELS[1]


def run(url: str, count: int, path: str) -> dict[str, float]:
    """One start, in a process of its own; its memory is its own, that of the vendors is not in it."""
    common.use(url)
    questions = [moa.Question(each.id, each.prompt) for each in offline.questions(count // 10)]
    moa.run(moa.fan_out(common.MODELS, "Hello?"))  # loads the SDKs
    before, began, cpu = megabytes(), time.perf_counter(), time.process_time()
    found = moa.run(moa.compare(questions, STRATEGIES, judge=JUDGE, path=path, max_concurrency=AT_ONCE))
    assert len(found.answers) == 4 * count
    assert not found.table().failed.any()
    after = megabytes()
    found.table()
    return {
        "seconds": time.perf_counter() - began,
        "CPU": time.process_time() - cpu,
        "MB before": before,
        "MB at most": after,
        "MB with the table": megabytes(),
    }


def megabytes() -> float:
    """The most memory that this process has had so far, without what ``ru_maxrss`` inherits from its parent."""
    if sys.platform == "linux":
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def count_calls(path: Path) -> int:
    """How many calls the file keeps."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])


def measure(count: int) -> dict[str, Any]:
    """A comparison and a second start of it."""
    most, over = 0, threading.Event()
    with tempfile.TemporaryDirectory() as folder, common.vendors(speed=SPEED) as vendors:
        path = Path(folder, "comparison.sqlite")

        def look() -> None:
            nonlocal most
            while not over.wait(0.2):
                most = max(most, vendors.log()["under_way"])

        looking = threading.Thread(target=look)
        looking.start()
        first = common.alone(run, vendors.url, count, str(path))
        over.set()
        looking.join()
        calls = count_calls(path)
        megabytes = path.stat().st_size / 1e6
        again = common.alone(run, vendors.url, count, str(path))
        assert count_calls(path) == calls
    return {
        "questions": count,
        "calls": calls,
        "MB before": first["MB before"],
        "MB at most": first["MB at most"],
        "MB with the table": first["MB with the table"],
        "file MB": megabytes,
        "most under way": most,
        "CPU ms a call": 1000 * first["CPU"] / calls,
        "seconds": first["seconds"],
        "second start, s": again["seconds"],
        "second start, MB": again["MB at most"],
    }


def main() -> None:
    """Measure, print, write."""
    common.report(
        "comparison",
        f"moa.compare with 4 strategies and a judge, at most {AT_ONCE} calls at once",
        [measure(count) for count in SIZES],
        {"speed": SPEED, "strategies": ", ".join(STRATEGIES)},
        "MB: the most memory of the client's process, before the first call and at the end. Most under way: as the "
        "vendors saw it, looked at five times a second.\nA second start finds all calls in the file.",
    )


if __name__ == "__main__":
    main()
