"""A virtual clock: an event loop whose time jumps ahead when all wait, so that times are exact and cost nothing.

Own code rather than `looptime`: that rounds times, idles for 42 turns before each jump, leaves ``time.perf_counter``
alone, and waits for ever where everybody waits for nothing.
"""

import asyncio
import gc
import selectors
import time
from contextlib import contextmanager
from unittest import mock

START = 1000.0  # seconds, when each run begins; not 0, which code may take for "never"
LONGEST = 1_000_000.0  # virtual seconds
MOST_TURNS = 500_000
PATIENCE = 20.0  # real seconds for a thread to wake the loop


class Stuck(AssertionError):
    """The run would never end."""


class _Jumping(selectors.DefaultSelector):
    """Instead of sleeping it sets the clock on. It is asked once in each turn of the loop, so it counts them."""

    def __init__(self):
        super().__init__()
        self.now, self.turns, self.threads = START, 0, 0
        self.on_turn = None  # called with the number of the turn that begins

    def select(self, timeout=None):
        self.turns += 1
        if self.now > START + LONGEST or self.turns > MOST_TURNS:
            raise Stuck(f"not at its end after {self.now - START:g} virtual seconds and {self.turns} turns")
        ready = super().select(0)
        if not ready and (timeout is None or (self.threads and timeout > 0)):  # a thread may wake the loop
            ready = super().select(PATIENCE)
            if not ready:
                raise Stuck("all wait, and nothing will wake them")
        elif not ready and timeout > 0:
            self.now += timeout
        if self.on_turn:
            self.on_turn(self.turns)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual clock. While a thread of its executor is at work, it waits for that in real time."""

    def __init__(self):
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self):
        return self.jumping.now

    def run_in_executor(self, executor, function, *arguments):
        future = super().run_in_executor(executor, function, *arguments)
        self.jumping.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, timeout=None):
        await super().shutdown_default_executor()  # without its limit of virtual time

    def _thread_ended(self, future):
        self.jumping.threads -= 1


@contextmanager
def _no_collector():
    """What an earlier test left dies before or after, not in this run: Mistral's clients make a task as they die."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run(coroutine, *, on_turn=None):
    """Run a coroutine on a virtual clock, to which ``time.perf_counter`` is set too; it may leave no task behind.

    ``on_turn(number, task)`` is called at each turn of the loop, from 1, with the coroutine's task once there is one.
    """
    with _no_collector(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()

        async def alone():
            task = asyncio.current_task()
            if on_turn:
                loop.jumping.turns = 0
                loop.jumping.on_turn = lambda number: on_turn(number, task)
            try:
                return await coroutine
            finally:
                loop.jumping.on_turn = None
                left = asyncio.all_tasks() - {task}
                assert not left, f"tasks were left behind: {left}"

        with mock.patch.object(time, "perf_counter", loop.time):
            return runner.run(alone())


def now():
    """Virtual seconds since the run began."""
    return asyncio.get_running_loop().time() - START
