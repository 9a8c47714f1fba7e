"""Why a call failed: one vocabulary for all vendors, with words for the reader and without keys."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moa_helpers.catalogue import rows
from moa_helpers.results import Failure
from moa_helpers.vendors import bodies, causes
from moa_helpers.vendors.requests import Refused
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
_UNREADABLE = {"JSONDecodeError", "ValidationError", "MistralError", "APIError", "UnicodeDecodeError", "Malformed"}


def failed(kind: str, model_name: str) -> Failure:
    """The failure of a kind that has no more to say than its name."""
    return Failure(kind, f"{model_name}: {kind.replace('_', ' ')}. {ADVICE[kind]}")


def on_this_machine(failure: Failure) -> Failure:
    """The failure of a model that runs here: the advice is another, and after a time-out another try adds load."""
    kind = failure.kind
    message = failure.message.replace(ADVICE[kind], ADVICE_HERE.get(kind, ADVICE[kind]))
    return replace(failure, message=message, final=failure.final or kind == "timeout")


def explain(error: Exception, model_name: str) -> Failure:
    """Turn what an SDK raised into a ``Failure``: what happened, and what to do next. It never raises."""
    try:
        return _explained(_Heard.of(error), error, model_name)
    except Exception as odd:  # one odd field must not cost the answers of all others
        words = f"{type(error).__name__}, which could not be read ({type(odd).__name__})"
        return Failure("unexpected", f"{model_name}: unexpected: {words}. {ADVICE['unexpected']}")


@dataclass(frozen=True)
class _Heard:
    """What an error says: its HTTP status if that is none of success, the vendor's words, and its codes."""

    status: int | None
    said: str
    codes: tuple[str, ...]
    by_vendor: bool  # whether an error of the vendor's is in the body, not only what the SDK made of it

    @classmethod
    def of(cls, error: Exception) -> "_Heard":
        status = getattr(error, "status_code", None)
        status = status if isinstance(status, int) and status >= 300 else None
        body = getattr(error, "body", None)
        with suppress(Exception):  # an answer that was not read, or an SDK of another making
            body = error.response.text or body  # type: ignore[attr-defined]  # whole, where the SDK keeps a part
        words, codes = bodies.words(body), tuple(bodies.codes(body))
        names = _names(error)
        by_vendor = isinstance(error, Refused) or (bool(words or codes) and bool(names & {"APIError", "MistralError"}))
        if "MistralError" in names and not status and not codes:
            by_vendor = False  # a good status, and a text that is no error
        plain = _SDK_PREFIX.sub("", str(error)).strip()
        said = words or bodies.words(plain) or plain
        if not said:
            said = (bodies.compact(body) or "No reason was given") if str(error) else type(error).__name__
        if not status:
            codes = (*codes, plain[:1000])  # the SDK's own words for an error within a stream
        return cls(status, said, codes, by_vendor)

    @property
    def code(self) -> int | None:
        """The HTTP status, or the one that a vendor wrote into the body."""
        return self.status or next(
            (int(code[:3]) for code in self.codes if re.fullmatch(r"[345]\d\d(\.0)?", code)), None
        )

    @property
    def meaning(self) -> str | None:
        """The kind of failure that the words and codes speak of."""
        text, status = " ".join([self.said[:4000], *self.codes]).lower(), str(self.code or "-")
        return next(
            (kind for begins, words, kind in _MEANINGS if status.startswith(begins) and words.search(text)), None
        )


def _explained(heard: _Heard, error: Exception, model_name: str) -> Failure:
    names, code = _names(error), heard.code
    cause = None if heard.status or heard.by_vendor or "Malformed" in names else causes.find_cause(error)
    advice, final = None, False
    if cause:
        kind, final, said = cause
        said, advice = redact(said), ""
    elif heard.status or heard.by_vendor:
        kind = heard.meaning or (_status_kind(code) if code else "server_error")
        final = kind == "connection"  # a proxy, or a page to log in to, that stands in between
    elif names & {"APITimeoutError", "TimeoutException", "TimeoutError"}:
        kind = "timeout"
    elif names & {"APIConnectionError", "TransportError", "ConnectionError", "RequestError"}:
        kind = "connection"
    elif names & _UNREADABLE:
        kind = "malformed"
    else:
        bug = isinstance(error, TypeError | AttributeError | LookupError | NameError | AssertionError)
        kind = "unexpected" if bug else heard.meaning or "unexpected"
    if not cause:
        said = f"{_short(heard.said)}{_where(error, kind, code)}"
    advice = ADVICE[kind] if advice is None else advice
    status = f" (HTTP {heard.status})" if heard.status else ""
    message = _printable(f"{model_name}: {kind.replace('_', ' ')}{status}: {said} {advice}")
    return Failure(kind, message, heard.status, _retry_after(error), final)


def _names(error: Exception) -> set[str]:
    # The SDKs bring httpx or httpx2, so their errors are told apart by the names of their classes, not by identity.
    return {kind.__name__ for kind in type(error).__mro__}


def _status_kind(code: int) -> str:
    if code < 400:  # a redirect that is not followed
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
