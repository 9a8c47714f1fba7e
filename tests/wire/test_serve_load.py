"""Many clients at once, hang-ups, faults, SIGTERM and kill -9: the benchmark of the server, in short."""

import json
import os
import subprocess
import sys

import pytest

from tests.notebooks.cells import ROOT


@pytest.mark.slow
def test_nobody_gets_anothers_answer_nothing_is_left_behind_and_nothing_is_paid_for_twice():
    command = [sys.executable, str(ROOT / "benchmarks/serve.py"), "--check"]
    options = ["--seconds", "4", "--clients", "24", "--speed", "10"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command + options, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answered"] > 0
    assert found["hung up"] > 0
    assert found["of these with a fault"] > 0
    assert found["WRONG"] == found["broken"] == found["of these for an answered question"] == 0
    before, *_, after = found["held"]
    assert before["tasks"] == after["tasks"]
    assert found["answered then"] >= found["under way at SIGTERM, at least"] > 0
