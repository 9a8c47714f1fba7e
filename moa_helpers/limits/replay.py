"""An answer that was kept, given again to whoever listens: at once, or as fast as it once came."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moa_helpers.events import Delta
from moa_helpers.limits.scope import Scope
from moa_helpers.results import Reply
from moa_helpers.vendors.requests import Request

PIECE = 0.04  # seconds between two pieces, about


def kept(request: Request, scope: Scope, started: float) -> Reply | None:
    """What the store has for a request, as a reply that begins now and costs nothing; None if it has nothing."""
    reply = scope.store.find(request) if scope.store else None
    now: dict[str, Any] = {"started": max(started, scope.since), "settings": request.settings, "kept": True}
    return replace(reply, cost_usd=0.0, least_usd=0.0, **now) if reply else None


async def replay(reply: Reply, listen: Callable[[Delta], None], *, at_once: bool) -> None:
    """Have ``listen`` hear the reply's text; at its recorded speed, return when its call once ended."""
    if at_once:
        listen(Delta(reply.text, reply.written_by))
        return
    words, began = re.findall(r"\s*\S+\s*$|\s*\S+", reply.text), time.perf_counter()
    first = reply.elapsed if reply.ttft is None else reply.ttft
    turns = max(1, min(len(words), round((reply.elapsed - first) / PIECE)))
    for turn in range(turns):
        due = first + (reply.elapsed - first) * turn / turns
        await asyncio.sleep(began + due - time.perf_counter())
        listen(Delta("".join(words[turn * len(words) // turns : (turn + 1) * len(words) // turns]), reply.written_by))
    await asyncio.sleep(began + reply.elapsed - time.perf_counter())
