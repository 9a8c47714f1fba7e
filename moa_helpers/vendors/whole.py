"""One call whose answer is sent whole, for where nobody watches it arrive: a fraction of a streamed one's CPU.

The SDK's client says where to ask and with which headers. aiohttp asks there, and what comes is read as a stream is.
"""

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from moa_helpers.catalogue import Api, Vendor
from moa_helpers.vendors import anthropic, colab, mistral, openai
from moa_helpers.vendors.reading import LARGEST, events, of_whole
from moa_helpers.vendors.requests import Chunk, Malformed, Refused, Request, about_rates
from moa_helpers.vendors.transport import loopback, proxy_for, tls

Post: TypeAlias = Callable[..., Any]
SDKS: dict[Api, ModuleType] = {"openai": openai, "anthropic": anthropic, "mistral": mistral, "colab": colab}
HEADERS = ("extra_headers", "http_headers")  # as the SDKs name the argument
LONGEST_HEADER = 65_536  # bytes
# What _open yielded, by the SDK's client.
_opened: WeakKeyDictionary[Any, tuple[AsyncGenerator[Post | None, None], Post | None]] = WeakKeyDictionary()


class BadStatus(Exception):
    """An answer whose status says that it is none; it has what ``errors`` reads from those of the SDKs."""

    def __init__(self, response: Any, body: str) -> None:
        super().__init__(f"Error code: {response.status}")
        self.status_code, self.headers, self.body = response.status, response.headers, body


def sdk_of(vendor: Vendor, *, offline: bool) -> ModuleType:
    """The file for a vendor's SDK. Offline, the stand-in for Colab's models speaks OpenAI's format."""
    return openai if offline and vendor.api == "colab" else SDKS[vendor.api]


def body(request: Request) -> dict[str, Any]:
    """A request's body in JSON as its vendor takes it: what the SDK would send, apart from ``stream``."""
    return _parts(request)[0]


def chunks(request: Request, answer: Mapping[str, Any]) -> Iterator[Chunk]:
    """What an answer holds that was sent whole; raises ``Refused`` for an error, ``Malformed`` for what is neither."""
    reader = sdk_of(request.model.vendor, offline=request.offline).Reader()
    return map(reader.read, of_whole(answer))


async def ask(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield its answer, once it is there. ``errors.explain`` can read what it raises.

    Colab's module knows no other way than its own, and aiohttp no proxy but an HTTP one: there it is streamed.
    """
    sdk = sdk_of(request.model.vendor, offline=request.offline)
    try:
        post = None if sdk is colab else await _post(request, sdk)
        async with aclosing(_exchange(request, sdk, post) if post else sdk.stream(request)) as found:
            async for chunk in found:
                yield chunk
    except (Malformed, Refused):
        raise
    except Exception as error:
        if sdk is not colab and not hasattr(error, "request"):
            error.request = SimpleNamespace(url=_url(request, sdk))  # type: ignore[attr-defined]
        raise


async def close(client: Any) -> None:
    """Close the connections over which the vendor of an SDK's client was asked from here."""
    if client in _opened:
        await _opened.pop(client)[0].aclose()


def _parts(request: Request) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """The body, the headers and the query that the SDK would send."""
    told = sdk_of(request.model.vendor, offline=request.offline).arguments(request)
    more, query = told.pop("extra_body", {}), told.pop("extra_query", {})
    headers = next(told.pop(name) for name in HEADERS if name in told)
    return told | more, headers, query


def _url(request: Request, sdk: ModuleType) -> str:
    return f"{sdk.door(request.sdk)[0]}/{sdk.PATH}"


async def _exchange(request: Request, sdk: ModuleType, post: Post) -> AsyncGenerator[Chunk, None]:
    (body, headers, query), reader = _parts(request), sdk.Reader()
    sent = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    async with post(query and request.sdk.qs.stringify(query), data=sent, headers=headers) as response:
        if response.status >= 300:
            raise BadStatus(response, await _text(response))
        yield Chunk(headers=about_rates(response.headers))
        in_httpx_words = SimpleNamespace(headers=response.headers, status_code=response.status)
        in_httpx_words.aiter_bytes = response.content.iter_any
        async with aclosing(events(in_httpx_words)) as happened:
            async for event in happened:
                yield reader.read(event)
        yield Chunk(ended=reader.ended)


async def _text(response: Any) -> str:
    text = bytearray()
    async for piece in response.content.iter_any():
        text += piece
        if len(text) > LARGEST:
            break
    with suppress(LookupError):  # nobody knows that charset
        return text.decode(response.charset or "utf-8", errors="replace")
    return text.decode(errors="replace")


async def _post(request: Request, sdk: ModuleType) -> Post | None:
    """What asks the vendor of the request's client, with a session of its own; None where aiohttp cannot."""
    if request.sdk not in _opened:
        opening = _open(request, sdk)
        _opened[request.sdk] = opening, await anext(opening)
    return _opened[request.sdk][1]


async def _open(request: Request, sdk: ModuleType) -> AsyncGenerator[Post | None, None]:
    """Open a session. It is closed with this generator, at the latest when ``asyncio.run`` ends the event loop."""
    import aiohttp
    from yarl import URL

    url = URL(_url(request, sdk))
    proxy = "" if loopback(str(url)) else proxy_for(str(url))
    if proxy and not proxy.startswith("http"):
        yield None
        return
    own = sdk.door(request.sdk)[1]
    headers = {name.lower(): value for name, value in own.items() if isinstance(value, str)}  # no mark that says: none
    if url.user or url.password:
        login = f"{url.user or ''}:{url.password or ''}".encode()
        headers["authorization"], url = f"Basic {b64encode(login).decode()}", url.with_user(None)
    secure = tls(request.model.vendor.api) if url.scheme == "https" else False
    async with aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=1000, ssl=secure, resolver=aiohttp.ThreadedResolver()),
        timeout=aiohttp.ClientTimeout(),  # none: ``calls`` limits the whole attempt
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
    ) as session:
        how: dict[str, Any] = {"proxy": proxy or None, "allow_redirects": False}
        yield lambda query, **given: session.post(url.update_query(query) if query else url, **how, **given)
