"""Any mix of faults, delays, limits and cancellations: it ends in time, loses nothing, and keeps to its limits.

Scenarios are drawn from a seed that is printed; ``SOAK_SEED=7 SOAK_SCENARIOS=800 pytest -s tests/test_soak.py`` runs
800 others.
"""

import asyncio
import gc
import os
import random
import time
from collections import Counter, defaultdict
from contextlib import ExitStack

import pytest

import moa_helpers as moa
from moa_helpers import calls, offline
from moa_helpers.offline import server

SEED = int(os.environ.get("SOAK_SEED", 20261122))
SCENARIOS = int(os.environ.get("SOAK_SCENARIOS", 96))
AT_ONCE = 8  # scenarios, which meet the same faults
POOL = [
    "openai:gpt-6-luna",
    "anthropic:claude-haiku-5-5",
    "mistral:mistral-small-2603",
    "groq:openai/gpt-oss-120b",
    "together:openai/gpt-oss-120b",
]


class Watch:
    """What really goes over the wire, seen from below the code under test; scenarios differ in their prompt."""

    def __init__(self, stream):
        self._stream = stream
        self.requests, self.now, self.most = Counter(), Counter(), Counter()
        self.finished = defaultdict(list)
        self.bill = Counter()  # US dollars, at the vendors, for every answer that they set out to write

    def price(self, plan):
        """Note what each answer costs whose writing the vendors plan."""

        def priced(request, asked, model, fault, system, prompt):
            made = plan(request, asked, model, fault, system, prompt)
            refused = fault is not None and fault.kind.isdigit()
            self.bill[prompt] += 0 if refused else model.cost(made.input_tokens, made.output_tokens)
            return made

        return priced

    async def __call__(self, request):
        places = [(request.prompt, request.model.vendor.name), (request.prompt, "all")]
        self.requests[request.prompt] += 1
        self.now.update(places)
        for place in places:
            self.most[place] = max(self.most[place], self.now[place])
        text, last = "", None
        try:
            async for chunk in self._stream(request):
                text, last = text + chunk.text, chunk.finish_reason or last
                if last in ("stop", "end_turn") and text.strip() and text not in self.finished[request.prompt]:
                    self.finished[request.prompt].append(text)
                yield chunk
        finally:
            self.now.subtract(places)


def draw(dice, prompt, heard):
    """The arguments of a fan-out or a mixture, and when to cancel it (None: never). Its events go to ``heard``."""
    models = [dice.choice(POOL) for _ in range(dice.randint(1, 6))]
    options = {"timeout": dice.choice([0.15, 0.4, 1.0]), "retries": dice.randint(0, 2)}
    if dice.random() < 0.6:
        options["deadline"] = dice.choice([0.1, 0.3, 0.8, 1.5])
    if dice.random() < 0.5:
        options |= {"quorum": dice.randint(1, len(models)), "grace": dice.choice([0.0, 0.05, 0.3])}
    if dice.random() < 0.6:
        options |= {"hedge_after": dice.choice([0.01, 0.1, 0.3]), "hedge_with": dice.choice([None, *POOL])}
    if dice.random() < 0.5:
        options["max_concurrency"] = dice.choice([1, 2, {"openai": 1, "all": 3}, {"mistral": 1, "groq": 2}])
    layers = dice.choice([None, None, 2, 3])
    if dice.random() < 0.4:
        options["max_calls"] = len(models) * ((layers or 2) - 1) + (layers is not None) + dice.randint(0, 3)
    aggregator = None if layers is None else dice.choice(POOL)
    if dice.random() < 0.4:
        plan = moa.estimate(prompt, models, aggregator, layers=layers or 2)
        options["budget_usd"] = plan.most_usd * dice.choice([1.0, 1.2, 2.0])
    if layers is None:
        call = moa.fan_out(models, prompt, **options)
    else:
        robust = dice.random() < 0.5
        call = moa.mixture_of_agents(
            prompt, models, aggregator, layers=layers, robust=robust, _listen=heard.append, **options
        )
    return call, models, layers, options, dice.choice([None, None, None, 0.05, 0.2, 0.5])


async def lag(late):
    """Add up how late this loop wakes its tasks, which no limit of time can undercut."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.01)
        late[0] += time.perf_counter() - before - 0.01


def texts_heard(events):
    """What a listener has read of each call that ended well, by layer and place, and what the call gave."""
    texts, replies = defaultdict(str), {}
    for event in events:
        place = (getattr(event, "layer", None), getattr(event, "index", None))
        if isinstance(event, moa.Retrying):
            texts[place] = ""
        elif isinstance(event, moa.ProposerDelta):
            texts[place] += event.text
        elif isinstance(event, moa.ProposerDone) and event.reply.ok:
            replies[place] = event.reply.text
    return {place: texts[place] for place in replies}, replies


async def play(dice, prompt, watch, late):
    heard = []
    call, models, layers, options, cancel_after = draw(dice, prompt, heard)
    said = f"{prompt}: {len(models)} models, layers {layers}, {options}, cancelled after {cancel_after}"
    task, started, late_before = asyncio.create_task(call), time.perf_counter(), late[0]
    if cancel_after is not None:
        asyncio.get_running_loop().call_later(cancel_after, task.cancel)
    done, _ = await asyncio.wait([task], timeout=30)
    elapsed = time.perf_counter() - started
    assert done, f"hangs: {said}"

    # It ends in time.
    stages = 1 if layers is None else layers
    bound = options.get("deadline", 20) * stages
    bound = bound if cancel_after is None else min(bound, cancel_after)
    bound += 0.5 + late[0] - late_before
    assert elapsed < bound, f"took {elapsed:.2f} s, more than {bound:.2f}: {said}"

    # It says what happened, or was cancelled and carries what it had.
    if task.cancelled() or task.exception():
        assert task.cancelled(), f"{task}: {said}"
        assert cancel_after is not None, said
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        replies, result = caught.value.replies, None
    else:
        result = task.result()
        replies = result if layers is None else result.replies

    # Every answer that was complete is in it, as a good one.
    known = [other for reply in replies for other in (reply, *reply.hedged)]
    good = {other.text for other in known if other.ok}
    lost = [text for text in watch.finished[prompt] if text not in good]
    assert not lost, f"lost {lost}: {said}"
    if layers is None and result is not None:
        assert [reply.model for reply in replies] == models, said

    # Whoever listened has read the same.
    read, given = texts_heard(heard)
    assert read == given, said

    # Nothing stands in for anything else without a word.
    for reply in replies:
        if reply.ok:
            by = next(other.model for other in (*reply.hedged, reply) if other.ok and other.text == reply.text)
            assert by.endswith(f":{reply.answered_by}"), said
            assert by == reply.model or by in reply.summary, said
            assert reply.text.strip(), said
    if layers is not None and result is not None:
        written = [text for text in watch.finished[prompt] if text == result.text]
        assert not result.text or written or result.aggregator.truncated, said
        if not result.text and any(layer.good for layer in result.layers):
            assert "No synthesis. This is what" in str(result), said
        for reply in result.left_out:
            assert f"{reply.model} left out" in result.heading, said

    # It kept to its limits.
    limits = options.get("max_concurrency") or {}
    for name, most in (limits if isinstance(limits, dict) else {"all": limits}).items():
        assert watch.most[prompt, name] <= most, f"{watch.most[prompt, name]} at once: {said}"
    assert watch.requests[prompt] <= options.get("max_calls", 1000), f"{watch.requests[prompt]} calls: {said}"
    assert watch.bill[prompt] <= options.get("budget_usd", 1000), f"${watch.bill[prompt]}: {said}"
    assert sum(len(reply.attempts) for reply in replies) == watch.requests[prompt], said


# On Colab's versions, httpx leaves a socket to the garbage collector if it is cancelled in the moment of connecting.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("batch", range(-(-SCENARIOS // AT_ONCE)))
def test_soak(batch, run, monkeypatch, question):
    print(f"seed {SEED}, batch {batch}")
    dice = random.Random(f"{SEED}/{batch}")
    watch = Watch(calls.stream)
    monkeypatch.setattr(calls, "stream", watch)
    monkeypatch.setattr(server, "_plan", watch.price(server._plan))
    monkeypatch.setattr(calls, "BACKOFF_BASE", 0.05)

    async def batch_of_scenarios():
        late = [0.0]
        ticker = asyncio.create_task(lag(late))
        try:
            prompts = [f"{question} ({batch}.{number})" for number in range(AT_ONCE)]
            await asyncio.gather(*(play(dice, prompt, watch, late) for prompt in prompts))
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])

    with ExitStack() as faults:
        faults.enter_context(offline.fault("*", "any", chance=dice.choice([0.0, 0.1, 0.3, 0.8])))
        if dice.random() < 0.3:
            vendor = dice.choice(POOL).partition(":")[0]
            faults.enter_context(offline.fault(vendor, dice.choice([*offline.KINDS])))
        run(batch_of_scenarios())
    assert sum(watch.requests.values()) > AT_ONCE
    assert not +watch.now, "a stream was left open"
    gc.collect()
