"""The HTTP clients beneath the SDKs.

No variable of the environment disturbs a call to this machine, no redirect is followed, and where a variable for
proxies or certificates is to blame, the failure names it.
"""

import os
import re
from functools import cache
from importlib import import_module
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

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
        httpx, of_sdk = _httpx(api)
        trusted = (_trusted() if here else True) if secure else False  # without TLS there is nothing to load
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=kept)  # Mistral's own would be 100
        options = {"trust_env": not here, "verify": trusted, "limits": limits, "follow_redirects": False}
        asynchronous = _guarded(httpx.AsyncClient if here else of_sdk)(**options)
        if api != "mistral":
            return {"http_client": asynchronous}
        return {"client": httpx.Client(**options), "async_client": asynchronous}
    except ModuleNotFoundError:
        raise
    except Exception as error:
        blamed = _set(_CERTIFICATES)[:1] if isinstance(error, OSError) else _odd_proxies(httpx) or _set(_PROXIES)
        problem = redact(str(error)).rstrip(".")
    # Out here no frame of the SDK is left, whose local variables may hold a login.
    raise BrokenVariable(f"{_named(blamed)} cannot be used: {problem}. Correct or remove what is set there.")


def for_hand_made(api: Api, url: str) -> dict[str, Any]:
    """What a client made by hand needs besides an address: nothing, but on this machine where a variable disturbs.

    Mistral's SDK does not close what it is given, so no connection stays open between calls.
    """
    return http_clients(api, url, kept=0) if loopback(url) and _disturbed(api, url) else {}


def _httpx(api: Api) -> tuple[Any, Any]:
    """The httpx of an SDK, which is httpx or httpx2, and the class of its asynchronous client that the SDK uses."""
    if api == "mistral":
        httpx = import_module("mistralai.client.httpclient").httpx
        return httpx, httpx.AsyncClient
    of_sdk = import_module("anthropic" if api == "anthropic" else "openai").DefaultAsyncHttpxClient
    return import_module(of_sdk.__mro__[1].__module__), of_sdk


@cache
def _guarded(kind: Any) -> Any:
    """A class like ``kind`` that follows no redirect, and names the variable behind an error."""

    class Client(kind):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            try:
                response = await super().send(request, **options | {"follow_redirects": False})
            except Exception as error:
                if words := _blame(error, str(request.url)):
                    final = not str(error).startswith("5")  # what a proxy says of a server that it does not reach
                    raise Unreachable(words, final=final) from error
                raise
            if response.has_redirect_location:
                await response.aclose()
                place = request.url.join(response.headers["location"])
                raise Unreachable(f"The address redirects to {place} and nothing was sent there: set it, if right.")
            return response

    return Client


def _trusted() -> Any:
    """Whose certificates are taken from a server on this machine: those that the variables name, if they do."""
    import ssl

    file, folder = (os.environ.get(name) for name in _CERTIFICATES)
    return ssl.create_default_context(cafile=file, capath=folder) if file or folder else True


def _blame(error: Exception, url: str) -> str:
    """Which variable brought about an error, and what to do; empty if none did, as far as one can tell."""
    place, said = urlsplit(url), redact(str(error)).rstrip(".") or type(error).__name__
    if re.search("local issuer|self.signed", said) and (names := _set(_CERTIFICATES)[:1]):
        trusted = f"by what {_named(names)} names: put its certificate there, or correct or remove the variable"
        return f"The certificate of {place.hostname}:{place.port or 443} is not trusted {trusted}."
    if type(error).__name__ not in ("ProxyError", "ConnectError", "ExceptionGroup") or not _by_proxy(url):
        return ""
    names = _set((f"{place.scheme}_proxy",)) or _set(("all_proxy",))
    return f"The proxy of {_named(names)} lets nothing through ({said}): correct or remove it."


def _by_proxy(url: str) -> bool:
    from urllib.request import getproxies  # takes long to load

    place, proxies = urlsplit(url), getproxies()
    exempt = {part.strip() for part in proxies.get("no", "").split(",")}
    return bool(proxies.get(place.scheme) or proxies.get("all")) and exempt.isdisjoint({place.hostname, "*"})


def _disturbed(api: Api, url: str) -> bool:
    """Whether a proxy would get the calls, or the SDK's own HTTP client could not even be made."""
    if not _by_proxy(url) and not _set(_PROXIES + _CERTIFICATES):
        return False
    try:
        _httpx(api)[1]()
    except ModuleNotFoundError:  # then nobody can make a client
        return False
    except Exception:
        return True
    return _by_proxy(url)


def _odd_proxies(httpx: Any) -> list[str]:
    """The variables of which httpx can make no proxy."""
    odd = []
    for name in _set(_PROXIES[:-1]):
        place = os.environ[name]
        try:
            httpx.AsyncClient(proxy=place if "://" in place else f"http://{place}", verify=False, trust_env=False)
        except Exception:
            odd.append(name)
    return odd


def _set(names: tuple[str, ...]) -> list[str]:
    """Which of the variables are set, in any case, in their order."""
    around = [name for name in [*os.environ] if os.environ.get(name)]
    return [found for name in names for found in around if name in (found, found.lower())]


def _named(names: list[str]) -> str:
    return " and ".join(names) or "the system"
