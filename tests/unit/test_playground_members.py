"""The playground with members, a list of aggregators and a conversation: shown, switched, and in its code."""

import ast
from dataclasses import replace

import pytest

import moa_helpers as moa
from moa_helpers.ui.playground.choice import given
from tests.support import standins
from tests.support.hostile import HOSTILE
from tests.support.reading import draw_nothing, reader
from tests.support.replies import MODELS
from tests.support.scripts import fails

LUNA, HAIKU, SMALL = MODELS
SCEPTIC = moa.Member(LUNA, system='You doubt "all"\nof it, and say why: \u2028 \\ {x} %s 🙂')
SHORT = moa.Member(SMALL, temperature=0.9, max_tokens=300, extra={"top_p": 0.5, "stop": None, "safe_prompt": True})
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So.", "tool_calls": None},
    {"role": "user", "content": [{"type": "text", "text": "And then?"}]},
]


@pytest.fixture
def reading(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    draw_nothing(monkeypatch)
    return reader(run)


def boxes(reading):
    """The checkboxes by their whole labels."""
    return {box.description: box for box in reading.widgets("moa-models")[1:]}


async def again(code):
    """What the code that is shown gives."""
    spaces = {"moa": moa}
    await eval(compile(code, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), spaces)
    return spaces.get("answer") or spaces["replies"]


def asked(script):
    """What was sent, but for the clients and the answers of others."""
    return [replace(one.request, sdk=None, system="", after="") for one in script.asked]


def test_members_and_aggregators_are_shown_and_can_be_switched(reading, script):
    async def go(reading):
        assert [label for label, box in boxes(reading).items() if box.value][1:] == [HAIKU, str(SHORT)]
        assert reading["Aggregator"].value == f"{HAIKU}, else {SHORT}"
        assert f"{HAIKU}, else {SHORT}" not in boxes(reading)
        assert "without 1 fallback aggregator" in reading.says("moa-estimate")
        both = await reading.play.run()
        assert reading.says() == both.answer.heading
        assert f"{HAIKU}, else {SHORT}" in reading.says("moa-runs")
        boxes(reading)[str(SHORT)].value = False
        await reading.choose(Aggregator=str(SHORT))
        assert "fallback" not in reading.says("moa-estimate")
        return both, await reading.play.run()

    both, switched = reading(go, "Why?", [SCEPTIC, HAIKU, SHORT], [HAIKU, SHORT])
    assert both.arguments["reference_models"] == [SCEPTIC, HAIKU, SHORT]
    assert both.arguments["aggregator"] == [HAIKU, SHORT]
    assert switched.arguments["reference_models"] == [SCEPTIC, HAIKU]
    assert switched.arguments["aggregator"] == SHORT
    assert [each.settings for each in switched.replies] == [SCEPTIC.settings, "", SHORT.settings]


@pytest.mark.parametrize("prompt", ["Why?", TALK])
def test_the_code_makes_the_same(prompt, reading, script):
    script[HAIKU] = fails(401)

    async def go(reading):
        done = await reading.play.run()
        sent = asked(script)
        script.asked.clear()
        found = await again(done.code)
        assert asked(script) == sent
        return done, found

    options = {"hedge_after": 30, "hedge_with": replace(SHORT, temperature=None)}
    done, found = reading(go, prompt, [SCEPTIC, SHORT] * 2, [HAIKU, SCEPTIC], **options)
    assert done.answer.heading == found.heading
    assert f"synthesised by {LUNA} from 4 of 4" in found.heading
    assert {repr(each) for each in (SCEPTIC, SHORT)} <= {line.strip(" ,") for line in done.code.splitlines()}


def test_of_a_conversation_the_last_message_can_be_changed(reading, script):
    async def go(reading):
        assert "the prompt is the last message of a conversation, after 3 others" in reading.says()
        assert reading["Prompt"].value == "And then?"
        await reading.choose(Prompt="Why so?")
        done = await reading.play.run()
        assert reading.says() == done.answer.heading
        return reading.says("moa-runs")

    said = reading(go, TALK, [LUNA], SMALL)
    first = script.asked[0].request
    assert (first.system, [turn.text for turn in first.before], first.prompt) == (
        "Be brief.",
        ["Why?", "So."],
        "Why so?",
    )
    assert "Why so?" in said


def test_roles_that_begin_alike_stay_two(reading):
    alike = [moa.Member(LUNA, system="Doubt what you are told. " * 9 + end) for end in "ab"]

    async def go(reading):
        ticked = [label for label, box in boxes(reading).items() if box.value]
        assert ticked == [str(alike[0]), f"{alike[1]} #2"]
        return await reading.play.run()

    assert reading(go, "Why?", alike, SMALL).arguments["reference_models"] == alike


def test_a_hostile_role_is_only_text(reading, script):
    for name, text in HOSTILE.items():
        role = moa.Member(LUNA, system=text)

        async def go(reading, name=name, text=text):
            labels = [*boxes(reading), *reading["Aggregator"].options]
            assert not any(set(label) & set("<>&$\\\x1b\u202e") for label in labels), name
            done = await reading.play.run()
            assert "cannot be drawn" not in reading.says(), name
            for output in ("moa-said", "moa-watched", "moa-result", "moa-runs"):
                assert all(image["alt"] == "picture" for image in reading.page(output).images), name
            found = await again(done.code)
            assert [each.settings for each in found.replies] == [each.settings for each in done.replies]
            return done

        assert reading(go, "Why?", [role, LUNA], [role, SMALL]).arguments["aggregator"] == [role, SMALL]


def test_a_member_that_cannot_be_asked_is_refused_or_greyed(reading, monkeypatch):
    for wrong, message in (
        ({"aggregator": [LUNA, "nobody"]}, "nobody"),
        ({"aggregator": []}, "empty"),
        ({"aggregator": 7}, "named by a string"),
        ({"reference_models": [moa.Member(LUNA, temperature=1.0)]}, "takes no temperature"),
        ({"reference_models": [moa.Member("vllm:a<b", system="x")]}, "cannot be in the list"),
        ({"prompt": TALK[:-1]}, "must end with a message of the user"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            given(*(wrong.get(name) for name in ("prompt", "reference_models", "aggregator")), {})
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
    moa.setup("live")

    async def go(reading):
        shown = boxes(reading)
        label = f"{SHORT} (no key: set MISTRAL_API_KEY)"
        assert (shown[label].disabled, shown[label].value) == (True, False)
        assert reading["Aggregator"].value == next(label for label in shown if label.startswith(f"{LUNA} (system"))
        assert "cannot be asked now, so the aggregator is" in reading.says()

    reading(go, "Why?", [SCEPTIC, SHORT], [SCEPTIC, SHORT])
