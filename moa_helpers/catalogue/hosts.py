"""Hosts of the reader's own: added by ``add_host``, by variables ``MOA_HOST_…``, or by ``[hosts]`` in ``moa.toml``."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from os.path import isfile
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from moa_helpers.catalogue import VENDORS, Vendor

_TAKEN = (*VENDORS, "all")  # the vendors of the catalogue, and what max_concurrency calls all of them
_ENTRY = ("url", "key", "api", "prices", "stream_options")  # what an entry of moa.toml may hold
_BY_CODE = "add_host"
_VARIABLE = re.compile(r"(?=\w*_|\w{1,11}$)[A-Z][A-Z0-9_]*")  # a key in its place is long and has no underscore


def add_host(
    name: str,
    base_url: str,
    key: str | None = None,
    *,
    api: Literal["openai", "anthropic"] = "openai",
    prices: Mapping[str, tuple[float, float]] | None = None,
    stream_options: bool = True,
) -> None:
    """Add a host, whose models are ``name:model-id`` from then on. The same name again replaces it.

    Args:
        name: lower-case letters, digits and dashes; not a vendor's.
        base_url: where its API is, as its documentation says: ``https://llm.acme.example/v1``.
        key: the name of the variable that holds its key, such as ``"ACME_API_KEY"``; None: it needs none.
        api: the format that it speaks, ``"openai"`` or ``"anthropic"``.
        prices: US dollars per million tokens, in and out, by model id; a model that is left out has no known price.
        stream_options: False for a host that refuses the parameter ``stream_options``; it may then report no tokens.

    Raises:
        TypeError, ValueError: one of them makes no sense; nothing was added.
    """
    VENDORS[name] = _host(_BY_CODE, name, base_url, key, api=api, prices=prices, stream_options=stream_options)


def read_hosts(values: Mapping[str, str]) -> None:
    """Add the hosts that variables and ``moa.toml`` name, and forget those that they named before.

    ``MOA_HOST_ACME`` is the address of ``acme``, and ``ACME_API_KEY`` its key, if it is set. The file is looked for
    here and above. A variable comes before the file, and ``add_host`` before both. A ValueError names the one that
    makes no sense.
    """
    files = [folder / "moa.toml" for folder in (Path.cwd(), *Path.cwd().parents)]
    found = next((_of_file(file) for file in files if isfile(file)), {})
    for variable, url in values.items():
        stem = variable.removeprefix("MOA_HOST_")
        if stem not in ("", variable):
            name, key = stem.lower().replace("_", "-"), f"{stem}_API_KEY"
            with located(variable):
                found[name] = _host(variable, name, url, key if key in values else None)
    for name, vendor in [*VENDORS.items()]:
        if vendor.origin == _BY_CODE:
            found.pop(name, None)
        elif vendor.origin and name not in found:
            del VENDORS[name]
    VENDORS.update(found)


def without_login(url: str) -> str:
    """An address without a name and a password in it."""
    return re.sub(r"^(\w+://)?[^/]*@", r"\1", url)


def _of_file(file: Path) -> dict[str, Vendor]:
    import tomllib  # hardly ever needed

    with located(str(file)):
        hosts = tomllib.loads(file.read_text("utf-8-sig")).get("hosts", {})
        if not isinstance(hosts, dict):
            raise TypeError("[hosts] must be a table, with a name and an address on each line.")
        found = {}
        for name, entry in hosts.items():
            given = entry if isinstance(entry, dict) else {"url": entry}
            if "url" not in given or given.keys() - {*_ENTRY}:
                raise ValueError(f"the host {name} must be an address, or a table of {', '.join(_ENTRY)}.")
            found[name] = _host(file.name, name, **given)
    return found


@contextmanager
def located(where: str) -> Iterator[None]:
    """Say in an error where the mistake is."""
    try:
        yield
    except (TypeError, ValueError, ImportError, OSError) as error:
        raise ValueError(f"{where}: {error}") from None


def _host(origin: str, name: str, url: str, key: str | None = None, **more: Any) -> Vendor:
    """A host, once all that was said of it is checked; ``more`` are the keywords of ``add_host``."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"A host's name has lower-case letters, digits and dashes only, as in 'acme-2'; not {name!r}.")
    if name in _TAKEN:
        own = VENDORS[name].url_variable if name in VENDORS else ""
        instead = f"to have {name}: at another address, set {own}" if own else "choose another name"
        raise ValueError(f"There is {name!r} already: {instead}.")
    more = {"api": "openai", "prices": None, "stream_options": True} | more
    if more["api"] not in ("openai", "anthropic"):
        raise ValueError(f"api is {more['api']!r}; it takes 'openai' or 'anthropic', the format that the host speaks.")
    if not isinstance(more["stream_options"], bool):
        raise TypeError(f"stream_options must be True or False, not {more['stream_options']!r}.")
    if key is not None and not (isinstance(key, str) and _VARIABLE.fullmatch(key)):
        raise ValueError(
            "key is the name of a variable in capital letters, such as 'ACME_API_KEY', never the key itself: "
            "put the key into the environment or into .env."
        )
    more["prices"] = _prices(more["prices"])
    return Vendor(name, base_url=_address(url), key_variable=key, origin=origin, **more)


def _address(url: object) -> str:
    if not isinstance(url, str):
        raise TypeError(f"The address must be text, such as 'https://llm.acme.example/v1', not {type(url).__name__}.")
    text = url.strip()
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no port, or no IPv6 address
        right = False
    if not right or re.search(r"[\s?#]", text):
        shown = without_login(url)
        raise ValueError(f"The address is {shown!r}; write it with its scheme, such as 'https://llm.acme.example/v1'.")
    return re.sub(r"/(chat/completions|messages)/*$", "", text).rstrip("/")


def _prices(given: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(given, Mapping | None):
        raise TypeError('prices must be a mapping such as {"model-id": (0.1, 0.4)}.')
    found = {}
    for model, pair in (given or {}).items():
        try:
            into, out = (float(usd) for usd in pair)
        except (TypeError, ValueError):
            into = out = -1.0
        if not (isinstance(model, str) and into >= 0 and out >= 0 and isfinite(into + out)):
            raise ValueError(f"The price of {model!r} is {pair!r}; give US dollars per million tokens, in and out.")
        found[model] = (into, out)
    return found
