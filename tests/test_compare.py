"""compare(): what it counts, judges, keeps, refuses and never pays for twice."""

import asyncio
import gc
import json
import math
from collections import Counter
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.evaluation import compare as strategies
from moa_helpers.evaluation.comparison import NULL
from moa_helpers.store.ledger import Ledger
from moa_helpers.ui import cards as display

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of cancelled calls; see test_soak
A, B, C = "openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"
MIXTURE = {"reference_models": [A, B, C], "aggregator": A}
STRATEGIES = {
    "single": A,
    "best of 3": {"reference_models": [A] * 3, "aggregator": A, "pick": True},
    "self-moa": {"reference_models": [A] * 3, "aggregator": A},
    "moa": MIXTURE,
}


@pytest.fixture(autouse=True, scope="module")
def _collected():
    yield
    gc.collect()  # what is left of cancelled calls, before another file's tests meet it


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(offline.start().vendors, "speed", 500)


def asked(vendors):
    return sum(vendors.asked.values())


def entries(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# What it gives


def test_the_table(compare, vendors):
    questions = offline.questions(2)
    found = compare(questions, STRATEGIES, judge=B, null_checks=5)
    table = found.table()
    assert list(table.index) == list(STRATEGIES)
    assert list(table.columns) == [
        *("questions", "failed", "calls", "cost_usd", "seconds", "characters"),
        *("points_share", "points_share_low", "points_share_high"),
        *("points_wrong", "points_wrong_low", "points_wrong_high"),
        *("win_rate", "win_rate_low", "win_rate_high"),
        *("win_rate_at_equal_length", "win_rate_at_equal_length_low", "win_rate_at_equal_length_high"),
    ]
    assert list(table.questions) == [20] * 4
    assert list(table.calls) == [1, 4, 4, 4]
    assert math.isnan(table.win_rate["single"])
    for name in STRATEGIES:
        own = [each for each in found.answers if each.strategy == name]
        assert [each.question for each in own] == [question.id for question in questions]
        scores = [offline.score(q.prompt, each.text) for q, each in zip(questions, own, strict=True)]
        right = sum(score.covered / score.possible for score in scores) / len(questions)
        assert table.points_share[name] == pytest.approx(right)
        assert table.points_wrong[name] == pytest.approx(sum(score.wrong for score in scores) / len(questions))
        assert table.characters[name] == pytest.approx(sum(len(each.text) for each in own) / len(questions))
        assert table.points_share_low[name] < table.points_share[name] < table.points_share_high[name]
    judged = sum(2 for each in found.judgements if each.places)
    assert asked(vendors) == judged + 20 * 13
    assert Counter(each.strategy for each in found.judgements)[NULL] == 5
    planned = moa.estimate_comparison(questions, STRATEGIES, judge=B, null_checks=5)
    assert planned.calls == 20 * 13 + 2 * (20 * 3 + 5)
    assert planned.usd < planned.most_usd
    assert 0 < found.cost_usd < planned.most_usd


def test_what_it_shows(compare):
    found = compare(["Why is the sky blue?", "<b>Who?</b>"], {"one <i>": A, "mix": MIXTURE}, judge=[B, C])
    shown = found._repr_html_()
    assert "2 of 2 questions" in shown
    assert "offline stand-ins" in shown
    assert "one &lt;i&gt;" in shown
    assert "<i>" not in shown
    assert "baseline" in str(found)
    assert display.dollars(found.cost_usd) in str(found)
    assert list(found.judges_table().index) == [B, C]


def test_scores_are_the_mean_of_the_judges(compare):
    found = compare(offline.questions(), {"single": A, "moa": MIXTURE}, judge=[A, C])
    one, other, both = (found.scores("moa", judge) for judge in (A, C, None))
    assert both == {name: (one[name] + other[name]) / 2 for name in one}
    assert one != other
    assert found.win_rate("moa").value == pytest.approx(sum(both.values()) / len(both))


def test_without_a_judge(compare, vendors):
    found = compare(["Why is the sky blue?"], STRATEGIES)
    assert found.judgements == ()
    assert asked(vendors) == 13
    assert found.table().win_rate.isna().all()
    assert found.win_rate("moa") is None
    assert found.judges_table().empty


def test_what_is_not_there_is_refused(compare, question):
    found = compare([question], {"single": A, "other": B}, judge=C)
    assert found.win_rate(NULL).value == 0
    for ask in (found.scores, found.win_rate, found.win_rate_at_equal_length, lambda name: found.values(name, "calls")):
        with pytest.raises(ValueError, match=r"'othr' is no strategy .* single, other"):
            ask("othr")
    with pytest.raises(ValueError, match="is no judge of this comparison; it has mistral"):
        found.scores("other", B)


def test_an_answer_that_failed_loses_and_two_tie(compare, question):
    strategies = {"single": A, "other": B, "third": C}
    with offline.fault("anthropic", 400):
        found = compare([question], strategies, judge=A)
    assert found.scores("other") == {question: 0.0}
    assert list(found.table().failed) == [0, 1, 0]
    assert [each.outcome for each in found.answers] == ["ok", "bad_request", "ok"]
    with offline.fault("openai", 400), offline.fault("anthropic", 400):
        found = compare([question + " "], strategies, judge=C)
    assert [*found.scores("other").values(), *found.scores("third").values()] == [0.5, 1.0]


def test_a_judgement_that_fails_is_left_out(compare, question):
    with offline.fault("mistral", 400):
        found = compare([question], {"single": A, "other": B}, judge=C, null_checks=0)
    assert found.scores("other") == {}
    assert found.judges_table().unread[C] == 1
    assert found.warnings == (f"{C}: nothing was judged",)


def test_the_judge_sees_the_known_answer(run, live, recorder, tmp_path):
    question = moa.Question("sum", "What is 2 + 2?", reference="It is 4, as everybody knows.")
    run(moa.compare([question], {"single": A, "other": B}, judge=C, path=tmp_path / "calls.jsonl", null_checks=1))
    run(moa.close())
    judged = [r["body"]["messages"][0]["content"] for r in recorder.requests if r["body"]["model"] in C]
    assert len(judged) == 2  # the two answers are the same text, so only the null answer is judged
    assert all("It is 4, as everybody knows." in system for system in judged)


# Nothing is paid for twice


def without_times(found):
    return found.table().drop(columns="seconds")


def test_a_second_start_makes_no_call(compare, vendors):
    first = compare(offline.questions(), STRATEGIES, judge=B)
    vendors.asked.clear()
    again = compare(offline.questions(), STRATEGIES, judge=B)
    assert asked(vendors) == 0
    assert again == first
    assert again.table().equals(first.table())


def test_only_what_is_new_is_asked(compare, vendors):
    compare(offline.questions()[:3], {"single": A})
    vendors.asked.clear()
    compare(offline.questions()[:4], {"single": A, "other": B}, judge=C, null_checks=0)
    assert vendors.asked[A] == 1
    assert vendors.asked[B] == 4


@pytest.mark.parametrize(
    "changed", [{"max_tokens": 100}, {"reference_models": [A, B]}, {"aggregator": B}, {"shuffle_seed": 1}]
)
def test_a_change_of_a_strategy_asks_anew_what_it_changes(changed, compare, vendors, question):
    compare([question], {"moa": MIXTURE})
    vendors.asked.clear()
    compare([question], {"moa": MIXTURE | changed})
    assert asked(vendors) == (4 if "max_tokens" in changed else 1)


def test_what_failed_is_asked_again(compare, vendors, question):
    with offline.fault("mistral", 400):
        assert compare([question], {"moa": MIXTURE}).answers[0].outcome == "partial"
    vendors.asked.clear()
    assert compare([question], {"moa": MIXTURE}).answers[0].outcome == "complete"
    assert vendors.asked == {C: 1, A: 1}  # the one that failed, and the aggregator, who reads more now


@pytest.mark.parametrize(
    "policy",
    [{"hedge_after": 0.01, "hedge_with": "groq:openai/gpt-oss-20b"}, {"quorum": 2}, {"quorum": 1, "grace": 0.01}],
)
def test_calls_that_were_stopped_are_not_made_again(policy, compare, vendors, tmp_path):
    slow = A if "hedge_after" in policy else C
    strategies = {"moa": MIXTURE | policy | {"aggregator": B}}
    with offline.fault(slow, "hang"):
        first = compare(offline.questions()[:4], strategies)
        assert sum("answer" in entry for entry in entries(tmp_path / "calls.jsonl")) == 4
        vendors.asked.clear()
        again = compare(offline.questions()[:4], strategies)
        assert asked(vendors) == 0
        assert again == first
        changed = compare(offline.questions()[:4], {"moa": strategies["moa"] | {"shuffle_seed": 1}})
    assert {each.outcome for each in changed.answers} <= {"complete", "partial", "single"}
    gc.collect()  # on some clients, a call that is cancelled while it connects leaves its socket to this


def test_a_second_request_that_was_answered_is_not_made_again(run, vendors, tmp_path, question):
    """Killed between the second request's answer and the end of the strategy: the calls alone are in the file."""
    path = tmp_path / "calls.jsonl"
    strategy = {"m": {"reference_models": [A], "aggregator": A, "hedge_after": 0.05, "hedge_with": B}}
    with offline.fault(A, "hang", times=1):
        first = run(moa.compare([question], strategy, path=path))
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"answer":' not in line), encoding="utf-8")
    vendors.asked.clear()
    again = run(moa.compare([question], strategy, path=path))
    assert asked(vendors) == 0
    assert again.answers[0].text == first.answers[0].text
    assert again.answers[0].outcome == "complete"
    gc.collect()


def test_what_a_liar_said_is_not_taken_for_its_answer(compare, question):
    with offline.fault(A, "liar"):
        lied = compare([question], {"single": A}).answers[0]
    assert compare([question], {"single": A}).answers[0].points_wrong < lied.points_wrong


def test_a_text_keeps_its_place_in_the_file(compare, vendors):
    compare(["Why is the sky blue?", "Who?"], {"single": A})
    vendors.asked.clear()
    compare(["How?", "Why is the sky blue?", "Who?"], {"single": A})
    assert asked(vendors) == 1


def test_stand_ins_that_know_other_things_are_other_stand_ins(compare, vendors, question):
    compare([question], {"single": A})
    with offline.knowledge(alike=1):
        compare([question], {"single": A})
    with offline.judging(position=9):
        compare([question], {"single": A})
    assert vendors.asked == {A: 2}


def test_a_stop_keeps_what_has_arrived(run, tmp_path, vendors, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 50)
    path = tmp_path / "calls.jsonl"

    async def stopped():
        task = asyncio.create_task(moa.compare(offline.questions(), STRATEGIES, judge=B, path=path, max_concurrency=3))
        while not path.exists() or path.read_bytes().count(b"\n") < 90:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.comparison

    found = run(stopped())
    assert 0 < len(found.answers) < 40
    assert len(found.answers) % 4 == 0, "only questions that are finished are in it"
    before = entries(path)
    kept = sum(entry["reply"]["failure"] is None for entry in before)
    monkeypatch.setattr(vendors, "speed", 500)
    whole = run(moa.compare(offline.questions(), STRATEGIES, judge=B, path=path))
    undisturbed = run(moa.compare(offline.questions(), STRATEGIES, judge=B, path=tmp_path / "other.jsonl"))
    assert len(entries(path)) - len(before) == len(entries(tmp_path / "other.jsonl")) - kept
    assert without_times(whole).equals(without_times(undisturbed))
    gc.collect()


@pytest.mark.parametrize("which", [3, 7])
def test_a_disk_that_is_full_is_what_it_raises(which, compare, monkeypatch):
    keep, calls = Ledger.keep, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) >= which:
            raise OSError(28, "No space left on device")
        keep(*arguments)

    monkeypatch.setattr(Ledger, "keep", full)
    with pytest.raises(OSError, match="No space left") as caught:
        compare(offline.questions(), {"single": A, "other": B}, judge=C, max_concurrency=8)
    assert len(caught.value.comparison.answers) <= 2 * which


def test_no_call_is_made_once_nothing_can_be_written(compare, vendors, tmp_path, monkeypatch):
    class Full:
        """A file on a disk that is full after two lines."""

        def __init__(self, file):
            self.file, self.lines, self.asked = file, 0, None

        def write(self, line):
            self.lines += 1
            if self.lines == 3:
                self.asked = asked(vendors)
                raise OSError(28, "No space left on device")
            return self.file.write(line)

        def __getattr__(self, name):
            return getattr(self.file, name)

    files = []

    def begin(self, path, start=Ledger.__init__):
        start(self, path)
        self._writer = Full(self._writer)
        files.append(self._writer)

    monkeypatch.setattr(Ledger, "__init__", begin)
    with pytest.raises(OSError, match="No space left"):
        compare(offline.questions(), {"single": A, "other": B, "third": C}, max_concurrency=2)
    (file,) = files
    assert asked(vendors) <= file.asked + 1, "calls began whose answers could not be kept"
    assert len(entries(tmp_path / "calls.jsonl")) >= 2
    gc.collect()


def test_a_last_line_without_its_newline_is_kept(compare, vendors, question, tmp_path):
    """As an editor leaves it."""
    path = tmp_path / "calls.jsonl"
    first = compare([question], {"moa": MIXTURE})
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    vendors.asked.clear()
    again = compare([question], {"moa": MIXTURE, "single": A})
    assert asked(vendors) == 1, "only the new strategy is asked"
    assert without_times(again).loc[["moa"]].equals(without_times(first))
    assert len(entries(path)) == 5


def test_more_patience_asks_nothing_anew(compare, vendors, question):
    """Some calls of the mixture are stopped, so it is kept as a whole."""
    how = MIXTURE | {"quorum": 1, "grace": 0.001}
    with offline.fault("mistral", "stalled_stream"):
        compare([question], {"moa": how})
    vendors.asked.clear()
    for other in (how | {"retries": 3}, how | {"timeout": 90}, dict(reversed(how.items()))):
        compare([question], {"moa": other})
    assert asked(vendors) == 0
    compare([question], {"moa": how | {"quorum": len(MIXTURE["reference_models"])}})
    assert asked(vendors) > 0, "what must now be waited for is asked"


def test_an_estimate_says_the_limits_that_it_is_made_for():
    for size in (100, 8000):
        assert moa.estimate_comparison(["Why?"], {"m": MIXTURE | {"max_tokens": size}}).max_tokens == size
    short = moa.estimate_comparison(["Why?"], {"a": A}, judge=B, max_tokens=100, answer_tokens=4000)
    assert (short.answer_tokens, short.max_tokens) == (100, 100)
    assert short == moa.estimate_comparison(["Why?"], {"a": A}, judge=B, max_tokens=100, answer_tokens=100)


def test_a_broken_last_line_is_taken_away(compare, vendors, question, tmp_path):
    path = tmp_path / "calls.jsonl"
    first = compare([question], {"moa": MIXTURE})
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in (start + 1, start + 40, (start + len(whole)) // 2, len(whole) - 2):
        path.write_bytes(whole[:end])
        vendors.asked.clear()
        again = compare([question], {"moa": MIXTURE})
        assert asked(vendors) == 1
        assert without_times(again).equals(without_times(first))
        assert len(entries(path)) == 4


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("content", [b"id,prompt", b'{"id": "1", "prompt": "Why?"}', b"[1]", b"\xff", b'{"key": 1}'])
def test_another_file_is_left_alone(content, end, compare, vendors, question, tmp_path):
    path, content = tmp_path / "calls.jsonl", content + end
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Line 1 of .* is no call that was kept\. Name another file"):
        compare([question], {"single": A})
    assert path.read_bytes() == content
    assert asked(vendors) == 0


def test_two_comparisons_do_not_write_into_one_file(run, vendors, tmp_path, question):
    path = tmp_path / "calls.jsonl"

    async def both():
        with offline.fault("*", "hang"):
            first = asyncio.create_task(moa.compare([question], {"single": A}, path=path))
            while not vendors.asked:
                await asyncio.sleep(0.01)
            with pytest.raises(ValueError, match="Another comparison is writing"):
                await moa.compare([question], {"single": A}, path=path)
            first.cancel()
            await asyncio.wait([first])

    run(both())
    gc.collect()


def test_the_file_holds_no_key(run, live, recorder, tmp_path):
    recorder.refuse = "No: "
    run(moa.compare(["Why?"], {"single": A}, path=tmp_path / "calls.jsonl"))
    run(moa.close())
    text = (tmp_path / "calls.jsonl").read_text()
    assert "is not a valid key" in text
    assert "dummy-openai" not in text


# Limits


@pytest.mark.parametrize("limit", [3, {"openai": 2, "mistral": 1}], ids=str)
def test_no_more_calls_at_once_than_allowed(limit, compare, vendors, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 50)
    now, highest = Counter(), Counter()
    handle = vendors._handle

    async def counted(request):
        names = [request.match_info["vendor"], "all"]
        now.update(names)
        highest.update({name: now[name] - highest[name] for name in names if now[name] > highest[name]})
        try:
            return await handle(request)
        finally:
            now.subtract(names)

    monkeypatch.setattr(vendors, "_handle", counted)
    compare(offline.questions()[:4], {"moa": MIXTURE, "self": STRATEGIES["self-moa"]}, judge=C, max_concurrency=limit)
    most = {"all": limit} if isinstance(limit, int) else limit
    assert {name: highest[name] for name in most} == most


def test_a_budget_is_kept_and_a_later_start_goes_on(compare, vendors):
    questions, strategies = offline.questions(), {"single": A, "moa": MIXTURE}
    one = moa.estimate_comparison(questions[:1], strategies, judge=B).most_usd
    whole = compare(questions, strategies, judge=B, path="whole.jsonl")
    spent, starts, finished, vendors.asked = 0.0, 0, 0, Counter()
    while finished < 10:
        budget = 1.6 * one
        found = compare(questions, strategies, judge=B, budget_usd=budget)
        starts += 1
        assert found.cost_usd - spent <= budget
        spent, before, finished = found.cost_usd, finished, len(found.answers) // 2
        assert finished > before, "each start should get further"
        if finished < 10:
            assert f"{finished} of 10 questions" in str(found)
            assert "Start again with the same budget_usd to go on" in found.problem
    assert starts > 1
    assert without_times(found).equals(without_times(whole))
    assert asked(vendors) == len(entries(Path("whole.jsonl")))


@pytest.mark.parametrize("times", [2.2, 3.0, 3.2])
def test_a_budget_for_questions_of_many_prices_comes_to_an_end(times, run, tmp_path):
    """Amounts that are set aside and freed again leave nothing behind, or it would be waited for for ever."""
    questions = [*offline.questions(), *("word " * size for size in (10, 700, 33, 2000, 4))]
    dearest = max(moa.estimate_comparison([each], {"single": A}).most_usd for each in questions)

    async def bounded():
        async with asyncio.timeout(20):
            work = moa.compare(
                questions, {"single": A}, path=tmp_path / "x", max_concurrency=4, budget_usd=times * dearest
            )
            return await work

    found = run(bounded())
    assert len(found.answers) >= 2
    assert found.cost_usd <= times * dearest


def test_a_call_that_failed_without_a_known_cost_is_booked_at_its_most(compare):
    one = moa.estimate_comparison(["Why?"], {"single": A}).most_usd
    with offline.fault("*", "truncated_stream"):
        found = compare(
            [f"Why {n}?" for n in range(9)], {"single": A}, budget_usd=3.1 * one, retries=0, max_concurrency=1
        )
    assert len(found.answers) == 3
    assert "budget_usd does not reach" in found.problem


def test_a_budget_below_one_question(compare, vendors, question):
    found = compare([question], {"single": A}, budget_usd=1e-9)
    assert found.answers == ()
    assert "0 of 1 questions" in str(found)
    assert "may cost" in found.problem
    assert "Start again with a budget_usd above that" in found.problem
    assert asked(vendors) == 0


def test_an_unknown_cost_is_not_shown_as_nothing(compare, question, monkeypatch):
    lines = []
    monkeypatch.setattr(strategies, "progress_view", lambda: Lines(lines))
    assert compare([question], {"single": "openai:new"}).cost_usd is None
    assert lines[-1] == "1 of 1 questions · 1 calls made · unknown"


class Lines:
    """In place of a panel or a progress bar."""

    def __init__(self, lines):
        self.lines = lines

    def update(self, progress, last):
        self.lines.append(progress.line())

    def close(self):
        """Nothing is open."""


WRONG = {
    "no list": ("Why?", {"single": A}, {}, TypeError, "as a list"),
    "no question": ([], {"single": A}, {}, ValueError, "is empty"),
    "no text": (["Why?", 7], {"single": A}, {}, TypeError, "Question 2 must be a text"),
    "an empty text": (["Why?", " "], {"single": A}, {}, ValueError, "prompt is empty"),
    "an id twice": (
        [moa.Question("a", "1?"), moa.Question("a", "2?")],
        {"single": A},
        {},
        ValueError,
        "'a' is there twice",
    ),
    "no strategy": (["Why?"], {}, {}, ValueError, "no strategy"),
    "a list of strategies": (["Why?"], [A], {}, TypeError, "as a mapping"),
    "a strategy of another kind": (["Why?"], {"x": 7}, {}, TypeError, "'x' must be a model's name"),
    "an unknown model": (["Why?"], {"single": A, "x": "gpt-7"}, {}, moa.UnknownModel, "names no model"),
    "an unknown model within": (
        ["Why?"],
        {"m": MIXTURE | {"aggregator": "x:y"}},
        {},
        moa.UnknownModel,
        "names no model",
    ),
    "an unknown argument": (["Why?"], {"m": MIXTURE | {"depth": 3}}, {}, TypeError, "depth"),
    "a quorum too high": (["Why?"], {"m": MIXTURE | {"quorum": 4}}, {}, ValueError, "quorum is 4"),
    "no aggregator": (["Why?"], {"m": {"reference_models": [A]}}, {}, TypeError, "'m' has no aggregator"),
    "what is not for users": (["Why?"], {"m": MIXTURE | {"_check_only": True}}, {}, TypeError, "has '_check_only'"),
    "max_tokens in words": (["Why?"], {"m": MIXTURE | {"max_tokens": "x"}}, {}, TypeError, "max_tokens must be"),
    "a judge of another kind": (["Why?"], {"x": A}, {"judge": 5}, TypeError, "judge is a model's name"),
    "too little for one of the questions": (
        ["Why is the sky blue?", "Why? " * 3000],
        {"m": MIXTURE | {"budget_usd": 0.006}},
        {},
        ValueError,
        r"may cost \$0.007",
    ),
    "a second request of unknown price": (
        ["Why?"],
        {"m": MIXTURE | {"hedge_after": 1, "hedge_with": "openai:new"}},
        {"budget_usd": 9},
        ValueError,
        "no price is known for openai:new",
    ),
    "the control's name": (["Why?"], {NULL: A}, {}, ValueError, "what the control is called"),
    "an unknown judge": (["Why?"], {"single": A}, {"judge": "gpt-7"}, moa.UnknownModel, "names no model"),
    "no places": (["Why?"], {"single": A}, {"max_concurrency": 0}, ValueError, "max_concurrency"),
    "a negative budget": (["Why?"], {"single": A}, {"budget_usd": -1}, ValueError, "budget_usd"),
    "a price unknown": (
        ["Why?"],
        {"x": "openai:new"},
        {"budget_usd": 1},
        ValueError,
        "no price is known for openai:new",
    ),
    "a judge twice": (["Why?"], {"single": A}, {"judge": [B, B]}, ValueError, "listed twice"),
    "any number of places": (["Why?"], {"single": A}, {"max_concurrency": None}, TypeError, "not None"),
    "a deadline": (["Why?"], {"m": MIXTURE | {"deadline": 1}}, {}, ValueError, "use timeout"),
    "a reference of another kind": ([moa.Question("a", "1?", 4)], {"x": A}, {}, TypeError, "must be text, not int"),
    "a price unknown for a long prompt": (
        ["Why?", "Why? " * 100_000],
        {"x": B},
        {"budget_usd": 9},
        ValueError,
        "no price is known for anthropic",
    ),
    "negative null_checks": (["Why?"], {"single": A}, {"null_checks": -1}, ValueError, "null_checks"),
    "a negative timeout": (["Why?"], {"single": A}, {"timeout": -1}, ValueError, "timeout"),
    "a list of lists of judges": (["Why?"], {"single": A}, {"judge": [[B]]}, TypeError, "not by list"),
    "an id of another kind": ([moa.Question([1], "1?")], {"x": A}, {}, TypeError, "id of question 1 must be text"),
    "half a character": (["a\ud800b"], {"x": A}, {}, ValueError, "lone surrogate"),
    "tokens in words": (["Why?"], {"m": MIXTURE | {"max_tokens": 9}}, {"max_tokens": "x"}, TypeError, "max_tokens"),
    "no model for second requests": (
        ["Why?"],
        {"m": MIXTURE | {"hedge_after": 1, "hedge_with": 5}},
        {},
        TypeError,
        "not by int",
    ),
}


@pytest.mark.parametrize(("questions", "strategies", "options", "kind", "words"), WRONG.values(), ids=WRONG)
def test_bad_input_is_refused_before_any_call(questions, strategies, options, kind, words, compare, vendors, tmp_path):
    with pytest.raises(kind, match=words):
        compare(questions, strategies, **options)
    assert asked(vendors) == 0
    assert not (tmp_path / "calls.jsonl").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("an unknown argument", "no aggregator", "max_tokens in words", "an unknown judge"),
        *("a list of lists of judges", "tokens in words", "no model for second requests"),
    ],
)
def test_an_estimate_refuses_the_same(name):
    questions, strategies, options, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        moa.estimate_comparison(questions, strategies, **options)


def test_bad_input_says_where(compare):
    with pytest.raises(ValueError, match="quorum") as caught:
        compare(["Why?"], {"m": MIXTURE | {"quorum": 4}})
    assert caught.value.__notes__ == ["(the strategy 'm')"]


def test_live_a_missing_key_is_refused_before_any_call(run, live_at, recorder, monkeypatch, tmp_path):
    live_at(recorder.url)
    monkeypatch.delenv("MISTRAL_API_KEY")
    moa.setup()
    with pytest.raises(moa.MissingKey, match="MISTRAL_API_KEY"):
        run(moa.compare(["Why?"], {"single": A}, judge=C, path=tmp_path / "calls.jsonl"))
    run(moa.close())
    assert recorder.requests == []
