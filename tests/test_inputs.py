"""Bad input is refused before any call, with words that say what to do."""

import pytest

import moa_helpers as moa

LUNA = "openai:gpt-6-luna"
PROMPT = "Why is the sky blue?"

# What all four functions refuse: options, exception, words of its message.
EVERYWHERE = [
    ({"prompt": ""}, ValueError, "prompt is empty: write the question"),
    ({"prompt": " \n\t"}, ValueError, "prompt is empty"),
    ({"prompt": None}, TypeError, "prompt must be text, not NoneType"),
    ({"prompt": 5}, TypeError, "prompt must be text, not int"),
    ({"prompt": ["Why?"]}, TypeError, "prompt must be text, not list"),
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
    *(({"aggregator": name}, error, words) for name, error, words in NAMES),
    ({"aggregator": [LUNA]}, TypeError, "not by list"),
    ({"shuffle_seed": [1]}, TypeError, r"shuffle_seed must be a whole number, not \[1\]"),
    ({"robust": "no"}, TypeError, "robust must be True or False, not 'no'"),
]


async def ask(models, prompt=PROMPT, **options):
    return await moa.ask(models[0], prompt, **options)


async def fan_out(models, prompt=PROMPT, **options):
    return await moa.fan_out(models, prompt, **options)


async def mixture(models, prompt=PROMPT, aggregator=LUNA, **options):
    return await moa.mixture_of_agents(prompt, models, aggregator, **options)


async def stream(models, prompt=PROMPT, aggregator=LUNA, **options):
    return [event async for event in moa.stream_mixture(prompt, models, aggregator, **options)]


ALL, MANY, LAYERED = [ask, fan_out, mixture, stream], [fan_out, mixture, stream], [mixture, stream]


@pytest.fixture
def refused(run, vendors):
    """Check that a call raises, says why, and asks nobody."""

    def refused(coroutine, error, words):
        with pytest.raises(error, match=words):
            run(coroutine)
        assert not vendors.asked

    return refused


def cases(table):
    return [pytest.param(*case, id=f"{number}-{str(case[0])[:20]}") for number, case in enumerate(table)]


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize(("options", "error", "words"), cases(EVERYWHERE))
def test_everywhere(call, options, error, words, models, refused):
    refused(call(models, **options), error, words)


@pytest.mark.parametrize(("name", "error", "words"), cases(NAMES))
def test_model_names(name, error, words, refused):
    refused(ask([name]), error, words)


@pytest.mark.parametrize("call", MANY)
@pytest.mark.parametrize(("listed", "error", "words"), cases(LISTS))
def test_model_lists(call, listed, error, words, refused):
    refused(call(listed), error, words)


@pytest.mark.parametrize("call", MANY)
@pytest.mark.parametrize(("options", "error", "words"), cases(FAN_OUT))
def test_limits_of_a_fan_out(call, options, error, words, models, refused):
    refused(call(models, **options), error, words)


@pytest.mark.parametrize("call", LAYERED)
@pytest.mark.parametrize(("options", "error", "words"), cases(MIXTURE))
def test_limits_of_a_mixture(call, options, error, words, models, refused):
    refused(call(models, **options), error, words)


@pytest.mark.parametrize("call", LAYERED)
def test_an_option_that_does_not_exist(call, models, refused):
    refused(call(models, layer=3), TypeError, "unexpected keyword argument 'layer'")


@pytest.mark.parametrize(("system", "error"), [("", ValueError), (5, TypeError)])
def test_system_message(system, error, models, refused):
    refused(ask(models, system=system), error, "The system ")
    refused(fan_out(models, system=system), error, "The system ")


@pytest.mark.parametrize("call", ALL)
def test_missing_key_in_live_mode(call, models, live, recorder, monkeypatch, run):
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.setenv(variable, " ")
        moa.setup()
        lacking = [model for model in models if variable.startswith(model.partition(":")[0].upper())]
        with pytest.raises(moa.MissingKey, match=rf"set {variable} in the environment.*moa.setup\(\) again"):
            run(call(lacking))
        monkeypatch.setenv(variable, "dummy-key")
    assert not recorder.requests


@pytest.mark.parametrize("call", MANY)
def test_one_missing_key_stops_all_before_any_is_paid_for(call, models, live, recorder, monkeypatch, run):
    monkeypatch.delenv("MISTRAL_API_KEY")
    moa.setup("auto")
    with pytest.raises(moa.MissingKey, match="or leave mistral out"):
        run(call(models))
    assert not recorder.requests


@pytest.mark.parametrize("call", MANY)
def test_a_tuple_of_models_will_do(call, models, run, vendors):
    assert run(call(tuple(models), "Why is the sky blue?", timeout=30, deadline=30.5, retries=0, quorum=3))
    assert set(vendors.asked) == set(models)


def test_zero_retries_and_zero_temperature_are_fine(models, run):
    assert run(ask([models[2]], temperature=0, retries=0, max_tokens=1)).truncated
