"""What the playground shows of runs that have ended: the answer, the table of runs, failures, hostile texts."""

import random
import re

import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.hostile import HOSTILE
from tests.support.reading import draw_nothing, reader
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import fails
from tests.support.standins import Whole

ALONE = "none: only the reference models"


@pytest.fixture
def reading(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    draw_nothing(monkeypatch)
    return reader(run)


def test_an_answer_with_all_that_belongs_to_it(run, monkeypatch, script):
    standins.enter(monkeypatch, script)

    async def go(reading):
        done = await reading.play.run()
        return done, reading.page("moa-result"), reading["Code that does the same"]

    done, found, code = reader(run)(go)
    for part in ("synthesised from 3 of 3", "Estimated: 4 calls", "Actual: 4 requests, $0.00", "aggregator"):
        assert part in found.text
    first, *_ = done.answer.text.splitlines()
    assert first in found.text
    timeline, provenance = (image["alt"] for image in found.images)
    assert timeline.startswith("Timeline of the calls: ")
    assert provenance.startswith("Share of each sentence's words found in each reference.")
    assert "the calls" in found.labels("region"), "a wide table can be scrolled by keyboard"
    assert code.value == done.code
    assert code.layout.display != "none"


def test_reset_goes_back_to_what_was_given_and_keeps_the_runs(reading):
    async def go(reading):
        await reading.choose(models=[A], Aggregator=ALONE, Samples__of__each=3, timeout="9", Prompt="Why?", Limits=True)
        await reading.play.run()
        assert reading.says("moa-result")
        await reading.click("Reset")
        assert (reading.chosen, reading["Aggregator"].value, reading["Samples of each"].value) == ([A, B], C, 1)
        assert (reading["timeout"].value, reading["Limits"].value) == ("", False)
        assert reading["Prompt"].value == offline.questions()[0].prompt
        assert reading.html("moa-result") == reading.html("moa-watched") == ""
        assert "Code that does the same" in reading.hidden
        assert "gpt-6-luna" in reading.says("moa-runs")
        assert reading.says("moa-estimate").startswith("3 calls, ")

    reading(go, None, [A, B], C)


def test_an_old_run_is_shown_again_without_a_call(reading, script):
    async def go(reading):
        await reading.choose(timeout="9")
        first = await reading.play.run()
        await reading.choose(models=[A], Aggregator=ALONE, timeout="")
        await reading.play.run()
        asked = len(script.asked)
        for number, chosen, aggregator, timeout in ((1, MODELS, A, "9"), (2, [A], ALONE, "")):
            await reading.choose(Show__a__run__again=number)
            assert (reading.chosen, reading["Aggregator"].value, reading["timeout"].value) == (
                chosen,
                aggregator,
                timeout,
            )
            assert reading.says().startswith(f"run {number} again: ")
            assert reading["Code that does the same"].value == reading.play.runs[number - 1].code
            assert (first.answer.text.splitlines()[0] in reading.says("moa-result")) == (number == 1)
            limits = "Hide limits (1 set)" if timeout else "Show limits (none set)"
            assert reading["Limits"].description == limits
        assert len(script.asked) == asked

    reading(go)


def test_what_did_not_run_leaves_no_older_run_on_the_screen(reading):
    async def go(reading):
        await reading.play.run()
        assert "4 of 4 calls ended" in reading.says("moa-watched")
        await reading.choose(deadline="abc")
        await reading.click("Run")
        assert reading.says() == "Not run. Deadline is 'abc': write a number, or leave the field empty."
        assert not reading.says("moa-watched") + reading.says("moa-result") + reading["Code that does the same"].value
        assert "synthesised from 3 of 3" in reading.says("moa-runs")

    reading(go)


def test_the_copy_button_is_drawn_anew_for_each_code(reading):
    async def go(reading):
        await reading.play.run()
        (copy,) = reading.widgets("moa-copy")
        sent = []
        copy.observe(lambda change: sent.append(change.new), "value")
        await reading.choose(Show__a__run__again=1)
        assert (sent[0], "Copy the code" in sent[-1]) == ("", True)

    reading(go)


def test_a_question_that_no_stand_in_knows_is_told_in_the_heading(reading):
    async def go(reading):
        await reading.choose(Prompt="Who are you?")
        answer = (await reading.play.run()).answer
        assert reading.says() == "no prepared answer to this question (synthesised from 3 of 3)"
        assert reading.says("moa-result").startswith(reading.says())
        assert "settings" not in reading.says("moa-runs"), "an empty column is left out"
        await reading.choose(Aggregator=ALONE)
        await reading.play.run()
        assert reading.says() == "3 of 3 answered · no prepared answer to this question"
        assert "no prepared answer to this question · offline stand-in" in str(answer.replies[0])

    reading(go)


def test_the_last_runs_stand_side_by_side(reading):
    async def go(reading):
        for number in range(10):
            await reading.choose(Samples__of__each=1 + number % 2, max_tokens=str(1000 + number))
            await reading.play.run()
        assert len(reading.play.runs) == 10
        await reading.choose(Prompt="Why\nis <b>it</b> so? " * 9)
        await reading.play.run()
        return reading.page("moa-runs"), reading.html("moa-runs")

    found, source = reading(go, None, [A], C)
    text = found.text
    assert source.count("<tr") == 1 + 8
    assert "The last runs" in text
    assert found.labels("region")[0] == "the last runs"
    assert "max_tokens=1002" not in text
    assert all(f"max_tokens={1000 + number}" in text for number in range(3, 10))
    assert text.count(offline.questions()[0].prompt) >= 7
    assert "Why is <b>it</b> so? Why is <b>it</b> so? Why is <b>it</b>…" in text
    assert text.count(" · offline stand-ins") == 8
    assert f"{A} × 2" in text
    assert len(re.findall(r"\d+ of \d+ / \d+", text)) == 7, "points of the prepared question alone"


def test_an_unexpected_failure_in_mid_run_is_shown_and_nothing_is_lost(reading, script, monkeypatch):
    """The package's own code fails, where it draws lots for the pause before a retry."""
    script[C] = fails(503, after=2)
    for error, words in (
        (OSError("the disk <b>is</b> full"), "the disk <b>is</b> full"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ):

        def broken(*bounds, error=error):
            raise error

        monkeypatch.setattr(random, "uniform", broken)

        async def go(reading, error=error, words=words):
            await reading.click("Run")
            await reading.ended()
            assert reading.says() == f"Failed. {words}"
            assert 'role="alert"' in reading.html("moa-said")
            assert f"failed: {words}" in reading.says("moa-runs")
            assert reading.says("moa-watched").count("answered in") == 2
            with pytest.raises(type(error)):
                await reading.play.run()
            return reading.play.runs

        runs = reading(go)
        assert [len(each.replies.good) for each in runs] == [2, 2]


def test_a_failure_to_draw_the_result_is_shown_and_the_answer_is_kept(reading, monkeypatch):
    monkeypatch.setattr(moa.figures.Picture, "_repr_mimebundle_", lambda *arguments: 1 / 0)

    async def go(reading):
        await reading.click("Run")
        await reading.until("division by zero", "moa-said")
        await reading.ended()
        return reading.play.runs

    (done,) = reading(go)
    assert done.answer.outcome == "complete"


def test_what_is_unknown_says_so_in_the_table(reading, script):
    script[C] = fails(401)

    async def go(reading):
        await reading.play.run()
        return reading.says("moa-result")

    result = reading(go)
    for absent in ("<NA>", "nan", "None"):
        assert absent not in result
    assert result.count("unknown") >= 3
    assert re.search(r"\b0\.\d{1,2}\s", result), "seconds have two digits"


def test_an_answer_that_cannot_be_had_is_an_outcome(reading, script):
    script.default = fails(401)

    async def go(reading):
        done = await reading.play.run()
        return done, reading.says(), reading.says("moa-runs"), reading.says("moa-watched")

    done, said, runs, watched = reading(go)
    assert done.answer.outcome == "all_failed"
    assert said in runs
    assert watched.count("failed (authentication)") == 3


def test_a_hostile_text_is_only_text_in_all_that_is_shown(reading, script):
    async def go(reading):
        for name, text in HOSTILE.items():
            script.default = Whole(text)
            await reading.choose(models=[A, B], Aggregator=A, Prompt=HOSTILE["frame"])
            await reading.play.run()
            for output in ("moa-said", "moa-watched", "moa-result", "moa-runs"):
                found = reading.page(output)
                assert all(image["alt"] == "picture" for image in found.images), name
            word = re.findall(r"\w+", text)[-1]
            assert word in reading.says("moa-watched"), name
            assert word in reading.says("moa-runs"), name
            assert HOSTILE["frame"][:20] in reading.says("moa-runs")

    reading(go, "Why?")


def test_settings_that_change_meanwhile_are_seen_after_reset(reading, script, monkeypatch):
    async def go(reading):
        monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
        moa.setup("live")
        await reading.click("Run")
        await reading.until("Not run. The settings have changed: press Reset.", "moa-said")
        assert not script.asked
        await reading.choose(Prompt="Why?")
        assert reading.says("moa-estimate") == "The settings have changed: press Reset."
        await reading.click("Reset")
        offered = {label.split(" (")[0]: label for label in reading["Add a model"].options}
        assert (offered[A], offered[B]) == (A, f"{B} (no key: set ANTHROPIC_API_KEY)")
        assert reading.chosen == [A]
        moa.setup("offline")
        await reading.click("Reset")
        assert reading.chosen == MODELS

    reading(go)
