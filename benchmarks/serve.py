"""A mixture served to 200 clients at once: whose answer, leaks, CPU, SIGTERM and kill -9. ``make bench-serve``.

``--seconds 5 --clients 40 --speed 10 --check`` looks at all but CPU and memory, and writes no results.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import common
from vendors import MARK

import moa_helpers as moa
from moa_helpers.offline.server import TICK

HANG_UPS, FAULTS = 0.05, "*=any,chance=0.05"
MIXTURE: dict[str, Any] = {"reference_models": common.MODELS, "aggregator": common.AGGREGATOR, "timeout": 10.0}
MIXTURE["retries"] = 1
CONFIG = {"mixtures": {"panel": MIXTURE}, "server": {"port": 0, "max_requests": 1000}}
CPU_SPEED, ROUNDS, BLOCK = 40.0, 7, 64
LONGEST = 120.0  # seconds; who waits that long waits in vain
WAYS = {"in process, whole": "", "in process, streamed": "", "served, whole": "chat", "served, streamed": "chat stream"}
WAYS |= {"served to Anthropic's clients, streamed": "messages stream"}
ANY_WAY = ["chat", "chat stream", "messages", "messages stream"]
FILES, STATM = "/proc/self/fd", Path("/proc/self/statm")
numbers = count(1)


def question() -> tuple[str, str]:
    """A mark that no other question has, and a question that begins with it."""
    number = next(numbers)
    mark = f"[mark {number}] "
    return mark, mark + common.prompts(10)[number % 10]


# The process that serves, and does the same in process when it is told to


async def serving() -> None:
    """Serve; at each line of standard input, tell what this process holds, or run so many mixtures first."""
    async with moa.serve(CONFIG) as server:
        print(server.url, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() in WAYS:
                await asyncio.gather(*(in_process(line.strip()) for _ in range(BLOCK)))
            cpu = time.process_time()
            gc.collect()
            pages = int(STATM.read_text(encoding="ascii").split()[1])  # noqa: ASYNC240
            told = {
                "tasks": len(asyncio.all_tasks()),
                "files": len(os.listdir(FILES)),
                "objects": len(gc.get_objects()),
            }
            told |= {"MB": pages * resource.getpagesize() / 2**20, "before": cpu, "now": time.process_time()}
            print(json.dumps(told), flush=True)
    await moa.close()


async def in_process(way: str) -> None:
    """One mixture, called as an application would."""
    mark, text = question()
    if way.endswith("streamed"):
        async with aclosing(moa.stream_mixture(text, **MIXTURE)) as events:
            answer = [event async for event in events][-1].answer
    else:
        answer = await moa.mixture_of_agents(text, **MIXTURE)
    assert answer.text.startswith(mark), answer.heading


class Served:
    """A server in a process of its own, at ``url``."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url

    async def told(self, line: str) -> dict[str, Any]:
        """What it answers to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        return dict(json.loads(await self.process.stdout.readline()))


@asynccontextmanager
async def served(*command: str) -> AsyncIterator[Served]:
    """Start a server; in the end, it is killed if it still runs."""
    pipe = asyncio.subprocess.PIPE
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=pipe, stdout=pipe, stderr=log)
        try:
            assert process.stdout is not None
            urls = [word.rstrip(";") for word in (await process.stdout.readline()).decode().split() if "://" in word]
            if not urls:
                log.seek(0)
                raise RuntimeError(f"The server did not start: {log.read().decode()}")
            yield Served(process, urls[0])
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


# Its clients


async def ask(session: aiohttp.ClientSession, url: str, way: str, mark: str, text: str) -> str:
    """Ask once: "answered", "refused", "broken", or "WRONG" where something of another question came back."""
    path, _, stream = way.partition(" ")
    body = {
        "model": "panel",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 2048,
        "stream": bool(stream),
    }
    path = "chat/completions" if path == "chat" else path
    try:
        async with session.post(f"{url}/v1/{path}", json=body) as response:
            status, came = response.status, await response.text()
    except aiohttp.ClientError:
        return "broken"
    if status == 200 and stream:
        events = [json.loads(line[6:]) for line in came.splitlines() if line.startswith("data: {")]
        status = 502 if any("error" in event for event in events) else status
        came = "".join(map(piece, events))
    if set(MARK.findall(came)) - {mark} or (status == 200 and mark not in came):
        return "WRONG"
    return "answered" if status == 200 else "refused"


def piece(event: dict[str, Any]) -> str:
    """The text in an event of a stream."""
    if "choices" in event:
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return str((event.get("delta") or {}).get("text", ""))


async def client(url: str, dice: random.Random, patience: float, until: float, note: Callable[[str], None]) -> None:
    """A client with connections of its own, which asks one question after another and at times leaves."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(LONGEST)) as session:
        while time.perf_counter() < until:
            asking = ask(session, url, dice.choice(ANY_WAY), *question())
            try:
                async with asyncio.timeout(dice.uniform(0, patience) if dice.random() < HANG_UPS else None):
                    note(await asking)
            except TimeoutError:
                note("hung up")


async def loaded(clients: int, seconds: float, speed: float) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """So many clients at once, with hang-ups and faults: what the server's process holds, and what the clients got."""
    found: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    with common.vendors(speed=speed, faults=FAULTS) as vendors:
        common.use(vendors.url)
        async with served(__file__, "--serving") as server, aiohttp.ClientSession() as session:

            async def look(when: str) -> dict[str, Any]:
                async with session.get(f"{server.url}/health") as response:
                    under_way = (await response.json())["under_way"]
                held = await server.told("look")
                shown = {name: held[name] for name in ("tasks", "files", "objects", "MB")}
                rows.append({"when": when, "requests so far": found.total(), "under way": under_way, **shown})
                return held

            async def rush(began: float, ends: float) -> None:
                rest = (5 / speed, began + ends, lambda came: found.update([came]))
                dice = (random.Random(f"{common.SEED} {number} {ends}") for number in range(clients))
                await asyncio.gather(*(client(server.url, each, *rest) for each in dice))

            async def quiet(before: dict[str, Any], when: str) -> dict[str, Any]:
                until = time.perf_counter() + LONGEST
                while True:  # the SDKs close connections that nobody uses when they are asked the next time
                    for _ in range(3):
                        await ask(session, server.url, "chat", *question())
                    held = await server.told("look")
                    if (held["tasks"], held["files"]) <= (before["tasks"], before["files"] + 8):
                        return await look(when)
                    assert time.perf_counter() < until, f"tasks or files were left behind: {before}, then {held}"
                    await asyncio.sleep(1)

            await ask(session, server.url, "chat", *question())  # loads and connects
            before = await look("before")
            await rush(time.perf_counter(), seconds / 6)
            warm = await quiet(before, "after a warm-up")
            began = time.perf_counter()
            rushing = asyncio.create_task(rush(began, seconds))
            for part in range(1, 7):
                await asyncio.sleep(max(0.0, began + seconds * part / 6 - time.perf_counter()))
                await look(f"{seconds * part / 6:.3g} s under load")
            await rushing
            after = await quiet(warm, "when all have gone")
            grown = after["objects"] - warm["objects"]
            assert grown < 2000 + found["answered"] / 2, f"{grown} objects more: {warm}, then {after}"
            server.process.stdin.close()  # type: ignore[union-attr]
            await server.process.wait()
        log = vendors.settled(LONGEST)
    mixed = sum(len(entry["marks"]) != 1 for entry in log["log"] if entry["prompt"])  # "": its client was gone at once
    about = {came: found[came] for came in ("answered", "refused", "hung up", "broken", "WRONG")}
    about |= {
        "calls at the vendors": len(log["log"]),
        "of these with a fault": sum(bool(e["fault"]) for e in log["log"]),
    }
    assert found["WRONG"] == mixed == found["broken"] == 0, (found, mixed)
    assert found["answered"], found
    return rows, about


async def cpu() -> list[dict[str, Any]]:
    """CPU of the serving process for the same mixtures, called in it and asked for by clients, in turns."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with common.vendors(speed=CPU_SPEED, tick=TICK / CPU_SPEED) as vendors:
        common.use(vendors.url)
        async with served(__file__, "--serving") as server, aiohttp.ClientSession() as session:
            for number in range(-1, ROUNDS):  # the first round loads and connects
                order = [*WAYS][number % len(WAYS) :] + [*WAYS][: number % len(WAYS)]
                for way in order:
                    began = (await server.told("look"))["now"]
                    if WAYS[way]:
                        asked = [ask(session, server.url, WAYS[way], *question()) for _ in range(BLOCK)]
                        assert set(await asyncio.gather(*asked)) == {"answered"}
                    took = (await server.told("look" if WAYS[way] else way))["before"] - began
                    found[way].append(1000 * took / BLOCK)
    rows = []
    for way, times in found.items():
        base = found["in process, streamed" if way.endswith("streamed") else "in process, whole"]
        ratios = sorted(time / other for time, other in zip(times[1:], base[1:], strict=True))
        rows.append(
            {
                "way": way,
                "CPU ms a request": median(times[1:]),
                "over the same in process": f"{median(ratios):.3f}",
                "rounds": f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
                "least over least": f"{min(times) / min(base):.3f}",
            }
        )
    return rows


# SIGTERM and kill -9


def configuration(folder: str) -> str:
    """A file for ``python -m moa_helpers.serve``, with a store beside it."""
    models = json.dumps(common.MODELS)
    mixture = f"[mixtures.panel]\nreference_models = {models}\naggregator = {json.dumps(common.AGGREGATOR)}\n"
    path = Path(folder, "mixture.toml")
    store = json.dumps(str(Path(folder, "answers.sqlite")))
    path.write_text(
        f"{mixture}[server]\nport = 0\nmax_requests = 1000\ndrain_seconds = {LONGEST}\nstore = {store}\n",
        encoding="utf-8",
    )
    return str(path)


async def drained(clients: int, speed: float) -> dict[str, Any]:
    """SIGTERM while all clients wait: each gets its answer, who comes later is refused, and the process ends well."""
    with tempfile.TemporaryDirectory() as folder, common.vendors(speed=speed) as vendors:
        common.use(vendors.url)
        async with (
            served("-m", "moa_helpers.serve", configuration(folder)) as server,
            aiohttp.ClientSession() as looking,
        ):
            sessions = [aiohttp.ClientSession() for _ in range(clients)]
            asked = [
                asyncio.create_task(ask(session, server.url, ANY_WAY[number % 4], *question()))
                for number, session in enumerate(sessions)
            ]
            under_way = 0
            while under_way < clients // 2 and not all(task.done() for task in asked):
                async with looking.get(f"{server.url}/health") as response:
                    under_way = max(under_way, (await response.json())["under_way"])
            server.process.send_signal(signal.SIGTERM)
            told = Counter(await asyncio.gather(*asked))
            async with asyncio.timeout(LONGEST):
                code = await server.process.wait()
            for session in sessions:
                await session.close()
    assert code == 0, code
    assert told["answered"] >= under_way > 0, (told, under_way)
    assert told["WRONG"] == 0, told
    return {"under way at SIGTERM, at least": under_way, "answered then": told["answered"], "exit status": code}


async def killed(clients: int, speed: float) -> dict[str, Any]:
    """Kill -9 once half have their answers, restart, ask all again: what the vendors are asked twice."""
    questions = [question() for _ in range(clients)]
    with tempfile.TemporaryDirectory() as folder, common.vendors(speed=speed) as vendors:
        common.use(vendors.url)
        config = configuration(folder)

        async def all_asked(url: str, note: Callable[[str], None]) -> list[str]:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def one(mark: str, text: str) -> str:
                    came = await ask(session, url, "chat", mark, text)
                    note(mark) if came == "answered" else None
                    return came

                return await asyncio.gather(*(one(*each) for each in questions))

        async with served("-m", "moa_helpers.serve", config) as server:
            first: set[str] = set()
            half = asyncio.Event()

            def note(mark: str) -> None:
                first.add(mark)
                if len(first) >= clients // 2:
                    half.set()

            asked = asyncio.create_task(all_asked(server.url, note))
            await asyncio.wait([asked, asyncio.create_task(half.wait())], return_when=asyncio.FIRST_COMPLETED)
            server.process.kill()
            died = time.time()
            await asked
        before = vendors.settled(LONGEST)["log"]
        async with served("-m", "moa_helpers.serve", config) as server:
            again = Counter(await all_asked(server.url, lambda mark: None))
            third = Counter(await all_asked(server.url, lambda mark: None))
        after = vendors.settled(LONGEST)["log"][len(before) :]
    delivered = {(entry["model"], entry["marks"][0]): entry["done"] for entry in before if entry["text"]}
    twice = [died - delivered[key] for entry in after if (key := (entry["model"], entry["marks"][0])) in delivered]
    paid = {entry["marks"][0] for entry in after} & first
    assert again == third == {"answered": clients}, (again, third)
    assert not paid, f"{len(paid)} questions were answered before the kill, and asked again after it"
    assert len(after) + len(before) - len(twice) <= 4 * clients + len([entry for entry in before if not entry["text"]])
    return {
        "answered before kill -9": len(first),
        "calls before": len(before),
        "calls after the restart, all asked twice more": len(after),
        "of these for an answered question": len(paid),
        "delivered before the kill and asked again": len(twice),
        "the oldest of these, s before the kill": f"{max(twice, default=0):.2f}",
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serving", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--check", action="store_true", help="leave out CPU, and write no results")
    given = parser.parse_args()
    if given.serving:
        asyncio.run(serving())
        return
    rows, about = asyncio.run(loaded(given.clients, given.seconds, given.speed))
    ends = asyncio.run(drained(given.clients, given.speed)) | asyncio.run(killed(given.clients, given.speed))
    if given.check:
        print(json.dumps({"held": rows, **about, **ends}, indent=1))
        return
    common.report(
        "serve",
        f"What the serving process holds while {given.clients} clients ask at once for {given.seconds:g} s",
        rows,
        {"seed": common.SEED, "speed": given.speed, "hang-ups": f"{HANG_UPS:.0%}", "faults": FAULTS, **about, **ends},
        "Each question has a mark, with which the vendors begin their answers: WRONG counts what came back with that "
        "of another one,\nand no request to a vendor held two. Files: open ones, connections among them; the SDKs keep "
        "some to the vendors. Objects: of Python, those that its collector knows.",
    )
    common.report(
        "serve_cpu",
        "CPU of the serving process for one mixture of 4 calls, in process and served",
        asyncio.run(cpu()),
        {"seed": common.SEED, "requests": f"{ROUNDS} rounds of {BLOCK} at once in each way, ways in turn"},
        "Ratio: CPU of a block over that of the same mixtures called in the same process, in the same round; median "
        "and spread of rounds.",
    )


if __name__ == "__main__":
    main()
