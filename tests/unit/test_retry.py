"""What is tried again, when, how often, and what that costs."""

import random
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

import moa_helpers as moa
from moa_helpers import plan
from moa_helpers.limits import retry
from moa_helpers.vendors.requests import Refused
from tests.support.scripts import (
    HAIKU,
    LUNA,
    SMALL,
    APIConnectionError,
    APIStatusError,
    answers,
    breaks_off,
    fails,
    hangs,
    loses_connection,
)


class APITimeoutError(Exception):
    """As the SDKs raise where a read took too long."""


def raises(error, text=""):
    return answers(text, error=error, finish=None, tokens=None, after=0)


# What a model does -> the kind of failure that it is, and whether it is tried again.
FAULTS = {
    "400": (fails(400), "bad_request", False),
    "401": (fails(401), "authentication", False),
    "402": (fails(402), "quota", False),
    "403": (fails(403), "permission", False),
    "404": (fails(404), "not_found", False),
    "408": (fails(408), "timeout", True),
    "409": (fails(409), "server_error", True),
    "413": (fails(413), "too_large", False),
    "422": (fails(422), "bad_request", False),
    "429": (fails(429), "rate_limit", True),
    "500": (fails(500), "server_error", True),
    "501": (fails(501), "not_found", False),
    "503": (fails(503), "overloaded", True),
    "504": (fails(504), "server_error", True),
    "529": (fails(529), "overloaded", True),
    "no money, as 429": (fails(429, message="You exceeded your quota: insufficient_quota"), "quota", False),
    "no money, as 400": (fails(400, message="Your credit balance is too low"), "quota", False),
    "no connection": (loses_connection(), "connection", True),
    "lost connection": (loses_connection("Half an"), "connection", True),
    "time-out of the SDK": (raises(APITimeoutError("too slow"), "Half an"), "timeout", True),
    "hang": (hangs(), "timeout", True),
    "stall": (hangs("Half an"), "timeout", True),
    "break-off": (breaks_off("Half an"), "incomplete", True),
    "error event": (raises(Refused("broke down"), "Half an"), "server_error", True),
    "overloaded, as an event": (raises(Exception("overloaded_error"), "Half an"), "overloaded", True),
    "error as the reason": (answers("Half an", finish="error"), "server_error", True),
    "nothing at all": (breaks_off(""), "malformed", False),
    "nonsense": (raises(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "?"), "Half an"), "malformed", False),
    "empty": (answers(""), "empty", False),
    "only space": (answers(" \n "), "empty", False),
    "filter": (answers("Half an", finish="content_filter"), "content_filter", False),
    "refusal": (answers("I cannot.", finish="refusal"), "content_filter", False),
    "a bug": (raises(KeyError("choices")), "unexpected", False),
}


def bill(act, model):
    """What one such attempt costs in US dollars (None: not known), and what of it is certain."""
    price = moa.find(model).cost
    if isinstance(act.error, APIStatusError):
        return (None if act.error.status_code in (408, 504) else 0.0), 0.0  # these two may come after a start
    if act.finish:
        return price(100, 20), price(100, 20)
    return None, price(100, 0) if act.tokens and act.text else 0.0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_hits_one_and_says_what_it_was(fault, script, run, question):
    act, kind, _ = FAULTS[fault]
    script[HAIKU] = act
    luna, hit, small = run(moa.fan_out([LUNA, HAIKU, SMALL], question, retries=0, timeout=5))
    assert (luna.text, small.text) == ("gpt-6-luna says 0.", "mistral-small-2603 says 0.")
    assert (hit.ok, hit.failure.kind) == (False, kind)
    assert hit.failure.status == getattr(act.error, "status_code", None)
    assert hit.failure.message.startswith(f"{HAIKU}: {kind.replace('_', ' ')}")
    assert hit.text == act.text, "what had arrived was lost"
    (attempt,) = hit.attempts
    assert attempt.failure == hit.failure
    took = 5 if act.hangs else act.after + (0.1 if len(act.text.split()) == 2 else 0)
    assert attempt.elapsed == hit.elapsed == pytest.approx(took)
    assert (hit.cost_usd, hit.least_usd) == bill(act, HAIKU)
    assert script.counts()[HAIKU] == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_pass_is_tried_again_and_nothing_else(fault, script, run, question):
    act, kind, again = FAULTS[fault]
    script[LUNA] = [act, act, answers("Whole and good.")]
    reply = run(moa.ask(LUNA, question, retries=3, timeout=5))
    kinds = [attempt.failure and attempt.failure.kind for attempt in reply.attempts]
    assert kinds == ([kind, kind, None] if again else [kind])
    assert script.counts()[LUNA] == len(kinds)
    assert (reply.text, reply.ok) == (("Whole and good.", True) if again else (act.text, False))
    if again:
        (cost, least), last = bill(act, LUNA), moa.find(LUNA).cost(100, 20)
        assert reply.cost_usd == (None if cost is None else pytest.approx(2 * cost + last))
        assert reply.least_usd == pytest.approx(2 * least + last)


def test_a_time_out_is_for_each_attempt_and_the_whole_of_it(script, run, question):
    script[LUNA] = [hangs(), answers("One two three", after=1, per_piece=0.75), answers("Good.", after=1.75)]
    reply = run(moa.ask(LUNA, question, timeout=2))
    assert [(attempt.failure and attempt.failure.kind, attempt.elapsed) for attempt in reply.attempts] == [
        ("timeout", pytest.approx(2)),
        ("timeout", pytest.approx(2)),  # its first word came in time, its last did not
        (None, pytest.approx(1.75)),
    ]
    assert (reply.text, reply.ttft) == ("Good.", pytest.approx(reply.elapsed))
    assert reply.cost_usd is None, "the vendor may have charged for the first"


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_counted(retries, script, run, question):
    script.default = fails(503, retry_after=0.25)
    replies = run(moa.fan_out([LUNA, HAIKU], question, retries=retries))
    assert script.counts() == dict.fromkeys((LUNA, HAIKU), retries + 1)
    for reply in replies:
        assert (len(reply.attempts), reply.failure.kind, reply.cost_usd) == (retries + 1, "overloaded", 0.0)
        assert reply.elapsed == pytest.approx(0.25 * retries)


def test_retry_after_is_waited_for_and_no_longer(script, run, question):
    script[LUNA] = [fails(429, after=0.5, retry_after=2), fails(503, retry_after=60), answers(after=1.5)]
    reply = run(moa.ask(LUNA, question))
    assert script.times() == pytest.approx([0, 2.5, 62.5])
    assert [attempt.started for attempt in reply.attempts] == pytest.approx([0, 2.5, 62.5])
    assert [attempt.failure and attempt.failure.retry_after for attempt in reply.attempts] == [2, 60, None]
    assert (reply.ttft, reply.elapsed) == (pytest.approx(64), pytest.approx(64.2))
    assert reply.cost_usd == pytest.approx(moa.find(LUNA).cost(100, 20))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "0.1"}, 0.1),
        ({"retry-after": "1s"}, 1),
    ],
)
def test_forms_of_retry_after(headers, seconds, script, run, question):
    script[LUNA] = [fails(429, headers=headers), answers()]
    reply = run(moa.ask(LUNA, question))
    assert reply.attempts[0].failure.retry_after == seconds
    assert script.times() == pytest.approx([0, seconds])


@pytest.mark.parametrize(
    "headers",
    [{"retry-after": each} for each in ("0", "0.0", "-3", "0.001", "Wed, 21 Oct 2015 07:28:00 GMT")]
    + [{"retry-after-ms": each, "retry-after": "5"} for each in ("0", "1", "-9")],
)
def test_a_vendor_that_asks_for_no_pause_is_not_hammered(headers, script, run, question):
    script[LUNA] = fails(429, headers=headers)
    run(moa.ask(LUNA, question, retries=3))
    starts = script.times()
    pauses = [after - before for before, after in pairwise(starts)]
    assert len(pauses) == 3
    assert all(retry.SHORTEST_WAIT <= pause <= most for pause, most in zip(pauses, (0.5, 1, 2), strict=True))


LOADING = {"status": 503, "message": "Loading model"}


def test_a_server_that_loads_its_model_is_waited_for(script, run, question):
    """It is asked again after 0.5 s, 1 s, 2 s, 4 s, 4 s; that is no retry."""
    script[LUNA] = [*[fails(**LOADING)] * 5, answers("Ready.", after=1)]
    reply = run(moa.ask(LUNA, question, retries=0))
    assert (reply.text, reply.failure) == ("Ready.", None)
    assert script.times() == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 11.5])
    assert [attempt.failure and attempt.failure.kind for attempt in reply.attempts] == ["loading"] * 5 + [None]
    assert reply.cost_usd == pytest.approx(moa.find(LUNA).cost(100, 20))


def test_loading_is_waited_for_no_longer_than_an_attempt_may_take(script, run, question):
    script[LUNA] = fails(**LOADING, after=0.25)
    reply = run(moa.ask(LUNA, question, timeout=10))
    assert reply.failure.kind == "loading"
    assert reply.failure.message.endswith("Not tried again: it was still loading after 8.8 s.")
    assert reply.elapsed == pytest.approx(8.75), "another try would have come after 10 s"
    reply = run(moa.ask(LUNA, question, timeout=100, deadline=3))
    assert (reply.failure.kind, reply.elapsed) == ("loading", pytest.approx(2.25))
    script[LUNA] = [fails(**LOADING, retry_after=6), answers(after=0)]
    assert run(moa.ask(LUNA, question, timeout=7)).ok
    assert script.times() == [0, 6]
    assert not run(moa.ask(LUNA, question, timeout=5)).ok
    assert len(run(moa.ask(LUNA, question, timeout=5)).attempts) == 1


def test_retries_are_left_after_loading(script, run, question):
    script[LUNA] = [fails(500), fails(**LOADING), fails(**LOADING), fails(500), answers("Good.")]
    assert run(moa.ask(LUNA, question, retries=2)).text == "Good."
    reply = run(moa.ask(LUNA, question, retries=1))
    assert (reply.failure.kind, len(reply.attempts)) == ("server_error", 4)


def test_max_calls_holds_while_a_server_loads(script, run, question):
    script.default = fails(**LOADING)
    replies = run(moa.fan_out([LUNA, HAIKU], question, max_calls=4))
    assert len(script.asked) == 4
    assert {reply.failure.kind for reply in replies} == {"loading"}


def test_what_is_final_is_not_tried_again(script, run, question):
    error = APIConnectionError("Connection error.")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate")
    script[LUNA] = raises(error)
    reply = run(moa.ask(LUNA, question))
    assert (reply.failure.kind, reply.failure.final, len(reply.attempts)) == ("connection", True, 1)
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert len(run(moa.ask(LUNA, question)).attempts) == 3, "a server may come back"


@pytest.fixture
def here(monkeypatch):
    """The scripted models run on this machine."""
    bound = plan.Plan.bound

    def bound_here(planned):
        found = bound(planned)
        stages = tuple(tuple(replace(request, here=True) for request in stage) for stage in found.stages)
        return replace(found, stages=stages)

    monkeypatch.setattr(plan.Plan, "bound", bound_here)


def test_a_time_out_on_this_machine_is_not_tried_again(here, script, run, question):
    script[LUNA] = hangs("Half an")
    reply = run(moa.ask(LUNA, question, timeout=3))
    assert (reply.failure.kind, reply.failure.final, len(reply.attempts)) == ("timeout", True, 1)
    assert "lower max_tokens=" in reply.failure.message
    assert "OLLAMA_NUM_PARALLEL" in reply.failure.message
    assert reply.text == "Half an"
    script[LUNA] = [loses_connection(), fails(500), answers("Good.")]
    assert run(moa.ask(LUNA, question)).text == "Good.", "all else may pass here as well"


def test_retry_after_as_a_date(script, run, question):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    script[LUNA] = fails(429, headers={"retry-after": format_datetime(until, usegmt=True)})
    before = (until - datetime.now(UTC)).total_seconds()
    reply = run(moa.ask(LUNA, question))
    assert (until - datetime.now(UTC)).total_seconds() <= reply.failure.retry_after <= before
    assert len(reply.attempts) == 1


@pytest.mark.parametrize("headers", [{"retry-after": "soon"}, {"retry-after": ""}, {}])
def test_without_a_retry_after_that_can_be_read_it_is_backoff(headers, script, run, question):
    script[LUNA] = [fails(429, headers=headers), answers()]
    reply = run(moa.ask(LUNA, question))
    assert reply.attempts[0].failure.retry_after is None
    assert 0 <= script.times()[1] <= 0.5


@pytest.mark.parametrize(
    ("retry_after", "deadline", "why"),
    [
        (30, 20, "the deadline comes first"),
        (20, 20, "the deadline comes first"),
        (60.5, None, "no call waits longer than 60 s"),
        (60, None, None),
    ],
)
def test_a_wait_that_is_too_long_is_not_waited_for(retry_after, deadline, why, script, run, question):
    script[LUNA] = [fails(429, after=0.25, retry_after=retry_after), answers()]
    reply = run(moa.ask(LUNA, question, deadline=deadline))
    assert reply.ok is (why is None)
    if why:
        assert (reply.failure.kind, reply.failure.retry_after) == ("rate_limit", retry_after)
        assert reply.failure.message.endswith(
            f"Not tried again: the next attempt was due only after {retry_after:.1f} s, and {why}."
        )
        assert (reply.elapsed, script.times()) == (pytest.approx(0.25), [0])


def test_backoff_doubles_with_full_jitter_up_to_its_cap(script, run, question):
    """Uniform between 0 and 0.5 s, 1 s, 2 s ... 8 s: so says what 200 calls waited."""
    script.default = fails(500)
    state = random.getstate()
    random.seed(11)
    try:
        replies = run(moa.fan_out([LUNA] * 200, question, retries=6))
    finally:
        random.setstate(state)
    starts = [[attempt.started for attempt in reply.attempts] for reply in replies]
    for number, cap in enumerate([0.5, 1, 2, 4, 8, 8]):
        waits = [started[number + 1] - started[number] for started in starts]
        assert min(waits) < 0.03 * cap, "full jitter begins at 0"
        assert 0.97 * cap < max(waits) <= cap + 1e-9
        assert 0.45 * cap < sum(waits) / len(waits) < 0.55 * cap
        assert len({round(wait / cap, 6) for wait in waits}) > 190, "all at the same time is what jitter avoids"


def test_a_pause_between_attempts_keeps_no_place(script, run, question):
    script[LUNA] = [fails(429, retry_after=5), answers()]
    first, *others = run(moa.fan_out([LUNA, HAIKU, SMALL], question, max_concurrency=1))
    assert all(reply.ok for reply in (first, *others))
    assert script.times(LUNA) == pytest.approx([0, 5])
    assert script.times(HAIKU) == [0], "the place was kept while nothing was asked"


def test_a_retry_waits_for_a_place_like_any_other(script, run, question):
    script[LUNA] = [fails(429, retry_after=1), answers()]
    script[HAIKU] = answers("Slow.", after=7)
    run(moa.fan_out([LUNA, HAIKU], question, max_concurrency=1))
    assert script.times(LUNA) == pytest.approx([0, 7])


def test_text_of_a_void_attempt_does_not_count(script, run, question):
    script[LUNA] = [breaks_off("The old and false"), answers("The new.", tokens=(50, 5), finish="length")]
    reply = run(moa.ask(LUNA, question))
    assert (reply.text, reply.finish_reason, reply.truncated) == ("The new.", "length", True)
    assert (reply.input_tokens, reply.output_tokens) == (50, 5), "tokens are the last attempt's"
    assert reply.least_usd == pytest.approx(moa.find(LUNA).cost(100, 0) + moa.find(LUNA).cost(50, 5))


@pytest.mark.parametrize("ending", [hangs("All."), loses_connection("All."), raises(KeyError("x"), "All.")])
def test_an_answer_is_complete_once_its_finish_reason_is_there(ending, script, run, question):
    """Whatever becomes of the connection after it: it stays open, is reset, or brings nonsense."""
    script[LUNA] = answers("All.", finish="stop", hangs=ending.hangs, error=ending.error)
    reply = run(moa.ask(LUNA, question, timeout=4))
    assert (reply.failure, reply.text, len(reply.attempts)) == (None, "All.", 1)
    assert reply.cost_usd == pytest.approx(moa.find(LUNA).cost(100, 20))
    assert reply.elapsed == pytest.approx(4 if ending.hangs else 1)


def test_half_a_character_harms_nothing(script, run, question):
    script[LUNA] = answers("Look: \ud83d \ude00 and \ud83d")
    script[HAIKU] = answers(lambda request: "Look: \ud83d\ude00")
    lone, whole = run(moa.fan_out([LUNA, HAIKU], question))
    assert (lone.text, whole.text) == ("Look: \ufffd \ufffd and \ufffd", "Look: \U0001f600")
    lone.text.encode()


def test_an_unlisted_model_has_an_unknown_cost_and_a_free_one_none(script, run, question):
    unknown, free = run(moa.fan_out(["vllm:some", "colab:google/gemini"], question))
    assert (unknown.ok, unknown.cost_usd, unknown.least_usd) == (True, None, 0.0)
    assert (free.ok, free.cost_usd) == (True, 0.0)
