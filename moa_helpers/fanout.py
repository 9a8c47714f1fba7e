"""Many calls at once: every model is asked at the same time, and every answer that arrives is kept."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from moa_helpers.calls import Call
from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.hedging import Happened, HedgedCall
from moa_helpers.limits.members import Named
from moa_helpers.limits.quorum import enough, reached
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import stop
from moa_helpers.plan import plan_fan_out
from moa_helpers.results import Replies, Reply
from moa_helpers.vendors.requests import Request

Listener: TypeAlias = Callable[[int, "Happened | Reply"], None]  # which call, and what happened to it


async def fan_out(
    models: Sequence[Named],
    prompt: Prompt,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
    timeout: float = 60.0,
    deadline: float | None = None,
    quorum: int | None = None,
    grace: float = 0.0,
    hedge_after: float | None = None,
    hedge_with: Named | None = None,
    max_concurrency: int | Mapping[str, int] | None = None,
    max_calls: int | None = None,
    budget_usd: float | None = None,
    retries: int = 2,
) -> Replies:
    """Ask several models the same question at the same time.

    Args:
        models: names ``vendor:model-id``, or ``Member``s; the same one may appear several times.
        prompt, system, max_tokens, temperature, timeout, retries: as in ``ask``, for each call.
        deadline: seconds for the whole fan-out; what is not there by then has failed with ``deadline``.
        quorum: go on as soon as this many good answers are in; the other calls are cancelled.
        grace: seconds to wait for the others once there is a quorum.
        hedge_after: seconds without a complete answer after which a call gets a second request, if there is room for it
            then. The first good answer counts, the other request is cancelled; ``Reply.hedged`` shows both.
        hedge_with: the model for second requests; default: the same one again.
        max_concurrency: most calls that run at the same time, in all or as in ``{"mistral": 2, "all": 8}``.
        max_calls: most requests in all. Retries and second requests get what the planned calls leave.
        budget_usd: most US dollars to risk, in the same way, with every answer at ``max_tokens`` (see ``estimate``).

    Returns:
        One reply for each model, in the order of the list. A failed call is a reply with a ``failure``.

    Raises:
        TypeError, ValueError: the input is wrong, or the plan above max_calls or budget_usd; no call was made.
        asyncio.CancelledError: it was cancelled. The exception's ``replies`` hold what has arrived.
    """
    plan = await plan_fan_out(**locals()).ready()
    with Scope(plan.limits).open() as scope:
        scope.purse.plan(plan.stages[0])
        return await run_all(plan.stages[0], scope, plan.seconds[0])


async def run_all(
    requests: Sequence[Request],
    scope: Scope,
    seconds: Sequence[Request] = (),
    listen: Listener = lambda index, happened: None,
) -> Replies:
    """Make calls at once. No task outlives it.

    Args:
        requests: the first request of each call.
        scope: their limits, their purse, and what else they share; it learns of each call.
        seconds: the second request for each, for when it is slower than ``hedge_after``.
        listen: hears every piece of text, retry, second request and reply.
    """
    calls: list[Call | HedgedCall] = []

    def wanted() -> bool:
        return not reached(sum(call.ok for call in calls), scope.limits, kept)

    for index, request in enumerate(requests):
        hear = partial(listen, index)
        if seconds:
            calls.append(HedgedCall(Call, request, seconds[index], scope, hear, wanted))
        else:
            calls.append(Call(request, scope, hear, wanted))
        scope.add(calls[-1])
    kept = sum(call.ok for call in calls)
    tasks = [asyncio.create_task(call.run()) for call in calls]
    for index, task in enumerate(tasks):
        task.add_done_callback(lambda task, index=index: listen(index, calls[index].reply()))  # type: ignore[misc]
    try:
        await enough(tasks, scope.limits)
    finally:
        await stop(tasks)
    return Replies(call.reply() for call in calls)
