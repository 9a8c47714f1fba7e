"""answer_all(): what it asks, what it finds in the file, what it refuses, and how it keeps to its limits."""

import asyncio
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import moa_helpers as moa
from moa_helpers.bulk import rows
from moa_helpers.bulk.questions import opened
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.vendors import settings
from tests.support import standins
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, answers, fails, hangs

MIXTURE = {"reference_models": [LUNA, HAIKU, SMALL], "aggregator": LUNA}
QUESTIONS = [f"What is {number} plus {number}?" for number in range(12)]
COLUMNS = ["id", "question", "text", "outcome", "cost_usd", "calls", "seconds", "kept", "offline", "problem"]


@pytest.fixture
def answer_all(run, monkeypatch, script):
    """The same as ``moa.answer_all``, against stand-ins on a virtual clock."""
    standins.enter(monkeypatch, script)
    return lambda *given, **options: run(moa.answer_all(*given, **options))


# What it gives


def test_a_row_a_question(answer_all, script):
    found = answer_all(QUESTIONS, MIXTURE)
    table = found.table()
    assert list(table.columns) == COLUMNS
    assert list(table.question) == list(table.id) == QUESTIONS
    assert set(table.outcome) == {"complete"}
    assert set(table.calls) == {4}
    assert not table.kept.any()
    assert table.offline.all()
    assert table.cost_usd.sum() == pytest.approx(found.spent_usd)
    assert len(script.asked) == 4 * len(QUESTIONS) == 4 * len(found)
    assert not any(asked.request.streamed for asked in script.asked)


def test_one_model_alone(answer_all, script):
    script[LUNA] = [answers("Two.")]
    found = [*answer_all(QUESTIONS[:2], LUNA)]
    assert [(row.text, row.outcome, row.calls) for row in found] == [("Two.", "ok", 1)] * 2


def test_what_failed_is_a_row_and_asked_again_in_the_next_start(answer_all, script):
    script[LUNA] = lambda request: fails(400) if "3 plus" in request.prompt else answers("Six.")
    found = answer_all(QUESTIONS, LUNA)
    (row,) = (row for row in found if not row.ok)
    assert (row.id, row.text, row.outcome) == (QUESTIONS[3], "", "bad_request")
    assert "HTTP 400" in row.problem
    script[LUNA] = [answers("Six.")]
    found = answer_all(QUESTIONS, LUNA)
    assert [asked.request.prompt for asked in script.asked] == [QUESTIONS[3]]
    assert [row.kept for row in found] == [row.id != QUESTIONS[3] for row in found]
    assert all(row.ok for row in found)


def test_of_a_mixture_that_failed_only_what_failed_is_asked_again(answer_all, script):
    script[SMALL] = [fails(400)]
    script[LUNA] = lambda request: fails(400) if request.role == "aggregator" else answers("Two.")
    assert [row.outcome for row in answer_all(QUESTIONS[:1], MIXTURE)] == ["aggregator_failed"]
    script.acts = {}
    (row,) = answer_all(QUESTIONS[:1], MIXTURE)
    assert (row.outcome, row.kept, row.calls) == ("complete", False, 4)
    assert [(asked.model, asked.request.role) for asked in script.asked] == [(SMALL, "layer 1"), (LUNA, "aggregator")]


def test_a_second_start_makes_no_call_and_costs_nothing(answer_all, script):
    first = answer_all(QUESTIONS, MIXTURE)
    second = answer_all(QUESTIONS, MIXTURE)
    assert not script.asked
    assert second.spent_usd == 0
    assert second.table().kept.all()
    pd.testing.assert_frame_equal(second.table().drop(columns="kept"), first.table().drop(columns="kept"))


@pytest.mark.parametrize("other", [{"max_tokens": 100}, {"reference_models": [LUNA, HAIKU]}, {"quorum": 2}])
def test_another_strategy_finds_the_calls_that_are_the_same_and_no_rows(answer_all, script, other):
    answer_all(QUESTIONS[:1], MIXTURE)
    found = answer_all(QUESTIONS[:1], MIXTURE | other)
    assert len(script.asked) == {"max_tokens": 4, "reference_models": 1, "quorum": 0}[next(iter(other))]
    assert len(found) == 1


def test_an_answer_of_one_model_with_fewer_tokens_is_not_kept_for_more(answer_all, script):
    answer_all(QUESTIONS[:1], LUNA, max_tokens=50)
    assert not answer_all(QUESTIONS[:1], LUNA, max_tokens=500).table().kept.any()
    assert [asked.request.max_tokens for asked in script.asked] == [500]


def test_how_long_is_waited_is_no_other_strategy(answer_all, script):
    answer_all(QUESTIONS[:1], MIXTURE)
    assert answer_all(QUESTIONS[:1], MIXTURE | {"timeout": 5, "retries": 0}, timeout=7).table().kept.all()


def test_what_a_single_call_was_answered_is_found(run, answer_all, script):
    async def kept():
        with moa.keep("answers.sqlite"):
            return await moa.ask(LUNA, QUESTIONS[0])

    reply = run(kept())
    (row,) = answer_all(QUESTIONS[:1], LUNA)
    assert (row.text, row.kept, row.cost_usd) == (reply.text, True, reply.cost_usd)


def test_two_questions_that_say_the_same_are_asked_once(answer_all, script):
    same = [moa.Question(str(number), QUESTIONS[0]) for number in range(5)]
    found = answer_all(same, MIXTURE)
    assert [row.id for row in found] == list("01234")
    assert {row.text for row in found} == {found.table().text[0]}
    assert len(script.asked) == 4
    assert answer_all(same, MIXTURE).table().kept.all()


def test_what_setup_changes_meanwhile_counts_from_the_next_start_on(answer_all, script, monkeypatch):
    def questions():
        yield QUESTIONS[0]
        monkeypatch.setattr(settings, "_current", replace(settings.current(), mode="live"))
        yield QUESTIONS[1]

    assert answer_all(questions(), MIXTURE, max_concurrency=1).table().offline.tolist() == [True, True]
    assert settings.current().mode == "live"
    live = answer_all(QUESTIONS[:2], MIXTURE).table()
    assert not live.offline.any()
    assert not live.kept.any()


# Where questions come from


def test_questions_from_a_file_a_table_and_a_generator(answer_all, script, tmp_path):
    (tmp_path / "q.csv").write_text("id,prompt\na,Why?\nb,How?\n")
    (tmp_path / "q.jsonl").write_text('{"id": "a", "question": "Why?"}\n{"id": "b", "prompt": "How?"}\n')
    table = pd.DataFrame({"prompt": ["Why?", "How?"]}, index=["a", "b"])
    generator = (moa.Question(name, text) for name, text in [("a", "Why?"), ("b", "How?")])
    for source in ("q.csv", tmp_path / "q.jsonl", table, table.reset_index(names="id"), generator):
        found = answer_all(source, LUNA)
        assert [(row.id, row.question) for row in found] == [("a", "Why?"), ("b", "How?")]
    assert answer_all(found.table(), LUNA).table().kept.all()  # what it gave is a table of questions, too


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_a_gap_in_a_table_is_no_reference_and_turns_no_whole_number_into_another(gap):
    table = pd.DataFrame({"prompt": ["Why?", "How?"], "reference": [42, gap]}, index=[7, 8])
    questions, count = opened(table)
    assert [(each.id, each.reference) for each in questions] == [("7", "42"), ("8", None)]
    assert count == 2


def test_a_generator_is_read_no_further_than_it_is_worked_on(answer_all, script):
    taken = []

    def questions():
        for text in QUESTIONS:
            taken.append(len(script.asked))
            yield text

    answer_all(questions(), LUNA, max_concurrency=2)
    assert all(asked >= number - 2 for number, asked in enumerate(taken))


@pytest.mark.parametrize(
    ("questions", "error", "words"),
    [
        ("Why is the sky blue?", ValueError, "no file of questions"),
        (7, TypeError, "a list, a file or a pandas DataFrame"),
        ({"a": "Why?"}, TypeError, "not dict"),
        (SimpleNamespace(columns=["id", "prompt"]), TypeError, "pandas DataFrame"),
        (pd.DataFrame({"id": [1.0, np.nan], "prompt": ["Why?", "How?"]}), ValueError, "Question 2 .* no id"),
        (pd.DataFrame({"id": [pd.NaT], "prompt": ["Why?"]}), ValueError, "Question 1 .* It has: prompt"),
        ([], ValueError, "empty"),
        (["Why?", 7], TypeError, "Question 2"),
        (["Why?", "Why?"], ValueError, "twice"),
        (iter(["Why?", "Why?"]), ValueError, "twice"),
        (pd.DataFrame({"text": ["Why?"]}), ValueError, "no id or no prompt"),
        (pd.DataFrame({"prompt": ["Why?", None]}), ValueError, "Question 2"),
        (pd.DataFrame({"prompt": ["Why?", "How?"]}, index=[1, 1]), ValueError, "twice"),
        ("missing.csv", FileNotFoundError, "missing"),
    ],
)
def test_questions_that_are_none(answer_all, script, questions, error, words):
    with pytest.raises(error, match=words):
        answer_all(questions, LUNA)
    assert len(script.asked) <= 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"how": "fast"}, ValueError, "live, batch, mixed, ray"),
        ({"late": "never"}, ValueError, "'batch' or 'live'"),
        ({"patience": 0}, ValueError, "patience"),
        ({"max_concurrency": None}, TypeError, "max_concurrency"),
        ({"budget_usd": 1e-9}, ValueError, "budget_usd"),
        ({"max_tokens": 0}, ValueError, "max_tokens"),
        ({"rates": {"mistral": moa.Rate(tokens=2000)}}, ValueError, "a minute"),
        ({"rates": {"nobody": moa.Rate(requests=5)}}, ValueError, "nobody"),
        ({"path": "missing/answers.sqlite"}, OSError, "missing"),
        ({"path": "answers.csv"}, ValueError, "name it answers.sqlite"),
    ],
)
def test_bad_input_makes_no_call(answer_all, script, options, error, words):
    with pytest.raises(error, match=words):
        answer_all(QUESTIONS, MIXTURE, **options)
    assert not script.asked


@pytest.mark.parametrize(
    "strategy", [7, "nobody:nothing", {}, {"reference_models": [LUNA]}, MIXTURE | {"deadline": 5}, MIXTURE | {"no": 1}]
)
def test_a_strategy_that_is_none(answer_all, script, strategy):
    with pytest.raises((TypeError, ValueError)):
        answer_all(QUESTIONS, strategy)
    assert not script.asked


@pytest.mark.parametrize("budget_usd", [None, 9.0])
def test_a_question_that_is_refused_is_a_row(answer_all, script, budget_usd):
    long = "Why? " * 100_000
    found = [*answer_all(["Why?", long, " "], MIXTURE | {"budget_usd": 0.1}, budget_usd=budget_usd)]
    assert [row.outcome for row in found] == ["complete", "refused", "refused"]
    assert "budget_usd" in found[1].problem
    assert len(script.asked) == 4


@pytest.mark.parametrize("odd", [None, 7, [], [1], {1: 2, "a": 3}, [{1: 2, "a": 3}], [object()], (circle := [0])])
def test_what_is_no_prompt_is_a_row_and_stops_nothing(answer_all, script, odd):
    circle[:] = [circle]
    found = answer_all([moa.Question("odd", odd), moa.Question("good", "Why?")], MIXTURE)
    assert [row.outcome for row in found] == ["refused", "complete"]


def test_a_question_is_planned_once(answer_all, monkeypatch):
    planned, plan = [], Strategy.plan
    monkeypatch.setattr(Strategy, "plan", lambda self, prompt: planned.append(prompt) or plan(self, prompt))
    answer_all(QUESTIONS, MIXTURE)
    assert [*filter("?".__ne__, planned)] == QUESTIONS


# Limits


def test_places_hold_for_all_questions_together(answer_all, script):
    answer_all(QUESTIONS, MIXTURE, max_concurrency={"anthropic": 1, "all": 5})
    assert script.most["anthropic"] == 1
    assert script.most["all"] == 5


def test_a_limit_that_is_none_is_not_a_task_each(answer_all, script):
    tasks = []
    answer_all((tasks.append(len(asyncio.all_tasks())) or text for text in QUESTIONS), LUNA, max_concurrency=100_000)
    assert max(tasks) < 5000


def test_a_budget_is_kept_and_the_rest_is_answered_in_the_next_start(answer_all, script):
    one = moa.estimate(QUESTIONS[0], [LUNA, HAIKU, SMALL], LUNA).most_usd
    first = answer_all(QUESTIONS, MIXTURE, budget_usd=1.5 * one)
    assert 0 < len(first) < len(QUESTIONS)
    assert "Start again with" in first.problem
    assert first.problem in str(first)
    assert f"{len(first)} of 12 questions" in str(first)
    assert [row.id for row in first] == QUESTIONS[: len(first)], "none is passed over"
    assert first.spent_usd <= 1.5 * one
    second = answer_all(QUESTIONS, MIXTURE)
    assert len(second) == len(QUESTIONS)
    assert sum(row.kept for row in second) == len(first)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_call_would_fail_with_stops_it(answer_all, script, status):
    questions = [f"What is {number} plus 1?" for number in range(100)]
    script[SMALL] = [fails(status)]
    found = answer_all(questions, MIXTURE)
    assert 20 <= len(found) < 30
    assert f"20 calls in a row failed alike: {SMALL}" in found.problem
    script.acts = {}
    assert [row.outcome for row in answer_all(questions, MIXTURE)].count("complete") == 100 - len(found)


def test_now_and_then_it_does_not(answer_all, script):
    questions = [f"What is {number} plus 1?" for number in range(60)]
    script[LUNA] = lambda request: answers("Two.") if int(request.prompt.split()[2]) % 15 == 0 else fails(404)
    assert len(answer_all(questions, LUNA, max_concurrency=1)) == 60


def test_a_price_that_is_unknown_is_no_budget(answer_all, script):
    with pytest.raises(ValueError, match="no price is known"):
        answer_all(QUESTIONS, "openai:gpt-of-my-own", budget_usd=1)
    assert not script.asked


def test_rates_hold(answer_all, script):
    answer_all(QUESTIONS, LUNA, rates={"openai": moa.Rate(requests=5)})
    times = [asked.at for asked in script.asked]
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[5:], strict=False))


def test_a_stage_that_is_too_large_for_a_rate_is_a_row(answer_all, script):
    script[HAIKU] = lambda request: answers("Two. " * (1000 if "3 plus" in request.prompt else 1), per_piece=0)
    found = answer_all(QUESTIONS, MIXTURE, rates={"openai": moa.Rate(tokens=4000)})
    (row,) = (row for row in found if row.id == QUESTIONS[3])
    assert (row.outcome, row.calls) == ("aggregator_failed", 3)
    assert row.cost_usd > 0, "its proposers were paid"
    assert "its rate is 4,000 a minute" in row.problem
    assert [row.outcome for row in found].count("complete") == 11


def test_what_one_call_was_asked_to_wait_all_wait(answer_all, script):
    script[LUNA] = [fails(429, retry_after=30), answers()]
    answer_all(QUESTIONS, LUNA, max_concurrency=1)
    assert [asked.at >= 30 for asked in script.asked] == [False] + [True] * len(QUESTIONS)


def test_cancelled_it_keeps_what_was_finished(run, answer_all, script):
    script[LUNA] = lambda request: hangs() if "5 plus" in request.prompt else answers("Ten.")

    async def stopped():
        task = asyncio.create_task(moa.answer_all(QUESTIONS, LUNA, max_concurrency=2, timeout=1000))
        await asyncio.sleep(100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return raised.value.answers

    found = run(stopped())
    assert {row.id for row in found} == {*QUESTIONS} - {QUESTIONS[5]}


def test_a_stop_is_heard_while_all_is_found_in_the_file(run, answer_all, script):
    answer_all(QUESTIONS, LUNA)
    taken = []

    async def stopped():
        def questions():
            for text in QUESTIONS:
                taken.append(text)
                asyncio.get_running_loop().call_soon(task.cancel)
                yield text

        task = asyncio.create_task(moa.answer_all(questions(), LUNA, max_concurrency=1))
        with pytest.raises(asyncio.CancelledError):
            await task

    run(stopped())
    assert len(taken) < len(QUESTIONS)


def test_a_disk_that_is_full_stops_it(answer_all, script, monkeypatch):
    from moa_helpers.store.answers import Answers

    def full(self):
        if len(script.asked) >= 3:
            raise OSError("The disk is full.")

    monkeypatch.setattr(Answers, "check", full)
    with pytest.raises(OSError, match="full") as raised:
        answer_all(QUESTIONS, LUNA, max_concurrency=1)
    assert len(raised.value.answers) == len(script.asked) == 3


# Files and views


def test_files(answer_all, script, tmp_path):
    script[LUNA] = [answers('Yes, "two";\nor three.')]
    found = answer_all(QUESTIONS[:3], LUNA)
    table = found.table()
    for name in ("a.csv", "a.jsonl"):
        assert found.save(tmp_path / name) == tmp_path / name
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv", keep_default_na=False), table)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    pd.testing.assert_frame_equal(pd.DataFrame(lines), table)
    assert {each.name for each in tmp_path.glob("a.*")} == {"a.csv", "a.jsonl"}
    with pytest.raises(ValueError, match="must end in"):
        found.save("answers.xlsx")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(answer_all, script, tmp_path, monkeypatch, name):
    found, full = answer_all(["Why?", "Half a character: \ud83d."], LUNA), tmp_path / "folder"
    (full / name).mkdir(parents=True)
    for place in (full / name, tmp_path / "missing" / name):
        with pytest.raises(OSError, match="folder"):
            found.save(place)
    monkeypatch.setattr(rows, "asdict", lambda row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.save(full / f"other-{name}")
    assert [each.name for each in full.iterdir()] == [name]
    monkeypatch.undo()
    assert "Half a character: ?." in found.save(tmp_path / name).read_text()


def test_a_file_that_was_removed_is_no_table_without_rows(answer_all, script, tmp_path):
    found = answer_all(QUESTIONS[:2], LUNA)
    for each in tmp_path.glob("answers.sqlite*"):
        each.unlink()
    with pytest.raises(FileNotFoundError, match="removed"):
        found.table()
    assert "AnswerSet" in repr(found)


def test_the_card(answer_all, script):
    script[LUNA] = [answers("<script>alert(1)</script>")]
    shown = answer_all(QUESTIONS, LUNA)
    assert str(shown).startswith("12 of 12 questions answered (12 ok) · $0.000")
    assert "offline stand-ins" in str(shown)
    assert "<script>" not in shown._repr_html_()
    again = answer_all(QUESTIONS, LUNA)
    assert "$0.000000 in this start, 12 kept" in str(again)


def test_a_cost_that_is_unknown_stays_so(answer_all, script):
    script[OSS] = [answers("Two.", tokens=None)]
    found = answer_all(QUESTIONS[:2], OSS)
    assert found.table().cost_usd.isna().all()
    assert "unknown in all" in str(found)


def test_the_line_says_how_far_it_is_and_what_is_to_come(answer_all, monkeypatch):
    lines = []
    view = SimpleNamespace(update=lambda work, last: lines.append(work.line()))
    monkeypatch.setattr("moa_helpers.bulk.work.progress_view", lambda: view)
    answer_all(QUESTIONS, LUNA, max_concurrency=1)
    assert lines[0].startswith("0 of 12 questions · 0 calls made")
    assert lines[-1].startswith("12 of 12 questions · 12 calls made")
    assert "to go" not in lines[-1]
    half = next(line for line in lines if line.startswith("6 of"))
    assert re.search(r" · about 1 s and \$0\.\d+ to go$", half), half
