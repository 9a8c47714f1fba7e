"""An answer that was kept, given again to whoever listens: at once, or as fast as it once came."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moa_helpers.events import Delta
from moa_helpers.limits.scope import Scope
from moa_helpers.results import Failure, Reply
from moa_helpers.vendors.requests import Request

PIECE = 0.04  # seconds between two pieces, about


class Replay:
    """A reply that begins now and costs nothing, as it was kept; ``at_once``, or as slowly as it once came."""

    def __init__(self, reply: Reply, *, at_once: bool) -> None:
        self._whole, self.at_once, self._heard = reply, at_once, ""
        self.failure = reply.failure  # which a store gives again while it plans a batch

    def reply(self, failure: Failure | None) -> Reply:
        """All of it; or, with a failure, what has come of it before that."""
        return self._whole if failure is None else replace(self._whole, failure=failure, text=self._heard)

    async def run(self, listen: Callable[[Delta], None]) -> None:
        """Have ``listen`` hear the text; at its recorded speed, return when its call once ended."""
        reply = self._whole
        if self.at_once:
            listen(Delta(reply.text, reply.written_by))
            return
        words, began = re.findall(r"\s*\S+\s*$|\s*\S+", reply.text), time.perf_counter()
        first = reply.elapsed if reply.ttft is None else reply.ttft
        turns = max(1, min(len(words), round((reply.elapsed - first) / PIECE)))
        for turn in range(turns):
            due = first + (reply.elapsed - first) * turn / turns
            await asyncio.sleep(began + due - time.perf_counter())
            piece = "".join(words[turn * len(words) // turns : (turn + 1) * len(words) // turns])
            self._heard += piece
            listen(Delta(piece, reply.written_by))
        await asyncio.sleep(began + reply.elapsed - time.perf_counter())


def kept(request: Request, scope: Scope, started: float) -> Replay | None:
    """What the store has for a request; None if it has nothing."""
    store = scope.store
    if store is None or (reply := store.find(request)) is None:
        return None
    now: dict[str, Any] = {"started": max(started, scope.since), "settings": request.settings, "kept": True}
    return Replay(replace(reply, cost_usd=0.0, least_usd=0.0, **now), at_once=not store.recorded_speed)
