"""Tasks that end when they are told to, and whose results are not lost."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

PATIENCE = 0.25  # seconds that a cancelled task has to end
CLOSING = 2.0  # seconds that it has where it only closes a connection
TICK = 0.2  # seconds; a notebook's Stop is noticed only when the event loop wakes, so nothing sleeps longer

T = TypeVar("T")


async def stop(tasks: Sequence[asyncio.Task[Any]], patience: Callable[[], float] = lambda: PATIENCE) -> None:
    """Cancel tasks and wait until all have ended, even if this is itself cancelled meanwhile.

    A task that goes on all the same is cancelled again after so many seconds: the HTTP clients may lose a cancellation
    that comes in the moment of connecting.
    """
    cancelled, again = None, 0.0
    while pending := {task for task in tasks if not task.done()}:  # looked up anew, as a wait that is cancelled is mute
        if time.perf_counter() >= again:
            again = time.perf_counter() + patience()
            for task in pending:
                task.cancel()
        try:
            await asyncio.wait(pending, timeout=PATIENCE)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten
    if cancelled:
        raise cancelled


def results(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    """The results of tasks that have ended. It raises what one failed with, not that others were stopped for it."""
    for task in tasks:
        if not task.cancelled():
            task.result()
    return [task.result() for task in tasks]


async def pause(seconds: float) -> None:
    """Sleep, and wake often enough for a notebook's Stop to be noticed."""
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(left, TICK))


async def turn() -> None:
    """Wait for a turn of the event loop in which nobody else goes on from here.

    To begin a call costs an SDK several milliseconds. A thousand in one turn would block the loop for seconds: no
    answer would be read, no deadline kept.
    """
    loop = asyncio.get_running_loop()
    door = _doors.setdefault(loop, _Door())
    door.waiting += 1
    try:
        async with door:
            await asyncio.sleep(0)
    finally:
        door.waiting -= 1
        if not door.waiting:
            _doors.pop(loop, None)  # so that no loop is kept


class _Door(asyncio.Lock):
    waiting = 0


_doors: dict[asyncio.AbstractEventLoop, _Door] = {}


async def cancelled_once(coroutine: Coroutine[Any, Any, T], connected: Callable[[], bool] = lambda: False) -> T:
    """Await it in a task that is cancelled once at most, however often this one is.

    An HTTP client that is cancelled again while it closes a connection may leave it open, with the vendor still
    writing. So once it is ``connected``, and loses no cancellation any more, it has longer to end.
    """
    task = asyncio.create_task(coroutine)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=TICK)
    finally:
        await stop([task], lambda: CLOSING if connected() else PATIENCE)
    return task.result()
