"""Why a call failed, in one vocabulary: what an SDK raised, read without an SDK; and no key in the words."""

import pytest

import moa_helpers as moa
from moa_helpers.limits import retry
from moa_helpers.vendors import errors
from moa_helpers.vendors.errors import ADVICE, explain
from tests.support.scripts import LUNA, APIError, APIStatusError

KEY = "dummy-" + "k" * 20


@pytest.fixture(autouse=True)
def _a_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    moa.setup("live")


def test_every_failure_has_advice():
    assert set(errors.STATUS_KINDS.values()) | set(errors.RETRIED) <= set(ADVICE)
    assert all(words.endswith(".") for words in ADVICE.values())
    assert retry.LONGEST_WAIT > retry.BACKOFF_CAP


def test_a_message_says_who_failed_how_and_what_to_do():
    failure = explain(APIStatusError(401, "The key is\n revoked."), LUNA)
    assert failure.message == f"{LUNA}: authentication (HTTP 401): The key is revoked. {ADVICE['authentication']}"
    assert (failure.kind, failure.status, failure.retry_after) == ("authentication", 401, None)
    assert explain(KeyError("choices"), LUNA).message == f"{LUNA}: unexpected: 'choices'. {ADVICE['unexpected']}"


def test_the_vendors_own_sentence_is_found_in_whatever_an_sdk_wraps_it():
    for body in (
        {"error": {"message": "Slow down."}},
        {"message": "Slow down."},
        {"type": "error", "error": {"type": "x", "message": "Slow down"}},
        '{"error": {"message": "Slow down."}}',
        '{"object": "error", "message": "Slow down."}',
    ):
        error = APIStatusError(429, f"Error code: 429 - {body}")
        error.body = body
        assert ": Slow down. " in explain(error, LUNA).message
    for body in (None, "<html>", "[]", {}, {"error": "Slow down."}, 7):
        error = APIStatusError(429, "What the SDK says")
        error.body = body
        assert ": What the SDK says. " in explain(error, LUNA).message
    assert ": APIStatusError. " in explain(APIStatusError(500, ""), LUNA).message, "an error may have no words"


def test_a_long_message_is_cut():
    words = explain(APIStatusError(400, "word " * 1000), LUNA).message
    assert 200 < len(words) < 400


def test_no_key_and_nothing_that_looks_like_one_is_in_a_message():
    masked = "-".join(["sk", "abcd", "*******wxyz"])
    for before in ("", "Sorry: ", "x" * 170 + " ", "x" * 192 + " ", "Bearer ", f"No such key {masked}: "):
        for status in (400, 401, 500):
            message = explain(APIStatusError(status, f"{before}{KEY} is not a valid key"), LUNA).message
            assert "kkk" not in message, "not even a part of it"
            assert "dummy" not in message
            assert masked not in message
    assert "unexpected: '[key]'. " in explain(KeyError(KEY), LUNA).message


def test_an_overload_or_a_rate_limit_is_told_by_its_words_too():
    """Within a stream that began well, there is no status."""
    assert explain(APIError("Overloaded"), LUNA).kind == "overloaded"
    assert explain(APIError("rate_limit_error"), LUNA).kind == "rate_limit"
    assert explain(APIError("anything"), LUNA).kind == "server_error"


def test_a_used_up_quota_is_no_rate_limit():
    for status, words in ((429, "insufficient_quota"), (400, "Your credit balance is too low"), (402, "Pay first")):
        assert explain(APIStatusError(status, words), LUNA).kind == "quota"
    assert explain(APIStatusError(500, "insufficient_quota"), LUNA).kind == "server_error"
    assert "quota" not in errors.RETRIED
