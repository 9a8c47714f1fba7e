"""What is chosen in the playground, as a plain value: no widget is made."""

import pytest

from moa_helpers.offline import questions
from moa_helpers.ui.playground.choice import LIMITS, NO_AGGREGATOR, SWITCHES, Choice, completed, given, priced
from moa_helpers.vendors.settings import current

LUNA, HAIKU = "openai:gpt-6-luna", "anthropic:claude-haiku-5-5"
OPTIONS = {
    "layers": 3, "robust": True, "pick": True, "timeout": 30, "retries": 1, "deadline": 20.5, "quorum": 2, "grace": 0.1,
    "hedge_after": 5, "hedge_with": LUNA, "max_concurrency": {"mistral": 2, "all": 8}, "max_calls": 40,
    "budget_usd": 1.5, "max_tokens": 900, "stop_at": 0.5,
}  # fmt: skip


def test_what_is_given_comes_back_as_arguments():
    asked = given("Why?", [HAIKU, LUNA] * 2, LUNA, OPTIONS)
    assert {*SWITCHES, *LIMITS} == OPTIONS.keys() - {"layers"}
    wanted = {"prompt": "Why?", "reference_models": [HAIKU, LUNA] * 2, "aggregator": LUNA} | OPTIONS
    assert asked.arguments == wanted
    assert {name: type(value) for name, value in asked.arguments.items()} == {k: type(v) for k, v in wanted.items()}


def test_without_an_aggregator_what_only_mixtures_have_is_left_out():
    options = {"stop_at": "0.5", "pick": True, "timeout": " 9 ", "retries": " "}
    alone = Choice("Why?", (LUNA,), 2, NO_AGGREGATOR, layers=3, options=options)
    assert alone.arguments == {"prompt": "Why?", "reference_models": [LUNA, LUNA], "timeout": 9}
    assert priced(alone.arguments).calls == 2


def test_what_is_left_out_is_completed():
    choice, models = completed(given(None, None, None, {}), current())
    assert choice.prompt == questions()[0].prompt
    assert choice.models[:2] == (LUNA, HAIKU)
    assert choice.aggregator == LUNA
    assert all(models[name] == "" for name in choice.models)
    assert choice.arguments.keys() == {"prompt", "reference_models", "aggregator"}


@pytest.mark.parametrize("alone", [True, False])
def test_a_price_needs_arguments_that_make_sense(alone):
    choice = Choice("Why?", (LUNA,), 1, NO_AGGREGATOR if alone else LUNA, options={"quorum": "2"})
    with pytest.raises(ValueError, match="quorum is 2, but only 1 models are asked"):
        priced(choice.arguments)
