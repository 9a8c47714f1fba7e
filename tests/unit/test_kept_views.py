"""How Members, what was kept, and a second aggregator look: told apart, named, never silent, and only text."""

import asyncio
from dataclasses import replace

import pytest

import moa_helpers as moa
from moa_helpers.limits.scope import Scope
from tests.support import notebook, standins
from tests.support.hostile import HOSTILE
from tests.support.pages import read
from tests.support.replies import GREEN, MODELS, TIDES, A, B, C, answer, reply
from tests.support.scripts import answers, fails, hangs

SHOWS = (str, lambda result: read(result._repr_html_()).text, lambda result: result._repr_markdown_())
SCEPTIC = moa.Member(A, system="You doubt what others take for granted.")
OSS = "groq:openai/gpt-oss-120b"


def kept(**rest):
    made = reply(GREEN, finish_reason="stop", ttft=0.2, cost_usd=0.25)
    paid = tuple(replace(attempt, cost_usd=0.25) for attempt in made.attempts)
    return replace(made, attempts=paid, cost_usd=0.0, kept=True, **rest)


class Shelf:
    """A store in memory."""

    recorded_speed = False

    def __init__(self):
        self.replies = {}

    def find(self, request):
        return self.replies.get((request.text, request.model.name, request.sample, request.role))

    def keep(self, request, reply):
        if reply.ok:
            self.replies[request.text, request.model.name, request.sample, request.role] = reply

    def check(self):
        pass


@pytest.fixture
def shelf(run):
    """``shelf(coroutine)`` runs it with what all of these share."""
    store = Shelf()

    def go(coroutine):
        async def whole():
            return await asyncio.create_task(coroutine, context=Scope(store=store).context())

        return run(whole())

    return go


# What was kept


def test_a_kept_reply_says_so_and_what_it_costs_now_and_cost_once():
    for show in SHOWS:
        shown = show(kept(offline=True)).replace("\\", "")
        for words in ("answered in 1.00 s (kept: recorded time)", "$0 now, $0.250000 when it was asked", "stand-in"):
            assert words in shown
        assert "kept" not in show(reply(GREEN))


def test_several_calls_say_how_many_were_kept():
    half = moa.Replies([kept(), reply(TIDES, B, cost_usd=0.5)])
    assert str(half).splitlines()[0] == "2 of 2 answered · $0.500000 now, 1 of 2 calls kept"
    whole = answer(GREEN, [GREEN])
    assert "kept" not in str(whole)
    partly = replace(whole, layers=(moa.Replies([kept()]),), aggregator=replace(whole.aggregator, cost_usd=0.5))
    assert "2.50 s (partly recorded) · $0.500000 now, 1 of 2 calls kept" in str(partly).splitlines()[0]
    all_of_it = replace(whole, layers=(moa.Replies([kept()]),), aggregator=kept())
    assert "2.50 s (recorded) · $0 now, 2 of 2 calls kept" in str(all_of_it).splitlines()[0]
    unknown = moa.Replies([kept(), reply(TIDES, B)])
    assert "unknown now, 1 of 2 calls kept" in str(unknown)


def test_a_table_ends_with_kept_and_settings_and_a_timeline_says_recorded():
    mixed = replace(answer(GREEN, [TIDES]), layers=(moa.Replies([kept(settings="effort low"), reply(TIDES)]),))
    table = mixed.table()
    assert list(table.columns[-4:]) == ["second_request", "left_out", "kept", "settings"]
    assert list(table.kept) == [True, False, False]
    assert list(table.settings) == ["effort low", "", ""]
    assert list(moa.Replies([kept()]).table().columns[-2:]) == ["kept", "settings"]
    picture = mixed.timeline()
    first, *_ = picture.axes[0].get_yticklabels()
    assert first.get_text() == f"layer 1 · {A}\neffort low"
    assert [", recorded" in label.get_text() for label in picture.axes[0].texts] == [True, False, False]
    assert picture.alt.count("(kept: recorded time)") == 1


def test_the_panel_says_what_was_kept(shelf, script, monkeypatch):
    standins.enter(monkeypatch, script)
    shown = notebook.enter(monkeypatch)
    first = shelf(moa.watch(moa.mixture_of_agents("Why?", [A, B], C)))
    assert "kept" not in shown.line
    shown.clear()
    again = shelf(moa.watch(moa.mixture_of_agents("Why?", [A, B], C)))
    assert (script.asked, again.text) == ([], first.text)
    assert shown.line == "3 of 3 calls ended · $0 now, 3 of 3 calls kept · offline stand-ins"
    assert shown.page.text.count("(kept: recorded time)") == 3
    assert shown.page.text.count("$0 now, $0.0") == 3
    assert not shown.page.labels("img"), "a bar on the clock of this run would be untrue"
    shown.clear()
    half = shelf(moa.watch(moa.fan_out([A, B, C], "Why?")))
    assert [each.kept for each in half] == [False] * 3, "a layer of a mixture is another request"
    shown.clear()
    shelf(moa.watch(moa.fan_out([A, B, C, C], "Why?")))
    assert shown.line.endswith(" now, 3 of 4 calls kept · offline stand-ins")
    assert len(shown.page.labels("img")) == 1


# Members


def test_members_of_one_model_are_told_apart_everywhere(run, script, monkeypatch):
    shown = notebook.enter(monkeypatch)
    script[A] = [fails(401), answers(TIDES), answers(GREEN)]
    found = run(moa.watch(moa.mixture_of_agents("Why?", [SCEPTIC, A], C)))
    assert f'{A} (system "{SCEPTIC.system[:39]}") failed (authentication)' in found.heading.replace("…", "")
    assert str(SCEPTIC) in str(found)
    assert str(SCEPTIC) in str(found.layers[0])
    assert str(found.layers[0][0]).startswith(f"{SCEPTIC} failed")
    assert shown.calls == [f"1. layer 1 · {SCEPTIC}", f"2. layer 1 · {A}", f"3. aggregator · {C}"]
    assert list(found.table().settings) == [SCEPTIC.settings, "", ""]
    assert SCEPTIC.settings[:40] in found.timeline().alt


def test_a_heading_names_no_settings_where_the_model_is_enough(run, script):
    script[A] = fails(401)
    found = run(moa.mixture_of_agents("Why?", [SCEPTIC, B], C))
    assert f"{A} failed (authentication)" in found.heading


def test_a_hostile_role_is_only_text(run, script, monkeypatch):
    shown = notebook.enter(monkeypatch)
    for name, text in HOSTILE.items():
        role = moa.Member(A, system=text, extra={text: 1})
        found = run(moa.watch(moa.mixture_of_agents("Why?", [role, A], role)))
        results = (found, found.layers[0], found.layers[0][0])
        for page in (shown.page, *(read(result._repr_html_()) for result in results)):
            assert "img" not in page.tags, name
            assert "system" in page.text
        assert len(shown.calls) == 3
        for result in results:
            assert not any(sign in str(result).splitlines()[0] for sign in "\x1b\u202e\u2066\x00"), name
        assert "\n" not in found.heading
        shown.clear()


# A second aggregator


def test_a_fallback_is_named_with_who_failed(run, script):
    script[A] = fails(503)
    found = run(moa.mixture_of_agents("Why?", [B, C], [A, B], retries=0))
    assert found.heading == f"synthesised by {B} from 2 of 2; {A} failed (overloaded) after 0.00 s"
    assert list(found.table().role) == ["layer 1", "layer 1", "failed aggregator", "aggregator"]
    for show in SHOWS:
        assert "failed aggregator" in show(found)
    assert "failed aggregator" in found.timeline().alt


def test_where_all_aggregators_fail_each_is_named(run, script):
    script[A] = fails(503)
    script[OSS] = fails(401)
    found = run(moa.mixture_of_agents("Why?", [B, C], [A, OSS], retries=0))
    assert found.outcome == "aggregator_failed"
    for words in ("all 2 aggregators that were asked failed", f"{A} failed (overl", f"{OSS} failed (authen"):
        assert words in found.heading
    assert list(found.table().role)[2:] == ["failed aggregator", "aggregator"]


def test_a_ranker_that_names_no_number_is_named(run, script):
    script[A] = answers("All are good.")
    script[OSS] = answers("1")
    found = run(moa.mixture_of_agents("Why?", [B, C], [A, OSS], pick=True))
    assert found.heading.startswith(f"{B} picked by {OSS} out of 2 of 2; ")
    assert f"{A} was to name the best by its number, and did not" in found.heading
    script[OSS] = answers("None.")
    found = run(moa.mixture_of_agents("Why?", [B, C], [A, OSS], pick=True))
    assert found.heading.count("was to name the best by its number, and did not") == 2


def test_a_fallback_that_the_limits_leave_no_room_for_is_named(run, script):
    script[A] = fails(503)
    limits = (
        ({"max_calls": 3}, "max_calls or budget_usd leaves no call"),
        ({"deadline": 3.0}, "the deadline has passed"),
    )
    for limit, why in limits:
        script[A] = fails(503) if "max_calls" in limit else hangs()
        found = run(moa.mixture_of_agents("Why?", [B, C], [A, B], retries=0, **limit))
        assert f"{A}: {B} was not asked instead: {why}" in found.heading
        assert list(found.table().role)[2:] == ["aggregator"]


def test_an_estimate_says_that_fallbacks_are_not_in_it():
    alone = moa.estimate("Why?", MODELS, A)
    for last, words in (([A, B], "1 fallback aggregator"), ([A, SCEPTIC, C], "2 fallback aggregators")):
        planned = moa.estimate("Why?", MODELS, last)
        assert (planned.calls, planned.usd) == (4, alone.usd)
        for show in SHOWS:
            assert f"4 calls, estimated, without {words}" in show(planned)
    assert "fallback" not in str(alone)
    with pytest.raises(ValueError, match="nobody"):
        moa.estimate("Why?", MODELS, [A, "nobody"])
