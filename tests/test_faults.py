"""Every fault at every vendor while the two others are well; and what is tried again, when, and how often."""

import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import moa_helpers as moa
from moa_helpers import calls, offline
from moa_helpers.vendors.errors import RETRIED, explain

VENDORS = ("openai", "anthropic", "mistral")
# fault -> kind of failure, or None where the answer is usable
KINDS = {
    "400": "bad_request",
    "401": "authentication",
    "403": "permission",
    "404": "not_found",
    "413": "too_large",
    "422": "bad_request",
    "429": "rate_limit",
    "500": "server_error",
    "503": "overloaded",
    "529": "overloaded",
    "reset": "connection",
    "hang": "timeout",
    "slow_body": "timeout",
    "truncated_body": "connection",
    "truncated_stream": "incomplete",
    "stalled_stream": "timeout",
    "error_event": "server_error",
    "malformed_json": "malformed",
    "empty": "empty",
    "length": None,
    "content_filter": "content_filter",
    "liar": None,
    "injector": None,
}


@pytest.fixture(scope="module")
def _well():
    return {}


@pytest.fixture
def well(_well, models, question, run):
    """What each model answers without a fault."""
    if not _well:
        _well |= {reply.model: reply for reply in run(moa.fan_out(models, question, timeout=20))}
        assert all(reply.ok for reply in _well.values())
    return _well


def everything_shown(replies, caplog):
    shown = [show(result) for result in (replies, *replies) for show in (repr, str)]
    shown += [show for result in (replies, *replies) for show in (result._repr_html_(), result._repr_markdown_())]
    return "\n".join([*shown, *(reply.failure.message for reply in replies if reply.failure), caplog.text])


def test_no_fault_is_forgotten():
    assert {*KINDS, "any"} == set(offline.KINDS)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault", KINDS)
def test_fault(fault, vendor, models, question, well, vendors, run, live_at, caplog):
    """In live mode with made-up keys, so that a key could show; the fixtures look for what is left behind."""
    caplog.set_level(logging.DEBUG)
    live_at(offline.start().url)
    timeout = 3 if KINDS[fault] == "timeout" else 20
    with offline.fault(vendor, fault):
        start = time.perf_counter()
        replies = run(moa.fan_out(models, question, timeout=timeout, retries=0))
        elapsed = time.perf_counter() - start
    assert [reply.model for reply in replies] == models
    place = VENDORS.index(vendor)
    hit, model = replies[place], models[place]
    for reply in replies:
        if reply is not hit:
            assert (reply.failure, reply.text) == (None, well[reply.model].text)

    kind = "overloaded" if (fault, vendor) == ("error_event", "anthropic") else KINDS[fault]
    assert (hit.failure.kind if hit.failure else None) == kind
    assert hit.ok is (kind is None)
    if kind:
        assert model in hit.failure.message
        assert hit.attempts[-1].failure == hit.failure
        assert hit.failure.status == (int(fault) if fault.isdigit() else None)
    assert hit.elapsed <= elapsed < timeout + 5
    assert (hit.elapsed >= timeout) is (kind == "timeout")
    assert vendors.asked[model] == len(hit.attempts) == 1

    usual = well[model]
    if fault == "length":
        assert (hit.finish_reason, hit.truncated) == ("length", True)
        assert usual.text.startswith(hit.text)
        assert 0 < len(hit.text) < len(usual.text)
    elif fault == "liar":
        assert offline.score(question, hit.text).wrong > offline.score(question, usual.text).wrong
    elif fault == "injector":
        assert "Ignore all earlier instructions" in hit.text
    elif fault in ("truncated_body", "truncated_stream", "stalled_stream", "error_event", "malformed_json"):
        assert usual.text.startswith(hit.text)
        assert 0 < len(hit.text) < len(usual.text), "what had arrived was lost"
    assert "dummy-" not in everything_shown(replies, caplog)


@pytest.mark.parametrize("before", ["", "x" * 185 + " ", "x" * 192 + " ", "Bearer "])
def test_a_key_that_the_vendor_repeats_is_not_shown(before, models, question, live, recorder, run, caplog):
    caplog.set_level(logging.DEBUG)
    recorder.refuse = before or "Sorry: "
    replies = run(moa.fan_out(models, question, timeout=20))
    assert {reply.failure.kind for reply in replies} == {"authentication"}
    assert len(recorder.requests) == 3
    assert "dummy" not in everything_shown(replies, caplog)  # not even half of it


def test_something_that_looks_like_a_key_is_not_shown(models, question, live, recorder, run, caplog):
    masked = "-".join(["sk", "abcd", "*******wxyz"])
    recorder.refuse = f"Incorrect API key {masked}: "
    replies = run(moa.fan_out(models, question, timeout=20))
    assert masked not in everything_shown(replies, caplog)


@pytest.mark.parametrize("vendor", VENDORS)
def test_retry_after_is_waited_for(vendor, models, question, well, vendors, run):
    model = models[VENDORS.index(vendor)]
    with offline.fault(vendor, 429, retry_after=0.4, times=1):
        reply = run(moa.ask(model, question))
    assert (reply.failure, reply.text) == (None, well[model].text)
    first, second = reply.attempts
    assert (first.failure.kind, first.failure.retry_after, second.failure) == ("rate_limit", 0.4, None)
    assert second.started - (first.started + first.elapsed) >= 0.4
    assert reply.elapsed >= reply.ttft >= 0.4
    assert vendors.asked[model] == 2
    assert first.cost_usd == 0  # refused, so nothing was generated
    assert reply.cost_usd == pytest.approx(well[model].cost_usd)


RECOVER = [fault for fault, kind in KINDS.items() if kind in RETRIED and kind != "timeout"]


@pytest.mark.parametrize("fault", RECOVER)
def test_what_may_pass_is_tried_again(fault, models, question, well, vendors, run, monkeypatch):
    monkeypatch.setattr(calls, "BACKOFF_BASE", 0.02)
    with offline.fault("*", fault, times=3):
        replies = run(moa.fan_out(models, question, retries=3))
    assert [reply.failure for reply in replies] == [None] * 3
    assert [reply.text for reply in replies] == [well[model].text for model in models], "the void attempt shows"
    assert sum(len(reply.attempts) for reply in replies) == sum(vendors.asked.values()) == 6
    refused = fault.isdigit()
    assert all((reply.cost_usd is not None) is refused for reply in replies if len(reply.attempts) > 1)


def test_a_time_out_is_tried_again(models, question, well, run):
    with offline.fault("*", "hang", times=1):
        reply = run(moa.ask(models[0], question, timeout=2.5))
    assert reply.text == well[models[0]].text
    assert [attempt.failure and attempt.failure.kind for attempt in reply.attempts] == ["timeout", None]
    assert reply.cost_usd is None  # the vendor may have charged for the first


@pytest.mark.parametrize("fault", [400, 401, 403, 404, 413, 422, "malformed_json", "empty", "content_filter"])
def test_what_will_not_pass_is_asked_once(fault, models, question, vendors, run):
    with offline.fault("*", fault, retry_after=0.01):
        replies = run(moa.fan_out(models, question, retries=3))
    assert vendors.asked == dict.fromkeys(models, 1)
    assert [len(reply.attempts) for reply in replies] == [1, 1, 1]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_counted(retries, models, question, vendors, run):
    with offline.fault("*", 503, retry_after=0.01):
        replies = run(moa.fan_out(models, question, retries=retries))
    assert vendors.asked == dict.fromkeys(models, retries + 1)
    assert [len(reply.attempts) for reply in replies] == [retries + 1] * 3
    assert {reply.failure.kind for reply in replies} == {"overloaded"}
    assert {reply.cost_usd for reply in replies} == {0.0}


@pytest.mark.parametrize(("retry_after", "deadline"), [(30, 20), (61, None)])
def test_a_wait_that_is_too_long_is_not_waited_for(retry_after, deadline, models, question, vendors, run):
    with offline.fault("*", 429, retry_after=retry_after):
        reply = run(moa.ask(models[0], question, deadline=deadline))
    assert reply.failure.kind == "rate_limit"
    assert reply.failure.retry_after == retry_after
    assert f"Not tried again: the next attempt was due only after {retry_after}.0 s" in reply.failure.message
    assert reply.elapsed < 10
    assert vendors.asked.total() == 1


def test_retries_end_at_the_deadline(models, question, vendors, run, monkeypatch):
    monkeypatch.setattr(calls, "BACKOFF_CAP", 0.1)
    with offline.fault("*", 500):
        replies = run(moa.fan_out(models, question, deadline=2.5, retries=500))
    assert all(2 < len(reply.attempts) < 500 for reply in replies)
    for reply in replies:
        assert reply.failure.kind in ("server_error", "deadline")
        assert reply.elapsed < 5


def test_a_hang_ends_at_the_deadline(models, question, run):
    with offline.fault("*", "hang"):
        replies = run(moa.fan_out(models, question, deadline=0.5, timeout=30))
    assert {reply.failure.kind for reply in replies} == {"deadline"}
    assert all(0.45 <= reply.elapsed < 5 for reply in replies)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_forms_of_retry_after(headers, seconds):
    error = ValueError("slow down")
    error.status_code, error.headers = 429, headers
    found = explain(error, "openai:any").retry_after
    assert found == seconds


def test_retry_after_as_a_date():
    error = ValueError("slow down")
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    error.status_code, error.headers = 429, {"retry-after": later}
    assert explain(error, "openai:any").retry_after == pytest.approx(3600, abs=5)


def test_a_used_up_quota_is_no_rate_limit():
    error = ValueError("429: you exceeded your current quota, code insufficient_quota")
    error.status_code = 429
    assert explain(error, "openai:any").kind == "quota"
    assert "quota" not in RETRIED


def test_an_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="no fault 'flood'; there are"):
        offline.fault("openai", "flood")
