"""The virtual clock itself: what it does with timers, limits of time, threads, and waiting for nothing."""

import asyncio
import gc
import time

import pytest

from tests.support import clock


def test_an_hour_takes_no_time_and_timers_ring_in_order():
    async def hour():
        rung = []
        loop = asyncio.get_running_loop()
        for seconds in (3600, 0.25, 60):
            loop.call_later(seconds, lambda seconds=seconds: rung.append((seconds, clock.now())))
        await asyncio.sleep(3601)
        return rung, time.perf_counter() - clock.START

    before = time.perf_counter()
    rung, seconds = clock.run(hour())
    assert rung == [(0.25, 0.25), (60, 60), (3600, 3600)]
    assert seconds == 3601
    assert abs(time.perf_counter() - before) < 60, "the real clock is there again, and nobody waited"


def test_a_limit_of_time_ends_what_would_never_end():
    async def limited():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 7.5)
        return clock.now()

    assert clock.run(limited()) == 7.5


def test_a_thread_is_waited_for_in_real_time_and_no_timer_rings_meanwhile():
    async def threaded():
        asyncio.get_running_loop().call_later(5, lambda: rung.append("timer"))
        await asyncio.to_thread(lambda: (time.sleep(0.02), rung.append("thread")))
        await asyncio.sleep(6)

    rung = []
    clock.run(threaded())
    assert rung == ["thread", "timer"]


def test_who_waits_for_nothing_is_told(monkeypatch):
    monkeypatch.setattr(clock, "PATIENCE", 0.01)
    with pytest.raises(clock.Stuck, match="nothing will wake them"):
        clock.run(asyncio.Event().wait())


def test_what_dies_of_an_earlier_test_makes_no_task_in_this_run():
    class Client:
        """In a circle, and closed in whichever loop runs as it dies: as Mistral's."""

        def __init__(self):
            self.itself = self

        def __del__(self):
            died.append(clock.now() if asyncio._get_running_loop() else "outside")

    async def busy():
        return len([[number] for number in range(100_000)])

    died = []
    gc.collect()
    Client()
    clock.run(busy())
    gc.collect()
    assert died == ["outside"]


def test_a_task_that_is_left_behind_is_a_failure():
    async def forgetful():
        forgotten.append(asyncio.create_task(asyncio.sleep(1)))

    forgotten = []
    with pytest.raises(AssertionError, match="tasks were left behind"):
        clock.run(forgetful())


def test_each_turn_of_the_loop_can_be_the_one_that_cancels():
    async def three_turns():
        for _ in range(3):
            await asyncio.sleep(0)
        ended.append(True)

    ended, cancelled = [], 0
    for turn in range(1, 9):
        try:
            clock.run(three_turns(), on_turn=lambda number, task, turn=turn: number == turn and task.cancel())
        except asyncio.CancelledError:
            cancelled += 1
    assert (cancelled, len(ended)) == (3, 5)
