"""A comparison, or many answers, in a process of its own, to be killed: see ``start`` in ``unit/test_killed.py``.

Its calls are kept in ``comparison.sqlite`` here, and each request is counted by a line in the file REQUESTS before it
is answered. From the request HANG on it answers none any more, and says so on stdout.
"""

import asyncio
import hashlib
import os
import sys
from unittest import mock

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.vendors.requests import Chunk
from tests.support import scripts, standins
from tests.support.kept import FILE
from tests.support.replies import A, B, C

STRATEGIES = {
    "single": A,
    "best of 2": {"reference_models": [B, C], "aggregator": A, "pick": True},
    "moa": {"reference_models": [A, B, C], "aggregator": A},
}
AT_ONCE = 4


def compare():
    """The comparison, which is the same in every process."""
    return moa.compare(offline.questions(), STRATEGIES, judge=B, max_concurrency=AT_ONCE, null_checks=10)


async def answer_all():
    """Many answers, in the same file; as a table."""
    found = await moa.answer_all(offline.questions(), STRATEGIES["moa"], path=FILE, max_concurrency=AT_ONCE)
    return found.table().drop(columns=["kept", "seconds"])


async def stream(request):
    """Count the request, and give the stand-in's answer."""
    asked = repr((request.model.name, request.system, request.prompt, request.sample))
    os.write(REQUESTS, hashlib.sha256(asked.encode()).hexdigest().encode() + b"\n")
    stream.asked += 1
    if stream.asked >= int(sys.argv[2]):
        print("hanging", flush=True)
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(0.002)
    yield Chunk(standins.said(request), "stop", request.model.id, 200, 100)


if __name__ == "__main__":
    stream.asked, REQUESTS = 0, os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch(scripts.CLIENT, return_value=None),
        mock.patch(scripts.IMPORTED),
    ):
        standins.enter(patch, scripts.Script())
        patch.setattr(scripts.STREAM, stream)
        moa.setup("offline")
        if sys.argv[3] == "compare":
            print(standins.without_times(moa.run(compare())).to_csv())
        else:
            print(moa.run(answer_all()).to_csv())
