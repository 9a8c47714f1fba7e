"""Any mix of faults, delays, limits and cancellations: it ends in time, loses nothing, and keeps to its limits.

Scenarios are drawn from a seed that a failure shows; MIX_SEED=7 and MIX_SCENARIOS=5000 run 5,000 others.
"""

import asyncio
import os
import random
from contextlib import aclosing

import pytest

import moa_helpers as moa
from tests.support import clock
from tests.support.events import check_events, texts_heard
from tests.support.scripts import MODELS, OSS, Act, APIConnectionError, APIStatusError

SEED = int(os.environ.get("MIX_SEED", 20261122))
SCENARIOS = int(os.environ.get("MIX_SCENARIOS", 300))
POOL = [*MODELS, "together:openai/gpt-oss-120b"]
CLOSING = 0.125
TOKENS = (60, 40)
MAX_TOKENS = 100
QUESTION = "What holds whatever happens, and what does not? " * 4  # so that it has more tokens than a call is said to


def draw_act(dice):
    """What a model does with one request: well as often as not."""
    text = " ".join([f"Word{dice.getrandbits(40)}", "and", "so", "on"][: dice.choice([0, 1, 2, 2, 3, 3, 4, 4, 4, 4])])
    after = dice.choice([0.0, 0.1, 0.1, 0.3, 0.8, 2.0])
    options = {"after": after, "per_piece": dice.choice([0.0, 0.05, 0.2]), "tokens": TOKENS, "closing": CLOSING}
    ending = dice.choice(
        ["well"] * 6 + ["length", "status", "status", "reset", "breaks off", "hangs", "hangs at its end"]
    )
    if ending == "status":
        headers = {"retry-after": str(dice.choice([0, 0.2, 3]))} if dice.random() < 0.7 else None
        error = APIStatusError(dice.choice([401, 429, 500, 503]), headers=headers)
        return Act("", finish=None, error=error, **options | {"tokens": None})
    finish = {"well": "stop", "length": "length", "hangs at its end": "stop"}.get(ending)
    error = APIConnectionError("lost") if ending == "reset" else None
    return Act(text, finish=finish, error=error, hangs=ending.startswith("hangs"), **options)


def draw(dice):
    """The models, layers and options of a fan-out (layers None) or a mixture, and when to cancel it (None: never)."""
    models = [dice.choice(POOL) for _ in range(dice.randint(1, 6))]
    options = {"timeout": dice.choice([0.15, 0.4, 1.0]), "retries": dice.randint(0, 2), "max_tokens": MAX_TOKENS}
    if dice.random() < 0.6:
        options["deadline"] = dice.choice([0.1, 0.3, 0.8, 1.5])
    if dice.random() < 0.5:
        options |= {"quorum": dice.randint(1, len(models)), "grace": dice.choice([0.0, 0.05, 0.3])}
    if dice.random() < 0.6:
        options |= {"hedge_after": dice.choice([0.01, 0.1, 0.3]), "hedge_with": dice.choice([None, *POOL])}
    if dice.random() < 0.5:
        options["max_concurrency"] = dice.choice([1, 2, {"openai": 1, "all": 3}, {"mistral": 1, "groq": 2}])
    layers = dice.choice([None, 2, 3])
    if dice.random() < 0.4:
        options["max_calls"] = len(models) * ((layers or 2) - 1) + (layers is not None) + dice.randint(0, 3)
    if dice.random() < 0.4:
        aggregator = None if layers is None else OSS
        plan = moa.estimate(QUESTION, models, aggregator, layers=layers or 2, max_tokens=MAX_TOKENS)
        options["budget_usd"] = plan.most_usd * dice.choice([1.0, 1.2, 2.0])
    if layers:
        options |= {"robust": dice.random() < 0.5, "pick": dice.random() < 0.2, "layers": layers}
    return models, layers, options, dice.choice([None, None, None, 0.05, 0.2, 0.5, 1.0])


async def play(models, layers, options, cancel_after, heard):
    """What it gave (None: it was cancelled), its replies, and when it ended; its events go to ``heard``."""
    if layers is None:
        call = moa.fan_out(models, QUESTION, **options)
    else:

        async def listen():
            async with aclosing(moa.stream_mixture(QUESTION, models, OSS, **options)) as events:
                async for event in events:
                    heard.append(event)
            return event.answer

        call = listen()
    task = asyncio.create_task(call)
    if cancel_after is not None:
        asyncio.get_running_loop().call_later(cancel_after, task.cancel)
    try:
        result = await task
    except asyncio.CancelledError as error:
        return None, error.replies, clock.now()
    return result, result if layers is None else result.replies, clock.now()


def check(models, layers, options, cancel_after, script, outcome, heard):
    result, replies, ended = outcome
    stages = 1 if layers is None else layers

    # It ends in time.
    assert ended <= options.get("deadline", 99) * stages + CLOSING * stages + 1e-6
    assert cancel_after is None or result is not None or ended <= cancel_after + CLOSING + 1e-6
    assert result is not None or cancel_after is not None

    # Every answer that was complete is in it, as a good one, and of each call what its last attempt wrote.
    known = [other for reply in replies for other in (reply, *reply.hedged)]
    good = [other.text for other in known if other.ok]
    assert not [text for text in script.written if text.strip() and text not in good]
    assert not [text for text in script.written_last() if text not in [other.text for other in known]]
    if layers is None and result is not None:
        assert [reply.model for reply in replies] == models

    # Whoever listened has read the same.
    read, given = texts_heard(heard)
    assert read == given
    if layers is not None and result is not None:
        check_events(heard, result)

    # Nothing stands in for anything else without a word.
    for reply in replies:
        if reply.ok:
            by = next(other.model for other in (*reply.hedged, reply) if other.ok and other.text == reply.text)
            assert by.endswith(f":{reply.answered_by}")
            assert by == reply.model or by in reply.summary
            assert reply.text.strip()
    if layers is not None and result is not None:
        if not result.text and any(layer.good for layer in result.layers) and result.substitute:
            assert "No synthesis. This is what" in str(result)
        assert all(f"{reply.model} left out" in result.heading for reply in result.left_out)

    # It kept to its limits.
    limits = options.get("max_concurrency") or {}
    for name, most in (limits if isinstance(limits, dict) else {"all": limits}).items():
        assert script.most[name] <= most
    assert len(script.asked) <= options.get("max_calls", 1000)
    bill = sum(moa.find(asked.model).cost(*TOKENS) for asked in script.asked if asked.text)
    assert bill <= options.get("budget_usd", 1000)
    assert sum(len(reply.attempts) for reply in replies) == len(script.asked)
    assert "left open" not in script.hows()


def test_any_mix(script, run):
    sent = cancelled = hedged = 0
    for number in range(SCENARIOS):
        seed = f"{SEED}/{number}"
        dice = random.Random(seed)
        for model in POOL:
            script[model] = [draw_act(dice) for _ in range(dice.randint(1, 4))]
        drawn, heard = draw(dice), []
        random.seed(seed)  # of the backoff
        try:
            outcome = run(play(*drawn, heard))
            check(*drawn, script, outcome, heard)
        except Exception as error:
            pytest.fail(f"MIX_SEED={SEED}, scenario {number}: {drawn}: {error!r}")
        sent, cancelled = sent + len(script.asked), cancelled + (outcome[0] is None)
        hedged += sum(bool(reply.hedged) for reply in outcome[1])
    assert min(sent / 3, cancelled * 10, hedged * 10) > SCENARIOS / 2, "hardly anything was tested"
