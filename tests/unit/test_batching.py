"""answer_all by batch: stages and barriers, what fails and is asked again, and what another start goes on from."""

import time
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers.bulk import batching, underway
from moa_helpers.catalogue import find
from moa_helpers.store.answers import Answers
from moa_helpers.store.jobs import Ledger
from moa_helpers.vendors.batches import Result
from tests.support import clock, standins
from tests.support.batching import TOKENS, Act, Job, Killed, Vendors
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, APIConnectionError, APIStatusError, answers, fails

PROPOSERS = [LUNA, HAIKU, SMALL]
MIXTURE = {"reference_models": PROPOSERS, "aggregator": SOL}
QUESTIONS = [f"What is {number} plus {number}?" for number in range(5)]
AGGREGATOR = find(SOL).id


@pytest.fixture
def vendors(monkeypatch, script):
    """Scripted batches of all vendors; what is asked live is scripted, too. Times are those of the virtual clock."""
    standins.enter(monkeypatch, script)
    vendors = Vendors()
    for module in (batching, underway):
        monkeypatch.setattr(module, "adapter", lambda vendor: vendors[vendor.name])
    monkeypatch.setattr(underway, "client", lambda model: None)
    monkeypatch.setattr(underway, "OFFLINE", (0.5, 1.0))
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000 + time.perf_counter())
    return vendors


@pytest.fixture
def answer_all(vendors, run):
    """The same as ``moa.answer_all``, by batch."""

    def answer_all(questions=QUESTIONS, mixture=MIXTURE, **options):
        async def timed():
            found = await moa.answer_all(questions, mixture, **{"how": "batch"} | options)
            return found, clock.now()

        found, answer_all.hours = run(timed())
        return found

    return answer_all


def models(vendors):
    """The model of each job's requests, and how many they are, in the order of submitting."""
    jobs = sorted(vendors.jobs, key=lambda job: job.made)
    return [(job.lines[0][1]["model"], len(job.lines)) for job in jobs]


def counts(vendors):
    """How many jobs of each model there were."""
    return [model for model, _ in models(vendors)]


def outcomes(found):
    return [row.outcome for row in found]


# Stages


def test_a_stage_is_a_job_for_each_model(answer_all, vendors):
    found = answer_all()
    assert models(vendors) == [*((find(name).id, 5) for name in PROPOSERS), (AGGREGATOR, 5)]
    assert set(outcomes(found)) == {"complete"}
    assert all(AGGREGATOR in row.text for row in found)
    assert {*vendors.sent.values()} == {1}
    assert not any(row.kept for row in found)
    assert [row.seconds for row in found] == [7200.0] * 5
    assert all(len(key) == 32 for key in vendors.sent)


def test_the_price_is_half_of_the_live_one(answer_all, vendors, script):
    script.default = answers("Yes.", tokens=TOKENS)
    live = answer_all(how="live", path="live.sqlite")
    found = answer_all()
    assert found.spent_usd == pytest.approx(live.spent_usd / 2)
    assert found.table().cost_usd.sum() == pytest.approx(found.spent_usd)


def test_one_model_alone_is_a_stage(answer_all, vendors):
    found = answer_all(mixture=LUNA)
    assert models(vendors) == [(find(LUNA).id, 5)]
    assert outcomes(found) == ["ok"] * 5


def test_three_layers(answer_all, vendors):
    found = answer_all(mixture={"layers": [[LUNA, HAIKU], [SMALL]], "aggregator": SOL})
    assert counts(vendors) == [find(name).id for name in (LUNA, HAIKU, SMALL, SOL)]
    assert set(outcomes(found)) == {"complete"}


def test_equal_requests_are_sent_once(answer_all, vendors):
    twice = [moa.Question("one", "What is 2?"), moa.Question("other", "What is 2?")]
    found = answer_all(twice)
    assert [row.id for row in found] == ["one", "other"]
    assert {*vendors.sent.values()} == {1}
    assert len(vendors.sent) == 4


def test_the_same_model_several_times_gives_several_samples(answer_all, vendors):
    answer_all(QUESTIONS[:1], {"reference_models": [LUNA] * 3, "aggregator": SOL})
    assert models(vendors) == [(find(LUNA).id, 3), (AGGREGATOR, 1)]


def test_what_the_file_has_is_not_sent(answer_all, vendors):
    answer_all(QUESTIONS[:3])
    vendors.sent.clear()
    found = answer_all(QUESTIONS)
    assert len(vendors.sent) == 2 * 4
    assert [row.kept for row in found] == [True] * 3 + [False] * 2


def test_what_cannot_be_asked_is_a_row(answer_all, vendors):
    for budget_usd in (None, 9.0):
        found = answer_all(
            [moa.Question("odd", [object()]), moa.Question("empty", " "), *QUESTIONS[:2]], budget_usd=budget_usd
        )
        assert outcomes(found) == ["refused", "refused", "complete", "complete"]
    assert len(vendors.sent) == 2 * 4


def test_large_jobs_are_split(answer_all, vendors):
    vendors["openai"].LINES, vendors["mistral"].BYTES = 2, 500
    answer_all()
    sizes = [len(job.lines) for job in vendors["openai"].jobs]
    assert sizes == [2, 2, 1] * 2
    assert len(vendors["mistral"].jobs) > 1
    assert {*vendors.sent.values()} == {1}


def test_a_vendor_without_batches_is_asked_live(answer_all, vendors, script):
    name = "together:some/model"
    found = answer_all(mixture={"reference_models": [LUNA, name], "aggregator": SOL})
    assert set(outcomes(found)) == {"complete"}
    assert script.counts() == {name: 5}
    assert counts(vendors) == [find(LUNA).id, AGGREGATOR]


def test_a_header_does_not_fit_into_a_batch(answer_all, vendors, script):
    member = moa.Member(LUNA, extra={"extra_headers": {"x-team": "one"}})
    answer_all(mixture={"reference_models": [member, SMALL], "aggregator": SOL})
    assert script.counts() == {LUNA: 5}


def test_mixed_asks_the_last_stage_live(answer_all, vendors, script):
    found = answer_all(how="mixed")
    assert set(outcomes(found)) == {"complete"}
    assert script.counts() == {SOL: 5}
    assert AGGREGATOR not in counts(vendors)


def test_a_further_aggregator_is_asked_where_one_failed(answer_all, vendors):
    vendors["openai"].acts = [Act(), *[Act(item=lambda key: Result(key, None, 400, {"message": "No."}))] * 4]
    found = answer_all(mixture={"reference_models": [LUNA, SMALL], "aggregator": [SOL, HAIKU]})
    assert counts(vendors)[-1] == find(HAIKU).id
    assert set(outcomes(found)) == {"complete"}


# Barriers


def test_with_a_quorum_a_question_goes_on_without_the_last(answer_all, vendors):
    vendors["anthropic"].acts = [Act(hours=20)]
    found = answer_all(mixture=MIXTURE | {"quorum": 2})
    assert outcomes(found) == ["partial"] * 5
    assert answer_all.hours < 5
    assert models(vendors)[-1] == (AGGREGATOR, 5)
    assert "cancelled" in found.table().problem[0]
    assert "go on at the vendors, and are paid for: 1." in found.problem


def test_without_a_quorum_it_waits_for_all(answer_all, vendors):
    vendors["anthropic"].acts = [Act(hours=20)]
    assert set(outcomes(answer_all())) == {"complete"}
    assert answer_all.hours >= 21


def test_questions_do_not_wait_for_each_other(answer_all, vendors):
    vendors["openai"].LINES = 1
    vendors["openai"].acts = [Act(hours=10), Act()]
    answer_all(QUESTIONS[:2], {"reference_models": [LUNA], "aggregator": HAIKU})
    first, last = (job for job in vendors["anthropic"].jobs)
    assert last.made - first.made > 8


@pytest.mark.parametrize("how", ["batch", "mixed"])
def test_a_late_reply_changes_no_prompt_that_is_paid_for(answer_all, vendors, script, how):
    vendors["anthropic"].acts = [Act(hours=3)]
    vendors["openai"].acts = [Act(), Act(hours=9)]
    script[SOL] = lambda request: answers("At last.", after=9)
    found = answer_all(mixture=MIXTURE | {"quorum": 2}, how=how)
    assert outcomes(found) == ["partial"] * 5
    assert len(vendors.sent) + len(script.asked) == 5 * 4


def test_no_quorum_is_a_row_that_says_so(answer_all, vendors):
    for name in ("anthropic", "mistral"):
        vendors[name].acts = [Act(item=lambda key: Result(key, None, 400, None))]
    found = answer_all(mixture=MIXTURE | {"quorum": 2})
    assert outcomes(found) == ["below_quorum"] * 5
    assert "HTTP 400" in found.table().problem[0]
    assert AGGREGATOR not in counts(vendors)


# What goes wrong


def once(**what):
    return [Act(**what), Act()]


def bad(key):
    return Result(key, None, 400, None)


FAULTS = {
    "a status of 400, and the error null": once(item=bad),
    "a server error": once(item=lambda key: Result(key, None, 500, {"message": "Internal."})),
    "an answer that is none": once(item=lambda key: Result(key, {"odd": 1})),
    "duplicates and unknown ids": [Act(twice=True)],
    "expired": once(state="expired", part=0.5),
    "expired, and nothing done": once(state="expired", part=0.0),
    "failed as a whole": once(state="failed", part=0.0),
    "results gone": once(gone=True),
    "never ends": once(never_ends=True, part=0.4),
    "out of order": [Act(looks=[APIStatusError(503), APIStatusError(429), APIConnectionError("Lost.")])],
    "results break off": [Act(reads=[APIConnectionError("Lost."), APIStatusError(500)])],
    "refused for its rate": once(submit=APIStatusError(429), taken=False),
    "taken, and the answer lost": once(submit=APIConnectionError("Lost.")),
    "taken, and an error sent": once(submit=APIStatusError(502)),
}


@pytest.mark.parametrize(("fault", "vendor"), [*zip(FAULTS, ["openai", "anthropic"] * 7, strict=True)])
def test_whatever_goes_wrong_the_rest_is_asked_again(answer_all, vendors, fault, vendor):
    vendors[vendor].acts = FAULTS[fault]
    found = answer_all(patience=3)
    none = fault == "an answer that is none"  # it may have been charged, so it is not asked again
    assert set(outcomes(found)) == {"partial" if none else "complete"}
    assert {*vendors.paid.values()} == {1}
    assert len(vendors.paid) == 20


def test_lines_that_are_refused_have_failed_and_the_others_are_submitted_again(answer_all, vendors):
    vendors["mistral"].acts = once(refused={2: "No such parameter.", 4: "Too long.", 9: "There is no such line."})
    found = answer_all()
    assert sorted(outcomes(found)) == ["complete"] * 3 + ["partial"] * 2
    assert [len(job.lines) for job in vendors["mistral"].jobs] == [5, 3]
    assert sum("No such parameter" in row.problem for row in found) == 1


def test_a_refusal_that_names_no_line_of_ours_is_not_repeated_for_ever(answer_all, vendors):
    vendors["openai"].acts = [Act(refused={9: "There is no such line."})]
    vendors["anthropic"].acts = [Act(submit=APIStatusError(400, "requests.9.params: odd"), taken=False)]
    found = answer_all(QUESTIONS[:1])
    assert outcomes(found) == ["aggregator_failed"]
    assert vendors.submitted["anthropic"] == 4


def test_a_line_that_anthropic_refuses_at_once_has_failed(answer_all, vendors):
    refused = APIStatusError(400, "requests.1.params.max_tokens: too large")
    vendors["anthropic"].acts = once(submit=refused, taken=False)
    assert sorted(outcomes(answer_all(QUESTIONS[:3]))) == ["complete", "complete", "partial"]
    assert [len(job.lines) for job in vendors["anthropic"].jobs] == [2]


def test_a_request_that_fails_again_and_again_has_failed(answer_all, vendors):
    vendors["openai"].acts = [Act(item=bad)]
    (row,) = answer_all(QUESTIONS[:1], LUNA)
    assert (row.outcome, row.calls) == ("bad_request", 1)
    assert [*vendors.sent.values()] == [4]
    (row,) = answer_all(QUESTIONS[:1], LUNA)
    assert [*vendors.sent.values()] == [8], "the next start asks again"


def test_an_empty_answer_is_paid_for_and_not_asked_again(answer_all, vendors):
    empty = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "model": "m", "usage": {}}
    empty["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100}
    vendors["openai"].acts = [Act(item=lambda key: Result(key, empty))]
    found = answer_all(QUESTIONS[:1], LUNA)
    assert outcomes(found) == ["empty"]
    assert [*vendors.sent.values()] == [1]
    assert found.spent_usd > 0
    assert found.table().cost_usd[0] == pytest.approx(found.spent_usd)


@pytest.mark.parametrize("fault", ["expired", "a status of 400, and the error null", "results gone", "never ends"])
def test_late_may_go_live(answer_all, vendors, script, fault):
    vendors["mistral"].acts = [FAULTS[fault][0]]
    found = answer_all(late="live", patience=5)
    assert set(outcomes(found)) == {"complete"}
    assert set(script.counts()) == {SMALL}
    assert len(vendors["mistral"].jobs) == 1


def test_what_fails_live_is_not_asked_twice(answer_all, vendors, script):
    name = "together:some/model"
    script[name] = [fails(400)]
    vendors["openai"].LINES = 2
    found = answer_all(mixture={"reference_models": [LUNA, SMALL, name], "aggregator": SOL})
    assert set(outcomes(found)) == {"partial"}
    assert script.counts() == {name: 5}


def test_a_job_that_does_not_even_end_when_it_is_cancelled_is_given_up(answer_all, vendors, monkeypatch):
    vendors["openai"].acts = once(never_ends=True)

    async def deaf(sdk, id):
        pass

    monkeypatch.setattr(vendors["openai"], "cancel", deaf, raising=False)
    assert set(outcomes(answer_all(patience=5))) == {"complete"}
    assert 6 < answer_all.hours < 12


def test_at_anthropic_a_job_of_somebody_else_is_not_taken_for_ours(answer_all, vendors):
    anthropic = vendors["anthropic"]
    anthropic.acts = [Act(submit=APIStatusError(500), taken=False), Act()]
    theirs = [(f"{number:032}", {"model": "theirs", "messages": [{"content": ""}]}) for number in range(5)]

    async def made(sdk, since, real=anthropic.made):
        if not anthropic.jobs:
            anthropic.jobs.append(Job("theirs", "", "theirs", theirs, Act(), time.time()))
        async for one in real(sdk, since):
            yield one

    anthropic.made = made
    assert set(outcomes(answer_all())) == {"complete"}
    assert [job.model == "theirs" for job in anthropic.jobs] == [True, False]


# Starts after a stop


POINTS = ["planned", "submitted", "noted", "settled", "read"]


@pytest.fixture
def killed(vendors, monkeypatch):
    """Have the program end at a point, once."""
    for name, point in (("begin", "planned"), ("note", "noted"), ("settle", "settled")):
        real = getattr(Ledger, name)

        def then(self, *given, real=real, point=point, **more):
            result = real(self, *given, **more)
            vendors.at(point)
            return result

        monkeypatch.setattr(Ledger, name, then)
    monkeypatch.setattr(underway, "AT_ONCE", 2)

    def killed(point):
        vendors.kill = point

    return killed


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("after", [0, 4])
def test_killed_anywhere_it_goes_on(answer_all, vendors, killed, point, after):
    killed(point)
    if after:  # the same in the second stage
        vendors.kill = ""
        real = vendors.at
        vendors.at = lambda here: real(here) if vendors.submitted["openai"] < 2 else kill_once(here)
        left = [point]

        def kill_once(here):
            if here in left:
                left.remove(here)
                raise Killed

    with pytest.raises(Killed):
        answer_all()
    found = answer_all()
    assert set(outcomes(found)) == {"complete"}
    assert len(vendors.paid) == 20
    assert {*vendors.paid.values()} == {1}, "nothing is paid for twice"
    assert set(answer_all().table().kept) == {True}


def test_killed_at_every_point_in_turn(answer_all, vendors, killed):
    vendors["openai"].acts = [Act(hours=2, part=0.5), Act()]
    for point in POINTS * 2:
        killed(point)
        with pytest.raises(Killed):
            answer_all(mixture=MIXTURE | {"quorum": 2})
    vendors.kill = ""
    found = answer_all(mixture=MIXTURE | {"quorum": 2})
    assert all(row.ok for row in found)
    assert {*vendors.paid.values()} == {1}


def test_a_late_reply_changes_nothing_in_another_start_either(answer_all, vendors, killed):
    vendors["anthropic"].acts = [Act(hours=3)]
    vendors["openai"].acts = [Act(), Act(hours=9)]
    count = [0]

    def noted(here):
        count[0] += here == "submitted"
        if count[0] == 4:
            count[0] += 1
            raise Killed

    vendors.at = noted
    with pytest.raises(Killed):
        answer_all(mixture=MIXTURE | {"quorum": 2})
    found = answer_all(mixture=MIXTURE | {"quorum": 2})
    assert outcomes(found) == ["partial"] * 5
    assert len(vendors.sent) == 20
    assert {*vendors.sent.values()} == {1}


def test_another_key_is_said_before_a_call(answer_all, vendors, killed, monkeypatch):
    killed("noted")
    with pytest.raises(Killed):
        answer_all()
    submitted = dict(vendors.submitted)
    monkeypatch.setattr(underway, "reach", lambda name: {"api_key": "another"})
    with pytest.raises(ValueError, match="Set the key that it was submitted with"):
        answer_all()
    assert dict(vendors.submitted) == submitted


def test_embedded_vendors_that_were_started_anew_know_no_job(answer_all, vendors, killed):
    killed("noted")
    with pytest.raises(Killed):
        answer_all()
    vendors["openai"].jobs.clear()
    assert set(outcomes(answer_all())) == {"complete"}


def test_two_programs_do_not_submit_for_one_file_at_once(answer_all, vendors):
    with batching._alone(Path("answers.sqlite")), pytest.raises(OSError, match="another cell"):
        answer_all()
    assert not vendors.sent
    assert set(outcomes(answer_all())) == {"complete"}


def test_two_strategies_share_a_file(answer_all, vendors, killed):
    killed("noted")
    with pytest.raises(Killed):
        answer_all()
    found = answer_all(mixture=LUNA)
    assert outcomes(found) == ["ok"] * 5
    assert set(outcomes(answer_all())) == {"complete"}
    assert {*vendors.sent.values()} == {1}


# The budget


def test_nothing_is_submitted_that_could_cost_more_than_is_left(answer_all, vendors):
    most = moa.estimate(QUESTIONS[0], **MIXTURE).most_usd
    found = answer_all(budget_usd=most * 1.01)  # at the price of a batch it is enough for two at a time
    assert found.spent_usd <= most
    assert models(vendors)[0][1] == 2
    assert outcomes(found) == ["complete"] * 5, "as they cost less than they might, the others can follow"
    found = answer_all([f"Another {number}?" for number in range(5)], budget_usd=most / 2 * 1.01)
    assert len(found) == 1
    assert "budget_usd" in found.problem
    with pytest.raises(ValueError, match="lower max_tokens"):
        answer_all(["A third?"], budget_usd=most / 3)
    assert answer_all(["A third?"], budget_usd=most * 0.98, how="mixed").problem == ""
    with pytest.raises(ValueError, match="lower max_tokens"):
        answer_all(["A fourth?"], budget_usd=most * 0.9, how="mixed")


def test_what_is_asked_twice_is_set_aside_once(answer_all, vendors):
    half = moa.estimate(QUESTIONS[0], **MIXTURE).most_usd / 2
    twice = [moa.Question("one", QUESTIONS[0]), moa.Question("other", QUESTIONS[0]), moa.Question("next", QUESTIONS[1])]
    found = answer_all(twice, budget_usd=2.02 * half)
    assert outcomes(found) == ["complete"] * 3
    assert models(vendors)[0][1] == 2, "both are begun together"


# What is under way


def test_jobs_are_listed_and_cancelled(answer_all, vendors, killed, run):
    count = [0]

    def at(here):
        count[0] += here == "submitted"
        if count[0] == 3 and here == "noted":
            raise Killed

    vendors.at = at
    with pytest.raises(Killed):
        answer_all()
    vendors.at = lambda here: None
    under_way = moa.jobs("answers.sqlite")
    assert sorted(job.vendor for job in under_way) == ["anthropic", "mistral", "openai"]
    assert list(under_way.table().requests) == [5, 5, 5]
    assert "3 jobs under way, 15 requests" in str(under_way)
    assert "not told yet" in str(under_way)

    first = next(job for job in under_way if job.vendor == "openai")
    with pytest.raises(ValueError, match="No job under way has the id 'x'"):
        run(under_way.cancel("x"))
    run(under_way.cancel(first.id))
    assert [job.cancelled is not None for job in vendors.jobs] == [True, False, False]
    vendors["mistral"].jobs.clear()
    run(under_way.cancel())
    assert [job.state for job in moa.jobs("answers.sqlite")] == ["cancelling"] * 2, "the third is given up"
    assert set(outcomes(answer_all())) == {"complete"}
    assert not moa.jobs("answers.sqlite")


def test_there_is_nothing_to_list():
    with pytest.raises(FileNotFoundError):
        moa.jobs("none.sqlite")
    Answers("old.sqlite").close()
    assert len(moa.jobs("old.sqlite")) == 0
    assert "0 jobs" in str(moa.jobs("old.sqlite"))
