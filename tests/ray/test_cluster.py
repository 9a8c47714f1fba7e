"""Many questions on a Ray cluster: the same answers as live, whatever dies, and the limits hold for all workers."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest
import ray

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.bulk import ray as bulk_ray
from moa_helpers.bulk.sharing import Limiter
from moa_helpers.limits import rates
from moa_helpers.store.answers import Answers
from tests.support.scripts import HAIKU, LUNA, SOL

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]
MIXTURE = {"reference_models": [LUNA, HAIKU], "aggregator": SOL}
KEY = "sk-made-up-key-that-no-log-may-hold"
SAME = ["id", "question", "text", "outcome", "calls", "offline", "problem"]


def questions(count):
    prepared = offline.questions()
    return [f"{prepared[number % len(prepared)].prompt} ({number})" for number in range(count)]


async def until(holds, seconds=60):
    """Wait until it holds, but not for ever."""
    end = time.perf_counter() + seconds
    while not holds() and time.perf_counter() < end:
        await asyncio.sleep(0.01)
    assert holds()


def calls_in(path):
    """How many calls are in a store's file, which may not be there yet."""
    store = Answers(path)
    found = store._run("SELECT count(*) FROM calls WHERE json_extract(given, '$.model') IS NOT NULL")
    store.close()
    return found[0][0]


def test_a_node_that_dies_loses_nothing_and_nothing_is_paid_for_twice(cluster, vendors):
    async def undisturbed():
        return (await moa.answer_all(questions(24), MIXTURE, path="live.sqlite")).table()

    async def disturbed():
        vendors.limit = 20
        task = asyncio.create_task(moa.answer_all(questions(24), MIXTURE, path="ray.sqlite", how="ray"))
        await until(lambda: len(vendors.answered) >= 20 and vendors.under_way == 8)  # all places wait at the vendors
        await until(lambda: calls_in("ray.sqlite") == len(vendors.answered))
        await asyncio.to_thread(cluster.kill)
        await until(lambda: vendors.under_way == 4)  # those of the other node
        vendors.limit = float("inf")
        return (await task).table()

    expected = moa.run(undisturbed())
    vendors.clear()
    found = moa.run(disturbed())
    assert found[SAME].equals(expected[SAME])
    assert found.cost_usd.sum() == pytest.approx(expected.cost_usd.sum())
    assert Counter(Counter(asked.body for asked in vendors.answered).values()) == {1: 72}
    assert len(vendors.log) == 72 + 4  # the four that were cut off, and not answered


def test_a_worker_that_is_killed_begins_again_and_what_was_answered_comes_from_the_store(cluster, vendors):
    async def disturbed():
        vendors.limit = 20
        task = asyncio.create_task(moa.answer_all(questions(24), MIXTURE, path="ray.sqlite", how="ray"))
        await until(lambda: len(vendors.answered) >= 20 and vendors.under_way == 8)
        await until(lambda: calls_in("ray.sqlite") == len(vendors.answered))
        os.kill(pid_at(vendors.log[-1].port), 9)
        await until(lambda: vendors.under_way == 4)
        vendors.limit = float("inf")
        return await task

    answers = moa.run(disturbed())
    assert {row.outcome for row in answers} == {"complete"}
    assert max(Counter(asked.body for asked in vendors.answered).values()) == 1


def pid_at(port):
    """The process on this machine that has this port."""
    import psutil

    return next(
        each.pid for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == port and each.pid
    )


class Hasty(Limiter):
    """A limiter for whom a minute has two seconds."""

    def __init__(self, *given):
        rates.MINUTE = 2.0
        super().__init__(*given)


def test_rates_hold_for_all_workers_together(cluster, vendors, monkeypatch):
    monkeypatch.setattr(bulk_ray, "Limiter", Hasty)
    limited = {"openai": moa.Rate(requests=10)}
    answers = moa.run(
        moa.answer_all(questions(40), LUNA, path="ray.sqlite", how="ray", rates=limited, max_concurrency=16)
    )
    assert {row.outcome for row in answers} == {"ok"}
    times = [asked.at for asked in vendors.log]
    assert len(times) == 40
    assert max(sum(begin <= at < begin + 2.0 for at in times) for begin in times) <= 10
    assert len({asked.port for asked in vendors.log}) >= 2  # both workers asked


def test_places_are_shared(cluster, vendors):
    most, places = [], {"all": 5, "openai": 2}

    async def watched():
        vendors.limit = 0
        task = asyncio.create_task(
            moa.answer_all(questions(12), MIXTURE, path="ray.sqlite", how="ray", max_concurrency=places)
        )
        await until(lambda: vendors.under_way == 5)
        most.append(Counter(b"gpt" in asked.body for asked in vendors.log))
        vendors.limit = float("inf")
        return await task

    assert len(moa.run(watched())) == 12
    assert most == [Counter({False: 3, True: 2})]


def test_nothing_runs_on_after_an_interrupt(cluster, vendors):
    async def interrupted():
        vendors.limit = 20
        task = asyncio.create_task(moa.answer_all(questions(24), MIXTURE, path="ray.sqlite", how="ray"))
        # Eight that wait, and none that is being answered: it would count among the answered before it is cut off.
        await until(lambda: len(vendors.answered) >= 20 and vendors.waiting == vendors.under_way == 8)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        await until(lambda: not vendors.under_way and ray.available_resources().get("CPU") == 2)
        return caught.value.answers

    answers = moa.run(interrupted())
    assert len(answers) < 24
    assert len(vendors.log) == len(vendors.answered) + 8  # which waited, and were cut off


def test_workers_have_the_keys_and_no_log_has_them(cluster, vendors, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{offline.start().url}/openai/v1")
    moa.setup("live")
    answers = moa.run(moa.answer_all(questions(4), LUNA, path="ray.sqlite", how="ray"))
    assert {(row.outcome, row.offline) for row in answers} == {("ok", False)}
    assert {asked.key for asked in vendors.log} == {f"Bearer {KEY}"}
    session = Path(cluster.head_node.get_session_dir_path())
    logs = [file for file in session.rglob("*") if file.is_file()]
    assert len(logs) > 10
    assert [file for file in logs if KEY.encode() in file.read_bytes()] == []
