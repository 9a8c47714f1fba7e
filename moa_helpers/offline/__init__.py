"""Stand-ins for the vendors, on this machine, so that the lesson needs no key. See ``python -m moa_helpers.offline``.

Answers are written for this lesson and say that they are stand-ins. Variables: ``MOA_OFFLINE_SEED`` (of the delays, and
of faults left to chance), ``MOA_OFFLINE_SPEED`` (20 is twenty times as fast as the vendors), ``MOA_OFFLINE_FAULTS``
(see ``faults.parse``).
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from moa_helpers.offline.bank import Question, Score, questions, score
from moa_helpers.offline.faults import BATCH_KINDS, KINDS, Fault
from moa_helpers.offline.latency import Latency
from moa_helpers.offline.traits import Judging, Knowledge, Traits, judging, knowledge

if TYPE_CHECKING:
    from moa_helpers.offline.server import OfflineVendors, Server

__all__ = [
    "BATCH_KINDS",
    "KINDS",
    "Judging",
    "Knowledge",
    "Latency",
    "Question",
    "Score",
    "fault",
    "judging",
    "knowledge",
    "questions",
    "score",
    "start",
    "world",
]

_running: "Server | None" = None
# A fork leaves the server's thread with the parent; what the child knows of it is kept, as to free it would close it.
getattr(os, "register_at_fork", dict)(after_in_child=lambda: globals().update(_running=None, _of_parent=_running))


def start(variables: Mapping[str, str] = os.environ) -> "Server":
    """The embedded vendors of this process; started on first use, on a free port of this machine, as ``vendors``."""
    global _running
    if _running is None:
        from moa_helpers.offline.server import Server

        _running = Server(vendors(variables))
    return _running


def vendors(variables: Mapping[str, str]) -> "OfflineVendors":
    """Embedded vendors as the variables ``MOA_OFFLINE_…`` say, not yet started; raises ValueError for a wrong one."""
    from moa_helpers.offline.server import OfflineVendors

    seed, speed, faults = (variables.get(f"MOA_OFFLINE_{name}") or "" for name in ("SEED", "SPEED", "FAULTS"))
    try:
        return OfflineVendors(seed=int(seed or 0), speed=float(speed or 1), faults=faults)
    except ValueError as error:
        raise ValueError(f"A variable MOA_OFFLINE_SEED, _SPEED or _FAULTS cannot be read: {error}") from None


def fault(
    where: str, kind: str | int, *, retry_after: float | None = None, times: int | None = None, chance: float = 1.0
) -> AbstractContextManager[None]:
    """Have the embedded vendors fail inside a ``with`` block: ``with offline.fault("mistral", 429): ...``.

    Args:
        where: a vendor, a model ``vendor:model-id``, or ``"*"`` for all.
        kind: one of ``KINDS``, which hit calls and the items of batches, or of ``BATCH_KINDS``.
        retry_after: seconds that the vendor asks to wait.
        times: how many requests (or batches) to hit; default all.
        chance: the share of them to hit, from 0 to 1, drawn with ``MOA_OFFLINE_SEED``; default all.
    """
    return start().vendors.faults.switched_on(Fault(where, str(kind), retry_after, times, chance))


def world(*, chooses: bool) -> str:
    """What an answer depends on besides its request, in words that never change: a store's keys hold them.

    What sways a stand-in counts where it ``chooses`` among other answers.
    """
    return repr((Traits.knowledge, Traits.judging if chooses else None, start().vendors.faults.of_text()))
