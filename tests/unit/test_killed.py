"""compare() and answer_all() killed without a chance to clean up, and started anew: nothing is paid for twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import comparing, standins
from tests.support.kept import FILE, rows

ROOT = Path(__file__).parents[2]
REQUESTS = Path("requests")
NEVER = 10**9
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def asked():
    """The requests that were made, a line each."""
    return REQUESTS.read_text().splitlines() if REQUESTS.exists() else []


def start(hang=NEVER, killed_when=None, what="compare"):
    """Run ``what`` in a process of its own; ``killed_when(process)`` returns at the moment to kill it."""
    command = [sys.executable, "-m", "tests.support.comparing", str(REQUESTS), str(hang), what]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MOA_MODE": "offline"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        if killed_when:
            killed_when(process)
            process.kill()
        table = process.stdout.read()
    assert process.returncode == (-signal.SIGKILL if killed_when else 0)
    return table


@pytest.fixture
def undisturbed(run, monkeypatch, script):
    """The table that the comparison gives, and how many requests it makes; its file is taken away."""
    standins.enter(monkeypatch, script)
    table = standins.without_times(run(comparing.compare()))
    FILE.unlink()
    return table, len(script.asked)


def test_killed_at_an_ordered_moment(undisturbed, run, script):
    table, calls = undisturbed
    start(hang=31, killed_when=lambda process: process.stdout.readline())
    kept = len(rows())
    assert 0 < len(asked()) - kept <= comparing.AT_ONCE, "what is asked again was under way, not more"
    again = standins.without_times(run(comparing.compare()))
    assert len(script.asked) == calls - kept, "nothing that is in the file is asked again"
    assert again.equals(table)
    assert len(rows()) == calls


def test_answer_all_killed_at_an_ordered_moment(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    table = run(comparing.answer_all())
    calls = len(script.asked)
    FILE.unlink()
    start(hang=17, killed_when=lambda process: process.stdout.readline(), what="answer_all")
    kept = sum("model" in row["given"] for row in rows())
    assert 0 < len(asked()) - kept <= comparing.AT_ONCE, "what is asked again was under way, not more"
    assert run(comparing.answer_all()).equals(table)
    assert len(script.asked) == calls - kept, "nothing that is in the file is asked again"


@pytest.mark.slow
def test_killed_at_ten_random_moments(undisturbed):
    table, calls = undisturbed
    unfinished = 0
    for after in sorted(random.Random(8).sample(range(1, calls), 10)):

        def until(process, after=after):
            while process.poll() is None and len(rows()) < after:
                time.sleep(0.001)

        before = len(asked()) - len(rows())
        start(killed_when=until)
        under_way = len(asked()) - len(rows()) - before
        assert 0 <= under_way <= comparing.AT_ONCE, "what is asked again was under way, not more"
        unfinished += under_way
    assert start().strip() == table.to_csv().strip()
    assert len(rows()) == calls
    assert len(asked()) == calls + unfinished, "nothing that is in the file is asked again"
    print(f"{calls} calls; killed 10 times, with {unfinished} calls under way in all")
