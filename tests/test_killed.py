"""compare() killed again and again, without a chance to clean up, and started anew: nothing is paid for twice."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import pytest

from moa_helpers.catalogue import VENDORS
from moa_helpers.offline.server import OfflineVendors, Server

A, B, C = "openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"
STRATEGIES = {
    "single": A,
    "best of 2": {"reference_models": [B, C], "aggregator": A, "pick": True},
    "moa": {"reference_models": [A, B, C], "aggregator": A},
}
AT_ONCE = 4
PROGRAM = """\
import json, sys
import moa_helpers as moa
from moa_helpers import offline
moa.setup("live")  # the stand-ins are a server elsewhere, as a vendor is
questions = [(question.id, question.prompt) for question in offline.questions()]
found = moa.run(moa.compare([moa.Question(*each) for each in questions], json.loads(sys.argv[1]), judge=sys.argv[2],
                            path=sys.argv[3], max_concurrency=int(sys.argv[4])))
print(found.table().drop(columns="seconds").to_csv())
"""


class Counting(OfflineVendors):
    """Counts each request by all that it asks, when it comes in."""

    def __init__(self):
        super().__init__(speed=40)
        self.came = Counter()

    async def _handle(self, request):
        body = await request.json()
        self.came[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
        return await super()._handle(request)


@pytest.fixture
def server():
    server = Server(Counting())
    yield server
    server.stop()


@pytest.fixture
def start(server, tmp_path):
    """Start the program on a file; ``after`` so many calls are in it, kill it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
    for vendor in VENDORS.values():
        if vendor.url_variable:
            end = "/v1" if vendor.api == "openai" else ""
            environment[vendor.url_variable] = f"{server.url}/{vendor.name}{end}"
        if vendor.key_variable:
            environment[vendor.key_variable] = f"dummy-{vendor.name}"

    def start(path, after=None):
        command = [sys.executable, "-c", PROGRAM, json.dumps(STRATEGIES), B, str(path), str(AT_ONCE)]
        program = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        with program:
            while after is not None and program.poll() is None and lines(path) < after:
                time.sleep(0.002)
            if after is not None:
                os.kill(program.pid, signal.SIGKILL)
                for _ in range(2):  # the server has read what came before, once it has answered these
                    urllib.request.urlopen(f"{server.url}/v1/models").close()
            table = program.stdout.read()
        assert program.returncode == (0 if after is None else -signal.SIGKILL)
        return table

    return start


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_ten_random_moments(start, server, tmp_path):
    undisturbed = start(tmp_path / "undisturbed.jsonl")
    usual, calls = server.vendors.came, lines(tmp_path / "undisturbed.jsonl")
    assert sum(usual.values()) == calls > 100
    assert all(name in undisturbed for name in STRATEGIES)

    path, unfinished = tmp_path / "killed.jsonl", Counter()
    for after in sorted(random.Random(8).sample(range(1, calls), 10)):
        server.vendors.came = Counter()
        before = lines(path)
        start(path, after)
        came = sum(server.vendors.came.values())
        under_way = came - (lines(path) - before)
        assert 0 <= under_way <= AT_ONCE, "what is asked again was under way, not more"
        unfinished["asked"] += came
        unfinished["under way"] += under_way
        if after % 2:  # killed in the middle of a line
            with path.open("ab") as file:
                file.write(b'{"key": "0123')
    server.vendors.came = Counter()
    kept = lines(path)
    table = start(path)
    assert sum(server.vendors.came.values()) == calls - kept, "nothing that is in the file is asked again"
    assert table == undisturbed
    assert lines(path) == calls
    assert unfinished["asked"] == kept + unfinished["under way"]
    print(f"{calls} calls; killed 10 times, with {unfinished['under way']} calls under way in all")
