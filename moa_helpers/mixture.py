"""One answer out of many: layers of proposers, and an aggregator or a ranker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from moa_helpers.calls import check, prepare
from moa_helpers.events import AggregatorDelta, Event, Hedging, MixtureDone, ProposerDelta, ProposerDone, Retrying
from moa_helpers.fanout import Listener, check_quorum, prepare_hedges, run_all
from moa_helpers.limits.hedging import Happened
from moa_helpers.limits.purse import Allowance, price
from moa_helpers.limits.values import Limits, check_number
from moa_helpers.prompts import aggregator_system, check_seed, chosen, ranker_system, shuffled
from moa_helpers.results import Answer, Delta, Estimate, Hedge, Outcome, Replies, Reply, Retry
from moa_helpers.steps.agreement import between, majority


def estimate(
    prompt: str,
    reference_models: Sequence[str] | None = None,
    aggregator: str | None = None,
    *,
    layers: int | Sequence[Sequence[str]] = 2,
    system: str | None = None,
    max_tokens: int = 2048,
    answer_tokens: int = 400,
) -> Estimate:
    """Say what a mixture will cost, from the catalogue's prices, without a call.

    Args:
        prompt, reference_models, aggregator, layers, max_tokens: as in ``mixture_of_agents``. Without an aggregator,
            the proposers alone are counted, as for ``fan_out``.
        system: as in ``fan_out``.
        answer_tokens: how many tokens to expect of an answer.

    Raises:
        TypeError, ValueError: the input is wrong.
    """
    check_number("answer_tokens", answer_tokens, whole=True)
    planned = _proposer_layers(reference_models, layers)
    stages = [check(models, prompt, system=system, max_tokens=max_tokens) for models in planned]
    if aggregator is not None:
        stages.append(check([aggregator], prompt, max_tokens=max_tokens))
    frame = aggregator_system([Reply(model.name) for model in max(stages, key=len)])
    text = (system or "") + prompt
    return price(stages, text, max_tokens=max_tokens, answer_tokens=answer_tokens, frame=frame)


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
    _check_only: bool = False,
    _listen: Callable[[Event], None] = lambda event: None,
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
            see ``agreement.majority``, and ``benchmarks/results/liars.csv`` for figures.
        stop_at: leave out the layers of proposers that remain once a layer says the same as the one before, that is
            once this share (0 to 1) of the sentences of both stands in the other; see ``agreement.between``.
        pick: the aggregator does not write an answer, but names the best reference by its number: a *ranker*. The
            baseline that a synthesis has to beat.
        shuffle_seed: as in ``aggregator_system``.

    Returns:
        The answer. Failures do not raise: ``outcome`` and ``heading`` say what it stands on.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        asyncio.CancelledError: if it is cancelled; the exception's ``replies`` hold what has arrived.
    """
    limits = Limits(timeout, deadline, retries, quorum, grace, hedge_after, max_concurrency, max_calls, budget_usd)
    if aggregator is None:
        raise TypeError("Name the aggregator by a string such as 'openai:model-id', not by NoneType.")
    planned = _proposer_layers(reference_models, layers)
    check_seed(shuffle_seed)
    check_manner(robust=robust, stop_at=stop_at, pick=pick)
    stages = [prepare(models, prompt, max_tokens=max_tokens, temperature=temperature) for models in planned]
    final = prepare([aggregator], prompt, max_tokens=max_tokens, temperature=temperature)
    hedges = [prepare_hedges(proposers, limits, hedge_with) for proposers in stages]
    check_quorum(quorum, min(planned, key=len))
    expected = estimate(prompt, reference_models, aggregator, layers=layers, max_tokens=max_tokens)
    allowance = Allowance(max_calls, budget_usd)
    allowance.check(expected)
    if _check_only:
        return Answer(prompt, "", "all_failed", (), None, 0.0, 0.0)
    started = time.perf_counter()
    done: list[Replies] = []
    left_out: list[Reply] = []
    system, reply, picked, before = None, None, None, None
    try:
        for layer, (proposers, second) in enumerate(zip(stages, hedges, strict=True), 1):
            proposers = [replace(request, system=system, role=f"layer {layer}") for request in proposers]
            second = [replace(request, system=system) for request in second]
            allowance.plan(proposers, expected.stages[layer:])
            done.append(await run_all(proposers, limits, allowance, second, _events(layer, _listen)))
            if len(done[-1].good) < (quorum or 1):
                break
            good = done[-1].good
            enter = [good[place] for place in majority([reply.text for reply in good])] if robust else good
            left_out += [reply for reply in good if reply not in enter]
            shown = [reply for reply in done[-1] if reply not in left_out]
            system = aggregator_system(shown, shuffle_seed=shuffle_seed)
            texts = [reply.text for reply in good]
            if stop_at is not None and before is not None and between(before, texts) >= stop_at:
                break
            before = texts
        if len(done[-1].good) >= (quorum or 1):
            candidates = shuffled([reply for reply in shown if reply.ok], shuffle_seed)
            if pick and len(candidates) == 1:
                final, picked = [], candidates[0]  # nothing to choose from
            elif pick:
                system = ranker_system([reply.text for reply in candidates])
            final = [replace(request, system=system, role="aggregator") for request in final]
            allowance.plan(final)
            alone = replace(limits, quorum=None, grace=0.0, hedge_after=None)
            hear = _events(len(stages) + 1, (lambda event: None) if pick else _listen, aggregator=True)
            (reply,) = await run_all(final, alone, allowance, listen=hear) if final else (None,)
            if pick and reply and reply.ok and (number := chosen(reply.text, len(candidates))):
                picked = candidates[number - 1]
            if picked:
                _listen(AggregatorDelta(picked.text))
    except BaseException as error:
        now = getattr(error, "replies", ())
        error.replies = Replies([*chain(*done), *now])  # type: ignore[attr-defined]
        raise
    text = picked if pick else reply if reply and reply.ok else None
    answer = Answer(
        prompt=prompt,
        text=text.text if text else "",
        outcome=_outcome(done, left_out, text, quorum),
        layers=tuple(done),
        aggregator=reply,
        started=started,
        elapsed=time.perf_counter() - started,
        quorum=quorum,
        left_out=tuple(left_out),
        skipped=len(stages) - len(done) if text else 0,
        picked=picked,
    )
    _listen(MixtureDone(answer))
    return answer


def check_manner(*, robust: bool = False, stop_at: float | None = None, pick: bool = False) -> None:
    """Raise TypeError or ValueError unless ``mixture_of_agents`` takes these."""
    for name, value in {"robust": robust, "pick": pick}.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}.")
    if stop_at is not None:
        check_number("stop_at", stop_at)
        if stop_at > 1:
            raise ValueError(f"stop_at is {stop_at}; it is a share, at most 1.")


def _proposer_layers(
    reference_models: Sequence[str] | None, layers: int | Sequence[Sequence[str]]
) -> list[Sequence[str]]:
    """The models of each layer of proposers."""
    if isinstance(layers, Sequence) and not isinstance(layers, str):
        if reference_models is not None:
            raise TypeError("Give the models in reference_models, or by layer in layers, but not in both.")
        if not layers:
            raise ValueError("layers is empty: list the models of one layer of proposers at least.")
        return list(layers)
    check_number("layers", layers, least=2, whole=True)
    if reference_models is None:
        raise TypeError("Give the reference models as a list of names, such as ['openai:model-id'].")
    return [reference_models] * (int(layers) - 1)


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
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    mixture = mixture_of_agents(prompt, reference_models, aggregator, _listen=events.put_nowait, **options)
    task = asyncio.create_task(mixture)
    task.add_done_callback(lambda task: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        await task  # raises what the mixture raised
    except BaseException as error:
        task.cancel()
        try:
            await task
        except BaseException as ended:
            error.replies = getattr(ended, "replies", ())  # type: ignore[attr-defined]
        raise


def _events(layer: int, listen: Callable[[Event], None], *, aggregator: bool = False) -> Listener:
    """What turns the happenings of a layer, or of the aggregator, into events."""

    def hear(index: int, happened: Happened | Reply) -> None:
        if isinstance(happened, Retry):
            listen(Retrying(layer, None if aggregator else index, happened))
        elif isinstance(happened, Hedge):
            listen(Hedging(layer, index, happened))
        elif isinstance(happened, Delta):
            text = happened.text
            listen(AggregatorDelta(text) if aggregator else ProposerDelta(layer, index, happened.model, text))
        elif not aggregator:
            listen(ProposerDone(layer, index, happened))

    return hear


def _outcome(
    layers: Sequence[Replies], left_out: Sequence[Reply], written: Reply | None, quorum: int | None
) -> Outcome:
    good = len(layers[-1].good)
    if not good:
        return "all_failed"
    if good < (quorum or 1):
        return "below_quorum"
    if written is None:
        return "aggregator_failed"
    if all(reply.ok and reply not in left_out for reply in chain(*layers)):
        return "complete"
    return "single" if good == 1 else "partial"
