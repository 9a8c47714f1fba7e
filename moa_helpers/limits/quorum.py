"""When a fan-out goes on: once all calls have ended, or once the grace is over that follows a quorum."""

import asyncio
from collections.abc import Sequence

from moa_helpers.limits.values import Limits
from moa_helpers.results import Reply


async def enough(tasks: Sequence[asyncio.Task[Reply]], limits: Limits) -> None:
    """Wait until all calls have ended, or until ``grace`` seconds after the ``quorum`` of good answers is there."""
    good = 0
    try:
        async with asyncio.timeout(None) as clock:
            for finished in asyncio.as_completed(tasks):
                good += (await finished).ok
                if good == limits.quorum:
                    clock.reschedule(asyncio.get_running_loop().time() + limits.grace)
    except TimeoutError:
        if not clock.expired():
            raise


def reached(good: int, limits: Limits, kept: int) -> bool:
    """Whether no further answer is wanted: a place may come free between the quorum's last answer and the end.

    Where kept answers make up the quorum, there is no grace. A further answer would change what the next stage reads,
    so that stage would be paid for again.
    """
    return limits.quorum is not None and (good if limits.grace == 0 else kept) >= limits.quorum
