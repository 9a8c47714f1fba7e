"""From what size a second process pays: ``answer_all`` in one process, and on Ray with one worker and with two.

``make bench-ray``. The vendor is a process of its own that answers at once and takes next to no CPU, so all that limits
the throughput is the CPU of whoever asks. (Not called ray.py: Python would take it for Ray itself.)
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from statistics import median
from typing import Any

import common

import moa_helpers as moa
from moa_helpers.bulk import ray as way
from moa_helpers.bulk.work import Lane
from moa_helpers.plan import Plan

AT_ONCE, ROUNDS = 32, 3
MIXTURE = {"reference_models": ["openai:gpt-6-luna"] * 3, "aggregator": "openai:gpt-6-sol"}
CALLS = 4  # of a question
QUESTIONS = {"whole": 1000, "streamed": 200}
PIECES = ["Air", " scatters", " the", " short", " waves", " of", " sunlight", " more", " than", " the", " long."] * 36
USAGE = {"prompt_tokens": 30, "completion_tokens": len(PIECES), "total_tokens": 30 + len(PIECES)}


class Vendor(asyncio.Protocol):
    """One connection to a vendor that has its answer ready, in OpenAI's format."""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport, self.arrived = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is there whole."""
        self.arrived += data
        while b"\r\n\r\n" in self.arrived:
            head, _, rest = self.arrived.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            body, self.arrived = rest[:length], rest[length:]
            self.transport.write(STREAM if b'"stream":true' in body.replace(b" ", b"") else WHOLE)


def answer(kind: str, body: str) -> bytes:
    """A body as an answer in HTTP."""
    sent = body.encode()
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent


def choice(name: str, text: str, finish: str | None) -> dict[str, Any]:
    """An answer's one choice, or a piece of it."""
    found = {"index": 0, name: {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"id": "chat-1", "object": "chat.completion", "created": 1, "model": "served", "choices": [found]}


WHOLE = answer("application/json", json.dumps(choice("message", "".join(PIECES), "stop") | {"usage": USAGE}))
EVENTS = [choice("delta", piece, None) for piece in PIECES] + [choice("delta", "", "stop") | {"usage": USAGE}]
STREAM = answer("text/event-stream", "".join(f"data: {json.dumps(one)}\n\n" for one in EVENTS) + "data: [DONE]\n\n")


async def serve() -> None:
    """Print the address, and serve until standard input closes."""
    server = await asyncio.get_running_loop().create_server(Vendor, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def vendor() -> Iterator[int]:
    """The vendor in a process of its own, asked from now on; its process id."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        common.use(process.stdout.readline().strip())
        yield process.pid
        process.stdin.close()


class Streaming(way.Worker):
    """A worker whose calls are streamed, as those of a program whose reader watches: they take ten times the CPU."""

    def __init__(self) -> None:
        super().__init__()
        bound = Plan.bound
        Plan.bound = lambda plan, *, streamed=True: bound(plan, streamed=True)  # type: ignore[method-assign]


def cpu() -> Mapping[str, float]:
    """CPU seconds so far of this process, the vendor's, and Ray's, by their names."""
    import psutil

    found: dict[str, float] = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        name = "this process" if process.pid == os.getpid() else process.name()
        times = process.cpu_times()
        found[name] = found.get(name, 0.0) + times.user + times.system
    return found


class Marks:
    """Notes when calls are kept, and the CPU used until then, at a third and at nineteen twentieths of all."""

    def __init__(self, calls: int) -> None:
        self.number, self.at, self.seen = 0, {calls // 3, calls * 19 // 20}, []
        self.first = 0.0
        self._keep, marks = Lane.keep, self

        def keep(lane: Lane, request: Any, reply: Any) -> None:
            marks._keep(lane, request, reply)
            marks.first = marks.first or time.perf_counter()
            marks.number += 1
            if marks.number in marks.at:
                marks.seen.append((marks.number, time.perf_counter(), cpu()))

        Lane.keep = keep  # type: ignore[method-assign]

    def end(self) -> None:
        """Note nothing more."""
        Lane.keep = self._keep  # type: ignore[method-assign]


def asked(kind: str, workers: int, folder: str) -> dict[str, float]:
    """Throughput and CPU between the two marks; ``workers`` 0: without Ray."""
    count, path = QUESTIONS[kind], Path(folder, f"{time.monotonic_ns()}.sqlite")
    questions = [f"Question {path.stem}-{number}: why is the sky blue?" for number in range(count)]
    how: Any = "ray" if workers else "live"
    marks, began = Marks(CALLS * count), time.perf_counter()
    with redirect_stderr(io.StringIO()):
        answers = moa.run(moa.answer_all(questions, MIXTURE, path=path, how=how, max_concurrency=AT_ONCE))
    marks.end()
    assert sum(row.ok for row in answers) == count
    (since, start, before), (until, end, after) = marks.seen
    took = {name: 1000 * (after[name] - before.get(name, 0.0)) / (until - since) for name in after}
    here, inside = took.pop("this process"), took.pop("ray::Worker", 0.0) + took.pop("ray::Streaming", 0.0)
    return {
        "calls a second": (until - since) / (end - start),
        "seconds to the first call": marks.first - began,
        "CPU ms a call: here": here,
        "in workers": inside,
        "in Ray and the vendor": sum(took.values()),
    }


def measured(folder: str) -> list[dict[str, Any]]:
    """All ways, in turns; medians of the rounds."""
    import ray

    began = time.perf_counter()
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(num_cpus=2, object_store_memory=80 * 2**20, **options)
    started = time.perf_counter() - began
    ways = [("whole", 0), ("whole", 1), ("whole", 2), ("streamed", 1), ("streamed", 2)]
    found: dict[tuple[str, int], list[dict[str, float]]] = {one: [] for one in ways}
    for _ in range(ROUNDS):
        for kind, workers in ways:
            way.Worker = Streaming if kind == "streamed" else WORKER  # type: ignore[misc]
            taken = ray.remote(Taken).options(num_cpus=1).remote() if workers == 1 else None  # the other processor
            while free(ray) != (2 if taken is None else 1):
                time.sleep(0.05)
            found[kind, workers].append(asked(kind, workers, folder))
            del taken
    rows = []
    for (kind, workers), rounds in found.items():
        one = {name: median(each[name] for each in rounds) for name in rounds[0]}
        rates, alone = [[each["calls a second"] for each in of] for of in (rounds, found[kind, 1])]
        gains = sorted(rate / first for rate, first in zip(rates, alone, strict=True))
        rows.append(
            {
                "answers": kind,
                "workers": workers or "no Ray",
                **one,
                "its spread": f"{min(rates):.0f} to {max(rates):.0f}",
                "over one worker": f"{median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})"
                if workers == 2
                else "",
            }
        )
    return [{**row, "seconds to start Ray": started if row["workers"] != "no Ray" else 0.0} for row in rows]


def free(ray: Any) -> float:
    """How many processors of the cluster are free."""
    return float(ray.available_resources().get("CPU", 0))


class Taken:
    """An actor that keeps a processor from the others."""


WORKER = way.Worker


def pays(rows: list[dict[str, Any]]) -> str:
    """From how many calls on Ray with two workers is quicker than one process, its start included."""
    alone, _, two = (row for row in rows if row["answers"] == "whole")
    each = 1 / alone["calls a second"] - 1 / two["calls a second"]  # seconds that Ray wins with a call
    start = two["seconds to start Ray"] + two["seconds to the first call"] - alone["seconds to the first call"]
    return f"from {start / each:,.0f} calls on" if each > 0 else "never"


def main() -> None:
    """Measure, print, write."""
    common.PACKAGES = ["ray", "openai", "aiohttp"]
    with tempfile.TemporaryDirectory() as folder, vendor():
        rows = measured(folder)
    common.report(
        "ray",
        f"answer_all in one process and on Ray: {AT_ONCE} calls at once, three proposers and an aggregator",
        rows,
        {
            "rounds": f"{ROUNDS}, in turns; medians",
            "questions": QUESTIONS,
            "tokens": len(PIECES),
            "Ray with two workers pays": pays(rows),
        },
        "The vendor answers at once, so CPU is all that limits. Counted from the calls' first third to their last 5 %. "
        "Whole: as answer_all asks. Streamed: the same workers with streamed calls, which take more CPU.",
    )


if __name__ == "__main__":
    asyncio.run(serve()) if "--serve" in sys.argv else main()
