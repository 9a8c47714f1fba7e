"""Live or offline, and with which keys: what ``setup()`` finds out, and how a client reaches its vendor."""

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from moa_helpers.catalogue import VENDORS, UnknownModel, Vendor
from moa_helpers.shown import Shown
from moa_helpers.vendors import colab, local

Mode = Literal["auto", "live", "offline"]
PACKAGES = ("openai", "anthropic", "mistralai", "ipython", "ipykernel", "pandas", "matplotlib")
_KEY_SHAPED = re.compile(r"\b(?:sk|gsk|csk|pk|key|hf|tgp)[-_][\w*.-]{6,}|\bBearer\s+\S+")


class MissingKey(ValueError):
    """A vendor was asked for whose key is not set."""


@dataclass(frozen=True)
class Settings(Shown):
    """What ``setup()`` found: live or offline and why, and where each vendor's key comes from (never the key)."""

    mode: Literal["live", "offline"]
    reason: str
    key_sources: Mapping[str, str]  # vendor name -> "environment", ".env", "Colab secrets"
    versions: Mapping[str, str]
    offline_url: str | None = None
    ollama_models: tuple[str, ...] = ()
    colab_models: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what went wrong on the way, and what to do
    _values: Mapping[str, str] = field(default_factory=dict, repr=False)  # variables, keys included

    def value(self, variable: str | None) -> str | None:
        """A variable's value from the environment, .env or Colab's secrets; None where it is unset or empty."""
        return self._values.get(variable or "")

    @property
    def free_models(self) -> tuple[str, ...]:
        """Real models that cost nothing here: those of a running Ollama, and on Colab those of google.colab.ai."""
        return self.ollama_models + self.colab_models


class Connection(dict[str, Any]):
    """Arguments for an SDK's client. It prints without the key, so that no notebook stores one."""

    def __repr__(self) -> str:
        return repr({**self, "api_key": "…hidden…"})


_current: Settings | None = None
_found_versions: dict[str, str] = {}


def setup(mode: Mode | None = None) -> Settings:
    """Decide between live and offline, find the keys, and start the offline vendors if they are needed.

    Reads the environment, then a ``.env`` file here or above, then Colab's secrets. Call it again at any time; calls
    under way keep the settings that they began with. ``MOA_OFFLINE_…`` is read once, when the offline vendors start.

    Args:
        mode: ``"live"``, ``"offline"``, or ``"auto"``: live with any key, else offline. Default: ``MOA_MODE``, or auto.

    Returns:
        The report: versions, mode, and which vendors have a key.

    Raises:
        ValueError: the mode is none of the three.
    """
    global _current
    values = _variables()
    wanted = mode or values.get("MOA_MODE", "auto").lower()
    if wanted not in get_args(Mode):
        raise ValueError(f"MOA_MODE is {wanted!r}; it takes auto, live or offline.")
    sources = _find_keys(values, ask_colab=wanted != "offline")
    live, reason = wanted == "live", f"{'setup()' if mode else 'MOA_MODE'} asked for it"
    if wanted == "auto":
        live, reason = bool(sources), "at least one API key is set" if sources else "no API key is set"
    offline_url = None
    if not live:
        from moa_helpers import offline

        offline_url = offline.start(values).url
    _current = Settings(
        mode="live" if live else "offline",
        reason=reason,
        key_sources=sources,
        versions={"python": sys.version.split()[0]} | _versions(),
        offline_url=offline_url,
        ollama_models=local.running_ollama(_live_url(VENDORS["ollama"], values)),
        colab_models=() if wanted == "offline" else colab.session.models(),
        notes=tuple(redact(note, values) for note in colab.session.notes()),
        _values=values,
    )
    return _current


def current() -> Settings:
    """The settings of the last ``setup()``; calls it first if nobody has."""
    return _current or setup()


def connection(vendor_name: str) -> Connection:
    """The arguments for a vendor's SDK: its own address and your key, or offline those of the stand-in.

    Raises:
        UnknownModel: there is no such vendor.
        MissingKey: live, and the vendor's key is not set, or Colab's panel does not answer when asked for it.
        ImportError: live, and the vendor is ``colab``, but this is not Google Colab.
    """
    if vendor_name not in VENDORS:
        raise UnknownModel(f"There is no vendor {vendor_name!r}; known are {', '.join(VENDORS)}.")
    vendor, settings = VENDORS[vendor_name], current()
    if settings.mode == "live" and vendor.api == "colab":
        if colab.ai() is None:
            raise ImportError(colab.HINTS["elsewhere"])
        if colab.session.keyless:
            raise MissingKey(colab.HINTS["silent"])
        return Connection()  # that module finds its own way
    if settings.mode == "offline":
        from moa_helpers import offline

        url = f"{offline.here(settings.offline_url)}/{vendor.name}" + (
            "/v1" if vendor.api in ("openai", "colab") else ""
        )
        key: str | None = "offline"
    else:
        url = _live_url(vendor, settings._values)
        key = settings.value(vendor.key_variable) if vendor.key_variable else "none-needed"
    if key is None:
        raise MissingKey(colab.HINTS["no key"].format(vendor.name, vendor.key_variable))
    if urlsplit(url).hostname in local.LOOPBACK:
        local.keep_proxy_off_loopback()
    return Connection({"api_key": key, "server_url" if vendor.api == "mistral" else "base_url": url})


def world(*, offline: bool, chooses: bool) -> str:
    """Who answers: ``"live"``, or the stand-ins with all that their answers depend on besides the request.

    Args:
        offline: whether the stand-ins do.
        chooses: whether the answer is a choice among other answers.
    """
    if not offline:
        return "live"
    from moa_helpers.offline import world as stand_ins

    return stand_ins(chooses=chooses)


def redact(text: str, values: Mapping[str, str] | None = None) -> str:
    """The text without the keys among the values (default: those found last), and without what looks like a key."""
    known = current()._values if values is None else values
    token = os.environ.get(colab.TOKEN)  # set when google.colab.ai is first used
    for key in filter(None, [*(known.get(vendor.key_variable or "") for vendor in VENDORS.values()), token]):
        text = text.replace(key, "[key]")
    return _KEY_SHAPED.sub("[key]", text)


def _variables() -> dict[str, str]:
    from dotenv import dotenv_values, find_dotenv

    file = dotenv_values(find_dotenv(usecwd=True))
    found = {**file, **{name: value for name, value in os.environ.items() if value.strip()}}
    return {name: value.strip() for name, value in found.items() if value and value.strip()}


def _find_keys(values: dict[str, str], *, ask_colab: bool) -> dict[str, str]:
    """Where each vendor's key comes from; a secret of Colab's panel is added to the values."""
    sources = {}
    for vendor in VENDORS.values():
        name = vendor.key_variable
        if name in values:
            sources[vendor.name] = "environment" if os.environ.get(name, "").strip() else ".env"
        elif name and ask_colab and (secret := colab.session.secret(name)):
            values[name], sources[vendor.name] = secret, "Colab secrets"
    return sources


def _live_url(vendor: Vendor, values: Mapping[str, str]) -> str:
    url = values.get(vendor.url_variable, vendor.base_url).rstrip("/")
    if vendor.name == "ollama" and vendor.url_variable in values:
        url = local.ollama_address(url)
    return url.removesuffix("/v1") if vendor.api != "openai" else url


def _versions() -> dict[str, str]:
    from importlib import metadata

    # A version that was found is kept: reading it takes longer than all the rest of setup().
    for package in set(PACKAGES) - set(_found_versions):
        with suppress(metadata.PackageNotFoundError):
            _found_versions[package] = metadata.version(package)
    return {package: _found_versions.get(package, "not installed") for package in PACKAGES}
