"""Why a call failed: one vocabulary for all vendors, with words for the reader and without keys."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from moa_helpers.results import Failure
from moa_helpers.vendors.settings import redact

# kind of failure -> what the reader can do about it
ADVICE = {
    "rate_limit": "Wait a little, ask less at once (max_concurrency), or raise your limit with the vendor.",
    "quota": "The account's credit or quota is used up: check the vendor's billing page.",
    "overloaded": "The vendor is overloaded: try again later, or use another model.",
    "server_error": "The vendor's server failed: try again later.",
    "connection": "The connection failed: check the network, a proxy, and the vendor's address.",
    "timeout": "No complete answer in time: raise timeout=, or use a faster model.",
    "deadline": "The deadline came first: raise deadline=, or use a faster model.",
    "incomplete": "The answer broke off before its end: try again.",
    "malformed": "The answer could not be read: check that the address is really this vendor's.",
    "empty": "The answer held no text: raise max_tokens=, as a reasoning model spends them before it writes.",
    "content_filter": "The vendor withheld the answer: put the question differently.",
    "bad_request": "The vendor refused the request as it stands: check the model's parameters in moa.models().",
    "authentication": "The key is wrong or was revoked: set the right one and run moa.setup() again.",
    "permission": "The key may not use this model: check its rights with the vendor.",
    "not_found": "The vendor has no such model: choose another from moa.models().",
    "too_large": "The request is too long for the vendor: shorten the prompt, or use fewer reference models.",
    "cancelled": "The call was stopped before its end.",
    "unexpected": "This is a case that moa_helpers does not know: please report it.",
}
RETRIED = ("rate_limit", "overloaded", "server_error", "connection", "timeout", "incomplete")
STATUS_KINDS = {
    401: "authentication",
    402: "quota",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    529: "overloaded",
}


def failed(kind: str, model_name: str) -> Failure:
    """The failure of a kind that has no more to say than its name."""
    return Failure(kind, f"{model_name}: {kind.replace('_', ' ')}. {ADVICE[kind]}")


def explain(error: Exception, model_name: str) -> Failure:
    """Turn what an SDK raised into a ``Failure``: what happened, and what to do next.

    The SDKs bring ``httpx`` or ``httpx2``, depending on their version, so their errors are told apart by the names of
    their classes and by their HTTP status, not by identity.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", "")
    words = f"{error} {body}".lower()
    if isinstance(status, int) and status >= 400:
        fallback = "server_error" if status >= 500 else "bad_request"
        unpaid = "insufficient_quota" in words or "credit balance" in words
        kind = "quota" if unpaid and status in (400, 429) else STATUS_KINDS.get(status, fallback)
    elif names & {"APITimeoutError", "TimeoutException", "TimeoutError"}:
        status, kind = None, "timeout"
    elif names & {"APIConnectionError", "TransportError", "ConnectionError"}:
        status, kind = None, "connection"
    elif "overloaded" in words:
        status, kind = None, "overloaded"
    elif "rate_limit" in words:
        status, kind = None, "rate_limit"
    elif names & {"APIError", "MistralError"} and (isinstance(body, dict) or '"error"' in words.replace("'", '"')):
        status, kind = None, "server_error"  # an error event inside a stream that had begun well
    elif names & {"JSONDecodeError", "ValidationError", "MistralError", "APIError", "UnicodeDecodeError"}:
        status, kind = None, "malformed"
    else:
        status, kind = None, "unexpected"
    where = f" (HTTP {status})" if status else ""
    message = f"{model_name}: {kind.replace('_', ' ')}{where}: {_said(error)} {ADVICE[kind]}"
    return Failure(kind, message, status, _retry_after(error))


def _said(error: Exception) -> str:
    """The vendor's own sentence, without keys, shortened; the SDKs wrap it in differing ways."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            body = None
    while isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    words = body.get("message") if isinstance(body, dict) else None
    text = str(words or str(error) or type(error).__name__)  # an error of the network may have no words
    text = redact(" ".join(text.split()))  # before it is cut, maybe in a key
    return text[:200].rstrip(".") + "."


def _retry_after(error: Exception) -> float | None:
    """Seconds that the vendor asked to wait: ``retry-after-ms``, or ``retry-after`` as seconds or as a date."""
    headers = getattr(getattr(error, "response", error), "headers", None) or {}
    waits = (_wait(headers.get("retry-after-ms"), 1000), _wait(headers.get("retry-after"), 1))
    return next((wait for wait in waits if wait is not None), None)


def _wait(value: str | None, per_second: int) -> float | None:
    """The seconds in a header's value; None if it is missing, or neither a number nor a date."""
    if value is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(value) / per_second)
    from email.utils import parsedate_to_datetime  # takes long to load, and is hardly ever needed

    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None
