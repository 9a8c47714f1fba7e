"""Stand-ins for the vendors, on this machine, so that the lesson needs no key. See ``python -m moa_helpers.offline``.

Answers are written for this lesson and say that they are stand-ins. Variables: ``MOA_OFFLINE_SEED`` (of the delays),
``MOA_OFFLINE_SPEED`` (20 is twenty times as fast as the vendors), ``MOA_OFFLINE_FAULTS`` (see ``faults.parse``).
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from moa_helpers.offline.faults import KINDS, Fault
from moa_helpers.offline.standins import Question, Score, questions, score

if TYPE_CHECKING:
    from moa_helpers.offline.server import Server

__all__ = ["KINDS", "Question", "Score", "fault", "questions", "score", "start"]

_running: Server | None = None


def start() -> Server:
    """The embedded vendors of this process; started on first use, on a free port of this machine."""
    global _running
    if _running is None:
        from moa_helpers.offline.server import OfflineVendors, Server

        vendors = OfflineVendors(
            seed=int(os.environ.get("MOA_OFFLINE_SEED", "0")),
            speed=float(os.environ.get("MOA_OFFLINE_SPEED", "1")),
            faults=os.environ.get("MOA_OFFLINE_FAULTS", ""),
        )
        _running = Server(vendors)
    return _running


def fault(
    where: str, kind: str | int, *, retry_after: float | None = None, times: int | None = None
) -> AbstractContextManager[None]:
    """Have the embedded vendors fail inside a ``with`` block: ``with offline.fault("mistral", 429): ...``.

    Args:
        where: a vendor, a model ``vendor:model-id``, or ``"*"`` for all.
        kind: one of ``KINDS``.
        retry_after: seconds that the vendor asks to wait.
        times: how many requests to hit; default all.
    """
    return start().vendors.faults.switched_on(Fault(where, str(kind), retry_after, times))
