"""Answers questions by batch, in a program of its own that ends at a point, as if it were killed.

``python -m tests.support.batched COUNT POINT AFTER``: the point is a function, whose call after so many is the last.
"""

import json
import os
import sys
from importlib import import_module

import moa_helpers as moa
from moa_helpers.bulk import underway
from moa_helpers.store.jobs import Ledger
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL

MIXTURE = {"reference_models": [LUNA, HAIKU, SMALL], "aggregator": SOL, "quorum": 2}
KILLED = 9


def main(count, point, after):
    """Answer them, and print the outcomes."""
    left = after

    def passed(name):
        nonlocal left
        left -= name == point
        if left < 0:
            os._exit(KILLED)

    def sync(name, real):
        def then(*given, **more):
            result = real(*given, **more)
            if name != "note" or "id" in more:
                passed(name)
            return result

        return then

    for name in ("begin", "note", "settle", "end"):
        setattr(Ledger, name, sync(name, getattr(Ledger, name)))
    for vendor in ("openai", "anthropic", "mistral"):
        module = import_module(f"moa_helpers.vendors.batches.{vendor}")

        async def submit(*given, real=module.submit):
            result = await real(*given)
            passed("submit")
            return result

        module.submit = submit
    underway.PACE, underway.AT_ONCE = (0.02, 0.2), 50
    moa.setup("live")
    found = moa.run(moa.answer_all([f"Why is the sky blue? {n}" for n in range(count)], MIXTURE, how="batch"))
    print(json.dumps([row.outcome for row in found]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
