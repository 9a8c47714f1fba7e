"""Why a call failed: one vocabulary for all vendors, with words for the reader and without keys."""

import math
import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moa_helpers.catalogue import rows
from moa_helpers.results import Failure
from moa_helpers.vendors import bodies, causes
from moa_helpers.vendors.requests import Malformed, Refused
from moa_helpers.vendors.settings import redact

_ROWS = rows(Path(__file__).with_name("failures.csv"))
ADVICE = {row["kind"]: row["advice"] for row in _ROWS}  # what the reader can do about it
ADVICE_HERE = {row["kind"]: row["advice_here"] for row in _ROWS if row["advice_here"]}  # the same on this machine
RETRIED = tuple(row["kind"] for row in _ROWS if row["retried"] == "yes")
STATUS_KINDS: dict[int, str] = {int(status): row["kind"] for row in _ROWS for status in row["statuses"].split()}
# What the words of an error mean, where its status begins like this ("-": it has none); the first that fits counts.
_MEANINGS = [
    (tuple(row["statuses"].split()), re.compile(row["words"]), row["kind"])
    for row in rows(Path(__file__).with_name("meanings.csv"))
]
_SDK_PREFIX = re.compile(r"(?s)\A(Error code: \d{3}( - )?|API error occurred: Status \d{3}.*|Unexpected response.*)")
# The SDKs bring httpx or httpx2, so their errors are told apart by the names of their classes, not by identity.
_CLASSES = {
    "timeout": {"APITimeoutError", "TimeoutException", "TimeoutError"},
    "connection": {"APIConnectionError", "TransportError", "ConnectionError", "RequestError", "ClientError"},
    "malformed": {"JSONDecodeError", "ValidationError", "MistralError", "APIError", "UnicodeDecodeError", "Malformed"},
    "unexpected": {"TypeError", "AttributeError", "LookupError", "NameError", "AssertionError"},
}


def failed(kind: str, model_name: str) -> Failure:
    """The failure of a kind that has no more to say than its name."""
    return Failure(kind, f"{model_name}: {kind.replace('_', ' ')}. {ADVICE[kind]}")


def on_this_machine(failure: Failure) -> Failure:
    """The failure of a model that runs here: the advice is another, and a time-out is final.

    Only one of ours, as another try would slow this machine down; a server that tells of one has given up itself.
    """
    kind = failure.kind
    ours = f": timeout. {ADVICE['timeout']}" in failure.message
    message = failure.message.replace(ADVICE[kind], ADVICE_HERE.get(kind, ADVICE[kind]))
    why = " It is not asked again, as that would slow this machine down." if ours else ""
    return replace(failure, message=message + why, final=failure.final or ours)


def explain(error: Exception, model_name: str) -> Failure:
    """Turn what an SDK raised into a ``Failure``: what happened, and what to do next. It never raises."""
    try:
        return _explained(error, model_name)
    except Exception as odd:  # one odd field must not cost the answers of all others
        words = f"{type(error).__name__}, which could not be read ({type(odd).__name__})"
        return Failure("unexpected", f"{model_name}: unexpected: {words}. {ADVICE['unexpected']}")


def _explained(error: Exception, model_name: str) -> Failure:
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) and status >= 300 else None
    refused = status is not None or isinstance(error, Refused)
    cause = None if refused or isinstance(error, Malformed) else causes.find_cause(error)
    if cause:
        kind, final, said = cause
        return Failure(kind, _printable(f"{model_name}: {kind}: {redact(said)}"), final=final)
    said, codes = _heard(error)
    code = status or next((int(code[:3]) for code in codes if re.fullmatch(r"[345]\d\d(\.0)?", code)), None)
    meaning = _meaning(". ".join([said[:4000], *codes]).lower(), str(code or "-"))
    if refused:
        kind = meaning or (_status_kind(code) if code else "server_error")
    else:
        names = {of.__name__ for of in type(error).__mro__}
        kind = next((kind for kind, classes in _CLASSES.items() if names & classes), meaning or "unexpected")
    shown = f"{kind.replace('_', ' ')}{f' (HTTP {status})' if status else ''}"
    message = _printable(f"{model_name}: {shown}: {_short(said)}{_where(error, kind, code)} {ADVICE[kind]}")
    between = refused and kind == "connection"  # a proxy, or a page to log in to
    return Failure(kind, message, status, _retry_after(error), between)


def _heard(error: Exception) -> tuple[str, list[str]]:
    """What an error says, and its codes: the vendor's words, or those of the SDK."""
    body = getattr(error, "body", None)
    with suppress(Exception):  # an answer that was not read, or an SDK of another making
        body = error.response.text or body  # type: ignore[attr-defined]  # whole, where the SDK keeps a part
    plain = _SDK_PREFIX.sub("", str(error)).strip()
    said = bodies.words(body) or bodies.words(plain) or plain or str(body or "")
    return said or ("No reason was given" if str(error) else type(error).__name__), [*bodies.codes(body)]


def _meaning(text: str, status: str) -> str | None:
    """The kind of failure that words and codes speak of."""
    return next((kind for begins, words, kind in _MEANINGS if status.startswith(begins) and words.search(text)), None)


def _status_kind(code: int) -> str:
    if code < 400:  # a redirect that leads nowhere
        return "malformed"
    return STATUS_KINDS.get(code, "server_error" if code >= 500 else "bad_request")


def _short(words: str) -> str:
    """The words on one line, without keys, and shortened."""
    text = redact(_printable(words[:10_000]))[:200].rstrip(". ")  # no key is cut, so that none shows in part
    return text if text.endswith(("!", "?")) else f"{text or 'No reason was given'}."


def _printable(words: str) -> str:
    """The words on one line, without what does something to a screen: control characters, half and hidden ones."""
    return " ".join("".join(char if char.isprintable() else " " for char in words).split())


def _where(error: Exception, kind: str, code: int | None) -> str:
    """A sentence about the address, where it may be what is wrong."""
    url = causes.address(error)
    if url is None or kind not in ("not_found", "connection", "malformed"):
        return ""
    if code == 407:
        return f" The proxy {causes.proxy(url) or 'in between'} wants a login: write it into its address."
    where = f" Asked: {redact(causes.shown(url))[:200]}."
    if code and code < 400:
        to = redact(causes.shown(urlsplit(str(_headers(error).get("location") or ""))))[:200]
        return f"{where} It sends requests on to {to}: if that is right, set it as the address." if to else where
    versions = re.findall(r"/v\d[^/]*(?=/|$)", url.path)
    if kind == "not_found" and not versions:
        return f"{where} Most addresses end in /v1, and this one has none."
    if kind == "not_found" and len(versions) > len(set(versions)):
        return f"{where} It holds {versions[0]} twice."
    return where


def _headers(error: Exception) -> Any:
    return getattr(getattr(error, "response", error), "headers", None) or {}


def _retry_after(error: Exception) -> float | None:
    """Seconds that the vendor asked to wait: ``retry-after-ms``, or ``retry-after`` as seconds or as a date."""
    headers = _headers(error)
    given = [(headers.get("retry-after-ms"), 1000), (headers.get("retry-after"), 1)]
    for value, per_second in [(str(value).strip(), unit) for value, unit in given if value is not None]:
        with suppress(ValueError):
            seconds = float(value.removesuffix("s")) / per_second
            if math.isfinite(seconds):
                return max(0.0, seconds)
        from email.utils import parsedate_to_datetime  # takes long to load, and is hardly ever needed

        with suppress(ValueError, TypeError, OverflowError):
            moment = parsedate_to_datetime(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None
