"""The file of a comparison: what is in it is not paid for twice, and whatever happens, what was paid for is in it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.vendors import settings
from tests.support import standins
from tests.support.kept import FILE, edit, rows
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import fails, hangs

MIXTURE = {"reference_models": MODELS, "aggregator": A}
STRATEGIES = {
    "single": A,
    "best of 3": {"reference_models": [A] * 3, "aggregator": A, "pick": True},
    "moa": MIXTURE,
}
OLD = Path("comparison.jsonl")


@pytest.fixture
def compare(run, monkeypatch, script):
    return standins.comparing(run, monkeypatch, script)


# Found again


def test_what_setup_changes_meanwhile_counts_from_the_next_start_on(compare, script, monkeypatch):
    def goes_live(question, answer):
        monkeypatch.setattr(settings, "_current", replace(settings.current(), mode="live"))
        return True

    first = compare(offline.questions()[:3], {"single": A}, score=goes_live, max_concurrency=1)
    assert all(each.offline for each in first.answers)
    assert not any(each.offline for each in compare(offline.questions()[:3], {"single": A}).answers)


def test_a_second_start_makes_no_call(compare, script):
    first = compare(offline.questions(), STRATEGIES, judge=B)
    assert script.asked
    again = compare(offline.questions(), STRATEGIES, judge=B)
    assert not script.asked
    assert again == first
    assert again.table().equals(first.table())


def test_only_what_is_new_is_asked(compare, script):
    compare(offline.questions()[:3], {"single": A})
    compare(offline.questions()[:4], {"single": A, "other": B}, judge=C, null_checks=0)
    assert script.counts() == {A: 1, B: 4, C: 8}


def test_a_change_of_a_strategy_asks_anew_what_it_changes(compare, script, question):
    changes = ({"max_tokens": 100}, {"reference_models": [A, B]}, {"aggregator": B}, {"shuffle_seed": 1})
    for number, change in enumerate(changes):
        path = f"{number}.sqlite"
        compare([question], {"moa": MIXTURE}, path=path)
        compare([question], {"moa": MIXTURE | change}, path=path)
        assert len(script.asked) == (4 if "max_tokens" in change else 1), change


def test_what_failed_is_asked_again(compare, script, question):
    script[C] = fails(400)
    assert compare([question], {"moa": MIXTURE}).answers[0].outcome == "partial"
    del script.acts[C]
    assert compare([question], {"moa": MIXTURE}).answers[0].outcome == "complete"
    assert script.counts() == {C: 1, A: 1}, "the one that failed, and the aggregator, who reads more now"


def test_calls_that_were_stopped_are_not_made_again(compare, script):
    hedged = {"hedge_after": 0.5, "hedge_with": "groq:openai/gpt-oss-20b"}
    for slow, policy in ((A, hedged), (C, {"quorum": 2}), (C, {"quorum": 1, "grace": 0.01})):
        strategies, path = {"moa": MIXTURE | policy | {"aggregator": B}}, Path(f"{len(policy)}{slow[:3]}.sqlite")
        script[slow] = hangs()
        first = compare(offline.questions()[:4], strategies, path=path)
        assert sum("outcome" in row["given"] for row in rows(path)) == 4
        again = compare(offline.questions()[:4], strategies, path=path)
        assert not script.asked
        assert again == first
        changed = compare(offline.questions()[:4], {"moa": strategies["moa"] | {"shuffle_seed": 1}}, path=path)
        assert {each.outcome for each in changed.answers} <= {"complete", "partial", "single"}
        script.acts.clear()


def test_a_second_request_that_was_answered_is_not_made_again(compare, script, question):
    """Killed between the second request's answer and the end of the strategy: the calls alone are in the file."""
    strategy = {"m": {"reference_models": [A], "aggregator": A, "hedge_after": 0.5, "hedge_with": B}}
    script[A] = [hangs(), script.default]
    first = compare([question], strategy)
    assert script.counts() == {A: 2, B: 1}
    edit("DELETE FROM calls WHERE json_extract(given, '$.outcome') IS NOT NULL")
    edit("UPDATE calls SET given = json_set(given, '$.started', 7.5)")  # of another clock
    again = compare([question], strategy)
    assert not script.asked
    assert again.answers[0].text == first.answers[0].text
    assert (again.answers[0].outcome, again.answers[0].seconds) == ("complete", pytest.approx(0.1 + 0.1))


def test_more_patience_asks_nothing_anew(compare, script, question):
    """Some calls of the mixture are stopped, so it is kept as a whole."""
    how = MIXTURE | {"quorum": 1, "grace": 0.001}
    script[C] = hangs("Half")
    compare([question], {"moa": how})
    for other in (how | {"retries": 3}, how | {"timeout": 90}, dict(reversed(how.items()))):
        compare([question], {"moa": other})
        assert not script.asked
    script.acts.clear()
    compare([question], {"moa": how | {"quorum": 3}})
    assert script.asked, "what must now be waited for is asked"


def test_what_is_found_leaves_its_share_to_retries(compare, script, question):
    """Three calls are allowed and planned: the first is in the file, so the second may be made twice."""
    strategy = {"m": {"reference_models": [A, B], "aggregator": C, "max_calls": 3, "retries": 1}}
    script[B] = fails(400)
    compare([question], strategy)
    assert script.counts() == {A: 1, B: 1, C: 1}
    script[B] = [fails(503, retry_after=1), script.default]
    again = compare([question], strategy)
    assert script.counts() == {B: 2, C: 1}
    assert again.answers[0].outcome == "complete"


def test_a_text_keeps_its_place_in_the_file(compare, script):
    compare(["Why is the sky blue?", "Who?"], {"single": A})
    compare(["How?", "Why is the sky blue?", "Who?"], {"single": A})
    assert [asked.request.prompt for asked in script.asked] == ["How?"]


def test_stand_ins_that_know_other_things_are_other_stand_ins(compare, script):
    question = offline.questions()[0]
    compare([question], {"single": A})
    with offline.knowledge(alike=1):
        compare([question], {"single": A})
        assert len(script.asked) == 1
    with offline.judging(position=9):
        compare([question], {"single": A}, judge=B, null_checks=1)
        compare([question], {"single": A})
        assert not script.asked, "only what chooses is swayed"
    compare([question], {"single": A}, judge=B, null_checks=1)
    assert script.counts() == {B: 2}
    with offline.fault(A, "liar"):
        lied = compare([question], {"single": A}).answers[0]
        assert len(script.asked) == 1
    told = compare([question], {"single": A}).answers[0]
    assert not script.asked
    assert told.points_wrong < lied.points_wrong


def test_what_version_0_1_has_written_is_found_whole(compare, script):
    """A file of commit 91d5d88: a role, a name or a prompt that changes would have all of it paid for again."""
    questions = [
        moa.Question("sky", "Why is the sky blue?", "Air scatters blue light more than red."),
        moa.Question("tea", "Why does tea cool?"),
    ]
    hedged = {"hedge_after": 3, "hedge_with": "groq:openai/gpt-oss-20b"}
    strategies = {
        "single": A,
        "best of 2": {"reference_models": [B, C], "aggregator": A, "pick": True},
        "robust": MIXTURE | {"aggregator": B, "layers": 3, "robust": True, "max_tokens": 900},
        "hedged": {"reference_models": [A, C], "aggregator": A, **hedged},
        "quorum": MIXTURE | {"quorum": 2, "grace": 0.5, "shuffle_seed": 7},
    }
    written = (Path(__file__).parents[1] / "support/comparison-0.1.jsonl").read_bytes()
    OLD.write_bytes(written)
    for path in ({}, {}, {"path": OLD}):
        found = compare(questions, strategies, judge=[A, B], null_checks=1, **path)
        assert not script.asked
        assert (OLD.read_bytes(), found.path) == (written, FILE)
        assert len(rows()) == written.count(b"\n"), "taken in once"
    assert [each.outcome for each in found.answers] == ["ok", "complete", "complete", "complete", "partial"] * 2
    assert [each.calls for each in found.answers] == [1, 3, 7, 4, 4] * 2
    assert {each.judge for each in found.judgements if each.places} == {A, B}


# Stops, full disks, other programs


def test_a_stop_keeps_what_has_arrived(compare, run, script):
    questions = offline.questions()[:5]

    async def stopped():
        task = asyncio.create_task(moa.compare(questions, STRATEGIES, judge=B, max_concurrency=3))
        while len(script.asked) < 40:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.comparison

    found = run(stopped())
    assert 0 < len(found.answers) < 15
    assert len(found.answers) % 3 == 0, "only questions that are finished are in it"
    before = len(rows())
    kept = sum(row["good"] for row in rows())
    assert kept < before, "what was stopped is in it too, as it may have cost something"
    whole = compare(questions, STRATEGIES, judge=B)
    asked = len(script.asked)
    undisturbed = compare(questions, STRATEGIES, judge=B, path="other.sqlite")
    assert asked == len(script.asked) - kept == len(rows()) - before
    assert standins.without_times(whole).equals(standins.without_times(undisturbed))


def test_a_second_start_shows_what_the_first_one_cost(compare, script):
    first = compare(["Why?"], STRATEGIES, judge=B)
    edit("DELETE FROM calls WHERE json_extract(given, '$.outcome') IS NOT NULL")
    again = compare(["Why?"], STRATEGIES, judge=B)
    assert not script.asked
    assert again.cost_usd == first.cost_usd > 0


def test_two_comparisons_use_one_file_at_the_same_time(compare, run, script):
    async def both():
        return await asyncio.gather(*(moa.compare(offline.questions(), {"a": model}) for model in (A, B)))

    run(both())
    assert len(rows()) == len(script.asked) == 20
    compare(offline.questions(), {"a": A})
    compare(offline.questions(), {"a": B})
    assert not script.asked


def test_the_file_holds_no_key(compare, script, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
    moa.setup("live")
    script[A] = fails(401, message="No: dummy-openai is not a valid key")
    compare(["Why?"], {"single": A})
    assert "is not a valid key" in str(rows())
    assert b"dummy-openai" not in FILE.read_bytes()
