"""The HTTP clients beneath the SDKs.

No variable of the environment disturbs a call to this machine, no redirect is followed, and where a variable for
proxies or certificates is to blame, the failure names it.
"""

import os
import ssl
from functools import cache
from importlib import import_module
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

from moa_helpers.catalogue import Api
from moa_helpers.vendors.secrets import redact

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class BrokenVariable(ValueError):
    """A variable for proxies or certificates with which no call can be made; the message names it."""


class Unreachable(ConnectionError):
    """A call that did not reach its vendor, in words for the reader; ``final`` if asking again cannot help."""

    def __init__(self, words: str, *, final: bool = True) -> None:
        super().__init__(words)
        self.final = final


def loopback(url: str) -> bool:
    """Whether an address is one of this machine."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            return True
        found = ip_address(host)
        found = getattr(found, "ipv4_mapped", None) or found
        return found.is_loopback or found.is_unspecified  # 0.0.0.0, where a server listens that hears all
    except ValueError:  # a name, or no address at all
        return False


def http_clients(api: Api, url: str, *, kept: int = 100) -> dict[str, Any]:
    """The HTTP clients for an SDK's client, as its arguments.

    Args:
        api: whose SDK.
        url: where the client connects to.
        kept: how many connections stay open between calls.

    Raises:
        BrokenVariable: a variable for proxies or certificates is broken.
    """
    here, secure = loopback(url), urlsplit(url).scheme == "https"
    try:
        options = {
            "trust_env": not here,
            "verify": (_trusted() if here else True) if secure else False,
            "timeout": None,
        }
        if api != "mistral":
            return {"http_client": _asynchronous(_kind(api))(**options)}
        limits = _httpx().Limits(max_connections=1000, max_keepalive_connections=kept)  # as the other SDKs
        options |= {"limits": limits, "follow_redirects": False}
        return {"client": _httpx().Client(**options), "async_client": _asynchronous(_kind(api))(**options)}
    except ModuleNotFoundError:
        raise
    except Exception as error:
        blamed = _set(_CERTIFICATES if isinstance(error, OSError) else _PROXIES)
        problem = f"{' and '.join(blamed) or 'The system proxy'} cannot be used: {redact(str(error)).rstrip('.')}."
    raise BrokenVariable(
        f"{problem} Correct it or remove it."
    )  # here no frame of the SDK is left, with keys in its locals


def for_hand_made(api: Api, url: str) -> dict[str, Any]:
    """What a client made by hand needs besides an address: nothing, but on this machine where a variable disturbs.

    Mistral's SDK does not close what it is given, so no connection stays open between calls.
    """
    return http_clients(api, url, kept=0) if loopback(url) and _disturbed(api, url) else {}


def _httpx() -> Any:
    return import_module("mistralai.client.httpclient").httpx  # httpx or httpx2


def _kind(api: Api) -> Any:
    if api == "mistral":
        return _httpx().AsyncClient
    return import_module("anthropic" if api == "anthropic" else "openai").DefaultAsyncHttpxClient


@cache
def _asynchronous(kind: Any) -> Any:
    """A class like ``kind`` that follows no redirect, and names the variable behind an error."""

    class Client(kind):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            try:
                response = await super().send(request, **options | {"follow_redirects": False})
            except Exception as error:
                if blamed := _blamed(error, str(request.url)):
                    final = not str(error).startswith("5")  # what a proxy says of a server that it does not reach
                    raise Unreachable(f"{error or type(error).__name__} (by way of {blamed}).", final=final) from error
                raise
            if response.has_redirect_location:
                await response.aclose()
                place = urljoin(str(request.url), response.headers["location"])
                raise Unreachable(f"The address redirects to {place}, where nothing was sent. If you trust it, set it.")
            return response

    return Client


def _trusted() -> ssl.SSLContext | bool:
    """Whose certificates are taken from a server on this machine: those that the variables name, if they do."""
    file, folder = (os.environ.get(name) for name in _CERTIFICATES)
    return ssl.create_default_context(cafile=file, capath=folder) if file or folder else True


def _blamed(error: Exception, url: str) -> str:
    """The variables that brought about an error, as far as one can tell."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error) and (names := _set(_CERTIFICATES)):
        return " and ".join(names)
    if type(error).__name__ not in ("ProxyError", "ConnectError") or not _by_proxy(url):
        return ""
    names = _set((f"{urlsplit(url).scheme}_proxy",)) or _set(("all_proxy",))
    return " and ".join(names) or "the system's proxy"


def _by_proxy(url: str) -> bool:
    place, proxies = urlsplit(url), getproxies()
    exempt = {part.strip() for part in proxies.get("no", "").split(",")}
    return bool(proxies.get(place.scheme) or proxies.get("all")) and exempt.isdisjoint({place.hostname, "*"})


def _disturbed(api: Api, url: str) -> bool:
    """Whether a proxy would get the calls, or the SDK's own HTTP client could not even be made."""
    if not _by_proxy(url) and not _set(_PROXIES + _CERTIFICATES):
        return False
    try:
        _kind(api)()
    except ModuleNotFoundError:  # then nobody can make a client
        return False
    except Exception:
        return True
    return _by_proxy(url)


def _set(names: tuple[str, ...]) -> list[str]:
    return [name for name in [*os.environ] if os.environ.get(name) and {name, name.lower()} & {*names}]
