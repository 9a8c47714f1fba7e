"""What the checks of notebooks 1 to 3 say to wrong answers of every type: words that help, and never a traceback."""

import ast
import asyncio
import inspect
import time

import pandas as pd
import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.notebooks.cells import PATHS, read
from tests.support.replies import reply

SYSTEM = "Answer in English, in at most 120 words."
MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]


def check(notebook: int, begins: str) -> str:
    """The source of the check in the notebook that begins so."""
    found = [cell.source for cell in read(PATHS[notebook - 1]).code if begins in cell.source]
    assert len(found) == 1
    return begins + found[0].partition(begins)[2]


def said(source, names, capsys):
    code = compile(source, "check", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    scope = {"moa": moa, "offline": offline, "pd": pd, "asyncio": asyncio, "time": time, **names}

    async def run():
        if inspect.iscoroutine(ran := eval(code, scope)):
            await ran

    asyncio.run(run())
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"a": 0, "b": 0}, "Not tried yet: every difference is 0."),
        ({"a": 10, "b": 10}, "Right: "),
        ({"a": -10, "b": -10}, "Not yet: with a system message there should be more tokens, not fewer."),
        ({"a": 300}, "Not yet: 300 tokens are too many for 8 words."),
        *[(wrong, "Not yet: `added` should hold a number") for wrong in ({}, None, 10, [10], {"a": "10"}, {"a": None})],
    ],
)
def test_what_the_system_message_costs(added, words, capsys):
    asked = {"openai": MODELS[0]}
    source = check(1, "found = list(added.values())")
    assert said(source, {"added": added, "system": SYSTEM, "asked": asked}, capsys).startswith(words)


CATALOGUE = moa.models()
RIGHT = 1000 * (23 * CATALOGUE["usd_in_per_m"] + 94 * CATALOGUE["usd_out_per_m"]) / 1e6


@pytest.mark.parametrize(
    ("thousand", "words"),
    [
        (0 * RIGHT, "Not tried yet: every price is 0."),
        (RIGHT, "Right: the cheapest, at $0."),
        (RIGHT.sort_values(), "Right: the cheapest, at $0."),
        (RIGHT / 1000, "Not yet: for openai:gpt-6.2-astra it is $3.9440, and yours is 0.003944."),
        *[(wrong, "Not yet: for openai:gpt-6.2-astra") for wrong in (None, 5, [1, 2], "much", RIGHT.to_list(), len)],
        (RIGHT.map(str) + " dollars", "Not yet: for openai:gpt-6.2-astra it is $3.9440, and yours is nan."),
    ],
)
def test_a_thousand_questions(thousand, words, capsys):
    names = {"catalogue": CATALOGUE, "tokens_in": 23, "tokens_out": 94, "thousand": thousand}
    told = said(check(1, "prices = {name: moa.find"), names, capsys)
    assert told.startswith(words)
    if words.startswith("Right"):
        for model in (RIGHT.idxmin(), RIGHT.idxmax()):
            assert model in told


async def takes_all(*coroutines):
    return await asyncio.gather(*coroutines)


async def keeps_the_good(*coroutines):
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    return [result for result in results if not isinstance(result, BaseException)]


async def keeps_everything(*coroutines):
    return await asyncio.gather(*coroutines, return_exceptions=True)


async def returns_nothing(*coroutines):
    await keeps_the_good(*coroutines)


async def fails(*coroutines):
    await keeps_the_good(*coroutines)
    raise NameError("name 'gahter' is not defined")


@pytest.mark.parametrize(
    ("gather_good", "words"),
    [
        (takes_all, "Not tried yet: "),
        (keeps_the_good, "Right: it gave ['a', 'b'] after 1 s"),
        (keeps_everything, "Not yet: it gave ['a', TimeoutError()"),
        (fails, "Not yet: it gave NameError("),
        (returns_nothing, "Not yet: it gave None after 1 s"),
    ],
)
def test_a_gather_that_keeps_the_good_answers(gather_good, words, capsys):
    assert said(check(2, "late = asyncio.wait_for"), {"gather_good": gather_good}, capsys).startswith(words)


def spans(*spans):
    return moa.Replies(moa.Reply(MODELS[0], started=begin, elapsed=end - begin) for begin, end in spans)


@pytest.mark.parametrize(
    ("limited", "words"),
    [
        (spans((0, 1), (0, 2), (0, 3)), "Not tried yet: 3 calls ran at the same time."),
        (spans((0, 1), (0, 2), (1, 3)), "Right: "),
        (spans((0, 1), (1, 2), (2, 3)), "Not yet: "),
        *[(wrong, "Not yet: ") for wrong in (None, 2, [], "two", moa.Replies())],
    ],
)
def test_two_at_a_time(limited, words, capsys):
    assert said(check(2, "calls = limited if"), {"limited": limited}, capsys).startswith(words)


class Mixtures:
    """In place of the package: what a mixture of so many gives, and how often it was asked."""

    def __init__(self):
        self.asked = 0

    async def mixture_of_agents(self, prompt, models, aggregator, layers=2, **limits):
        self.asked += 1
        replies = moa.Replies(reply() for _ in range(len(models) * (layers - 1) + 1))
        answer = {"replies": replies, "layers": [replies[: len(models)]], "outcome": "single"}
        answer |= {"heading": "a heading", "text": "a text"}
        return type("Answer", (), answer)()


@pytest.mark.parametrize(
    ("self_models", "words"),
    [
        ([], "Not tried yet: the list is empty."),
        (MODELS[:1] * 3, "Right: a heading"),
        *[
            (wrong, "Not yet: the list should hold 'openai:gpt-6-luna' three times.")
            for wrong in (MODELS, MODELS[:1] * 2, MODELS[0], None, 3, ["a"] * 3, [["a"]] * 3, ())
        ],
    ],
)
def test_one_model_three_times(self_models, words, capsys):
    shown = []
    names = {"self_models": self_models, "reference_models": MODELS, "prompt": "Why?", "aggregator": MODELS[0]}
    names |= {
        "moa": Mixtures(),
        "points": lambda texts: texts,
        "answer": reply(),
        "show": print,
        "display": shown.append,
    }
    assert said(check(3, "# The check\nif self_models"), names, capsys).startswith(words)
    rows = ["sample 1", "sample 2", "sample 3", "synthesis", "three models"]
    assert [list(table) for table in shown] == ([rows] if words.startswith("Right") else [])


@pytest.mark.parametrize(
    ("guess", "outcome", "words"),
    [
        (None, None, "Not tried yet: "),
        (5, None, "Not tried yet: "),
        (5, "single", "Right: 5 calls, and a heading"),
        *[(guess, "single", "Not yet: ") for guess in (4, "5", [5], len)],
        *[(5, outcome, "Not yet: ") for outcome in ("partial", 3, ["single"])],
    ],
)
def test_more_layers_and_a_vendor_that_fails(guess, outcome, words, capsys):
    mixtures = Mixtures()
    names = {"guess": guess, "outcome": outcome, "reference_models": MODELS, "prompt": "Why?", "aggregator": MODELS[0]}
    names |= {"moa": mixtures, "show": print}
    assert said(check(3, "two = reference_models[:2]"), names, capsys).startswith(words)
    assert mixtures.asked == (0 if words.startswith("Not tried") else 2)
