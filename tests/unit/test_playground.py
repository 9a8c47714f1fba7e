"""The playground's controls, on whichever ipywidgets is installed: what can be chosen, and what is refused."""

import asyncio
import dataclasses
import os

import pytest

import moa_helpers as moa
from moa_helpers import catalogue, offline
from moa_helpers.ui.playground.choice import in_labels
from moa_helpers.vendors import settings
from tests.support import standins
from tests.support.reading import Reading, draw_nothing, reader
from tests.support.replies import MODELS
from tests.support.scripts import hangs

LUNA, HAIKU, SMALL = MODELS
ALONE = "none: only the reference models"
LIMITS = [
    *("timeout", "retries", "deadline", "quorum", "grace", "hedge_after", "hedge_with", "max_concurrency"),
    *("max_calls", "budget_usd", "max_tokens", "stop_at"),
]


@pytest.fixture
def reading(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    draw_nothing(monkeypatch)
    return reader(run)


@pytest.fixture
def live(monkeypatch):
    """Live mode with a made-up key for each vendor; ``live(without)`` leaves one out, and knows these local models."""
    for vendor in catalogue.VENDORS.values():
        if vendor.key_variable:
            monkeypatch.setenv(vendor.key_variable, f"dummy-{vendor.name}")

    def live(without="", local=()):
        os.environ.pop(without, None)
        know(monkeypatch, "live", local)

    return live


def know(monkeypatch, mode, local):
    """Have ``setup`` find these models on this machine."""
    found = dict.fromkeys(local, "http://127.0.0.1:1/v1")
    monkeypatch.setattr(settings, "_current", dataclasses.replace(moa.setup(mode), local_models=found))


# What can be chosen


def test_the_defaults_run_as_they_are(reading, script):
    async def go(reading):
        assert reading.chosen == MODELS
        assert reading["Aggregator"].value == LUNA
        assert (reading["Samples of each"].value, reading["Layers"].value) == (1, 2)
        assert reading["Prompt"].value == offline.questions()[0].prompt
        assert all(not reading[name].value for name in LIMITS)
        assert reading["Limits"].value is False
        assert reading.says().startswith("ready")
        assert reading.says("moa-estimate").startswith("4 calls, about $0.000")
        assert "if nothing is retried or sent a second time" in reading.says("moa-estimate")
        assert not script.asked, "it asks nobody before Run"
        return await reading.play.run()

    done = reading(go)
    assert done.answer.outcome == "complete"
    assert [reply.model for reply in done.replies] == [*MODELS, LUNA]


def test_what_is_given_is_chosen_and_its_limits_are_in_sight(reading):
    async def go(reading):
        assert reading.chosen == [HAIKU, LUNA]
        assert (reading["Samples of each"].value, reading["Layers"].value, reading["quorum"].value) == (2, 3, "2")
        assert reading["max_concurrency"].value == "mistral=2, all=8"
        assert reading["Aggregator"].value == SMALL
        assert reading["Limits"].value is True
        assert all(box.value for box in reading.switches.values())
        assert reading["stop_at"].value == "0.75"

    options = {"layers": 3, "quorum": 2, "max_concurrency": {"mistral": 2, "all": 8}, "robust": True}
    options |= {"pick": True, "stop_at": 0.75}
    reading(go, "Why?", [HAIKU, LUNA, HAIKU, LUNA], SMALL, **options)


def test_a_list_that_cannot_be_shown_says_so(reading):
    async def go(reading):
        assert "each model is asked equally often, 2 × at first" in reading.says()

    reading(go, "Why?", [LUNA, LUNA, HAIKU])


def test_none_is_an_empty_limit(reading):
    async def go(reading):
        assert (reading["quorum"].value, reading["Limits"].value) == ("", False)
        assert reading.says("moa-estimate").startswith("4 calls, ")

    reading(go, quorum=None)


def test_the_limits_are_folded_until_they_are_wanted(reading):
    async def go(reading):
        before = len(reading.hidden)
        await reading.choose(Limits=True)
        assert len(reading.hidden) == before - 1
        await reading.choose(Limits=False)
        assert len(reading.hidden) == before

    reading(go)


def test_offline_only_what_was_shut_down_cannot_be_chosen(reading, monkeypatch):
    know(monkeypatch, "offline", ["local:llama", "local:<script>"])

    async def go(reading):
        offered = {label.split(" (")[0]: label for label in reading["Add a model"].options}
        for name in offered:
            reading["Add a model"].value = name
            await reading.click("Add")
        return offered, {name: (box.disabled, box.value) for name, box in reading.models.items()}, reading["Aggregator"]

    offered, boxes, aggregator = reading(go)
    for name, model in catalogue.listed().items():
        gone = model.is_shut_down
        assert offered[name] == (f"{name} (shut down on {model.shutdown_date})" if gone else name)
        assert boxes[name] == (gone, not gone), "it stands in the list, and can be ticked or not"
        assert (name in aggregator.options) is not gone
    assert offered["local:llama"] == "local:llama (real and free: after moa.setup('live'))"
    assert boxes["local:llama"] == (True, False)
    assert "local:<script>" not in offered
    assert "local:llama" not in aggregator.options
    assert any(disabled for disabled, _ in boxes.values())


def test_live_a_model_without_its_key_cannot_be_chosen_and_says_which(live, reading, script):
    live(without="ANTHROPIC_API_KEY", local=["local:llama"])

    async def go(reading):
        boxes = reading.models
        assert (boxes[HAIKU].disabled, boxes[HAIKU].value) == (True, False)
        assert boxes[HAIKU].description == f"{HAIKU} (no key: set ANTHROPIC_API_KEY)"
        assert reading["Aggregator"].value == LUNA
        assert HAIKU not in reading["Aggregator"].options
        assert "local:llama" in reading["Add a model"].options
        assert reading.hidden == ["Prepared question", "", "Code that does the same", "", "Show a run again"]
        assert "nothing is charged" not in reading.says("moa-estimate")
        await reading.choose(models=[LUNA, SMALL])
        return await reading.play.run()

    done = reading(go, "Why?", MODELS, HAIKU)
    assert done.answer.outcome == "complete"
    assert HAIKU not in script.counts()
    assert "dummy-" not in str(done)


def test_an_aggregator_that_cannot_be_asked_is_replaced_and_it_says_so(live, reading):
    live(without="ANTHROPIC_API_KEY")
    for listed, instead in ((MODELS, LUNA), ([HAIKU, SMALL], SMALL), ([HAIKU], ALONE)):

        async def go(reading, instead=instead):
            assert reading["Aggregator"].value == instead
            assert reading.says() == f"ready; {HAIKU} cannot be asked now, so the aggregator is {instead}"

        reading(go, "Why?", listed, HAIKU)


def test_live_the_free_models_of_colab_cannot_be_chosen_elsewhere(live, reading):
    live()

    async def go(reading):
        box = reading.models["colab:google/gemini-2.5-flash"]
        assert (box.disabled, box.description) == (True, "colab:google/gemini-2.5-flash (only on Google Colab)")
        assert reading.chosen == [LUNA]

    reading(go, "Why?", ["colab:google/gemini-2.5-flash", LUNA])


def test_live_with_no_key_at_all_there_is_nothing_to_run(reading, script):
    moa.setup("live")

    async def go(reading):
        assert all(box.disabled for box in reading.models.values())
        assert "No model can be asked now" in reading.says("moa-estimate")
        await reading.click("Run")
        assert "Not run." in reading.says()

    reading(go)
    assert not script.asked


def test_a_prepared_question_can_be_chosen_and_chosen_again(reading):
    async def go(reading):
        first = offline.questions()[1].prompt
        await reading.choose(Prepared__question=first)
        assert reading["Prompt"].value == first
        assert "know only the prepared questions" not in reading.says("moa-estimate")
        await reading.choose(Prompt="Another one?")
        assert reading["Prepared question"].value == ""
        assert "know only the prepared questions" in reading.says("moa-estimate")
        await reading.choose(Prepared__question=first)
        assert reading["Prompt"].value == first

    reading(go)


# What is wrong is said before any call

WRONG = [
    ({"models": []}, "tick at least one"),
    ({"Prompt": "  "}, "prompt is empty"),
    ({"models": [], "Aggregator": ALONE}, "tick at least one"),
    ({"Prompt": "half \ud83d"}, "half a character"),
    ({"timeout": "soon"}, "timeout is 'soon': write a number, or leave the field empty"),
    ({"retries": "1.5"}, "retries must be a whole number"),
    ({"deadline": "-1"}, "deadline is -1; it must be above 0"),
    ({"deadline": "inf"}, "deadline is inf"),
    ({"timeout": "nan"}, "timeout is nan"),
    ({"quorum": "9"}, "quorum is 9, but only 3 models are asked"),
    ({"grace": "1"}, "give quorum too"),
    ({"hedge_with": LUNA}, "give hedge_after too"),
    ({"hedge_after": "1", "hedge_with": "nobody"}, "names no model"),
    ({"hedge_with": "nobody"}, "give hedge_after too"),
    ({"max_concurrency": "nobody=2"}, "max_concurrency names 'nobody'"),
    ({"max_concurrency": "mistral"}, "write a number, or one for each vendor as in mistral=2, all=8, or leave"),
    ({"max_concurrency": "mistral="}, "write a number"),
    ({"max_calls": "3"}, "4 calls are planned, but max_calls is 3"),
    ({"budget_usd": "0.0001"}, "budget_usd is $0.0001"),
    ({"max_tokens": "200000"}, "max_tokens is 200000"),
    ({"stop_at": "1.5"}, "stop_at is 1.5; it is a share, at most 1"),
]


def test_bad_input_is_told_and_nobody_is_asked(reading, script):
    async def go(reading):
        for changed, message in WRONG:
            usual = {label: reading[label].value for label in changed if label != "models"} | {"models": MODELS}
            await reading.choose(**changed)
            assert in_labels(message) in reading.says("moa-estimate"), "while it is typed"
            await reading.click("Run")
            await reading.until(in_labels(message), "moa-said")
            assert reading.says().startswith("Not run. ")
            assert 'role="alert"' in reading.html("moa-said")
            assert reading.buttons == ["Run", "Reset"]
            with pytest.raises((ValueError, TypeError)) as caught:
                await reading.play.run()
            assert message in str(caught.value)
            await reading.choose(**usual)
            assert reading.says("moa-estimate").startswith("4 calls, "), "once it is corrected"
        assert not reading.play.runs
        assert not script.asked

    reading(go)


def test_any_model_can_be_typed_and_what_is_wrong_is_said(live, reading):
    live(without="ANTHROPIC_API_KEY")
    wrong = {"claude": "names no model", "nobody:x": "names no model", "openai:<b>": "cannot be in the list"}
    wrong |= {"openai: x": "names no model"}
    new, no_key = "openai:gpt-not-yet-listed", "anthropic:claude-not-yet-listed"

    async def go(reading):
        for typed, message in wrong.items():
            await reading.choose(Add__a__model=typed)
            assert reading.says().startswith("Not added. ")
            assert message in reading.says()
            assert reading["Add a model"].value == typed, "it can be corrected"
        assert list(reading.models) == MODELS
        await reading.choose(Add__a__model=f" {new} ")
        assert (reading.says(), reading["Add a model"].value) == (f"in the list: {new}", "")
        assert reading["Aggregator"].value == LUNA
        assert new in reading["Aggregator"].options
        await reading.choose(Add__a__model=no_key)
        assert reading.says() == f"in the list: {no_key} (no key: set ANTHROPIC_API_KEY)"
        assert reading.models[no_key].disabled
        assert no_key not in reading["Aggregator"].options
        return (await reading.play.run()).arguments["reference_models"]

    assert reading(go, "Why?", MODELS, LUNA) == [LUNA, SMALL, new]


def test_the_estimate_follows_what_is_chosen(reading):
    async def go(reading):
        await reading.choose(max_tokens="many")
        assert "Longest answer is 'many': write a number" in reading.says("moa-estimate")
        await reading.choose(max_tokens="", deadline="abc")
        assert reading.says("moa-estimate").startswith("Deadline is 'abc': write a number")
        await reading.choose(deadline="", max_tokens="100", Samples__of__each=3)
        assert reading.says("moa-estimate").startswith("10 calls, ")

    reading(go)


ARGUMENTS = [
    ((), {"temperature": 1}, TypeError, "playground() takes no temperature; it takes layers, robust, pick,"),
    ((None, ["nobody"]), {}, ValueError, "'nobody'"),
    ((None, [LUNA, "openai:<b>"]), {}, ValueError, "'openai:<b>' cannot be in the list"),
    ((None, MODELS, "gpt"), {}, ValueError, "'gpt'"),
    ((None, [3]), {}, TypeError, "named by a string"),
    ((None, LUNA), {}, TypeError, "list of names"),
    ((7,), {}, TypeError, "prompt must be text"),
    ((), {"layers": 9}, ValueError, "layers is 9; the playground goes up to 6"),
    ((), {"robust": "yes"}, TypeError, "robust must be True or False"),
    ((), {"pick": 1}, TypeError, "pick must be True or False"),
    ((), {"stop_at": 2}, ValueError, "stop_at is 2; it is a share, at most 1"),
]


def test_wrong_arguments_are_refused_and_stop_nothing(reading, script):
    async def go(reading):
        script.default = hangs()
        await reading.click("Run")
        for arguments, options, error, message in ARGUMENTS:
            with pytest.raises(error) as caught:
                Reading(*arguments, **options)
            assert message in str(caught.value)
        await asyncio.sleep(1)
        assert reading.buttons == ["Stop"], "a run of an older playground goes on"

    reading(go)


def test_without_an_event_loop_it_says_what_to_write_instead():
    with pytest.raises(RuntimeError, match="needs a notebook"):
        moa.playground()
