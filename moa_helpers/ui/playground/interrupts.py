"""The kernel's interrupt, for what runs while no cell does."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_interrupted: list[Callable[[], None]] = []  # what an interrupt calls, for each run under way


def _handle_interrupt(number: int, frame: object) -> None:
    for call in _interrupted:
        call()


@contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Have the kernel's interrupt call ``stop``; while no cell runs, the kernel would ignore it.

    It yields a function that has to be called now and then: after each message that it reads, the kernel restores the
    handler that was there before. That may be the handler of a run that has ended since, so all runs share one.
    """
    main = threading.current_thread() is threading.main_thread()
    loop = asyncio.get_running_loop()

    def call() -> None:
        loop.call_soon_threadsafe(stop)  # wakes the loop

    def keep() -> None:
        if main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, _handle_interrupt)

    _interrupted.append(call)
    keep()
    try:
        yield keep
    finally:
        _interrupted.remove(call)
        if main and not _interrupted and signal.getsignal(signal.SIGINT) is _handle_interrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
