"""What `watch` and the playground cost while 1,000 pieces of text arrive a second. ``make bench-panel``."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

import comm
import common
import IPython.display
from aiohttp import web
from comm import DummyComm

import moa_helpers as moa
from moa_helpers.ui import panel, progress
from moa_helpers.ui.playground.choice import NO_AGGREGATOR, Choice
from moa_helpers.ui.playground.controls import Controls
from moa_helpers.ui.playground.widget import Playground

MODEL, RATE, SECONDS, SIZES, ROUNDS = "openai:gpt-6-luna", 1000, 10.0, (1, 6, 24), 3
WAYS = ["nothing", "watch", "playground"]
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


class Wire(DummyComm):  # type: ignore[misc]
    """In place of the way to the front end: it writes each message as JSON, as a kernel does, and counts."""

    sizes: ClassVar[list[int]] = []

    @classmethod
    def show(cls, bundle: dict[str, str], **options: bool) -> type[Wire]:
        """A cell's output."""
        cls.sizes.append(len(json.dumps(bundle)))
        return cls

    update = show  # what the handle of an output does

    def publish_msg(self, msg_type: str, data: Any = None, **keys: Any) -> None:
        """A widget's message."""
        Wire.sizes.append(len(json.dumps(data)))


@dataclass
class Cost:
    """What so many calls took together: seconds of CPU and of the clock, messages to the front end and their size."""

    cpu: float
    wall: float
    messages: int
    bytes: int


async def once(calls: int, way: str) -> Cost:
    """So many calls, which together get ``RATE`` pieces a second."""
    models, prompt = [MODEL] * calls, str(RATE / calls)
    chosen = Choice(prompt, (MODEL,), calls, NO_AGGREGATOR, options={"timeout": str(10 * SECONDS)})
    Controls.choice = property(lambda controls: chosen)  # so many samples cannot be chosen with the mouse
    play = Playground(prompt, None, None, {"timeout": 10 * SECONDS})
    outputs = play._outputs
    outputs.finish = lambda runs, live: outputs.calls.show(live, whole=True)  # the pictures come after the calls
    gc.collect()
    Wire.sizes.clear()
    cpu, wall = time.process_time(), time.perf_counter()
    if way == "playground":
        replies = (await play.run()).replies
    else:
        work = moa.fan_out(models, prompt, timeout=10 * SECONDS)
        replies = await (moa.watch(work) if way == "watch" else work)
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall, len(Wire.sizes), sum(Wire.sizes))
    assert all(len(reply.text) >= len(PIECE) * SECONDS * RATE / calls for reply in replies), replies
    return cost


async def measure() -> list[dict[str, Any]]:
    """The same calls shown in each way, in turns."""
    rows = []
    panel.progress_view = progress._Output  # as in a notebook
    IPython.display.display, comm.create_comm = Wire.show, Wire
    for calls in SIZES:
        found: dict[str, list[Cost]] = {way: [] for way in WAYS}
        for number in range(-1, ROUNDS):  # the first round loads and connects
            for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                found[way].append(await once(calls, way))
        alone = found["nothing"][1:]
        for way in WAYS:
            costs = found[way][1:]
            ratios = sorted(cost.cpu / other.cpu for cost, other in zip(costs, alone, strict=True))
            rows.append(
                {
                    "calls": calls,
                    "shown by": way,
                    "CPU share": f"{median(cost.cpu / cost.wall for cost in costs):.1%}",
                    "ratio": f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})",
                    "wall, s": median(cost.wall for cost in costs),
                    "messages a second": f"{median(cost.messages / cost.wall for cost in costs):.1f}",
                    "kB a second": f"{median(cost.bytes / cost.wall for cost in costs) / 1000:.0f}",
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
        f"Calls shown while {RATE:,} pieces of text arrive a second, over all calls",
        rows,
        {"rounds": ROUNDS, "seconds": SECONDS, "characters a piece": len(PIECE)},
        "CPU share: CPU seconds of the client's process over wall seconds, of one core. Ratio: CPU over that of the "
        "same calls shown by nothing, in the same round; median and spread of rounds.\nEach message is written as "
        "JSON; sending it and the browser's work are not in it.",
    )


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1:] == ["serve"] else main()
