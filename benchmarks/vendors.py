"""The embedded vendors in a process of their own, with a log of what they were asked and what they delivered.

``python benchmarks/vendors.py --speed 2`` prints its address and serves until its standard input closes. ``GET /log``
gives one entry a request, and the CPU seconds that this process has used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import json
import re
import sys
import time
from dataclasses import replace
from typing import Any

from aiohttp import web

from moa_helpers.offline import server
from moa_helpers.offline.faults import Fault, Faults
from moa_helpers.offline.wire import Dialect, Plan

MARK = re.compile(r"\[mark \d+\] ")  # in a question; the answer begins with it
_send = server._send
_entry: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("_entry")


class NotedFaults(Faults):
    """Faults that write down which of them hit the request being answered."""

    def next(self, vendor: str, model_name: str, prompt: str = "", header: str | None = None) -> Fault | None:
        """As in ``Faults``."""
        fault = super().next(vendor, model_name, prompt, header)
        _entry.get().update(model=model_name, prompt=prompt, fault=fault.kind if fault else "")
        return fault


class LoggedVendors(server.OfflineVendors):
    """The embedded vendors; ``log`` has an entry for each request.

    An entry: model, prompt, fault, ``seconds`` from the request to the end of its answer, ``aggregating`` (there was a
    system message), ``status``, ``port`` of the client's connection, and the ``marks`` in it. If an answer was
    delivered whole, it has its ``text`` and when it was ``done``, in seconds since 1970.
    """

    def __init__(self, *, seed: int, speed: float, faults: str) -> None:
        super().__init__(seed=seed, speed=speed)
        self.faults = NotedFaults(faults, seed)
        self.log: list[dict[str, Any]] = []

    def application(self) -> web.Application:
        """The application, ready to be served."""
        application = super().application()
        application.middlewares.append(self._note)
        application.router.add_get("/log", self._show)
        return application

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "GET":
            return await handler(request)
        began, entry = time.perf_counter(), {"text": None, "status": None, "prompt": "", "fault": "", "marks": []}
        entry["port"] = request.transport.get_extra_info("peername")[1] if request.transport else None
        _entry.set(entry)
        self.log.append(entry)
        try:
            asked = json.loads(body := await request.text())
            entry["marks"] = sorted(set(MARK.findall(body)))
            entry["aggregating"] = bool(asked.get("system")) or asked["messages"][0]["role"] == "system"
            response = await handler(request)
            entry["status"] = response.status
            return response
        except ConnectionError:
            return web.Response(status=499)  # the client has gone before it had sent its request
        finally:
            entry["seconds"] = time.perf_counter() - began

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"log": self.log, "cpu": time.process_time(), "under_way": self.under_way})


async def _noted(request: web.Request, dialect: Dialect, plan: Plan, *given: Any, **options: Any) -> web.StreamResponse:
    """Send an answer as the embedded vendors do, but with the marks of its request in front; note one sent whole."""
    entry = _entry.get()
    marks = "".join(entry["marks"])
    choices = tuple(replace(one, text=marks + one.text) if one.text else one for one in plan.choices)
    response = await _send(request, dialect, replace(plan, choices=choices), *given, **options)
    if response.status == 200 and entry["fault"] not in ("truncated_stream", "error_event", "malformed_json"):
        entry["text"], entry["done"] = choices[0].text, time.time()
    return response


async def serve(vendors: LoggedVendors) -> None:
    """Print the address, and serve until standard input closes, which it does when the parent process ends."""
    runner = web.AppRunner(vendors.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--faults", default="")
    parser.add_argument("--tick", type=float, default=server.TICK, help="seconds between two pieces of a stream")
    given = parser.parse_args()
    server.TICK, server._send = given.tick, _noted
    asyncio.run(serve(LoggedVendors(seed=given.seed, speed=given.speed, faults=given.faults)))
