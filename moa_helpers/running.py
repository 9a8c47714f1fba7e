"""Run a coroutine from code that cannot ``await``: a plain script, or a cell written for ``asyncio.run``."""

import asyncio
import contextvars
import math
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from moa_helpers.vendors import streams

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, whether or not an event loop is running already.

    The coroutine gets a loop of its own, in a thread of its own, so that it also works in a notebook, where the
    kernel's loop is always running. Clients and connections are closed at the end. An interrupt (Stop) cancels it; the
    ``KeyboardInterrupt`` has what had arrived in its ``replies``, ``comparison`` or ``answers``, or, if all of it had,
    in its ``result``. Further interrupts change nothing: the first waits until all calls have ended.
    """
    outcome, problem = list[T](), list[BaseException]()
    stopped, begun, finished = threading.Event(), threading.Event(), threading.Event()
    loop_and_task: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Helpers())
        loop_and_task.append((loop, asyncio.current_task()))
        if stopped.is_set():  # interrupted before there was a task to cancel
            coroutine.close()
            raise asyncio.CancelledError
        try:
            outcome.append(await coroutine)
        finally:
            await streams.close()

    def in_thread() -> None:
        begun.set()
        try:
            asyncio.run(main())
        except BaseException as error:  # handed to the caller's thread, which raises it
            problem.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(in_thread,), name="moa.run")
    try:
        thread.start()
        while not finished.wait(0.2):  # a short wait each time: Windows notices an interrupt only in between
            pass
    except KeyboardInterrupt as interrupt:
        interrupt.replies = ()  # type: ignore[attr-defined]
        stopped.set()
        _cancel(loop_and_task)
        if not _waited(begun, 1.0):  # interrupted before the thread began; should it come yet, it does nothing
            coroutine.close()
            raise
        _waited(finished)
        thread.join()
        for name in ("replies", "comparison", "answers"):
            if problem and hasattr(problem[0], name):
                setattr(interrupt, name, getattr(problem[0], name))
        if outcome:
            interrupt.result = outcome[0]  # type: ignore[attr-defined]
        raise
    thread.join()
    if problem and not outcome:
        raise problem[0]
    if problem:
        with suppress(Exception):  # where warnings are errors, or stderr is closed, the answers count
            warnings.warn(f"All answers are there, but a connection did not close: {problem[0]!r}", stacklevel=2)
    return outcome[0]


class _Helpers(ThreadPoolExecutor):
    """A thread for each piece of work: no hanging name server keeps another call, or the end, waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._work: WeakKeyDictionary[threading.Thread, Future[Any]] = WeakKeyDictionary()

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*args, **options))
            except BaseException as error:  # handed to whoever waits for the result
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        thread = threading.Thread(target=work, name="moa.run helper", daemon=True)
        self._work[thread] = future
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the threads whose work is done; what hangs is left behind."""
        for thread, future in self._work.items():
            if future.done():
                thread.join()


def _cancel(loop_and_task: Sequence[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]]) -> None:
    for loop, task in loop_and_task:
        if task is not None:
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(task.cancel)


def _waited(event: threading.Event, seconds: float = math.inf) -> bool:
    """Wait for an event whatever interrupts come meanwhile; whether it came within so many seconds."""
    until = time.monotonic() + seconds
    while not event.is_set() and time.monotonic() < until:
        with suppress(KeyboardInterrupt):
            event.wait(0.2)
    return event.is_set()
