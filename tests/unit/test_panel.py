"""``moa.watch``: what it shows of calls under way and afterwards, what it gives, and that it leaves nothing behind."""

import asyncio
import re
import sys
import time
from itertools import pairwise

import pytest

import moa_helpers as moa
from moa_helpers.ui import html
from moa_helpers.vendors.requests import Chunk
from tests.support import clock, notebook
from tests.support.hostile import HOSTILE
from tests.support.notebook import Shown, until
from tests.support.pages import PICTURED, read
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import STREAM, answers, fails, hangs
from tests.support.standins import Whole


@pytest.fixture
def shown(monkeypatch):
    return notebook.enter(monkeypatch)


# What it shows


def test_a_call_that_has_ended_shows_what_the_vendor_counted(run, shown, question):
    reply = run(moa.watch(moa.ask(A, question)))
    assert shown.line == f"1 of 1 calls ended · 1.20 s · ${reply.cost_usd:.6f} · offline stand-ins"
    assert shown.calls == [f"1. {A}"]
    assert f"answered in 1.20 s · 20 tokens · ${reply.cost_usd:.6f}" in shown.page.inside(f"1. {A}")
    assert shown.line in shown.page.text
    assert shown.page.labels("progress") == ["calls ended"]


def test_a_call_under_way_shows_its_state_and_an_estimate(run, script, shown, question):
    script[A] = hangs("Half an answer")
    run(until(2.05, moa.ask(A, question)))
    now = shown.before_the_end
    assert re.fullmatch(r"0 of 1 calls ended · 1 writing · 2.00 s · about \$0\.\d{6} · offline stand-ins", now.line)
    text = now.page.inside(f"1. {A}")
    assert re.search(r"writing · 2.00 s · about \d tokens · about \$0\.0", text)
    assert "Half an answer" in text
    # Stopped: what the vendor had not said by then is unknown.
    assert "stopped after 2.05 s" in shown.page.inside(f"1. {A}")
    assert "Half an answer" in shown.page.text
    assert re.search(r" · (cost unknown|at least \$0\.\d{6}) · ", shown.line), shown.line


def test_what_a_call_waits_for(run, script, shown, question):
    for act, words in (
        (hangs(), "waiting for the first token · 2.00 s"),
        (fails(429, retry_after=30), "pausing before a retry (rate_limit) · 2.00 s"),
    ):
        script[A] = act
        run(until(2.05, moa.ask(A, question)))
        assert words in shown.before_the_end.page.text
        shown.clear()


def test_a_model_that_thinks_is_seen_thinking(run, shown, monkeypatch):
    async def stream(request):
        yield Chunk(thinking="Let me see. ")
        await asyncio.sleep(1)
        yield Chunk("Yes.")
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(STREAM, stream)
    run(until(1.55, moa.fan_out([A, B], "Why?")))
    thinking = [line for time, line, _ in shown if 0.2 < time < 0.9]
    assert thinking
    assert all(" · 2 thinking · " in line for line in thinking), thinking
    assert " · 2 writing · " in shown.before_the_end.line


def test_a_call_without_a_place_is_queued(run, script, shown, question):
    script.default = hangs()
    run(until(0.5, moa.fan_out(MODELS, question, max_concurrency=1)))
    now = shown.before_the_end
    assert now.line.startswith("0 of 3 calls ended · 1 waiting · 2 queued · ")
    assert now.page.text.count("waiting for a free place") == 2


def test_each_call_has_a_bar_on_a_common_clock(run, script, shown, question):
    script[B] = [fails(429, after=0.5, retry_after=1), answers("Yes.")]
    script[C] = hangs("Half")
    run(until(3.05, moa.fan_out(MODELS, question)))
    now = shown.before_the_end
    states = ["answered in 1.20 s", "answered in 2.50 s", "writing · 3.00 s"]
    wanted = [f"{number}. {model}: {state}" for number, model, state in zip((1, 2, 3), MODELS, states, strict=True)]
    assert now.page.labels("img") == wanted
    for word in ("waiting for the first token", "writing", "failed attempt", "pause before a retry"):
        assert word in now.page.text, "the legend names every pattern"
    assert "abandoned" not in now.page.text
    assert "abandoned" in shown.page.text


def test_without_a_price_the_cost_is_unknown_and_never_zero(run, shown, question):
    run(moa.watch(moa.ask("vllm:any", question)))
    for _, line, source in shown[1:]:
        assert " · cost unknown · " in line
        assert "$" not in read(source).text


def test_what_a_vendor_counts_while_it_writes_is_not_added_to_the_estimate(run, shown, monkeypatch):
    async def stream(request):
        yield Chunk("x" * 4000, None, request.model.id, 1, 1000)
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(STREAM, stream)
    run(until(1, moa.ask(A, "Why?")))
    assert f" · about ${moa.find(A).cost(1, 1000):.6f} · " in shown.before_the_end.line


def test_of_many_calls_only_those_under_way_are_shown_one_by_one(run, script, shown, question):
    script.default = hangs()
    script[A] = [answers("Yes.")] * 2 + [hangs()]
    run(until(1.55, moa.fan_out(MODELS * 10, question)))
    early = Shown(frame for frame in shown if frame[0] < 1)
    assert early.calls == [f"{number + 1}. {MODELS[number % 3]}" for number in range(24)]
    assert "6 more calls are not shown one by one." in early.page.text
    now = shown.before_the_end
    assert now.calls == [f"{number + 1}. {MODELS[number % 3]}" for number in range(30) if number not in (0, 3)][:24]
    assert "6 more calls are not shown one by one." in now.page.text
    # At the end all stay on the screen, the later ones folded.
    assert len(shown.calls) == 30
    first, folded = shown.html.split("<details")
    assert len(re.findall("<section", first)) == 24
    assert len(re.findall("<section", folded)) == 6
    assert "6 more calls" in shown.page.text
    assert shown.page.text.count("stopped after") >= 28


def test_a_second_request_is_shown_once_it_began_with_the_number_of_the_first(run, script, shown, question):
    script.default = hangs()
    run(until(2, moa.fan_out([A, B], question, hedge_after=1)))
    early = Shown(frame for frame in shown if frame[0] < 1)
    assert early.calls == [f"1. {A}", f"2. {B}"]
    now = shown.before_the_end
    assert now.calls == [f"1. {A}", f"1. second request · {A}", f"2. {B}", f"2. second request · {B}"]
    assert now.line.startswith("0 of 4 calls ended")


def test_before_the_first_call_the_panel_goes_on(run, shown):
    run(moa.watch(asyncio.sleep(1)))
    assert len({line for _, line, _ in shown}) > 5
    assert shown.line == "getting ready · 1.00 s"
    assert shown.page.text.strip() == shown.line


def test_a_fast_stream_is_shown_at_most_ten_times_a_second(run, script, shown):
    script[A] = answers("word " * 2000, per_piece=0.001)
    reply = run(moa.watch(moa.ask(A, "Why?")))
    assert reply.text.count("word") == 2000
    times = [at for at, _, _ in shown]
    assert 20 < len(times) <= 10 * times[-1] + 2
    assert all(later - at >= 0.099 for at, later in pairwise(times[:-1]))
    assert len({source for _, _, source in shown}) == len(shown)
    assert all(len(source) < 8000 for _, _, source in shown[:-1]), "what is shown of a text being written stays small"
    assert shown.page.text.count("word ") >= 1999


# What it gives


def test_watch_gives_what_awaiting_gives(run, shown, question):
    answer = run(moa.watch(moa.mixture_of_agents(question, MODELS, A)))
    assert answer.outcome == "complete"
    proposers = [f"{number}. layer 1 · {model}" for number, model in enumerate(MODELS, 1)]
    assert shown.calls == [*proposers, f"4. aggregator · {A}"]
    assert shown.line.startswith("4 of 4 calls ended · ")


def test_watch_gives_the_results_of_several(run, shown, question):
    reply, replies = run(moa.watch(moa.ask(A, question), moa.fan_out(MODELS, question)))
    assert (reply.model, reply.ok, len(replies.good)) == (A, True, 3)
    assert shown.line.startswith("4 of 4 calls ended · ")


def test_watch_refuses_what_is_no_coroutine_before_any_call(run, script, question):
    async def go(wrong):
        await moa.watch(moa.ask(A, question), *wrong) if wrong else await moa.watch()

    for wrong in ((), ("text",), (None,), (moa.ask,)):
        with pytest.raises(TypeError, match="not yet awaited"):
            run(go(wrong))
        assert not script.asked
    with pytest.raises(ValueError, match="The prompt is empty"):
        run(moa.watch(moa.fan_out(MODELS, " ")))
    assert not script.asked


def test_the_exception_of_one_stops_the_others_and_carries_the_replies(run, script, shown, question):
    async def fails_after_a_call():
        reply = await moa.ask(A, question)
        raise OSError(f"no room for {len(reply.text)} characters")

    script[C] = hangs("Half")
    for turned in (False, True):
        works = [fails_after_a_call(), moa.ask(C, question)]
        with pytest.raises(OSError, match="no room") as caught:
            run(moa.watch(*(reversed(works) if turned else works)))
        good, other = sorted(caught.value.replies, key=lambda reply: not reply.ok)
        assert (good.ok, other.ok, other.abandoned, other.text) == (True, False, True, "Half")
        assert "2 of 2 calls ended" in shown.line
        shown.clear()


def test_a_cancelled_watch_leaves_no_task_and_keeps_what_arrived(run, script, shown, question):
    async def go(often):
        task = asyncio.create_task(moa.watch(moa.fan_out(MODELS, question)))
        await asyncio.sleep(2)
        began = clock.now()
        for _ in range(often):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert clock.now() - began < 0.3
        return caught.value.replies

    script[C] = hangs("Half an answer")
    for often in (1, 2):
        replies = run(go(often))
        assert [reply.ok for reply in replies] == [True, True, False]
        assert "2 of 3 calls ended · 1 writing" in shown.before_the_end.line
        assert "3 of 3 calls ended" in shown.line
        assert "Half an answer" in shown.page.text
        shown.clear()


def test_without_the_packages_of_a_notebook_no_call_is_made(run, script, shown, question, monkeypatch):
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    monkeypatch.setattr(html, "_environment", html._environment.__wrapped__)  # as nothing has been shown yet
    with pytest.raises(ImportError, match=r"run `pip install 'moa-helpers\[lesson\]'`"):
        run(moa.watch(moa.ask(A, question)))
    assert not script.asked


def test_outside_a_notebook_it_is_a_bar_on_stderr(run, question, capsys):
    run(moa.watch(moa.fan_out(MODELS, question)))
    out, err = capsys.readouterr()
    assert out == ""
    assert "3 of 3 calls ended" in err.rpartition("\r")[2]
    assert "<" not in err


# Hostile texts


def test_a_hostile_text_is_only_text(run, script, shown):
    for name, text in HOSTILE.items():
        script[A] = Whole(text)
        reply = run(moa.watch(moa.ask(A, "Why?")))
        assert reply.text == text
        for word in re.findall(r"\w+", re.sub(r"```\S*", "", text[-1000:])):  # a fence names its language, unseen
            assert word in shown.page.text, name
        assert len(shown.calls) == 1, "nothing closes it early"
        shown.clear()


def test_a_hostile_text_is_only_text_while_it_is_written(run, script, shown):
    for name, text in HOSTILE.items():
        script[A] = Whole(text, finish=None, hangs=True)
        run(until(1.5, moa.ask(A, "Why?")))
        now = shown.before_the_end
        assert text[-1000:].translate(PICTURED) in now.page.text, name
        assert len(now.calls) == 1
        shown.clear()


def test_what_a_vendor_says_of_a_failure_and_a_models_name_are_only_text(run, script, shown, question):
    name = 'vllm:"><script>alert(1)</script>'
    script[name] = fails(400, message=HOSTILE["image"] + HOSTILE["control"])  # of a closed tag only the words are kept
    run(moa.watch(moa.ask(name, question)))
    for words in (name, "<img", "onerror"):
        assert words in shown.page.text


def test_a_very_long_answer_is_shown_quickly(run, script, shown):
    script[A] = Whole("**w** " * 17_000)
    began = time.process_time()
    run(moa.watch(moa.ask(A, "Why?")))
    assert time.process_time() - began < 5
