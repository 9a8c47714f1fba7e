"""Many calls at once: every model is asked at the same time, and every answer that arrives is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from moa_helpers.calls import Call, Limits, Reply, Retry, prepare
from moa_helpers.display import Card, Shown
from moa_helpers.vendors import Request

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Listener: TypeAlias = Callable[[int, "str | Retry | Reply"], None]  # which call, and what happened to it


class Replies(tuple[Reply, ...], Shown):
    """The replies of one fan-out, in the order in which the models were listed."""

    @property
    def good(self) -> tuple[Reply, ...]:
        """Those with an answer to use."""
        return tuple(reply for reply in self if reply.ok)

    def table(self) -> pd.DataFrame:
        """One row a call; see ``figures.table`` for the columns."""
        from moa_helpers import figures

        return figures.table(self)

    def timeline(self) -> Figure:
        """A picture of who waited, wrote and failed when; see ``figures.timeline``."""
        from moa_helpers import figures

        return figures.timeline(self)

    def _card(self) -> Card:
        stand_in = " · offline stand-ins" if any(reply.offline for reply in self) else ""
        rows = [
            (reply.model, reply.summary, reply.text or (reply.failure.message if reply.failure else ""))
            for reply in self
        ]
        return Card(f"{len(self.good)} of {len(self)} answered{stand_in}", ("model", "outcome", "text"), rows)


async def fan_out(
    models: Sequence[str],
    prompt: str,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
    timeout: float = 60.0,
    deadline: float | None = None,
    quorum: int | None = None,
    max_concurrency: int | None = None,
    retries: int = 2,
) -> Replies:
    """Ask several models the same question at the same time.

    Args:
        models: names ``vendor:model-id``; the same one may stand several times.
        prompt, system, max_tokens, temperature, timeout, retries: as in ``ask``, for each call.
        deadline: seconds for the whole fan-out; what is not there by then has failed with ``deadline``.
        quorum: go on as soon as this many good answers are in; the other calls are cancelled.
        max_concurrency: most calls that run at the same time.

    Returns:
        One reply for each model, in the order of the list. A failed call is a reply with a ``failure``.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        asyncio.CancelledError: if it is cancelled; the exception's ``replies`` hold what has arrived.
    """
    limits = Limits(timeout, deadline, retries, quorum, max_concurrency)
    requests = prepare(models, prompt, system=system, max_tokens=max_tokens, temperature=temperature)
    return await run_all(requests, limits)


def check_quorum(quorum: int | None, models: Sequence[object]) -> None:
    """Raise unless as many models are asked as have to answer."""
    if quorum is not None and quorum > len(models):
        raise ValueError(f"quorum is {quorum}, but only {len(models)} models are asked: lower it or list more.")


async def run_all(
    requests: Sequence[Request], limits: Limits, listen: Listener = lambda index, happened: None
) -> Replies:
    """Run prepared requests at once; ``listen`` hears every delta, retry and reply. No task outlives it."""
    check_quorum(limits.quorum, requests)
    until, gate = limits.until(), asyncio.Semaphore(limits.max_concurrency or len(requests))
    calls = [Call(request, limits, until, gate, partial(listen, index)) for index, request in enumerate(requests)]
    tasks = [asyncio.create_task(call.run()) for call in calls]
    for index, task in enumerate(tasks):
        task.add_done_callback(lambda task, index=index: listen(index, calls[index].reply()))  # type: ignore[misc]
    good = 0
    try:
        try:
            for finished in asyncio.as_completed(tasks):
                good += (await finished).ok
                if good == limits.quorum:
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    except BaseException as error:
        error.replies = Replies(call.reply() for call in calls)  # type: ignore[attr-defined]
        raise
    return Replies(call.reply() for call in calls)
