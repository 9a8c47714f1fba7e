"""Many calls at once: every model is asked at the same time, and every answer that arrives is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from moa_helpers.calls import Call, prepare, stop
from moa_helpers.limits.hedging import Happened, HedgedCall
from moa_helpers.limits.purse import Allowance, most, price
from moa_helpers.limits.values import Bounds, Limits
from moa_helpers.results import Replies, Reply
from moa_helpers.vendors.requests import Request

SECOND = "second request"
Listener: TypeAlias = Callable[[int, "Happened | Reply"], None]  # which call, and what happened to it


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
    grace: float = 0.0,
    hedge_after: float | None = None,
    hedge_with: str | None = None,
    max_concurrency: int | Mapping[str, int] | None = None,
    max_calls: int | None = None,
    budget_usd: float | None = None,
    retries: int = 2,
) -> Replies:
    """Ask several models the same question at the same time.

    Args:
        models: names ``vendor:model-id``; the same one may stand several times.
        prompt, system, max_tokens, temperature, timeout, retries: as in ``ask``, for each call.
        deadline: seconds for the whole fan-out; what is not there by then has failed with ``deadline``.
        quorum: go on as soon as this many good answers are in; the other calls are cancelled.
        grace: seconds to wait for the others once there is a quorum.
        hedge_after: seconds without a complete answer after which a call gets a second request, if max_calls and
            budget_usd have room for it then. The first good answer counts, the other request is cancelled;
            ``Reply.hedged`` shows both.
        hedge_with: the model for second requests; default: the same one again.
        max_concurrency: most calls that run at the same time, in all or as in ``{"mistral": 2, "all": 8}``.
        max_calls: most requests in all. Retries and second requests get what the planned calls leave.
        budget_usd: most US dollars to risk, in the same way: before the first call, the plan is priced with every
            answer at ``max_tokens`` (see ``estimate``; tokens are estimated by a rule of thumb).

    Returns:
        One reply for each model, in the order of the list. A failed call is a reply with a ``failure``.

    Raises:
        TypeError, ValueError: the input is wrong, or the plan above max_calls or budget_usd; no call was made.
        asyncio.CancelledError: if it is cancelled; the exception's ``replies`` hold what has arrived.
    """
    limits = Limits(timeout, deadline, retries, quorum, grace, hedge_after, max_concurrency, max_calls, budget_usd)
    requests = prepare(models, prompt, system=system, max_tokens=max_tokens, temperature=temperature)
    hedges = prepare_hedges(requests, limits, hedge_with)
    check_quorum(quorum, requests)
    allowance = Allowance(max_calls, budget_usd)
    allowance.check(price([[request.model for request in requests]], (system or "") + prompt, max_tokens=max_tokens))
    allowance.plan(requests)
    return await run_all(requests, limits, allowance, hedges)


def prepare_hedges(requests: Sequence[Request], limits: Limits, hedge_with: str | None) -> Sequence[Request]:
    """The second request for each one, for when it is slow; none without ``hedge_after``.

    Raises:
        ValueError: there is a model for second requests, but none will be made, or none may be paid for.
    """
    check_hedging(limits.hedge_after, hedge_with)
    if limits.hedge_after is None:
        return ()
    samples = range(len(requests), 2 * len(requests))  # offline, no second request repeats a first one
    if hedge_with is None:
        return [replace(request, sample=sample, role=SECOND) for request, sample in zip(requests, samples, strict=True)]
    one = requests[0]
    (second,) = prepare(
        [hedge_with], one.prompt, system=one.system, max_tokens=one.max_tokens, temperature=one.temperature
    )
    if limits.budget_usd is not None and most(second) is None:
        raise ValueError(
            f"budget_usd cannot be kept: no price is known for {hedge_with}, or not for so long a prompt. "
            "Hedge with another model."
        )
    return [replace(second, sample=sample, role=SECOND) for sample in samples]


async def run_all(
    requests: Sequence[Request],
    limits: Limits,
    allowance: Allowance,
    hedges: Sequence[Request] = (),
    listen: Listener = lambda index, happened: None,
) -> Replies:
    """Run prepared requests at once. No task outlives it.

    Args:
        requests: the first request of each call.
        limits: for all of them together.
        allowance: for what retries and second requests may be made.
        hedges: the second request for each, to be sent if the first is slower than ``limits.hedge_after``.
        listen: hears every delta, retry, second request and reply.
    """
    bounds = Bounds(limits, allowance)

    def wanted() -> bool:  # a place may come free in the moment between the quorum's last answer and the end
        return limits.quorum is None or limits.grace > 0 or sum(call.ok for call in calls) < limits.quorum

    calls: list[Call | HedgedCall] = [
        Call(request, bounds, partial(listen, index), wanted)
        if limits.hedge_after is None
        else HedgedCall(request, hedges[index], limits.hedge_after, bounds, partial(listen, index), wanted)
        for index, request in enumerate(requests)
    ]
    tasks = [asyncio.create_task(call.run()) for call in calls]
    for index, task in enumerate(tasks):
        task.add_done_callback(lambda task, index=index: listen(index, calls[index].reply()))  # type: ignore[misc]
    try:
        try:
            await _enough(tasks, limits)
        finally:
            await stop(tasks)
    except BaseException as error:
        error.replies = Replies(call.reply() for call in calls)  # type: ignore[attr-defined]
        raise
    return Replies(call.reply() for call in calls)


async def _enough(tasks: Sequence[asyncio.Task[Reply]], limits: Limits) -> None:
    """Wait until all have ended, or until the grace is over that follows the quorum."""
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


def check_hedging(hedge_after: float | None, hedge_with: str | None) -> None:
    """Raise if there is a model for second requests, but none will be made."""
    if hedge_after is None and hedge_with is not None:
        raise ValueError("hedge_with is the model for second requests: give hedge_after too.")


def check_quorum(quorum: int | None, models: Sequence[object]) -> None:
    """Raise unless as many models are asked as have to answer."""
    if quorum is not None and quorum > len(models):
        raise ValueError(f"quorum is {quorum}, but only {len(models)} models are asked: lower it or list more.")
