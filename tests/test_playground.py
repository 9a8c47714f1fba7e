"""The playground without a kernel, on whichever ipywidgets is installed: 7.7.1 as on Colab, or 8."""

import ast
import asyncio
import datetime
import re
import time
import warnings
import weakref
from contextlib import ExitStack
from functools import partial

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from test_panel import HOSTILE, TAGS, Reader, fast, says, until

import moa_helpers as moa
from moa_helpers import catalogue, offline
from moa_helpers.ui import panel
from moa_helpers.vendors import local

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of the Jupyter packages while they are loaded
    from moa_helpers.ui import controls, runs

LUNA, HAIKU, SMALL = MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]
OURS = TAGS | {"caption", "details", "img", "summary"}
ALONE = "none: only the proposers"


class Reading:
    """A playground as a reader finds it: controls by their labels, outputs by their class."""

    def __init__(self, *arguments, **options):
        self.play = moa.playground(*arguments, **options)

    def _all(self, widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from self._all(child)

    def __getitem__(self, label):
        return next(w for w in self._all(self.play) if getattr(w, "description", None) == label)

    @property
    def models(self):
        """The checkboxes of models by the name that each begins with."""
        (box,) = (w for w in self._all(self.play) if "moa-models" in w._dom_classes)
        return {child.description.split(" (")[0]: child for child in box.children}

    @property
    def chosen(self):
        return [name for name, box in self.models.items() if box.value]

    def html(self, name):
        (found,) = (w for w in self._all(self.play) if name in w._dom_classes)
        return "".join(w.value for w in self._all(found) if hasattr(w, "value"))

    @property
    def hidden(self):
        """The labels of all that is not displayed; the box of the limits has none."""
        return [getattr(w, "description", "") for w in self._all(self.play) if w.layout.display == "none"]

    def says(self, name="moa-said"):
        return Reader(self.html(name)).text

    async def choose(self, **values):
        """Set controls; ``models`` is the list of those that are ticked."""
        if "models" in values:
            ticked = values.pop("models")
            for name, box in self.models.items():
                box.value = name in ticked
        for label, value in values.items():
            self[label.replace("__", " ")].value = value
        await asyncio.sleep(0.01)  # what a control changes happens at the next turn of the loop

    async def click(self, label):
        self[label].click()
        await asyncio.sleep(0.01)

    async def ended(self):
        await until(lambda: self["Stop"].disabled and not self["Run"].disabled)


@pytest.fixture
def reading(run, monkeypatch):
    """Run ``async def go(reading)`` with a new playground of these arguments; nothing runs on after it."""
    monkeypatch.setattr(controls.Playground, "_made", weakref.WeakSet())

    def start(go, *arguments, **options):
        async def whole():
            found = Reading(*arguments, **options)
            await asyncio.sleep(0.01)
            try:
                return await go(found)
            finally:
                found.play.stop()
                await found.ended()
                await asyncio.sleep(0.01)

        return run(whole())

    return start


# What can be chosen


def test_the_defaults_run_as_they_are(reading, vendors):
    async def go(reading):
        assert reading.chosen == MODELS
        assert reading["Aggregator"].value == LUNA
        assert (reading["Samples of each"].value, reading["Layers"].value) == (1, 2)
        assert reading["Prompt"].value == offline.questions()[0].prompt
        assert all(not reading[name].value for name in controls.LIMITS)
        assert reading["Limits"].value is False
        assert reading.says().startswith("ready")
        assert reading.says("moa-estimate").startswith("4 calls, about $0.000")
        assert "if nothing is retried or sent a second time" in reading.says("moa-estimate")
        assert not vendors.asked, "it asks nobody before Run"
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
        assert reading["robust: leave out what agrees too little"].value is True
        assert reading["pick: name the best answer, write none"].value is True
        assert reading["stop_at"].value == "0.75"

    options = {"layers": 3, "quorum": 2, "max_concurrency": {"mistral": 2, "all": 8}, "robust": True}
    options |= {"pick": True, "stop_at": 0.75}
    reading(go, "Why?", [HAIKU, LUNA, HAIKU, LUNA], SMALL, **options)


def test_none_is_an_empty_limit(reading):
    async def go(reading):
        assert (reading["quorum"].value, reading["Limits"].value) == ("", False)
        assert reading.says("moa-estimate").startswith("4 calls, ")

    reading(go, quorum=None)


def test_offline_only_what_was_shut_down_cannot_be_chosen(reading, monkeypatch):
    monkeypatch.setattr(local, "running_ollama", lambda url: ("ollama:llama", "ollama:<script>"))
    moa.setup("offline")

    async def go(reading):
        return {name: (box.disabled, box.description) for name, box in reading.models.items()}, reading["Aggregator"]

    boxes, aggregator = reading(go)
    today = datetime.date.today()
    for name, model in catalogue.listed().items():
        gone = model.shutdown_date is not None and model.shutdown_date <= today
        assert boxes[name] == (gone, f"{name} (shut down on {model.shutdown_date})" if gone else name)
        assert (name in aggregator.options) is not gone
    assert boxes["ollama:llama"] == (True, "ollama:llama (real and free: after moa.setup('live'))")
    assert "ollama:<script>" not in boxes
    assert "ollama:llama" not in aggregator.options
    assert any(disabled for disabled, _ in boxes.values())


def test_live_a_model_without_its_key_cannot_be_chosen_and_says_which(live, reading, monkeypatch, recorder):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setattr(local, "running_ollama", lambda url: ("ollama:llama",))
    moa.setup()

    async def go(reading):
        boxes = reading.models
        assert (boxes[HAIKU].disabled, boxes[HAIKU].value) == (True, False)
        assert boxes[HAIKU].description == f"{HAIKU} (no key: set ANTHROPIC_API_KEY)"
        assert reading["Aggregator"].value == LUNA
        assert HAIKU not in reading["Aggregator"].options
        assert not boxes["ollama:llama"].disabled
        assert reading.hidden == ["Prepared question", "", "Code that does the same"]
        assert "nothing is charged" not in reading.says("moa-estimate")
        await reading.choose(models=[LUNA, SMALL])
        return await reading.play.run()

    done = reading(go, "Why?", MODELS, HAIKU)
    assert done.answer.outcome == "complete"
    assert not [request for request in recorder.requests if "anthropic" in request["path"]]
    assert "dummy-" not in str(done)


@pytest.mark.parametrize("listed", [MODELS, [HAIKU, SMALL], [HAIKU]])
def test_an_aggregator_that_cannot_be_asked_is_replaced_and_it_says_so(listed, live, reading, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    moa.setup()

    async def go(reading):
        instead = next((name for name in listed if name != HAIKU), ALONE)
        assert reading["Aggregator"].value == instead
        assert reading.says() == f"ready; {HAIKU} cannot be asked now, so the aggregator is {instead}"

    reading(go, "Why?", listed, HAIKU)


def test_live_the_free_models_of_colab_cannot_be_chosen_elsewhere(live, reading):
    async def go(reading):
        box = reading.models["colab:google/gemini-2.5-flash"]
        assert (box.disabled, box.description) == (True, "colab:google/gemini-2.5-flash (only on Google Colab)")
        assert reading.chosen == [LUNA]

    reading(go, "Why?", ["colab:google/gemini-2.5-flash", LUNA])


def test_live_with_no_key_at_all_there_is_nothing_to_run(reading, monkeypatch, vendors):
    monkeypatch.setenv("MOA_MODE", "live")
    moa.setup()

    async def go(reading):
        for name, box in reading.models.items():
            assert box.disabled, name
        await reading.click("Run")
        assert "Not run." in reading.says()

    reading(go)


# What is wrong is said before any call

WRONG = {
    "no model": ({"models": []}, "tick at least one"),
    "no prompt": ({"Prompt": "  "}, "prompt is empty"),
    "no number": ({"timeout": "soon"}, "timeout is 'soon': write a number, or leave the field empty"),
    "half a retry": ({"retries": "1.5"}, "retries must be a whole number"),
    "below 0": ({"deadline": "-1"}, "deadline is -1; it must be above 0"),
    "not finite": ({"deadline": "inf"}, "deadline is inf"),
    "not a number": ({"timeout": "nan"}, "timeout is nan"),
    "quorum": ({"quorum": "9"}, "quorum is 9, but only 3 models are asked"),
    "grace alone": ({"grace": "1"}, "give quorum too"),
    "hedge_with alone": ({"hedge_with": LUNA}, "give hedge_after too"),
    "hedge_with nobody": ({"hedge_after": "1", "hedge_with": "nobody"}, "names no model"),
    "hedge_with nobody alone": ({"hedge_with": "nobody"}, "give hedge_after too"),
    "places nowhere": ({"max_concurrency": "nobody=2"}, "max_concurrency names 'nobody'"),
    "no places": ({"max_concurrency": "mistral="}, "write a number"),
    "too few calls": ({"max_calls": "3"}, "4 calls are planned, but max_calls is 3"),
    "too little money": ({"budget_usd": "0.0001"}, "budget_usd is $0.0001"),
    "too long": ({"max_tokens": "200000"}, "max_tokens is 200000"),
    "no share": ({"stop_at": "1.5"}, "stop_at is 1.5; it is a share, at most 1"),
    "no model, no aggregator": ({"models": [], "Aggregator": ALONE}, "tick at least one"),
}


def test_a_prepared_question_can_be_chosen_again(reading):
    async def go(reading):
        first = offline.questions()[1].prompt
        await reading.choose(**{"Prepared question": first})
        assert reading["Prompt"].value == first
        assert "know the prepared questions alone" not in reading.says("moa-estimate")
        await reading.choose(Prompt="Another one?")
        assert reading["Prepared question"].value == ""
        assert "know the prepared questions alone" in reading.says("moa-estimate")
        await reading.choose(**{"Prepared question": first})
        assert reading["Prompt"].value == first

    reading(go)


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_told_and_nobody_is_asked(name, reading, vendors):
    changed, message = WRONG[name]

    async def go(reading):
        await reading.choose(**changed)
        assert message in reading.says("moa-estimate")
        await reading.click("Run")
        await until(lambda: reading.says().startswith("Not run. "))
        assert message in reading.says()
        assert 'role="alert"' in reading.html("moa-said")
        assert (reading["Run"].disabled, reading["Stop"].disabled) == (False, True)
        with pytest.raises((ValueError, TypeError)) as caught:
            await reading.play.run()
        assert message in str(caught.value)
        assert not reading.play.runs

    reading(go)
    assert not vendors.asked


def test_the_estimate_says_what_is_wrong_while_it_is_typed(reading):
    async def go(reading):
        await reading.choose(max_tokens="many")
        assert "max_tokens is 'many': write a number" in reading.says("moa-estimate")
        await reading.choose(max_tokens="100", Samples__of__each=3)
        assert reading.says("moa-estimate").startswith("10 calls, ")

    reading(go)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {"temperature": 1}, TypeError, "playground() takes no temperature; it takes layers, robust, pick,"),
        ((None, ["nobody"]), {}, ValueError, "'nobody'"),
        ((None, [LUNA, "openai:<b>"]), {}, ValueError, "'openai:<b>' cannot stand in the list"),
        ((None, MODELS, "gpt"), {}, ValueError, "'gpt'"),
        ((None, [3]), {}, TypeError, "named by a string"),
        ((None, LUNA), {}, TypeError, "list of names"),
        ((7,), {}, TypeError, "prompt must be text"),
        ((), {"layers": 9}, ValueError, "layers is 9; the playground goes up to 6"),
        ((), {"robust": "yes"}, TypeError, "robust must be True or False"),
        ((), {"pick": 1}, TypeError, "pick must be True or False"),
        ((), {"stop_at": 2}, ValueError, "stop_at is 2; it is a share, at most 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, options, error, message, run, monkeypatch):
    monkeypatch.setattr(controls.Playground, "_made", weakref.WeakSet())

    async def go():
        moa.playground(*arguments, **options)

    with pytest.raises(error) as caught:
        run(go())
    assert message in str(caught.value)
    assert not controls.Playground._made


def test_without_an_event_loop_it_says_what_to_write_instead():
    with pytest.raises(RuntimeError, match="needs a notebook"):
        moa.playground()


# A run


def test_every_choice_reaches_the_call(reading, monkeypatch):
    asked = []

    async def spy(**arguments):
        asked.append(arguments)
        return await moa.mixture_of_agents(**arguments)

    monkeypatch.setattr(controls, "mixture_of_agents", spy)

    async def go(reading):
        await reading.choose(
            models=[LUNA, SMALL], Samples__of__each=2, Aggregator=HAIKU, Layers=3, Prompt="Why?", timeout=" 30 ",
            retries="1", deadline="20.5", quorum="2", grace="0.1", hedge_after="5", hedge_with=f" {LUNA}",
            max_concurrency="mistral=2, all = 8", max_calls="40", budget_usd="1.5", max_tokens="900", stop_at="0.5",
        )  # fmt: skip
        for name, meaning in controls.SWITCHES.items():
            reading[f"{name}: {meaning}"].value = True
        await reading.click("Run")
        await reading.ended()

    reading(go)
    wanted = {
        "prompt": "Why?", "reference_models": [LUNA, SMALL, LUNA, SMALL], "aggregator": HAIKU, "layers": 3,
        "robust": True, "pick": True, "stop_at": 0.5, "timeout": 30, "retries": 1, "deadline": 20.5, "quorum": 2,
        "grace": 0.1, "hedge_after": 5, "hedge_with": LUNA, "max_concurrency": {"mistral": 2, "all": 8},
        "max_calls": 40, "budget_usd": 1.5, "max_tokens": 900,
    }  # fmt: skip
    assert asked == [wanted]
    assert {k: type(v) for k, v in asked[0].items()} == {k: type(v) for k, v in wanted.items()}
    assert {*controls.LIMITS, *controls.OF_MIXTURES} <= set(wanted)


def test_without_an_aggregator_what_only_mixtures_have_is_left_out(reading):
    async def go(reading):
        await reading.choose(Aggregator=ALONE)
        assert all(reading[name].disabled for name in ("Layers", "stop_at", *switches))
        assert not reading["timeout"].disabled
        assert reading.says("moa-estimate").startswith("3 calls, ")
        alone = await reading.play.run()
        await reading.choose(Aggregator=LUNA)
        assert not any(reading[name].disabled for name in ("Layers", "stop_at", *switches))
        return alone, await reading.play.run()

    switches = [f"{name}: {meaning}" for name, meaning in controls.SWITCHES.items()]
    alone, whole = reading(go, layers=3, stop_at=0.9, pick=True, robust=True)
    assert alone.code.startswith("replies = await moa.fan_out(")
    assert set(alone.arguments) == {"prompt", "reference_models"}
    assert whole.answer.picked.text == whole.answer.text
    assert "    pick=True,\n    stop_at=0.9,\n" in whole.code


PROMPTS = [
    offline.questions()[1].prompt,
    'Say """this""" and \'that\' \\ with\na line, a\ttab, {braces}, %s, \x07, \u2028, \x85 and 🙂 שלום',
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("aggregator", [SMALL, ALONE])
def test_the_code_that_is_shown_does_the_same(prompt, aggregator, reading):
    async def go(reading):
        await reading.choose(models=[LUNA, HAIKU], Samples__of__each=2, Aggregator=aggregator, quorum="4")
        done = await reading.play.run()
        code = reading["Code that does the same"].value
        assert code == done.code
        spaces = {"moa": moa}
        cell = TransformerManager().transform_cell(code)
        await eval(compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), spaces)
        return done, spaces["replies" if aggregator == ALONE else "answer"]

    done, again = reading(go, prompt)
    mine = again if aggregator == ALONE else again.replies
    assert [(r.model, r.text, r.failure) for r in mine] == [(r.model, r.text, r.failure) for r in done.replies]
    assert len(mine) == (4 if aggregator == ALONE else 5)
    assert aggregator == ALONE or (again.text, again.prompt) == (done.answer.text, prompt)


def test_the_code_for_half_a_character_can_be_read():
    code = runs.code_for({"prompt": "half \ud83d, \\\udc00", "reference_models": [LUNA]}, 1)
    (call,) = [each for each in ast.walk(ast.parse(code.encode().decode())) if isinstance(each, ast.Call)]
    assert ast.literal_eval(call.args[1]) == "half \ud83d, \\\udc00"


def test_a_run_is_shown_while_it_happens_and_afterwards(reading, models):
    async def go(reading):
        await reading.click("Run")
        assert (reading["Run"].disabled, reading["Stop"].disabled, reading["Reset"].disabled) == (True, False, True)
        await until(lambda: "writing" in reading.says("moa-watched"))
        assert "running" in reading.says()
        await reading.ended()
        return reading.says(), reading.says("moa-watched"), reading.html("moa-result")

    said, watched, result = reading(go)
    assert said == "synthesised from 3 of 3"
    assert watched.count("answered in") == 4
    found = Reader(result)
    assert found.open == []
    for part in ("synthesised from 3 of 3", "Estimated: 4 calls", "Actual: 4 requests, $0.00", "aggregator"):
        assert part in found.text
    assert result.count("<img") == 2  # the timeline and the provenance, each with a text instead
    assert result.count("alt=") == 2


@pytest.mark.parametrize("way", ["the button", "the button in a thread", "stop()", "the task"])
def test_a_stop_leaves_nothing_running_and_keeps_what_arrived(way, reading):
    async def go(reading):
        task = asyncio.create_task(reading.play.run()) if way == "the task" else await reading.click("Run")
        live = lambda: reading.says("moa-watched")  # noqa: E731
        await until(lambda: "2 of 3 calls ended · 1 writing" in live())
        began = time.perf_counter()
        if way == "the button":
            await reading.click("Stop")
        elif way == "the button in a thread":  # as a kernel's subshell does
            await asyncio.to_thread(reading["Stop"].click)
        elif way == "stop()":
            reading.play.stop()
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await reading.ended()
        took = time.perf_counter() - began
        await until(lambda: offline.start().vendors.under_way == 0)
        assert took < 5
        (stopped,) = reading.play.runs
        assert stopped.answer is None
        assert [reply.ok for reply in stopped.replies] == [True, True, False]
        assert "stopped" in reading.says()
        assert "stopped after" in live()
        assert stopped.replies[2].text.split()[-1] in live()
        assert "stopped" in reading.says("moa-runs")

    with offline.fault("mistral", "stalled_stream"):
        reading(go)


def test_a_call_that_has_ended_stands_still_while_others_go_on(reading):
    async def go(reading):
        with offline.fault("mistral", "hang"):
            await reading.click("Run")
            await until(lambda: "2 of 3 calls ended" in reading.says("moa-watched"))
            (view,) = (w for w in reading._all(reading.play) if "moa-watched" in w._dom_classes)
            head, first, second, third = [w for w in reading._all(view) if getattr(w, "value", "")]
            changes = []
            for each in (view, head, first, second, third):
                each.observe(changes.append, ["value", "children"])
            await asyncio.sleep(4 * panel.REFRESH)
        assert {id(change.owner) for change in changes} == {id(head), id(third)}
        assert "answered in" in first.value
        assert "waiting for the first token" in third.value

    reading(go)


def test_a_second_request_does_not_count_as_a_call(reading):
    async def go(reading):
        await reading.choose(Aggregator=ALONE, hedge_after="0.01")
        with ExitStack() as faults:
            for vendor in ("openai", "anthropic", "mistral"):
                faults.enter_context(offline.fault(vendor, "hang", times=1))
            done = await reading.play.run()
        with offline.fault("mistral", "hang"):
            await reading.click("Run")
            await until(lambda: "4 of 6 calls ended · 2 waiting" in reading.says("moa-watched"))
            await reading.click("Stop")
            await reading.ended()
        return done, reading.play.runs[-1]

    done, stopped = reading(go)
    assert done.heading == "3 of 3 answered"
    assert len(done.replies) == 6
    assert stopped.heading == "stopped; 2 of 3 calls have answered"


def test_a_stop_before_the_run_has_begun_is_not_lost(reading, vendors):
    async def go(reading):
        reading["Run"].click()
        reading["Run"].click()
        await reading.click("Stop")
        await asyncio.sleep(0.1)
        assert not reading.play.runs
        assert not vendors.asked
        assert (await reading.play.run()).answer.outcome == "complete"

    reading(go)


def test_after_a_stop_the_next_run_is_whole(reading):
    async def go(reading):
        with offline.fault("mistral", "hang"):
            await reading.click("Run")
            await until(lambda: "2 of 3 calls ended" in reading.says("moa-watched"))
            await reading.click("Stop")
            await reading.ended()
        await reading.click("Stop")  # without a run it does nothing
        await reading.click("Run")
        await reading.ended()
        return reading.play.runs

    first, second = reading(go)
    assert (first.answer, second.answer.outcome) == (None, "complete")


def test_a_second_run_while_one_is_under_way_is_refused(reading):
    async def go(reading):
        await reading.click("Run")
        await until(lambda: "calls ended" in reading.says("moa-watched"))
        await reading.click("Run")
        with pytest.raises(RuntimeError, match="A run is under way"):
            await reading.play.run()
        await reading.click("Reset")  # a late one
        assert (reading["Run"].disabled, reading["Stop"].disabled, reading["Reset"].disabled) == (True, False, True)
        assert "running" in reading.says()
        await reading.ended()
        assert len(reading.play.runs) == 1

    reading(go)


def test_a_new_playground_stops_what_runs_in_the_old_one(reading):
    async def go(old):
        Reading()  # one that has never run
        with offline.fault("mistral", "hang"):
            await old.click("Run")
            await until(lambda: "2 of 3 calls ended" in old.says("moa-watched"))
            new = Reading()
            await old.ended()
        assert "stopped" in old.says()
        assert (await new.play.run()).answer.outcome == "complete"

    reading(go)


def test_reset_goes_back_to_what_was_given_and_keeps_the_runs(reading):
    async def go(reading):
        await reading.choose(models=[LUNA], Aggregator=ALONE, Samples__of__each=3, timeout="9", Prompt="Why?")
        await reading.choose(Limits=True)
        await reading.play.run()
        assert reading.html("moa-result")
        await reading.click("Reset")
        assert (reading.chosen, reading["Aggregator"].value, reading["Samples of each"].value) == (MODELS[:2], SMALL, 1)
        assert (reading["timeout"].value, reading["Limits"].value) == ("", False)
        assert reading["Prompt"].value == offline.questions()[0].prompt
        assert reading.html("moa-result") == reading.html("moa-watched") == ""
        assert reading["Code that does the same"].layout.display == "none"
        assert "gpt-6-luna" in reading.says("moa-runs")
        assert reading.says("moa-estimate").startswith("3 calls, ")

    reading(go, None, MODELS[:2], SMALL)


def test_a_prepared_question_is_taken_over(reading):
    async def go(reading):
        question = offline.questions()[3].prompt
        await reading.choose(Prepared__question=question)
        assert reading["Prompt"].value == question

    reading(go)


def test_the_last_runs_stand_side_by_side(reading):
    async def go(reading):
        for number in range(10):
            await reading.choose(Samples__of__each=1 + number % 2, max_tokens=str(1000 + number))
            await reading.play.run()
        assert len(reading.play.runs) == 10
        await reading.choose(Prompt="Why\nis <b>it</b> so? " * 9)
        await reading.play.run()
        return reading.says("moa-runs"), reading.html("moa-runs")

    text, source = reading(go, None, [LUNA], SMALL)
    assert source.count("<tr>") == 1 + 8
    assert "max_tokens=1002" not in text
    assert all(f"max_tokens={1000 + number}" in text for number in range(3, 10))
    assert text.count(offline.questions()[0].prompt) >= 7
    assert "Why is <b>it</b> so? Why is <b>it</b> so? Why is <b>it</b>…" in text
    assert text.count(" · offline stand-ins") == 8
    assert f"{LUNA} × 2" in text
    assert Reader(source).open == []


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError("the disk <b>is</b> full"), "the disk <b>is</b> full"), (ZeroDivisionError(), "ZeroDivisionError")],
)
def test_an_unexpected_failure_in_mid_run_is_shown_and_nothing_is_lost(error, words, reading, monkeypatch):
    async def breaks(**arguments):
        await moa.fan_out(arguments["reference_models"], arguments["prompt"])
        raise error

    monkeypatch.setattr(controls, "mixture_of_agents", breaks)

    async def go(reading):
        await reading.click("Run")
        await reading.ended()
        assert reading.says() == f"Failed. {words}"
        assert 'role="alert"' in reading.html("moa-said")
        assert f"failed: {words}" in reading.says("moa-runs")
        assert reading.says("moa-watched").count("answered in") == 3
        with pytest.raises(type(error)):
            await reading.play.run()
        return reading.play.runs

    runs = reading(go)
    assert [len(each.replies.good) for each in runs] == [3, 3]


def test_a_failure_to_draw_the_result_is_shown_and_the_answer_is_kept(reading, monkeypatch):
    monkeypatch.setattr("moa_helpers.ui.figures.timeline", lambda *a, **k: 1 / 0)

    async def go(reading):
        await reading.click("Run")
        await until(lambda: "division by zero" in reading.says())
        await reading.ended()
        return reading.play.runs

    (done,) = reading(go)
    assert done.answer.outcome == "complete"


def test_what_is_unknown_says_so_in_the_table(reading):
    async def go(reading):
        with offline.fault("mistral", 401):
            await reading.play.run()
        return reading.says("moa-result")

    result = reading(go)
    assert "<NA>" not in result
    assert result.count("unknown") >= 3
    assert re.search(r"\b0\.\d{1,2}\n", result), "seconds have two digits"


def test_an_answer_that_cannot_be_had_is_an_outcome(reading):
    async def go(reading):
        with offline.fault("*", 401):
            done = await reading.play.run()
        return done, reading.says(), reading.says("moa-runs"), reading.says("moa-watched")

    done, said, runs, watched = reading(go)
    assert done.answer.outcome == "all_failed"
    assert said in runs
    assert watched.count("failed (authentication)") == 3


def test_the_view_of_a_fast_stream_changes_at_most_ten_times_a_second(reading, recorder, live):
    recorder.answer = partial(fast, lasting=4)

    async def go(reading):
        changes = []
        (view,) = (w for w in reading._all(reading.play) if "moa-watched" in w._dom_classes)
        view.children[0].observe(lambda change: changes.append(time.perf_counter()), "value")
        done = await reading.play.run()
        assert all(reply.text.count("word") > 500 for reply in done.replies)
        return changes

    changes = reading(go, "Why?", [LUNA], None)
    assert 4 < len(changes) <= (changes[-1] - changes[0]) / panel.REFRESH + 4


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_only_text_in_all_that_is_shown(name, reading, recorder, live):
    recorder.answer = says(HOSTILE[name])

    async def go(reading):
        await reading.choose(models=[LUNA, "openai:gpt-6-sol"], Aggregator=LUNA, Prompt=HOSTILE["frame"])
        await reading.play.run()
        return [reading.html(part) for part in ("moa-said", "moa-watched", "moa-result", "moa-runs")]

    for source in reading(go, "Why?"):
        found = Reader(source)
        assert found.open == []
        assert not found.typeset
        assert found.tags <= OURS, found.tags - OURS
        assert not {name for name in found.attributes if name.startswith("on") or name == "href"}
        for image in found.images:
            assert image.startswith("data:image/png;base64,")


def test_settings_that_change_meanwhile_are_seen_after_reset(reading, recorder, monkeypatch):
    async def go(reading):
        monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{recorder.url}/openai/v1")
        moa.setup("live")
        await reading.click("Run")
        await until(lambda: reading.says() == "Not run. The settings have changed: press Reset.")
        assert not recorder.requests
        await reading.choose(Prompt="Why?")
        assert reading.says("moa-estimate") == "The settings have changed: press Reset."
        await reading.click("Reset")
        boxes = reading.models
        assert (boxes[LUNA].disabled, boxes[HAIKU].disabled) == (False, True)
        assert reading.chosen == [LUNA]
        moa.setup("offline")
        await reading.click("Reset")
        assert reading.chosen == MODELS

    reading(go)
