"""The playground's runs: what reaches the calls, what is shown meanwhile and afterwards, and that Stop stops."""

import ast
import asyncio

import pytest
from IPython.core.inputtransformer2 import TransformerManager

import moa_helpers as moa
from moa_helpers import offline
from tests.support import clock, standins
from tests.support.pages import read
from tests.support.reading import Reading, call_in, draw_nothing, reader
from tests.support.replies import MODELS
from tests.support.scripts import Act, answers, fails, hangs

LUNA, HAIKU, SMALL = MODELS
ALONE = "none: only the reference models"


@pytest.fixture
def reading(run, monkeypatch, script):
    standins.enter(monkeypatch, script)
    draw_nothing(monkeypatch)
    return reader(run)


# What reaches the calls


def test_every_choice_reaches_the_call(reading, script):
    async def go(reading):
        await reading.choose(
            models=[LUNA, SMALL], Samples__of__each=2, Aggregator=HAIKU, Layers=3, Prompt="Why?", timeout=" 30 ",
            retries="1", deadline="20.5", quorum="2", grace="0.1", hedge_after="5", hedge_with=f" {LUNA}",
            max_concurrency="mistral=2, all = 8", max_calls="40", budget_usd="1.5", max_tokens="900", stop_at="0.5",
        )  # fmt: skip
        for box in reading.switches.values():
            box.value = True
        await reading.click("Run")
        await reading.ended()
        return reading.play.runs

    (done,) = reading(go)
    wanted = {
        "layers": 3, "robust": True, "pick": True, "stop_at": 0.5, "timeout": 30, "retries": 1, "deadline": 20.5,
        "quorum": 2, "grace": 0.1, "hedge_after": 5, "hedge_with": LUNA, "max_concurrency": {"mistral": 2, "all": 8},
        "max_calls": 40, "budget_usd": 1.5, "max_tokens": 900, "aggregator": HAIKU,
    }  # fmt: skip
    name, given = call_in(done.code)
    assert (name, given) == ("mixture_of_agents", wanted | {0: "Why?", 1: [LUNA, SMALL] * 2})
    assert {k: type(given[k]) for k in wanted} == {k: type(v) for k, v in wanted.items()}
    assert done.arguments == wanted | {"prompt": "Why?", "reference_models": [LUNA, SMALL, LUNA, SMALL]}
    assert {asked.request.max_tokens for asked in script.asked} == {900}
    assert [asked.model for asked in script.asked][:4] == [LUNA, SMALL, LUNA, SMALL]
    assert script.asked[-1].model == HAIKU


def test_the_limits_limit(reading, script):
    async def go(reading):
        script[SMALL] = [fails(503), answers("Late.", after=30)]
        await reading.choose(Aggregator=ALONE, max_concurrency="1", retries="0")
        first = await reading.play.run()
        await reading.choose(max_concurrency="", retries="", quorum="2")
        return first, await reading.play.run()

    first, second = reading(go)
    assert [len(reply.attempts) for reply in first.replies] == [1, 1, 1]
    started = [reply.started for reply in first.replies]
    assert started == sorted(set(started)), "one after the other"
    assert [reply.ok for reply in second.replies] == [True, True, False]


def test_without_an_aggregator_what_only_mixtures_have_is_left_out(reading):
    async def go(reading):
        only = [reading["Layers"], reading["stop_at"], *reading.switches.values()]
        await reading.choose(Aggregator=ALONE)
        assert all(control.disabled for control in only)
        assert not reading["timeout"].disabled
        assert reading.says("moa-estimate").startswith("3 calls, ")
        alone = await reading.play.run()
        await reading.choose(Aggregator=LUNA)
        assert not any(control.disabled for control in only)
        return alone, await reading.play.run()

    alone, whole = reading(go, layers=3, stop_at=0.9, pick=True, robust=True)
    assert call_in(alone.code) == ("fan_out", {0: MODELS, 1: offline.questions()[0].prompt})
    assert whole.answer.picked.text == whole.answer.text
    assert call_in(whole.code)[1]["pick"] is True
    assert call_in(whole.code)[1]["stop_at"] == 0.9


PROMPTS = [
    offline.questions()[1].prompt,
    'Say """this""" and \'that\' \\ with\na line, a\ttab, {braces}, %s, \x07, \u2028, \x85 and 🙂 שלום',
]


def test_the_code_that_is_shown_does_the_same(reading):
    for prompt in PROMPTS:
        for aggregator in (SMALL, ALONE):

            async def go(reading, aggregator=aggregator):
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


# Meanwhile


def test_a_run_is_shown_while_it_happens(reading, script):
    script.default = Act("One. Two. Three.")

    async def go(reading):
        await reading.click("Run")
        assert reading.buttons == ["Stop"]
        await reading.until("3 writing")
        assert reading.says() == "running…"
        await reading.ended()
        return reading.says(), reading.says("moa-watched")

    said, watched = reading(go)
    assert said == "synthesised from 3 of 3"
    assert watched.count("answered in") == 4


def test_a_stop_leaves_nothing_running_and_keeps_what_arrived(reading, script):
    async def go(reading, stop):
        began = asyncio.create_task(reading.play.run())
        await reading.until("2 of 4 calls ended · 1 writing")
        at = clock.now()
        await stop(reading, began)
        await reading.ended()
        await asyncio.wait([began])
        assert clock.now() - at < 0.5
        (stopped,) = reading.play.runs
        assert began.cancelled() if stop is cancel else began.result() is stopped
        assert stopped.answer is None
        assert [reply.ok for reply in stopped.replies] == [True, True, False]
        assert stopped.heading == "stopped; 2 of 4 calls have answered"
        assert "3 of 4 calls ended · 1 not made" in reading.says("moa-watched")
        assert "stopped" in reading.says()
        assert "stopped after" in reading.says("moa-watched")
        assert reading.says("moa-watched").endswith("Half")
        assert "stopped" in reading.says("moa-runs")

    async def click(reading, task):
        await reading.click("Stop")

    async def click_in_a_thread(reading, task):  # as a kernel's subshell does
        asyncio.get_running_loop().set_debug(True)  # so that it refuses what is not safe from there
        await asyncio.to_thread(reading["Stop"].click)

    async def stop(reading, task):
        reading.play.stop()

    async def cancel(reading, task):
        task.cancel()

    for way in (click, click_in_a_thread, stop, cancel):
        script[SMALL] = hangs("Half")
        reading(lambda reading, way=way: go(reading, way))


def test_a_call_that_has_ended_stands_still_while_others_go_on(reading, script):
    script[SMALL] = hangs()

    async def go(reading):
        await reading.click("Run")
        await reading.until("2 of 4 calls ended")
        cells = [each for each in reading.widgets("moa-watched") if getattr(each, "value", "")]
        first, second, third = (each for each in cells if read(each.value).labels("section"))
        changes = []
        for each in reading.widgets("moa-watched"):
            each.observe(changes.append, [name for name in ("value", "children") if each.has_trait(name)])
        await asyncio.sleep(0.5)
        changed = {id(change.owner) for change in changes}
        assert {id(third)} < changed
        assert not changed & {id(first), id(second)}
        assert "answered in" in first.value
        assert "waiting for the first token" in third.value

    reading(go)


def test_a_fast_stream_changes_the_view_at_most_ten_times_a_second(reading, script):
    script[LUNA] = answers("word " * 2000, per_piece=0.001)

    async def go(reading):
        changes = []
        for each in reading.widgets("moa-watched"):
            if each.has_trait("value"):
                each.observe(lambda change: changes.append(round(clock.now(), 2)), "value")
        done = await reading.play.run()
        assert done.replies[0].text.count("word") == 2000
        return sorted(set(changes))

    changes = reading(go, "Why?", [LUNA], None)
    assert 20 < len(changes) <= 10 * (changes[-1] - changes[0]) + 4


def test_a_second_request_does_not_count_as_a_call(reading, script):
    async def go(reading):
        await reading.choose(Aggregator=ALONE, hedge_after="3")
        for model in MODELS:
            script[model] = [hangs(), answers("Yes.")]
        done = await reading.play.run()
        script.clear()
        script.acts = {SMALL: [hangs()]}
        await reading.click("Run")
        await reading.until("2 of 4 calls ended · 2 waiting")
        await reading.click("Stop")
        await reading.ended()
        return done, reading.play.runs[-1]

    done, stopped = reading(go)
    assert done.heading == "3 of 3 answered"
    assert len(done.replies) == 6
    assert stopped.heading == "stopped; 2 of 3 calls have answered"


def test_a_stop_before_the_run_has_begun_is_not_lost(reading, script):
    async def go(reading):
        reading["Run"].click()
        reading["Run"].click()
        await reading.click("Stop")
        await asyncio.sleep(1)
        assert not reading.play.runs
        assert not script.asked
        play = reading.play
        starting = asyncio.create_task(play.run())
        await asyncio.sleep(0)
        play.stop()
        await asyncio.wait([starting])
        assert reading.says() == "stopped before the first call"
        assert (await reading.play.run()).answer.outcome == "complete"

    reading(go)


def test_after_a_stop_the_next_run_is_whole(reading, script):
    async def go(reading):
        script[SMALL] = [hangs(), script.default]
        await reading.click("Run")
        await reading.until("2 of 4 calls ended")
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
        await reading.until("calls ended")
        await reading.click("Run")
        with pytest.raises(RuntimeError, match="A run is under way"):
            await reading.play.run()
        await reading.click("Reset")  # a late one
        assert reading.buttons == ["Stop"]
        assert "running" in reading.says()
        await reading.ended()
        assert len(reading.play.runs) == 1

    reading(go)


def test_a_new_playground_stops_what_runs_in_the_old_one(reading, script):
    async def go(old):
        Reading()  # one that has never run
        script[SMALL] = [hangs(), script.default]
        await old.click("Run")
        await old.until("2 of 4 calls ended")
        new = Reading()
        await old.ended()
        assert "stopped" in old.says()
        assert (await new.play.run()).answer.outcome == "complete"

    reading(go)
