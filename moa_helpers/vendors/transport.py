"""The HTTP clients beneath the SDKs: no variable disturbs a call to this machine, and no redirect is followed."""

import os
from functools import cache
from importlib import import_module
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from moa_helpers.catalogue import Api
from moa_helpers.vendors.secrets import redact

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CERTIFICATES = ("ssl_cert_file", "ssl_cert_dir", "sslkeylogfile")


class BrokenVariable(ValueError):
    """A variable for proxies or certificates with which no call can be made; the message names it."""


@cache
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


def http_clients(api: Api, url: str, *, kept: int = 100, sync: bool = False) -> dict[str, Any]:
    """The HTTP clients for an SDK's client, as its arguments; so many connections are kept open between calls."""
    here, secure = loopback(url), urlsplit(url).scheme == "https"
    try:
        httpx, of_sdk = _httpx(api)
        options = {
            "trust_env": not here,
            "verify": tls(api) if secure else False,  # without TLS there is nothing to load
            "limits": httpx.Limits(max_connections=1000, max_keepalive_connections=kept),  # Mistral's own would be 100
            "follow_redirects": False,
        }
        if api == "mistral":
            return {"client": httpx.Client(**options), "async_client": httpx.AsyncClient(**options)}
        return {"http_client": (httpx.Client if sync else httpx.AsyncClient if here else of_sdk)(**options)}
    except ModuleNotFoundError:
        raise
    except Exception as error:
        blamed = _set(_CERTIFICATES)[:1] if isinstance(error, OSError) else _set(_PROXIES)
        problem = redact(str(error)).rstrip(".")
    # Out here no frame of the SDK is left, whose local variables may hold a login.
    named = " or ".join(blamed) or "The system's setting"
    raise BrokenVariable(f"{named} cannot be used: {problem}. Correct or remove what is set there.")


def tls(api: Api) -> Any:
    """What the connections of an SDK trust, and how they are made secure."""
    return _httpx(api)[0].create_ssl_context()


def for_hand_made(api: Api, url: str, *, sync: bool) -> dict[str, Any]:
    """What a client made by hand needs besides an address: nothing, but on this machine where a variable disturbs.

    Mistral's SDK does not close what it is given, so no connection stays open between calls.
    """
    if not loopback(url) or not (proxy_for(url) or _set(_PROXIES + _CERTIFICATES)):
        return {}
    try:
        _httpx(api)[1]()  # as the SDK would make its own
        disturbed = bool(proxy_for(url))
    except ModuleNotFoundError:  # then nobody can make a client
        return {}
    except Exception:
        disturbed = True
    return http_clients(api, url, kept=0, sync=sync) if disturbed else {}


def proxy_for(url: str) -> str:
    """The proxy for an address, which the environment or the system names; empty if there is none."""
    from urllib.request import getproxies, proxy_bypass  # takes long to load

    place, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(place.scheme) or proxies.get("all") or ""
    return "" if proxy_bypass(place.hostname or "") else proxy


def _httpx(api: Api) -> tuple[Any, Any]:
    """The httpx of an SDK, which is httpx or httpx2, and the class of its asynchronous client that the SDK uses."""
    if api == "mistral":
        httpx = import_module("mistralai.client.httpclient").httpx
        return httpx, httpx.AsyncClient
    of_sdk = import_module("anthropic" if api == "anthropic" else "openai").DefaultAsyncHttpxClient
    return import_module(of_sdk.__mro__[1].__module__), of_sdk


def _set(names: tuple[str, ...]) -> list[str]:
    """Which of the variables are set, in any case, in their order."""
    around = [name for name in [*os.environ] if os.environ.get(name)]
    return [name for wanted in names for name in around if name.lower() == wanted]
