"""answer_all by batch against the embedded vendors: each SDK's own calls, and a program that is killed on its way."""

import asyncio
import json
import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import anthropic
import openai
import pytest
from mistralai.client.errors import MistralError

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.bulk import underway
from moa_helpers.offline import faults
from moa_helpers.vendors.batches import adapter
from moa_helpers.vendors.streams import client
from tests.support import batched
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, SOL

ROOT = Path(__file__).parents[2]
QUESTIONS = ["Why is the sky blue?", "What causes the seasons on Earth?"]
MIXTURE = {"reference_models": [LUNA, HAIKU, SMALL, OSS], "aggregator": SOL}


@pytest.fixture
def answer_all(run, monkeypatch):
    """The same as ``moa.answer_all``, by batch, with no pause between two looks."""
    monkeypatch.setattr(underway, "OFFLINE", (0.001, 0.01))
    return lambda questions=QUESTIONS, mixture=MIXTURE, **options: run(
        moa.answer_all(questions, mixture, **{"how": "batch"} | options)
    )


def test_every_vendor_with_batches_answers_in_them(answer_all, vendors):
    found = answer_all()
    assert [row.outcome for row in found] == ["complete"] * 2
    assert not vendors.asked, "nothing went live"
    live = answer_all(how="live", path="live.sqlite")
    assert [row.text for row in found] == [row.text for row in live]
    assert found.spent_usd == pytest.approx(live.spent_usd / 2)


def test_samples_of_one_model_differ_as_they_do_live(answer_all):
    mixture = {"reference_models": [SMALL] * 3, "aggregator": LUNA}
    by_batch, live = answer_all(mixture=mixture), answer_all(mixture=mixture, how="live", path="live.sqlite")
    assert [row.text for row in by_batch] == [row.text for row in live]


KINDS = [kind for kind, of in faults.OF.items() if of in ("item", "job")]


@pytest.mark.parametrize(("kind", "vendor"), [*zip(KINDS, cycle(["openai", "anthropic", "mistral"]), strict=False)])
def test_every_fault_of_a_batch_is_got_over(answer_all, vendor, kind):
    model = {"openai": LUNA, "anthropic": HAIKU, "mistral": SMALL}[vendor]
    with offline.fault(vendor, kind, times=1):
        found = answer_all(mixture=model)
    refused = kind == "validation_failed"  # a line that is, has failed for good
    assert sorted(row.outcome for row in found) == (["bad_request", "ok"] if refused else ["ok", "ok"])


def test_jobs_are_cancelled_at_the_vendors(run, monkeypatch, vendors, answer_all):
    monkeypatch.setattr(vendors, "speed", 1e-3)  # so that no job ends by itself
    path = "answers.sqlite"

    async def interrupted():
        task = asyncio.create_task(moa.answer_all(QUESTIONS, MIXTURE, path=path, how="batch"))
        while not os.path.exists(path) or [job.id for job in moa.jobs(path)].count(None) or len(moa.jobs(path)) < 4:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await moa.jobs(path).cancel()

    run(interrupted())
    assert {job.state for job in moa.jobs(path)} == {"cancelling"}
    monkeypatch.setattr(vendors, "speed", 1000.0)
    assert [row.outcome for row in answer_all()] == ["complete"] * 2


# Killed


@pytest.mark.slow
def test_three_hundred_questions_all_faults_and_kills(tmp_path, monkeypatch, run):
    """What a vendor has the results of, it was asked once."""
    wrong = ";".join(f"*={kind},chance=0.02" for kind, of in faults.OF.items() if of in ("item", "job"))
    command = [sys.executable, "-m", "moa_helpers.offline", "--port", "0", "--speed", "100", "--faults", wrong]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
    environment["PYTHONPATH"] = str(ROOT)
    ended, points = [], [("begin", 0), ("submit", 1), ("note", 2), ("settle", 3), ("end", 0), ("settle", 1)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().split()[2]
            for vendor, path in (("OPENAI", "openai/v1"), ("ANTHROPIC", "anthropic"), ("MISTRAL", "mistral")):
                of_vendor = {f"{vendor}_BASE_URL": f"{url}/{path}", f"{vendor}_API_KEY": f"dummy-{vendor.lower()}"}
                environment |= of_vendor
                for name, value in of_vendor.items():
                    monkeypatch.setenv(name, value)
            for point, after in [*points, ("never", 0)]:
                child = [sys.executable, "-m", "tests.support.batched", "300", point, str(after)]
                pipe = subprocess.PIPE
                ended.append(subprocess.run(child, env=environment, cwd=tmp_path, stdout=pipe, text=True, check=False))
            answered = run(_answered())
        finally:
            server.terminate()
    assert [each.returncode for each in ended[:-1]].count(batched.KILLED) >= 4
    outcomes = json.loads(ended[-1].stdout)
    assert len(outcomes) == 300
    assert {*outcomes} <= {"complete", "partial"}
    assert max(answered.values()) == 1


async def _answered():
    """How often each request was answered in jobs whose results are still there."""
    moa.setup("live")
    found = {}
    for name in (LUNA, HAIKU, SMALL):
        model = moa.find(name)
        batches, sdk = adapter(model.vendor), client(model)
        async for made in batches.made(sdk, 0.0):
            keys = set()
            try:
                for file in (await batches.look(sdk, made.id)).files:
                    keys |= {result.key async for result in batches.results(sdk, file) if result.answer}
            except (openai.NotFoundError, anthropic.NotFoundError, MistralError):
                keys = set()  # its results are gone, so what it did was paid for, and asked again
            for key in keys:
                found[key] = found.get(key, 0) + 1
    await moa.close()
    return found
