"""What cannot be shown ends no call, and hides nothing: a stderr that is closed or full, a front end that has gone."""

import io
import os
import subprocess
import sys
from pathlib import Path

import IPython.display
import pytest

import moa_helpers as moa
from moa_helpers import running
from moa_helpers.ui.playground.outputs import Outputs
from tests.support import notebook, standins
from tests.support.replies import MODELS, A, B
from tests.support.scripts import answers, fails


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


class LosesItLater(io.StringIO):
    """A terminal that goes away after a while."""

    def flush(self):
        if "2 of 3" in self.getvalue():
            raise BrokenPipeError


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def ascii_only():
    return io.TextIOWrapper(io.BytesIO(), "ascii")


STREAMS = {
    "closed": closed,
    "full": lambda: Broken(OSError(28, "No space left on device")),
    "a broken pipe": lambda: Broken(BrokenPipeError()),
    "gone later": LosesItLater,
    "none at all": lambda: None,
    "ASCII": ascii_only,
    "strange": lambda: object(),
}


@pytest.fixture(params=STREAMS)
def stderr(request, monkeypatch):
    monkeypatch.setattr(sys, "stderr", STREAMS[request.param]())


@pytest.mark.usefixtures("stderr")
def test_without_a_stderr_the_calls_go_on(run, question):
    replies = run(moa.watch(moa.fan_out(MODELS, question)))
    assert [reply.ok for reply in replies] == [True] * 3


@pytest.mark.usefixtures("stderr")
def test_without_a_stderr_an_exception_is_the_one_that_was_raised(run, question):
    async def work():
        await moa.fan_out(MODELS, question)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        run(moa.watch(work()))
    assert [reply.ok for reply in caught.value.replies] == [True] * 3


@pytest.mark.usefixtures("stderr")
def test_without_a_stderr_a_comparison_goes_on(run, script, question, monkeypatch):
    standins.enter(monkeypatch, script)
    script[B] = fails(400)
    found = run(moa.compare([question], {"a": A, "b": B}))
    assert [each.outcome for each in found.answers] == ["ok", "bad_request"]


@pytest.mark.parametrize("gone_after", [0, 1, 5])
def test_a_front_end_that_has_gone_ends_no_call(gone_after, run, question, monkeypatch):
    notebook.enter(monkeypatch)
    updates = []

    class Handle:
        def update(self, bundle, *, raw):
            display(bundle)

    def display(bundle, **options):
        updates.append(bundle)
        if len(updates) > gone_after:
            raise ConnectionError("the comm is closed")
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    replies = run(moa.watch(moa.fan_out(MODELS, question)))
    assert [reply.ok for reply in replies] == [True] * 3
    assert len(updates) > gone_after


def test_a_playground_whose_page_has_gone_keeps_its_runs(run, question, monkeypatch):
    async def play():
        play = moa.playground(question, MODELS, A)
        for name in ("say", "begin", "finish"):
            monkeypatch.setattr(Outputs, name, lambda *arguments, **options: 1 / 0)
        monkeypatch.setattr(play._controls, "enable", lambda *arguments, **options: 1 / 0)
        monkeypatch.setattr(play._outputs.calls, "show", lambda *arguments, **options: 1 / 0)
        return await play.run(), play.runs

    one, runs = run(play())
    assert one.answer.outcome == "complete"
    assert runs == [one]


def test_a_warning_that_cannot_be_given_costs_no_answer(script, monkeypatch):
    script[A] = answers(after=0, per_piece=0)

    async def broken():
        raise OSError("reset while closing")

    monkeypatch.setattr(running.streams, "close", broken)
    monkeypatch.setattr(sys, "stderr", closed())
    assert moa.run(moa.ask(A, "Why?")).ok


PROCESS = """
import asyncio, os, sys
from unittest import mock
import moa_helpers as moa
from tests.support import scripts

os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
moa.vendors.settings._current = moa.vendors.settings.Settings("offline", "", {}, {}, offline_url="http://offline.invalid")
script = scripts.Script()
with mock.patch(scripts.STREAM, script), mock.patch(scripts.CLIENT, return_value=None), mock.patch(scripts.IMPORTED):
    script.default = scripts.answers(after=0.01, per_piece=0)
    with mock.patch("tests.support.clock.now", return_value=0):
        replies = asyncio.run(moa.watch(moa.fan_out([scripts.LUNA] * 3, "Why?")))
print(len(replies.good), flush=True)
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no such device")
def test_a_process_on_a_full_disk_comes_to_its_end(tmp_path):
    """A progress bar that keeps its lock when it cannot write would hang it, and so the time-out is the failure."""
    home = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], env=os.environ | {"PYTHONPATH": str(home)}, stdout=-1, timeout=60, cwd=tmp_path
    )
    assert done.stdout.split() == [b"3"]
