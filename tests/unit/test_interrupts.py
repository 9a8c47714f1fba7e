"""``moa.run``: a coroutine from code that cannot await, and what an interrupt (Stop) leaves to the reader.

Its loop is a real one, in a thread; streams write at once or hang, and interrupts come when a stream has got so far.
"""

import _thread
import asyncio
import signal
import sys
import threading
from contextvars import ContextVar

import pytest

import moa_helpers as moa
from moa_helpers.vendors import streams
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, hangs
from tests.support.waiting import wait_until

WHY = "Why?"
AT_ONCE = {"after": 0, "per_piece": 0}


@pytest.fixture(autouse=True)
def _interrupts():
    """An interrupt raises KeyboardInterrupt within ``moa.run`` and is lost elsewhere, so that none ends the tests."""

    def interrupt(number, frame):
        while frame and frame.f_code is not moa.run.__code__:
            frame = frame.f_back
        if frame:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)
    assert "moa.run" not in {thread.name for thread in threading.enumerate()}


def waits_in_run():
    """In which line of ``moa.run`` the main thread waits; 0 while it does something else."""
    frame, names = sys._current_frames()[threading.main_thread().ident], []
    while frame and frame.f_code is not moa.run.__code__:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return frame.f_lineno if frame and "wait" in names and "start" not in names else 0


def press():
    """Stop is pressed, while ``moa.run`` waits."""
    wait_until(waits_in_run)
    _thread.interrupt_main()


def interrupts_then(text="Half an"):
    """A stream that writes this, has Stop pressed, and hangs."""

    def said(request):
        press()
        return text

    return hangs(said, **AT_ONCE)


@pytest.fixture(autouse=True)
def _at_once(script):
    script.default = answers(**AT_ONCE)


def test_it_gives_what_the_coroutine_gives_with_or_without_a_loop(script):
    async def within():
        return moa.run(moa.ask(LUNA, WHY))

    for reply in (moa.run(moa.ask(LUNA, WHY)), asyncio.run(within())):
        assert (reply.ok, reply.text) == (True, "gpt-6-luna says 0.")


def test_it_raises_what_the_coroutine_raises():
    with pytest.raises(TypeError, match="The prompt must be text"):
        moa.run(moa.ask(LUNA, 7))


@pytest.mark.parametrize(
    ("call", "texts"),
    [
        (lambda: moa.ask(SMALL, WHY), ["Half an"]),
        (lambda: moa.fan_out([LUNA, SMALL], WHY), ["gpt-6-luna says 0.", "Half an"]),
        (lambda: moa.mixture_of_agents(WHY, [LUNA, HAIKU], SMALL), None),
    ],
)
def test_an_interrupt_ends_it_and_carries_what_had_arrived(call, texts, script):
    script[SMALL] = interrupts_then()
    with pytest.raises(KeyboardInterrupt) as caught:
        moa.run(call())
    replies = caught.value.replies
    assert [reply.text for reply in replies] == (texts or ["gpt-6-luna says 0.", "claude-haiku-5-5 says 0.", "Half an"])
    assert [reply.abandoned for reply in replies] == [False] * (len(replies) - 1) + [True]
    assert script.hows(SMALL) == ["cancelled"]
    assert not hasattr(caught.value, "result")


def test_an_interrupt_carries_what_else_the_exception_holds():
    async def work():
        try:
            press()
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            error.comparison, error.answers = "what was compared", "what was answered"
            raise

    with pytest.raises(KeyboardInterrupt) as caught:
        moa.run(work())
    assert (caught.value.comparison, caught.value.replies) == ("what was compared", ())
    assert caught.value.answers == "what was answered"


def test_interrupts_one_after_another_lose_nothing(script):
    """As of a reader who presses Stop several times: the later ones come while the first is waited for."""

    async def slow_to_end():
        try:
            return await moa.ask(SMALL, WHY)
        except asyncio.CancelledError:
            for _ in range(3):
                press()
                await asyncio.sleep(0.01)
            raise

    script[SMALL] = interrupts_then()
    with pytest.raises(KeyboardInterrupt) as caught:
        moa.run(slow_to_end())
    (reply,) = caught.value.replies
    assert (reply.abandoned, reply.text) == (True, "Half an")


def test_an_interrupt_that_comes_too_late_carries_the_result(monkeypatch):
    """All had arrived, and the connections were being closed."""

    async def close():
        press()
        await asyncio.sleep(30)

    monkeypatch.setattr(streams, "close", close)
    with pytest.raises(KeyboardInterrupt) as caught:
        moa.run(moa.fan_out([LUNA, SOL], WHY))
    assert [reply.ok for reply in caught.value.result] == [True, True]


def test_an_interrupt_before_the_loop_exists_ends_it(monkeypatch):
    """The coroutine is never begun, and nobody is told that it was not awaited."""

    def late(coroutine, run=asyncio.run):
        wait_until(waits_in_run)
        line = waits_in_run()
        _thread.interrupt_main()
        wait_until(lambda: waits_in_run() > line)  # it has been noticed
        return run(coroutine)

    ran = []

    async def work():
        ran.append(True)

    monkeypatch.setattr(asyncio, "run", late)
    with pytest.raises(KeyboardInterrupt) as caught:
        moa.run(work())
    assert (ran, caught.value.replies) == ([], ())


def test_an_interrupt_while_the_thread_starts_ends_it(monkeypatch):
    over, ended = [], []

    def start(thread, real=threading.Thread.start):
        real(thread)
        if thread.name == "moa.run":
            wait_until(lambda: begun)
            raise KeyboardInterrupt

    begun = []

    async def work():
        begun.append(True)
        try:
            while not over:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    monkeypatch.setattr(threading.Thread, "start", start)
    try:
        with pytest.raises(KeyboardInterrupt):
            moa.run(work())
        assert ended
    finally:
        over.append(True)
        wait_until(lambda: "moa.run" not in {thread.name for thread in threading.enumerate()})


def test_a_connection_that_does_not_close_costs_no_answer(monkeypatch):
    async def broken():
        raise OSError("reset while closing")

    monkeypatch.setattr(streams, "close", broken)
    with pytest.warns(UserWarning, match="All answers are there, but a connection did not close: OSError.'reset"):
        reply = moa.run(moa.ask(LUNA, WHY))
    assert reply.ok


def test_context_variables_of_the_caller_are_there():
    mine = ContextVar("mine")
    mine.set("here")

    async def look():
        return mine.get()

    assert moa.run(look()) == "here"
