"""Why a call failed: one vocabulary for all vendors, with words for the reader and without keys."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import rows
from moa_helpers.results import Failure
from moa_helpers.vendors.settings import redact

_ROWS = rows(Path(__file__).with_name("failures.csv"))
ADVICE = {row["kind"]: row["advice"] for row in _ROWS}  # what the reader can do about it
RETRIED = tuple(row["kind"] for row in _ROWS if row["retried"] == "yes")
STATUS_KINDS = {int(status): row["kind"] for row in _ROWS for status in row["statuses"].split()}


def failed(kind: str, model_name: str) -> Failure:
    """The failure of a kind that has no more to say than its name."""
    return Failure(kind, f"{model_name}: {kind.replace('_', ' ')}. {ADVICE[kind]}")


def explain(error: Exception, model_name: str) -> Failure:
    """Turn what an SDK raised into a ``Failure``: what happened, and what to do next."""
    # The SDKs bring httpx or httpx2, so their errors are told apart by the names of their classes, not by identity.
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) and status >= 400 else None
    body = getattr(error, "body", "")
    words = f"{error} {body}".lower()
    if status:
        unpaid = status in (400, 429) and ("insufficient_quota" in words or "credit balance" in words)
        kind = "quota" if unpaid else STATUS_KINDS.get(status, "server_error" if status >= 500 else "bad_request")
    elif names & {"APITimeoutError", "TimeoutException", "TimeoutError"}:
        kind = "timeout"
    elif names & {"APIConnectionError", "TransportError", "ConnectionError"}:
        kind = "connection"
    elif "overloaded" in words or "rate_limit" in words:
        kind = "overloaded" if "overloaded" in words else "rate_limit"
    elif names & {"APIError", "MistralError"} and (isinstance(body, dict) or '"error"' in words.replace("'", '"')):
        kind = "server_error"  # an error event inside a stream that had begun well
    elif names & {"JSONDecodeError", "ValidationError", "MistralError", "APIError", "UnicodeDecodeError"}:
        kind = "malformed"
    else:
        kind = "unexpected"
    where = f" (HTTP {status})" if status else ""
    message = f"{model_name}: {kind.replace('_', ' ')}{where}: {_said(error)} {ADVICE[kind]}"
    return Failure(kind, message, status, _retry_after(error))


def _said(error: Exception) -> str:
    """The vendor's own sentence, without keys, shortened; the SDKs wrap it in differing ways."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, str):
        with suppress(ValueError):
            body = json.loads(body)
    while isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    words = body.get("message") if isinstance(body, dict) else None
    text = str(words or str(error) or type(error).__name__)  # an error of the network may have no words
    text = redact(" ".join(text.split()))  # before it is cut, maybe in a key
    return text[:200].rstrip(".") + "."


def _retry_after(error: Exception) -> float | None:
    """Seconds that the vendor asked to wait: ``retry-after-ms``, or ``retry-after`` as seconds or as a date."""
    headers = getattr(getattr(error, "response", error), "headers", None) or {}
    given = [(headers.get("retry-after-ms"), 1000), (headers.get("retry-after"), 1)]
    for value, per_second in [(value, unit) for value, unit in given if value is not None]:
        with suppress(ValueError):
            return max(0.0, float(value) / per_second)
        from email.utils import parsedate_to_datetime  # takes long to load, and is hardly ever needed

        with suppress(ValueError, TypeError):
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None
