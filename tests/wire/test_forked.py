"""A process that was forked after ``setup()``, as by multiprocessing, has embedded vendors of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORKED = """
import os, sys
import moa_helpers as moa
from moa_helpers import offline

MODELS = ["openai:gpt-6-luna", "mistral:mistral-small-2603"]
QUESTION = offline.questions()[0].prompt


def oks():
    return [reply.ok for reply in moa.run(moa.fan_out(MODELS, QUESTION, retries=0))]


def child(generation):
    with offline.fault("mistral", 500):
        print(generation, oks(), offline.start().url not in seen, flush=True)
    seen.append(offline.start().url)
    with offline.fault("*", "liar"):
        (answered,) = moa.run(moa.compare([QUESTION], {"a": MODELS[0]}, path=f"{generation}")).answers
    print(answered.points_wrong > 0, flush=True)
    if generation < 2:
        fork(generation + 1)


def fork(generation):
    if os.fork() == 0:
        child(generation)
        os._exit(0)
    os.wait()


moa.setup("offline")
seen = [offline.start().url]
print("parent", oks(), flush=True)
fork(1)
print("parent", oks(), offline.start().url == seen[0], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_faults_and_traits_hold_in_the_process_that_sets_them(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MOA_OFFLINE_SPEED": "1000"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "parent [True, True]",
        "1 [True, False] True",
        "True",
        "2 [True, False] True",
        "True",
        "parent [True, True] True",
    ]
