"""What a lost connection was lost to, and the address that was asked: read from an error and from those behind it."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from moa_helpers.catalogue import rows
from moa_helpers.vendors.transport import loopback, proxy_for

_CAUSES = [(re.compile(row["words"]), row) for row in rows(Path(__file__).with_name("causes.csv"))]
# Names of classes: the SDKs bring httpx or httpx2, and may bring others.
_NETWORK = {"OSError", "RequestError", "APIConnectionError", "InvalidURL", "UnicodeError", "ClientError", "ProxyError"}
_NETWORK |= {"NoResponseError", "RecursionError", "OverflowError"}


def find_cause(error: BaseException) -> tuple[str, bool, str] | None:
    """The kind of failure, whether it is final, and what the reader is told; None if no known cause is behind it."""
    behind = list(_behind(error))
    if not any(_NETWORK & {kind.__name__ for kind in type(each).__mro__} for each in behind):
        return None
    lines = [f"{type(each).__name__}: {_said(each)}"[:500] for each in behind]
    found = "\n".join(lines).lower()
    row = next((row for words, row in _CAUSES if words.search(found)), None)
    if row is None:
        return None
    said = next((line.partition(": ")[2] for line in lines if "Proxy" in line), "").rstrip(".") + "."
    url = address(error)
    via = proxy(url)
    place = place_of(url)
    final = row["final"] == "yes"
    if via and not final:
        place = f"the proxy {via} (on the way to {place})"
    host = (via or "").partition(":")[0] or (url.hostname if url else None) or "of the server"
    asked = shown(url) or "of the server"
    says = row["says"].format(place=place, host=host, url=asked, via=f" {via}" if via else "", said=said)
    return row["kind"], final, says[:1].upper() + says[1:]


def _said(error: BaseException) -> str:
    """An error's words. aiohttp has status and message apart, and writes the address with its login behind them."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    return str(error) if status is None or message is None else f"{status} {message}"


def address(error: BaseException) -> SplitResult | None:
    """The address that was asked, if an error or one behind it knows: the one furthest behind, after a redirect."""
    for each in reversed(list(_behind(error))):
        for holder in ("request", "response", "raw_response"):
            with suppress(Exception):  # httpx raises a RuntimeError where there is no request
                held = getattr(each, holder)
                return urlsplit(str(getattr(held, "request", held).url))
    return None


def place_of(url: SplitResult | None) -> str:
    """Host and port, without a login."""
    place = url.netloc.rpartition("@")[2] if url else ""
    if url is None or not place:
        return "the server"
    return place if re.search(r":\d+\Z", place) else f"{place}:{443 if url.scheme == 'https' else 80}"


def shown(url: SplitResult | None) -> str:
    """The address without login, query and fragment."""
    if url is None:
        return ""
    if url.netloc:
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
    without_scheme = f"{url.scheme}:{url.path}" if url.scheme else url.path
    return without_scheme.rpartition("@")[2].lstrip("/").partition("/")[0]  # an SDK may have put it there twice


def proxy(url: SplitResult | None) -> str | None:
    """Host and port of the proxy on the way to an address, without a login, and the variable that names it."""
    found = proxy_for(url.geturl()) if url and url.hostname and not loopback(url.geturl()) else ""
    if not url or not found:
        return None
    names = [name for name in [*os.environ] if name.lower() in (f"{url.scheme}_proxy", "all_proxy")]
    variable = next((f" of {name}" for name in sorted(names, reverse=True) if os.environ.get(name) == found), "")
    return found.rpartition("://")[2].rpartition("@")[2].strip("/") + variable


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error, those that it was raised from, and those of a group."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 20:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        before = each.__cause__ or each.__context__  # also one that httpcore hides
        waiting += [*([before] if before else []), *getattr(each, "exceptions", ())]
