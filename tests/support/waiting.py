"""How to wait for what must happen, in real time: never for a moment, and never for ever."""

import asyncio
import time

from moa_helpers.limits.scope import Scope
from moa_helpers.ui import panel


def wait_until(holds, seconds=20):
    """Wait until it holds, but not for ever."""
    until = time.perf_counter() + seconds
    while not holds() and time.perf_counter() < until:
        time.sleep(0.01)


async def under_way_until(holds, coroutine):
    """A task of the coroutine, once ``holds(live)`` of its calls, a ``panel.Live``; to be cancelled then."""
    scope = Scope()
    live = panel.Live(scope)
    task = asyncio.create_task(coroutine, context=scope.context())
    while not holds(live) and not task.done():
        await asyncio.sleep(0.01)
    return task


def two_ended(live):
    """What to wait for where the third of three calls never ends."""
    return live.ended == 2
