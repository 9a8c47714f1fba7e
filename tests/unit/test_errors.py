"""Why a call failed, in one vocabulary: what an SDK raised, read without an SDK; and no key in the words."""

import socket
import ssl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import moa_helpers as moa
from moa_helpers.limits import retry
from moa_helpers.vendors import errors
from moa_helpers.vendors.errors import ADVICE, ADVICE_HERE, explain, on_this_machine
from moa_helpers.vendors.requests import Malformed, Refused
from tests.support.scripts import LUNA, APIStatusError

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


SLOW = "Slow down, please."
ENVELOPES = (
    {"error": {"message": SLOW}},
    {"error": SLOW},
    {"message": SLOW},
    {"Message": SLOW},
    {"msg": SLOW},
    {"detail": SLOW},
    {"error": {"error": {"message": SLOW}}},
    {"error": {"detail": SLOW, "message": ""}},
    {"type": "error", "error": {"type": "x", "message": SLOW}},
    {"object": "error", "message": SLOW, "type": "x", "code": 1},
    {"errors": [{"message": SLOW}]},
    {"errors": [SLOW]},
    {"error": "slow", "error_description": SLOW},
    {"statusCode": 429, "message": SLOW, "error": "Too many"},
    {"title": "Too many", "status": 429, "detail": SLOW},
    {"error": {"code": 7, "details": SLOW}},
    {"error": {"message": {"text": SLOW}}},
    {"error_code": 17, "error_msg": SLOW},
    {"base_resp": {"status_code": 1, "status_msg": SLOW}},
    {"errors": {"model": [SLOW]}},
    {"success": False, "errors": [{"code": 1, "message": SLOW}], "messages": []},
    {"message": {"detail": [{"msg": SLOW}]}},
    {"error": {"message": '{"error": {"message": "' + SLOW + '"}}'}},
    [{"error": {"message": SLOW}}],
    '{"error": {"message": "' + SLOW + '"}}',
    "{'error': {'message': '" + SLOW + "'}}",
    b'{"detail": "' + SLOW.encode() + b'"}',
    SLOW,
    f"\n  {SLOW}\r\n",
    f'"{SLOW}"',
    '\ufeff{"detail": "' + SLOW + '"}',
    'data: {"error": {"message": "' + SLOW + '"}}\n\ndata: [DONE]\n\n',
    'event: error\ndata: {"type": "error", "error": {"type": "x", "message": "' + SLOW + '"}}\n\n',
    f"<p>{SLOW.replace('Slow', '<b>Slow</b>')}</p>",
    {"error": {"message": f"<html><head><title>{SLOW}</title></head><body>nginx</body></html>"}},
    f"<html><head>\n<title>{SLOW}</title></head><body><p>Much more.</body></html>",
    f"<!DOCTYPE html><style>p {{x: y}}</style><body><h1 class='a'>{SLOW}</h1>",
    f"<html><body><p>{SLOW}</p></body></html>",
    f"<!-- x -->\n<title>\n{SLOW}\n</title>",
    f'<?xml version="1.0"?><Error><Code>Slow</Code><Message>{SLOW}</Message></Error>',
)


@pytest.mark.parametrize("body", ENVELOPES, ids=repr)
def test_the_vendors_own_sentence_is_found_in_whatever_it_is_wrapped(body):
    error = APIStatusError(429, f"Error code: 429 - {body}")
    error.body = body
    assert ": Slow down, please. Wait" in explain(error, LUNA).message
    error.body = None
    error.response.text = body
    assert ": Slow down, please. Wait" in explain(error, LUNA).message, "the SDK keeps a part of it at most"


def test_no_markup_is_shown_and_no_word_lost():
    for page, words in (
        ("<html><title>Error</title><body><pre>Cannot POST /v1</pre></body></html>", "Error Cannot POST /v1."),
        ("Upstream said: <html><title>502 Bad Gateway</title></html>", "Upstream said: 502 Bad Gateway."),
        ("<div class='x'>The &quot;thing&quot; broke</div>", 'The "thing" broke.'),
        ("a < b and c > d", "a < b and c > d."),
        ("Unknown token <|end|> or <think>", "Unknown token <|end|> or <think>."),
    ):
        assert f": {words} The vendor's server" in explain(Refused(page), LUNA).message


def test_a_field_that_is_wrong_and_a_host_behind_the_host_are_named():
    for body, words in (
        (
            {"detail": [{"loc": ["body", "max_tokens"], "msg": "is too large", "input": 9}]},
            "body.max_tokens: is too large.",
        ),
        ({"detail": [{"msg": "One"}, {"msg": "two"}]}, "One; two."),
        ({"error": {"message": "Provider said", "metadata": {"raw": '{"error": "No."}'}}}, "Provider said: No."),
        ({"error": {"message": "It said", "metadata": {"raw": "No", "provider_name": "Host"}}}, "It said (Host): No."),
        ({"error": {"message": "It said", "metadata": {"provider_name": None}}}, "It said."),
        ({"weird": 1}, "{'weird': 1}."),
    ):
        error = APIStatusError(400, "Error code: 400")
        error.body = body
        assert f": {words} The vendor refused" in explain(error, LUNA).message


def test_without_words_of_the_vendors_the_sdks_count():
    for body in (None, "<html>", "[]", {}, {"error": {}}, {"error": None}, 7):
        error = APIStatusError(429, "What the SDK says")
        error.body = body
        assert ": What the SDK says. " in explain(error, LUNA).message
    for said in ("Error code: 429", 'API error occurred: Status 429. Body: ""'):
        error = APIStatusError(429, said)
        error.body = ""
        assert ": No reason was given. Wait" in explain(error, LUNA).message
    assert ": RuntimeError. " in explain(RuntimeError(), LUNA).message, "an error may have no words"


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


# status and words -> kind: what the words mean counts more than the status, as vendors differ in that
MEANINGS = """
quota: 429 insufficient_quota | 400 Your credit balance is too low to access the API | 402 Pay first
quota: 403 Key limit exceeded
quota: 429 billing_not_active | 400 billing_hard_limit_reached | 403 Insufficient credits
quota: 429 Insufficient Balance
quota: 429 You exceeded your current quota, check your plan | 429 You reached your monthly spending limit
quota: 403 payment_required | 429 Credit limit exceeded | 400 Budget has been exceeded! | 403 Out of call volume quota
quota: 400 This request requires more credits | 401 You are out of credits
quota: 400 You have reached your specified API usage limits
rate_limit: 429 Quota exceeded for this minute | 429 Rate limit reached: limit 30000, requested 4000
rate_limit: 403 rate limit exceeded | 400 ThrottlingException
rate_limit: 429 This would exceed the maximum number of tokens per minute | 429 Too many tokens, please wait
too_large: 413 x | 400 context_length_exceeded | 400 This model's maximum context length is 8192 tokens
too_large: 400 prompt is too long: 9 tokens > 8 maximum
too_large: 400 Prompt contains 9 tokens, too large for model with 8 maximum context length
too_large: 400 exceed_context_size_error
too_large: 400 the request exceeds the available context size, try increasing it
too_large: 400 Please reduce the length of the messages or completion
too_large: 422 `inputs` tokens + `max_new_tokens` must be <= 4097
too_large: 500 the input length exceeds the context length
too_large: 400 The number of tokens to keep from the initial prompt is greater than the context length
too_large: 400 Trying to keep the first 9 tokens when context the overflows
too_large: 400 This endpoint's maximum context length is 8 tokens | 400 Current length is 9 while limit is 8
too_large: 429 Request too large for gpt-9 on tokens per min
too_large: 400 Your input exceeds the context window of this model
too_large: 400 input length and `max_tokens` exceed context limit: 9 + 9 > 8
too_large: 400 The input token count (9) exceeds the maximum number of tokens allowed (8)
too_large: 400 This model's maximum prompt length is 8
bad_request: 400 max_tokens is too large: 9. This model supports at most 8 completion tokens
bad_request: 400 max_tokens: 9 > 8, the maximum number of output tokens
too_large: 400 The decoder prompt (length 9) is longer than the maximum model length of 8 | 413 error code: 413
too_large: 400 Prompt exceeds max length | 500 ContextWindowExceededError
too_large: 422 Requested tokens exceed context window of 8
quota: 429 You have exceeded your monthly included credits
quota: 403 You used all available credits or reached a spending limit
rate_limit: 429 You have exceeded token rate limit of your pricing tier
rate_limit: 429 Please reduce the prompt length or try later
authentication: 403 Invalid API key
not_found: 400 No models loaded. Please load one
bad_request: 422 x | 431 x | 400 context is required | 400 The temperature is too large
loading: 503 Loading model | 503 Model x is currently loading | 503 the model is still loading
loading: 503 Model is not ready yet
overloaded: 503 x | 529 x | 503 The service is unavailable | 503 service_unavailable_error | 503 no slot available
overloaded: 425 Too Early | 498 Flex tier capacity exceeded
server_error: 409 The resource is locked | 499 x | 522 x | 524 A timeout occurred | 530 x
server_error: 500 insufficient_quota | 500 error loading model | 502 x | 520 x
authentication: 401 x | 400 API key not valid. Please pass a valid API key | 400 Incorrect API key provided
permission: 403 x | 403 Your key may not do this
content_filter: 400 Output blocked by content filtering policy | 403 It was flagged. No credits were charged.
content_filter: 400 content_filter | 403 Your input was flagged
not_found: 404 x | 405 x | 410 x | 501 x | 400 Invalid model: x | 400 model_not_found
not_found: 400 model_decommissioned | 400 model_not_available | 400 model `x` has been decommissioned
not_found: 400 x is not a valid model ID | 422 no such model
timeout: 408 x
malformed: 301 x | 304 x | 307 x
quota: 429 Your account has run out of credits | 400 Arrearage | 429 quota_exceeded | 429 Your trial has expired
quota: 429 You've hit your usage limit. Upgrade | 429 The daily allocation of 10,000 is used up
rate_limit: 429 request_quota_exceeded | 429 Number of request tokens has exceeded your per-minute rate limit
too_large: 400 Input tokens exceed the configured limit of 9 tokens | 400 Tokens in prompt (9) exceed limit of 8
too_large: 400 Prompt length (9) exceeds the model's context window | 400 Too many tokens in prompt | 400 input_too_long
too_large: 400 Token limit exceeded: 9 > 8 | 500 prompt too long; exceeded max context length | 400 messages too long
bad_request: 400 Invalid request: max_tokens is too large | 400 Invalid request: temperature exceeds 2
bad_request: 400 Unknown parameter: context_length | 400 stop sequence is too long | 400 n exceeds the maximum
bad_request: 400 Unknown parameter: 'safety_identifier' | 400 user field exceeds 64 characters
bad_request: 400 `max_tokens` must be less than or equal to 8, less than the `context_window`
bad_request: 400 max_tokens exceeds the maximum number of output tokens | 400 Input should be less than 2
not_found: 400 Model not exist | 400 The requested model 'x' is not supported | 400 There's no model named x
authentication: 403 The API key is invalid | 400 API key expired. Please renew it.
content_filter: 400 The prompt was blocked by our safety system | 400 It violates usage policies
loading: 503 The model is being loaded, please wait | 503 Model x is loading, try again in 20 seconds
overloaded: 503 Failed loading model x | 503 server busy, maximum pending requests exceeded
connection: 407 x | 511 x
"""
CASES = [
    (line.partition(": ")[0], *each.split(" ", 1))
    for line in MEANINGS.strip().split("\n")
    for each in line.partition(": ")[2].split(" | ")
]


@pytest.mark.parametrize(("kind", "status", "words"), CASES)
def test_the_kind_follows_the_status_and_the_words(kind, status, words):
    failure = explain(APIStatusError(int(status), words), LUNA)
    assert (failure.kind, failure.status) == (kind, int(status))
    for body in ({"error": {"message": "It failed.", "code": words}}, {"detail": words}, {"error": words}):
        error = APIStatusError(int(status), "Error")
        error.body = body
        assert explain(error, LUNA).kind == kind


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("quota", {"error": {"code": 402, "message": "Pay."}}),
        ("quota", {"error": {"code": 429, "message": "Insufficient credits."}}),
        ("rate_limit", {"error": {"code": "429", "message": "Slow."}}),
        ("rate_limit", {"error": {"code": "rate_limit_exceeded", "message": "Slow."}}),
        ("rate_limit", {"error": {"status": "RESOURCE_EXHAUSTED", "message": "Slow."}}),
        ("rate_limit", {"error": {"status_code": 429, "message": "Slow."}}),
        ("rate_limit", {"statusCode": 429, "error": "Slow."}),
        ("rate_limit", "rate_limit_error"),
        ("rate_limit", {"error": "This request would exceed your rate limit of 9 input tokens per minute"}),
        ("rate_limit", {"error": "Requests rate limit exceeded"}),
        ("overloaded", {"error": "Server is busy"}),
        ("too_large", {"error": {"code": 500, "message": "Context size has been exceeded."}}),
        ("not_found", {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        ("overloaded", "Overloaded"),
        ("overloaded", {"error": {"code": 498, "message": "x"}}),
        ("overloaded", {"error": {"code": 503, "message": "x"}}),
        ("overloaded", {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
        ("overloaded", {"error": "The service is currently unavailable"}),
        ("overloaded", {"code": 503.0, "error": "x"}),
        ("loading", {"error": {"code": 503, "message": "Loading model"}}),
        ("server_error", {"error": {"code": 502, "message": "x"}}),
        ("server_error", {"error": {"code": "server_error", "message": "x"}}),
        ("server_error", {"error": {"message": "something odd"}}),
        ("server_error", {"error": "something odd"}),
        ("timeout", {"code": "x", "error": "Timed out waiting for the first token"}),
        ("authentication", {"error": {"code": "invalid_api_key", "message": "x"}}),
        ("authentication", {"error": {"code": 401, "message": "x"}}),
        ("too_large", {"error": {"code": 400, "message": "prompt is too long"}}),
        ("bad_request", {"error": {"type": "invalid_request_error", "message": "x"}}),
        ("bad_request", '{"error": {"code": 400, "message": "x"}}'),
        ("not_found", {"error": {"code": 404, "message": "x"}}),
        ("server_error", "Something went wrong"),
    ],
)
def test_an_error_in_a_good_answer_is_told_by_its_code_name_or_words(kind, event):
    failure = explain(Refused(event), LUNA)
    assert (failure.kind, failure.status) == (kind, None), "HTTP said that all was well"


def test_what_is_no_answer_is_malformed_and_says_what_came():
    assert explain(Malformed("A page came: Log in"), LUNA).message.startswith(
        f"{LUNA}: malformed: A page came: Log in. "
    )


# Connections


class APIConnectionError(Exception):
    """As the SDKs raise; the cause stands behind it, and maybe the address."""

    def __init__(self, url="https://me:pass-word@api.example.com/v1/chat/completions?key=x"):
        super().__init__("Connection error.")
        self.request = type("Request", (), {"url": url})()


class ConnectTimeout(TimeoutError):
    pass


class RemoteProtocolError(ConnectionError):
    pass


class ProxyError(ConnectionError):
    pass


class UnsupportedProtocol(ConnectionError):
    pass


class DecodingError(ConnectionError):
    pass


class TooManyRedirects(ConnectionError):
    pass


CERTIFICATE = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
PLACE = "api.example.com:443"


@pytest.mark.parametrize(
    ("behind", "kind", "final", "words"),
    [
        (
            ssl.SSLCertVerificationError(f"{CERTIFICATE}self-signed certificate"),
            "connection",
            True,
            f"{PLACE} is not trusted",
        ),
        (ssl.SSLCertVerificationError(f"{CERTIFICATE}unable to get local issuer"), "connection", True, "SSL_CERT_FILE"),
        (ssl.SSLCertVerificationError(f"{CERTIFICATE}certificate has expired"), "connection", True, "has expired"),
        (ssl.SSLCertVerificationError(f"{CERTIFICATE}Hostname mismatch"), "connection", True, "another name"),
        (ssl.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "connection", True, "http:// instead"),
        (ssl.SSLError("[SSL: RECORD_LAYER_FAILURE] record layer failure"), "connection", True, "http:// instead"),
        (ssl.SSLError("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE]"), "connection", False, f"(TLS) with {PLACE}"),
        (
            ConnectionRefusedError(111, "Connect call failed"),
            "connection",
            False,
            f"Nothing answers at {PLACE}: is the",
        ),
        (OSError("[WinError 10061] No connection could be made"), "connection", False, f"Nothing answers at {PLACE}"),
        (ExceptionGroup("many", [ConnectionRefusedError(111, "::1")]), "connection", False, "Nothing answers"),
        (
            socket.gaierror(-2, "Name or service not known"),
            "connection",
            False,
            "The name api.example.com is not known",
        ),
        (socket.gaierror(8, "nodename nor servname provided"), "connection", False, "The name api.example.com is not"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection", False, f"{PLACE} was cut"),
        (BrokenPipeError(32, "Broken pipe"), "connection", False, f"{PLACE} was cut"),
        (OSError(113, "No route to host"), "connection", False, "no way from here"),
        (OSError(24, "Too many open files"), "connection", False, "too many connections"),
        (ConnectTimeout("All attempts failed"), "connection", False, "in time"),
        (TimeoutError(110, "Connection timed out"), "connection", False, "in time"),
        (
            RemoteProtocolError("Server disconnected without sending a response."),
            "connection",
            False,
            "before it answered",
        ),
        (RemoteProtocolError("peer closed connection (incomplete chunked read)"), "connection", False, "in the middle"),
        (RemoteProtocolError("illegal status line: b'SSH-2.0'"), "connection", True, "does not speak HTTP"),
        (
            ProxyError("407 Proxy Authentication Required"),
            "connection",
            True,
            "proxy does not let this through: 407 Proxy",
        ),
        (ProxyError("503 Service Unavailable"), "connection", False, "proxy failed: 503 Service Unavailable."),
        (UnsupportedProtocol("Request URL is missing an 'http://'"), "connection", True, "http:// or https://"),
        (OverflowError("connect(): port must be 0-65535."), "connection", True, "cannot be read"),
        (DecodingError("Error -3 while decompressing"), "malformed", True, "not compressed"),
        (TooManyRedirects("Exceeded maximum allowed redirects."), "malformed", True, "in a circle"),
        (UnicodeEncodeError("ascii", "k“", 1, 2, "ordinal not in range"), "authentication", True, "copy the key anew"),
    ],
)
def test_the_cause_of_a_lost_connection_is_named(behind, kind, final, words):
    error = APIConnectionError()
    error.__cause__ = between = OSError("All connection attempts failed")
    between.__context__ = behind
    failure = explain(error, LUNA)
    assert (failure.kind, failure.final, failure.status) == (kind, final, None)
    assert words in failure.message
    assert "pass-word" not in failure.message
    assert "key=x" not in failure.message
    assert failure.message.startswith(f"{LUNA}: {kind}: ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("127.0.0.1:8101/v1/chat/completions", "127.0.0.1:8101"),
        ("localhost:8101/v1/chat/completions", "localhost:8101"),
        ("me:pass-word@localhost:8101/v1", "localhost:8101"),
        ("ftp://me:pass-word@localhost/v1", "ftp://localhost/v1"),
    ],
)
def test_an_address_without_a_scheme_is_shown_without_its_login(url, shown):
    error = APIConnectionError(url)
    error.__cause__ = UnsupportedProtocol("unsupported protocol")
    message = explain(error, LUNA).message
    assert f"The address {shown} does not begin with http:// or https://" in message


def test_a_proxy_that_stands_in_between_is_named_without_its_login(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass-word@proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    error = APIConnectionError()
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert (
        "the proxy proxy.example:3128 of HTTPS_PROXY (on the way to api.example.com:443): is"
        in explain(error, LUNA).message
    )
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert "The name proxy.example is not known" in explain(error, LUNA).message
    error = APIConnectionError("http://127.0.0.1:9/v1")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert "Nothing answers at 127.0.0.1:9: is" in explain(error, LUNA).message, "no proxy is asked for this machine"


def test_a_lost_connection_without_a_known_cause_gives_the_address():
    message = explain(APIConnectionError(), LUNA).message
    assert ": Connection error. Asked: https://api.example.com/v1/chat/completions. The connection failed" in message


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://127.0.0.1:9/chat/completions", "Most addresses end in /v1, and this one has none."),
        ("http://127.0.0.1:9/v1/v1/chat/completions", "It holds /v1 twice."),
        ("http://127.0.0.1:9/v1/v1/messages", "It holds /v1 twice."),
        ("http://127.0.0.1:9/v1/chat/completions", "There is no such model"),
        ("http://127.0.0.1:9/v1beta/openai/chat/completions", "There is no such model"),
        ("http://127.0.0.1:9/api/paas/v4/chat/completions", "There is no such model"),
    ],
)
def test_a_404_speaks_of_the_model_and_of_the_address(url, hint):
    error = APIStatusError(404, "Not Found")
    error.request = type("Request", (), {"url": url.replace("//", "//me:pass-word@")})()
    message = explain(error, LUNA).message
    assert f"not found (HTTP 404): Not Found. Asked: {url}. {hint}" in message
    assert ADVICE["not_found"] in message
    assert "address is wrong" in ADVICE["not_found"]


def test_a_redirect_says_where_it_leads():
    error = APIStatusError(308, "Moved", {"location": "https://me:pass-word@new.example/v1?key=x"})
    error.request = type("Request", (), {"url": "http://old.example/v1"})()
    message = explain(error, LUNA).message
    assert "Asked: http://old.example/v1. It sends requests on to https://new.example/v1: if that is right" in message


def test_a_model_on_this_machine_gets_other_advice():
    for kind in ("timeout", "deadline", "overloaded", "too_large", "not_found"):
        failure = on_this_machine(errors.failed(kind, LUNA))
        assert ADVICE_HERE[kind] in failure.message
        assert ("It is not asked again" in failure.message) is (kind == "timeout")
        assert ADVICE[kind] not in failure.message
        assert failure.final is (kind == "timeout")
    assert on_this_machine(errors.failed("empty", LUNA)) == errors.failed("empty", LUNA)
    told = on_this_machine(explain(APIStatusError(408, "Too slow"), LUNA))
    assert (told.kind, told.final) == ("timeout", False), "that server has given up, so another try adds no load"
    assert ADVICE_HERE["timeout"] in told.message


# Whatever it holds


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("0", 0), ("-3", 0), ("1.5", 1.5), (" 2 ", 2), ("10s", 10), ("1e9", 1e9), ("9" * 400, None), ("NaN", None),
        ("inf", None), ("-inf", None), ("soon", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
        ("Wed, 21 Oct 20151021202120212021 07:28:00 GMT", None), ("Wed, 99 Oct 2015 99:99:99 GMT", None),
    ],
)  # fmt: skip
def test_any_retry_after_is_read_or_left(given, seconds):
    assert explain(APIStatusError(429, "x", {"retry-after": given}), LUNA).retry_after == seconds
    assert (
        explain(APIStatusError(429, "x", {"retry-after-ms": "abc", "retry-after": given}), LUNA).retry_after == seconds
    )
    in_ms = explain(APIStatusError(429, "x", {"retry-after-ms": given, "retry-after": "7"}), LUNA).retry_after
    assert in_ms is not None


class Odd(Exception):
    """Raises whenever it is looked at."""

    def __getattribute__(self, name):
        raise OSError("no")

    def __str__(self):
        raise ValueError("no")


def test_an_error_that_cannot_be_read_is_a_failure_all_the_same():
    failure = explain(Odd(), LUNA)
    assert (failure.kind, failure.final) == ("unexpected", False)
    assert "Odd" in failure.message


DEEP = {"error": "x"}
for _ in range(900):
    DEEP = {"error": DEEP}


@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"error":' * 50_000, DEEP, b"\xff\xfe", {1: {2: 3}}, {"error": {"code": float("nan")}}, object()],
)
def test_an_odd_body_costs_neither_the_kind_nor_the_others(body):
    error = APIStatusError(503, "Sorry")
    error.body = error.response.text = body
    failure = explain(error, LUNA)
    assert (failure.kind, failure.status) == ("overloaded", 503)
    assert len(failure.message) < 400


TEXTS = st.text(max_size=30) | st.sampled_from(["429", "\ud800", "<title>", "{", "\x1b[31m", "2 is", "error", KEY])
KEYS = st.sampled_from(["error", "message", "detail", "code", "type", "errors", "loc", "msg", "metadata", "raw"])
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXTS, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES, status=st.none() | st.integers(-1, 700) | TEXTS, said=TEXTS, given=TEXTS, how=st.booleans())
def test_explain_never_raises_and_what_it_says_can_be_shown(body, status, said, given, how):
    for error in (
        APIStatusError(status, said, {"retry-after": given, "location": said}),
        Refused(body),
    ):
        error.body = body
        error.request = type("Request", (), {"url": said})()
        if how:
            error.response = type("Response", (), {"text": body, "headers": {}, "request": error.request})()
        failure = explain(error, LUNA)
        assert failure.kind in ADVICE
        assert failure.message.isprintable()
        assert len(failure.message) < 1000
        assert "kkkkk" not in failure.message
        failure.message.encode()
