"""What the live panel costs while 1,000 pieces of text arrive a second. ``make bench-panel``."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

import common
import IPython.display
from aiohttp import web

import moa_helpers as moa
from moa_helpers import panel

MODEL, RATE, SECONDS, SIZES, ROUNDS = "openai:gpt-6-luna", 1000, 10.0, (1, 6, 24), 3
PIECE = "word "


async def answer(request: web.Request) -> web.StreamResponse:
    """A stream of so many pieces a second as the prompt says."""
    rate = float((await request.json())["messages"][0]["content"])
    shell = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return f"data: {json.dumps(shell | {'choices': choices})}\n\n".encode()

    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    piece, began, sent = event({"content": PIECE}), time.perf_counter(), 0
    while sent < rate * SECONDS:
        due = min(int((time.perf_counter() - began) * rate), int(rate * SECONDS) + 1) - sent
        for _ in range(due):  # each by itself, as a vendor sends them
            await response.write(piece)
        sent += due
        await asyncio.sleep(1 / rate if rate < 200 else 0.005)
    await response.write(event({}, "stop") + b"data: [DONE]\n\n")
    return response


async def serve() -> None:
    """Print the address, and serve until standard input closes."""
    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


class Screen:
    """In place of a notebook's output: it writes each update as JSON, as a kernel does, and counts."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def update(self, bundle: dict[str, str], **options: bool) -> Screen:
        """Show this from now on."""
        self.sizes.append(len(json.dumps(bundle)))
        return self


async def once(calls: int, screen: Screen | None) -> tuple[float, float]:
    """CPU and wall seconds of so many calls, which together get ``RATE`` pieces a second."""
    work = moa.fan_out([MODEL] * calls, str(RATE / calls), timeout=10 * SECONDS)
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    replies = await (moa.watch(work) if screen else work)
    found = time.process_time() - cpu, time.perf_counter() - wall
    assert all(len(reply.text) >= len(PIECE) * SECONDS * RATE / calls for reply in replies), replies
    return found


async def measure() -> list[dict[str, Any]]:
    """The same calls with and without the panel, in turns."""
    rows = []
    panel._view = panel._Output  # as in a notebook
    for calls in SIZES:
        plain, shown, sizes = [], [], []
        for number in range(-1, ROUNDS):  # the first round loads and connects
            screen = Screen()
            IPython.display.display = screen.update
            ways = [None, screen] if number % 2 else [screen, None]
            for way in ways:
                (shown if way else plain).append(await once(calls, way))
            sizes.append(screen.sizes)
        plain, shown, sizes = plain[1:], shown[1:], sizes[1:]
        ratios = sorted(with_panel / alone for (alone, _), (with_panel, _) in zip(plain, shown, strict=True))
        rows.append(
            {
                "calls": calls,
                "CPU share without": f"{median(cpu / wall for cpu, wall in plain):.1%}",
                "CPU share with panel": f"{median(cpu / wall for cpu, wall in shown):.1%}",
                "ratio": f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})",
                "wall without, s": median(wall for _, wall in plain),
                "wall with, s": median(wall for _, wall in shown),
                "updates a second": f"{sum(map(len, sizes)) / sum(wall for _, wall in shown):.1f}",
                "kB an update": f"{median(size for each in sizes for size in each) / 1000:.1f}",
            }
        )
    await moa.close()
    return rows


def main() -> None:
    """Measure, print, write."""
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        common.use(process.stdout.readline().strip())
        rows = asyncio.run(measure())
        process.stdin.close()
    common.report(
        "panel",
        f"The live panel while {RATE:,} pieces of text arrive a second, over all calls",
        rows,
        {"rounds": ROUNDS, "seconds": SECONDS, "characters a piece": len(PIECE)},
        "CPU share: CPU seconds of the client's process over wall seconds, of one core. Ratio: CPU with the panel over "
        "CPU without, in the same round; median and spread of rounds.\nEach update is written as JSON; sending it and "
        "the browser's work are not in it.",
    )


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1:] == ["serve"] else main()
