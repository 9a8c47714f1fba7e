"""One answer out of many: layers of proposers, then an aggregator that writes, or a ranker that picks."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moa_helpers.events import AggregatorDelta, Event, MixtureDone, as_events
from moa_helpers.fanout import run_all
from moa_helpers.limits.purse import Purse
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import stop
from moa_helpers.plan import Plan, plan_mixture
from moa_helpers.prompts import aggregator_system, chosen, ranker_system, reminder, shuffled, unfenced
from moa_helpers.results import Answer, Reply
from moa_helpers.steps.progress import Progress


async def mixture_of_agents(
    prompt: str,
    reference_models: Sequence[str] | None = None,
    aggregator: str | None = None,
    *,
    layers: int | Sequence[Sequence[str]] = 2,
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
    robust: bool = False,
    stop_at: float | None = None,
    pick: bool = False,
    shuffle_seed: int | None = None,
) -> Answer:
    """Ask several models, then have one of them write a single answer out of theirs.

    With ``n`` reference models it makes n * (layers - 1) + 1 calls: the first layer sees the prompt alone, each further
    one also the answers of the layer before, the last is the aggregator.

    Args:
        prompt: the user's question.
        reference_models: the proposers, ``vendor:model-id``; the same one may stand several times (Self-MoA).
        aggregator: the model that writes the final answer.
        layers: 2 or more, the aggregator's included, with the same proposers in each. Or, in place of
            ``reference_models``, a list of models for each layer of proposers: ``layers=[["a:1", "b:2"], ["c:3"]]``.
        max_tokens, temperature, timeout, retries: as in ``ask``, for each call.
        deadline: seconds for each stage, that is for each layer of proposers and for the aggregator.
        quorum, grace, hedge_after, hedge_with, max_concurrency: as in ``fan_out``, for each layer of proposers.
        max_calls, budget_usd: as in ``fan_out``, for the whole mixture.
        robust: keep answers from the next stage that agree too little with the others, as those of a liar may. It costs
            no call and some coverage, helps more among six than among three, and fails where liars are the majority;
            see ``steps.agreement.majority``, and ``benchmarks/results/liars.csv`` for figures.
        stop_at: leave out the layers of proposers that remain once a layer says the same as the one before, that is
            once this share (0 to 1) of the sentences of both stands in the other; see ``steps.agreement.between``.
        pick: the aggregator does not write an answer, but names the best reference by its number: a *ranker*. The
            baseline that a synthesis has to beat.
        shuffle_seed: as in ``aggregator_system``.

    Returns:
        The answer. Failures do not raise: ``outcome`` and ``heading`` say what it stands on.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        asyncio.CancelledError: if it is cancelled; the exception's ``replies`` hold what has arrived.
    """
    return await run_mixture(plan_mixture(**locals()).bound())


async def stream_mixture(
    prompt: str, reference_models: Sequence[str] | None = None, aggregator: str | None = None, **options: Any
) -> AsyncIterator[Event]:
    """The same as ``mixture_of_agents``, as events while it happens: the last is ``MixtureDone`` with the answer.

    Within a layer the proposers' deltas come interleaved, each in its own order; each proposer's ``ProposerDone``
    follows its last delta; the aggregator's deltas follow all proposers. Leaving the loop cancels what still runs (wrap
    it in ``contextlib.aclosing`` to do so at once).

    Args:
        prompt, reference_models, aggregator, options: as in ``mixture_of_agents``.
    """
    plan = plan_mixture(prompt, reference_models, aggregator, **options).bound()
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


def _ignore(event: Event) -> None:
    """Listen to nothing."""


async def run_mixture(plan: Plan, listen: Callable[[Event], None] = _ignore) -> Answer:
    """Run a mixture that is planned and bound; ``listen`` hears every event, the last one being ``MixtureDone``."""
    started, progress, purse = time.perf_counter(), Progress(), plan.purse()
    reply, written = None, None
    with Scope().open():
        for number, proposers in enumerate(plan.stages, 1):
            system = aggregator_system(progress.shown, shuffle_seed=plan.shuffle_seed) if number > 1 else None
            first = [replace(request, system=system, role=f"layer {number}") for request in proposers]
            second = [replace(request, system=system) for request in plan.seconds[number - 1]]
            purse.plan(first, plan.estimate.stages[number:])
            layer = await run_all(first, Scope(plan.limits, purse), second, as_events(number, listen))
            progress.layers.append(layer)
            if len(layer.good) < plan.needed:
                break
            progress.enter(layer, plan.robust)
            if progress.settled(plan.stop_at):
                break
        if len(layer.good) >= plan.needed:
            reply, written = await _end(plan, progress.shown, purse, listen)
    answer = Answer(
        prompt=plan.prompt,
        text=written.text if written else "",
        outcome=progress.outcome(written, plan.needed),
        layers=tuple(progress.layers),
        aggregator=reply,
        started=started,
        elapsed=time.perf_counter() - started,
        quorum=plan.limits.quorum,
        left_out=tuple(progress.left_out),
        skipped=len(plan.stages) - len(progress.layers) if written else 0,
        picked=written if plan.pick else None,
    )
    listen(MixtureDone(answer))
    return answer


async def _end(
    plan: Plan, shown: Sequence[Reply], purse: Purse, listen: Callable[[Event], None]
) -> tuple[Reply | None, Reply | None]:
    """The last stage: the reply of the aggregator or ranker, and the one whose text is the answer."""
    candidates = shuffled([reply for reply in shown if reply.ok], plan.shuffle_seed)
    if plan.pick and len(candidates) == 1:  # nothing to choose from
        listen(AggregatorDelta(candidates[0].text))
        return None, candidates[0]
    if plan.pick:
        told: dict[str, Any] = {"system": ranker_system([reply.text for reply in candidates]), "reminder": reminder()}
    else:
        told = {"system": aggregator_system(shown, shuffle_seed=plan.shuffle_seed)}
    final = [replace(request, **told, role="aggregator") for request in plan.final]
    purse.plan(final)
    alone = replace(plan.limits, quorum=None, grace=0.0, hedge_after=None, hedge_with=None)
    hear = as_events(len(plan.stages) + 1, _ignore if plan.pick else listen, aggregator=True)
    (reply,) = await run_all(final, Scope(alone, purse), listen=hear)
    if not plan.pick:
        reply = replace(reply, text=unfenced(reply.text, told["system"]))
        return reply, reply if reply.ok else None
    number = chosen(reply.text, len(candidates)) if reply.ok else None
    if number is None:
        return reply, None
    listen(AggregatorDelta(candidates[number - 1].text))
    return reply, candidates[number - 1]
