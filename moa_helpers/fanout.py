"""Many calls at once: every model is asked at the same time, and every answer that arrives is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from moa_helpers.calls import Call, Reply, Retry, check_limits, check_number, prepare
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


def check_fan_out(models: Sequence[str], quorum: int | None, max_concurrency: int | None) -> None:
    """Raise unless the quorum can be reached and the limit on concurrency lets a call through."""
    if max_concurrency is not None:
        check_number("max_concurrency", max_concurrency, whole=True)
    if quorum is not None:
        check_number("quorum", quorum, whole=True)
        if quorum > len(models):
            raise ValueError(f"quorum is {quorum}, but only {len(models)} models are asked: lower it or list more.")


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
    check_limits(timeout, deadline, retries)
    requests = prepare(models, prompt, system=system, max_tokens=max_tokens, temperature=temperature)
    check_fan_out(models, quorum, max_concurrency)
    return await run_all(requests, timeout, deadline, quorum, max_concurrency, retries)


async def run_all(
    requests: Sequence[Request],
    timeout: float,
    deadline: float | None,
    quorum: int | None,
    max_concurrency: int | None,
    retries: int,
    listen: Listener = lambda index, happened: None,
) -> Replies:
    """Run prepared requests at once; ``listen`` hears every delta, retry and reply. No task outlives it."""
    until = None if deadline is None else time.perf_counter() + deadline
    calls = [
        Call(request, timeout=timeout, retries=retries, until=until, listen=partial(listen, index))
        for index, request in enumerate(requests)
    ]
    gate = asyncio.Semaphore(max_concurrency or len(calls))

    async def run(call: Call) -> Reply:
        async with gate:
            return await call.run()

    tasks = [asyncio.create_task(run(call)) for call in calls]
    for index, task in enumerate(tasks):
        task.add_done_callback(lambda task, index=index: listen(index, calls[index].reply()))  # type: ignore[misc]
    good = 0
    try:
        for finished in asyncio.as_completed(tasks):
            good += (await finished).ok
            if good == quorum:
                break
    except BaseException as error:
        await _cancel(tasks)
        error.replies = Replies(call.reply() for call in calls)  # type: ignore[attr-defined]
        raise
    await _cancel(tasks)
    return Replies(call.reply() for call in calls)


async def _cancel(tasks: Sequence[asyncio.Task[Reply]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
