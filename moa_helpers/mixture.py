"""One answer out of many: layers of proposers, then an aggregator that writes, or a ranker that picks."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moa_helpers.events import AggregatorDelta, Event, MixtureDone, Retry, as_events
from moa_helpers.fanout import run_all
from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.members import Named
from moa_helpers.limits.purse import Purse
from moa_helpers.limits.retry import without_fallback
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import stop
from moa_helpers.plan import Plan, plan_mixture
from moa_helpers.prompts import aggregator_system, chosen, ranker_system, reminder, shuffled, told, unfenced
from moa_helpers.results import Answer, Failure, Reply
from moa_helpers.steps.progress import Progress
from moa_helpers.vendors.requests import Request


async def mixture_of_agents(
    prompt: Prompt,
    reference_models: Sequence[Named] | None = None,
    aggregator: Named | Sequence[Named] | None = None,
    *,
    layers: int | Sequence[Sequence[Named]] = 2,
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
    robust: bool = False,
    stop_at: float | None = None,
    pick: bool = False,
    shuffle_seed: int | None = None,
) -> Answer:
    """Ask several models, then have one of them write a single answer out of theirs.

    With ``n`` reference models it makes n * (layers - 1) + 1 calls: each layer but the first also sees the answers of
    the one before, the last is the aggregator.

    Args:
        prompt: the user's question; or a conversation, as in ``ask``, which all models get.
        reference_models: the proposers, ``vendor:model-id`` or ``Member``s; the same one may appear several
            times (Self-MoA).
        aggregator: the model that writes the final answer; or several, of which the next is tried where one fails, if
            max_calls, budget_usd and the deadline have room for it then.
        layers: 2 or more, the aggregator's included, with the same proposers in each. Or, instead of
            ``reference_models``, a list of models for each layer of proposers: ``layers=[["a:1", "b:2"], ["c:3"]]``.
        max_tokens, temperature, timeout, retries: as in ``ask``, for each call.
        deadline: seconds for each stage, that is for each layer of proposers and for the aggregator.
        quorum, grace, hedge_after, hedge_with, max_concurrency: as in ``fan_out``, for each layer of proposers.
        max_calls, budget_usd: as in ``fan_out``, for the whole mixture.
        robust: keep answers from the next stage that agree too little with the others, as those of a liar may; see
            ``steps.agreement.majority``. It costs no call and some coverage, and fails where liars are the majority.
        stop_at: leave out the layers that remain once this share (0 to 1) of the sentences of a layer and the one
            before is in the other; see ``steps.agreement.between``.
        pick: the aggregator, a *ranker* then, only names the best reference by its number.
        shuffle_seed: as in ``aggregator_system``.

    Returns:
        The answer. Failures do not raise: ``outcome`` and ``heading`` say what it is based on.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        asyncio.CancelledError: it was cancelled. The exception's ``replies`` hold what has arrived.
    """
    return await run_mixture(await plan_mixture(**locals()).ready())


async def stream_mixture(
    prompt: Prompt,
    reference_models: Sequence[Named] | None = None,
    aggregator: Named | Sequence[Named] | None = None,
    **options: Any,
) -> AsyncIterator[Event]:
    """The same as ``mixture_of_agents``, as events while it happens: the last is ``MixtureDone`` with the answer.

    Within a layer the proposers' deltas come interleaved, each in its own order. Each proposer's ``ProposerDone``
    follows its last delta, and the aggregator's deltas follow all proposers. Leaving the loop cancels what still runs
    (wrap it in ``contextlib.aclosing`` to do so at once). The arguments are those of ``mixture_of_agents``.
    """
    plan = await plan_mixture(prompt, reference_models, aggregator, **options).ready()
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    scope = Scope()
    task = asyncio.create_task(run_mixture(plan, events.put_nowait), context=scope.context())
    task.add_done_callback(lambda task: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        await task  # raises what the mixture raised
    except BaseException:
        with scope.open():  # so that what is raised carries the replies, also where this is cancelled again
            await stop([task])
            raise


async def run_mixture(plan: Plan, listen: Callable[[Event], None] = lambda event: None) -> Answer:
    """Run a mixture that is planned and bound; ``listen`` hears every event, the last one being ``MixtureDone``."""
    started, progress, purse = time.perf_counter(), Progress(), Purse.of(plan.limits)
    written = None
    with Scope(planned=plan.estimate.calls).open():
        for number, proposers in enumerate(plan.stages, 1):
            first = [replace(one, role=f"layer {number}") for one in proposers]
            second: Sequence[Request] = plan.seconds[number - 1]
            if number > 1:
                system = aggregator_system(progress.shown, shuffle_seed=plan.shuffle_seed)
                first, second = [told(one, system) for one in first], [told(one, system) for one in second]
            purse.plan(first, plan.estimate.stages[number:])
            scope = Scope(plan.limits, purse, since=progress.until)
            layer = await run_all(first, scope, second, as_events(number, listen))
            progress.layers.append(layer)
            if len(layer.good) < plan.needed:
                break
            progress.enter(layer, plan.robust)
            if progress.settled(plan.stop_at):
                break
        if len(layer.good) >= plan.needed:
            written = await _end(plan, progress, purse, listen)
    answer = Answer(
        prompt=plan.prompt,
        text=written.text if written else "",
        outcome=progress.outcome(written, plan.needed),
        layers=tuple(progress.layers),
        aggregator=progress.tried[-1] if progress.tried else None,
        started=started,
        elapsed=max(time.perf_counter(), progress.until) - started,
        quorum=plan.limits.quorum,
        left_out=tuple(progress.left_out),
        skipped=len(plan.stages) - len(progress.layers) if written else 0,
        picked=written if plan.pick else None,
        failed_aggregators=tuple(progress.tried[:-1]),
    )
    listen(MixtureDone(answer))
    return answer


async def _end(plan: Plan, progress: Progress, purse: Purse, listen: Callable[[Event], None]) -> Reply | None:
    """The last stage: ask the aggregators (or rankers) in turn; the reply whose text is the answer."""
    candidates = shuffled([reply for reply in progress.shown if reply.ok], plan.shuffle_seed)
    if plan.pick and len(candidates) == 1:  # nothing to choose from
        listen(AggregatorDelta(candidates[0].text))
        return candidates[0]
    texts = [reply.text for reply in candidates]
    system = ranker_system(texts) if plan.pick else aggregator_system(progress.shown, shuffle_seed=plan.shuffle_seed)
    final = [replace(told(one, system), role="aggregator", reminder=reminder() * plan.pick) for one in plan.final]
    alone = replace(plan.limits, quorum=None, grace=0.0, hedge_after=None, hedge_with=None)
    hear = as_events(len(plan.stages) + 1, (lambda event: None) if plan.pick else listen, aggregator=True)
    purse.plan(final[:1])
    scope, tried = Scope(alone, purse), progress.tried
    for request in final:
        if tried and (stopped := without_fallback(tried[-1], request, scope)):
            tried[-1] = stopped
            break
        if tried:
            hear(0, Retry(tried[-1].failure or Failure("cancelled", "It named no answer."), 0.0))
        scope.since = progress.until
        (reply,) = await run_all([request], scope, listen=hear)
        number = chosen(reply.text, len(candidates)) if plan.pick and reply.ok else None
        tried.append(reply if plan.pick else replace(reply, text=unfenced(reply.text, request.after or system)))
        if number is not None:
            listen(AggregatorDelta(candidates[number - 1].text))
            return candidates[number - 1]
        if reply.ok and not plan.pick:
            return tried[-1]
    return None
