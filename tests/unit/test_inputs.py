"""Bad input is refused before any call, with words that say what to do."""

import re

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, SMALL

MODELS = [LUNA, HAIKU, SMALL]
PROMPT = "Why is the sky blue?"

# What all four functions refuse: options, exception, words of its message.
EVERYWHERE = [
    ({"prompt": ""}, ValueError, "prompt is empty: write the question"),
    ({"prompt": " \n\t"}, ValueError, "prompt is empty"),
    ({"prompt": None}, TypeError, "prompt must be text, not NoneType"),
    ({"prompt": 5}, TypeError, "prompt must be text, not int"),
    ({"prompt": ["Why?"]}, TypeError, "Message 1 of the conversation must be a mapping as in .*, not str"),
    ({"prompt": b"Why?"}, TypeError, "prompt must be text, not bytes"),
    ({"timeout": -1}, ValueError, "timeout is -1; it must be above 0"),
    ({"timeout": 0}, ValueError, "timeout is 0; it must be above 0"),
    ({"timeout": float("nan")}, ValueError, "timeout is nan; it must be above 0"),
    ({"timeout": float("inf")}, ValueError, "timeout is inf"),
    ({"timeout": True}, TypeError, "timeout must be a number, not True"),
    ({"timeout": "30"}, TypeError, "timeout must be a number, not '30'"),
    ({"timeout": None}, TypeError, "timeout must be a number, not None"),
    ({"deadline": 0}, ValueError, "deadline is 0; it must be above 0"),
    ({"deadline": float("nan")}, ValueError, "deadline is nan"),
    ({"deadline": "soon"}, TypeError, "deadline must be a number, not 'soon'"),
    ({"retries": -1}, ValueError, "retries is -1; it must be at least 0"),
    ({"retries": 1.5}, TypeError, "retries must be a whole number, not 1.5"),
    ({"retries": False}, TypeError, "retries must be a whole number, not False"),
    ({"max_tokens": 0}, ValueError, "max_tokens is 0; it must be above 0"),
    ({"max_tokens": 1e3}, TypeError, "max_tokens must be a whole number, not 1000.0"),
    ({"max_tokens": None}, TypeError, "max_tokens must be a whole number"),
    ({"max_tokens": 10**400}, ValueError, "gpt-6-luna writes at most 128000"),
    ({"max_tokens": 128_001}, ValueError, "max_tokens is 128001; openai:gpt-6-luna writes at most 128000"),
    ({"temperature": 0.5}, ValueError, "openai:gpt-6-luna takes no temperature .*reasoning_effort=none.*leave it out"),
    ({"temperature": -0.1}, ValueError, "temperature is -0.1; it must be at least 0"),
    ({"temperature": float("nan")}, ValueError, "temperature is nan"),
    ({"temperature": "warm"}, TypeError, "temperature must be a number, not 'warm'"),
]
NAMES = [
    (
        "gpt-6-luna",
        moa.UnknownModel,
        "Write 'vendor:model-id', without spaces around it, with one of the vendors openai, ",
    ),
    ("google:gemini", moa.UnknownModel, "Write 'vendor:model-id'"),
    ("openai:", moa.UnknownModel, "Write 'vendor:model-id'"),
    ("openai: gpt-6-luna", moa.UnknownModel, "without spaces around it"),
    ("openai:gpt-6-luna ", moa.UnknownModel, "without spaces around it"),
    ("", moa.UnknownModel, "Write 'vendor:model-id'"),
    (None, TypeError, "a string such as 'openai:model-id', not by NoneType"),
    (5, TypeError, "a string such as 'openai:model-id', not by int"),
]
LISTS = [
    ([], ValueError, "list of models is empty: name at least one"),
    ((), ValueError, "list of models is empty"),
    (LUNA, TypeError, "as a list of names, such as .*, not 'openai:gpt-6-luna'"),
    (None, TypeError, "as a list of names"),
    ({LUNA}, TypeError, "as a list of names"),
    (iter([LUNA]), TypeError, "as a list of names"),
    *(([LUNA, name], error, words) for name, error, words in NAMES),
]
FAN_OUT = [
    ({"quorum": 4}, ValueError, "quorum is 4, but only 3 models are asked: lower it or list more"),
    ({"quorum": 0}, ValueError, "quorum is 0; it must be above 0"),
    ({"quorum": True}, TypeError, "quorum must be a whole number, not True"),
    ({"quorum": 1.0}, TypeError, "quorum must be a whole number"),
    ({"max_concurrency": 0}, ValueError, "max_concurrency is 0; it must be above 0"),
    ({"max_concurrency": "2"}, TypeError, "max_concurrency must be a whole number"),
    ({"max_concurrency": [("mistral", 2)]}, TypeError, "or a mapping such as"),
    ({"max_concurrency": {}}, ValueError, "max_concurrency names no vendor"),
    (
        {"max_concurrency": {"Mistral": 2}},
        ValueError,
        "max_concurrency names 'Mistral'; it takes 'all' and the vendors",
    ),
    ({"max_concurrency": {"mistral": 0}}, ValueError, "max_concurrency is 0; it must be above 0"),
    ({"max_concurrency": {"all": None}}, TypeError, "max_concurrency must be a whole number"),
    ({"grace": -1, "quorum": 1}, ValueError, "grace is -1; it must be at least 0"),
    ({"grace": float("nan"), "quorum": 1}, ValueError, "grace is nan"),
    ({"grace": 1}, ValueError, "grace is how long to wait on after a quorum: give quorum too"),
    ({"hedge_after": 0}, ValueError, "hedge_after is 0; it must be above 0"),
    ({"hedge_after": True}, TypeError, "hedge_after must be a number, not True"),
    ({"hedge_with": "openai:gpt-6-luna"}, ValueError, "give hedge_after too"),
    ({"hedge_after": 1, "hedge_with": "nobody:model"}, moa.UnknownModel, "'nobody:model' names no model"),
    ({"hedge_after": 1, "hedge_with": ["openai:gpt-6-luna"]}, TypeError, "A model is named by a string"),
    ({"max_calls": 0}, ValueError, "max_calls is 0; it must be above 0"),
    ({"max_calls": 2.0}, TypeError, "max_calls must be a whole number"),
    ({"max_calls": 2}, ValueError, "calls are planned, but max_calls is 2"),
    ({"budget_usd": 0}, ValueError, "budget_usd is 0; it must be above 0"),
    ({"budget_usd": "1"}, TypeError, "budget_usd must be a number"),
    ({"budget_usd": float("inf")}, ValueError, "budget_usd is inf"),
    ({"budget_usd": 1e-9}, ValueError, r"may cost \$.*but budget_usd is \$1e-09: lower max_tokens"),
    ({"deadline": 10**400}, ValueError, "deadline is inf"),
]
MIXTURE = [
    ({"layers": 1}, ValueError, "layers is 1; it must be at least 2"),
    ({"layers": 0}, ValueError, "layers is 0; it must be at least 2"),
    ({"layers": 2.5}, TypeError, "layers must be a whole number, not 2.5"),
    ({"layers": True}, TypeError, "layers must be a whole number, not True"),
    ({"aggregator": []}, ValueError, "list of models is empty"),
    ({"aggregator": [LUNA, [LUNA]]}, TypeError, "not by list"),
    ({"aggregator": {LUNA}}, TypeError, "not by set"),
    ({"shuffle_seed": [1]}, TypeError, r"shuffle_seed must be a whole number, not \[1\]"),
    ({"robust": "no"}, TypeError, "robust must be True or False, not 'no'"),
]


async def ask(models=MODELS, prompt=PROMPT, **options):
    return await moa.ask(models[0], prompt, **options)


async def fan_out(models=MODELS, prompt=PROMPT, **options):
    return await moa.fan_out(models, prompt, **options)


async def mixture(models=MODELS, prompt=PROMPT, aggregator=LUNA, **options):
    return await moa.mixture_of_agents(prompt, models, aggregator, **options)


async def stream(models=MODELS, prompt=PROMPT, aggregator=LUNA, **options):
    return [event async for event in moa.stream_mixture(prompt, models, aggregator, **options)]


ALL, MANY, LAYERED = [ask, fan_out, mixture, stream], [fan_out, mixture, stream], [mixture, stream]


async def complaint(call, options, error, words):
    """What is wrong with how a call is refused; nothing if it is refused as it should be."""
    try:
        await call(**options)
    except error as refusal:
        fits = type(refusal) is error and re.search(words, str(refusal))
        return [] if fits else [f"{call.__name__}({options}) says {refusal!r}, not {words!r}"]
    except Exception as other:
        return [f"{call.__name__}({options}) raises {other!r}"]
    return [f"{call.__name__}({options}) is not refused"]


def refused(calls, cases, run, script):
    """Check that each of these calls refuses each case, says why, and asks nobody."""

    async def complaints():
        return [wrong for call in calls for case in cases for wrong in await complaint(call, *case)]

    assert run(complaints()) == []
    assert script.asked == []


def named(argument, table):
    """The cases of a table for one argument."""
    return [({argument: value}, error, words) for value, error, words in table]


def test_what_all_refuse(run, script):
    refused(ALL, EVERYWHERE, run, script)


def test_model_names(run, script):
    refused([ask], [({"models": [name]}, error, words) for name, error, words in NAMES], run, script)
    refused(LAYERED, named("aggregator", NAMES), run, script)


def test_model_lists(run, script):
    refused([fan_out], named("models", LISTS), run, script)
    refused(LAYERED, named("models", LISTS), run, script)


def test_limits_of_a_fan_out(run, script):
    refused(MANY, FAN_OUT, run, script)


def test_limits_of_a_mixture(run, script):
    refused(LAYERED, MIXTURE, run, script)


def test_an_option_that_does_not_exist(run, script):
    refused(LAYERED, [({"layer": 3}, TypeError, r"argument '?layer'?")], run, script)


def test_system_message(run, script):
    refused([ask, fan_out], [({"system": ""}, ValueError, "The system is empty: write the instruction")], run, script)
    refused([ask, fan_out], [({"system": 5}, TypeError, "The system must be text, not int")], run, script)


def test_half_a_character_cannot_be_sent(run, script):
    refused(ALL, [({"prompt": "Why \ud83d?"}, ValueError, "half a character")], run, script)
    refused([ask, fan_out], [({"system": "\ude00"}, ValueError, "half a character")], run, script)


def test_a_tuple_of_models_and_every_limit_at_once_will_do(run, script):
    for call in MANY:
        options = {"timeout": 30, "deadline": 30.5, "retries": 0, "quorum": 3}
        assert run(call(tuple(MODELS), **options))
        assert {asked.model for asked in script.asked} == set(MODELS)


def test_zero_retries_and_zero_temperature_are_fine(run, script):
    assert run(ask([SMALL], temperature=0, retries=0, max_tokens=1)).ok
    (asked,) = script.asked
    assert (asked.request.temperature, asked.request.max_tokens) == (0, 1)
