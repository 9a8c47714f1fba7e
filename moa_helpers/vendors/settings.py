"""Live or offline, and with which keys: what ``setup()`` finds out, and how a client reaches its vendor."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from moa_helpers.catalogue import VENDORS, Model, UnknownModel, Vendor, find
from moa_helpers.catalogue.hosts import read_hosts, without_login
from moa_helpers.shown import Shown, in_notebook
from moa_helpers.vendors import colab, importing, local, variables
from moa_helpers.vendors.secrets import Key, Variables, remember, remember_logins
from moa_helpers.vendors.secrets import redact as redact
from moa_helpers.vendors.transport import for_hand_made, loopback

Mode = Literal["auto", "live", "offline"]
Sdk = Literal["openai", "anthropic", "mistral"]
PACKAGES = ("openai", "anthropic", "mistralai", "ipython", "ipykernel", "pandas", "matplotlib")


class MissingKey(ValueError):
    """A vendor was asked for whose key is not set."""


@dataclass(frozen=True)
class Settings(Shown):
    """What ``setup()`` found: live or offline and why, and where each vendor's key comes from (never the key)."""

    _views = "moa_helpers.ui.report"

    mode: Literal["live", "offline"]
    reason: str
    key_sources: Mapping[str, str]  # vendor name -> "environment", ".env", "Colab secrets"
    versions: Mapping[str, str]
    offline_url: str | None = None
    servers: tuple[local.Server, ...] = ()  # of models on this machine, or wherever LOCAL_BASE_URL says
    local_models: Mapping[str, str] = field(default_factory=dict)  # their models, local:id -> the server's address
    colab_models: tuple[str, ...] = ()
    gateways: frozenset[str] = frozenset()  # host and port of addresses that several vendors share
    notes: tuple[str, ...] = ()  # what went wrong on the way, and what to do
    keep: Path | None = None  # the file that keeps what is answered
    _values: Variables = field(default_factory=Variables, repr=False, compare=False)  # keys included

    def value(self, variable: str | None) -> str | None:
        """A variable's value from the environment, .env or Colab's secrets; None where it is unset or empty."""
        return self._values.get(variable or "") or None

    @property
    def free_models(self) -> tuple[str, ...]:
        """Real models that cost nothing: those of servers on this machine, and on Colab those of google.colab.ai."""
        here = [name for name, url in self.local_models.items() if loopback(url)]
        return (*here, *self.colab_models)

    @property
    def ollama_models(self) -> tuple[str, ...]:
        """The models of a running Ollama, by their other name, ``ollama:…``."""
        url = local.address_of(VENDORS["ollama"], self._values)
        return tuple(f"ollama:{name}" for server in self.servers if server.url == url for name in server.models)

    def address(self, vendor: Vendor) -> str:
        """Where a vendor is, live; of ``local:``, where its first server is, and empty if there is none."""
        if vendor.name == "local":
            return next(iter(self.local_models.values()), "")
        return local.address_of(vendor, self._values)

    def key(self, vendor: Vendor) -> str | None:
        """A vendor's key, any text where it needs none, or None where its key is not set."""
        name = vendor.key_variable or vendor.optional_key_variable
        value = self.value(name)
        return remember(value) if value else None if vendor.key_variable else "none-needed"


class Connection(dict[str, Any]):
    """Arguments for an SDK's client. It prints without the key, so that no notebook stores one."""


_current: Settings | None = None
_held: ContextVar[Settings | None] = ContextVar("settings", default=None)
_asked: tuple[Mode | None, str | Path | None, int] = None, None, 0  # what the last setup() was given, in which process
_found_versions: dict[str, str] = {}
lock = threading.RLock()  # held where settings or clients change, which threads do at the same time
getattr(os, "register_at_fork", dict)(  # a fork waits for it, or it would stay locked in the child
    before=lock.acquire, after_in_child=lock.release, after_in_parent=lock.release
)


def setup(mode: Mode | None = None, *, keep: str | Path | None = None) -> Settings:
    """Decide between live and offline, find the keys, and start the offline vendors if they are needed.

    Reads the environment, then a ``.env`` file here or above, then Colab's secrets. Call it again at any time; calls
    under way keep the settings that they began with. ``MOA_OFFLINE_…`` is read once, when the offline vendors start.

    Args:
        mode: ``"live"``, ``"offline"``, or ``"auto"``: live with any key, offline without. Default: ``MOA_MODE``, or
            auto.
        keep: a file that keeps what is answered from now on, as in ``moa.keep``; ``""``: none. Default: ``MOA_KEEP``.

    Returns:
        The report: versions, mode, and which vendors have a key.

    Raises:
        ValueError: the mode is none of the three, or a key, unless offline was asked for, has what no key has.
    """
    with lock:
        return _setup(mode, keep)


def _setup(mode: Mode | None, keep: str | Path | None) -> Settings:
    global _current, _asked
    values, notes = variables.read()
    read_hosts(values)
    wanted = mode or values.get("MOA_MODE", "auto").lower()
    if wanted not in get_args(Mode):
        raise ValueError(f"MOA_MODE is {wanted!r}; it takes auto, live or offline.")
    sources, keys, key_notes = variables.find_keys(values, needed=wanted != "offline")
    values = Variables({**values, **keys})
    live, reason = wanted == "live", f"{'setup()' if mode else 'MOA_MODE'} asked for it"
    if wanted == "auto":
        live, reason = bool(sources), "at least one API key is set" if sources else "no API key is set"
    gateways, shared = local.gateways(values)
    servers, local_notes = local.find_servers(values, leave_out=gateways)
    local_models, twice = _by_name(servers)
    kept = values.get("MOA_KEEP") if keep is None else keep
    offline_url = None
    if not live:
        from moa_helpers import offline

        offline_url = offline.start(values).url
    _asked = mode, keep, os.getpid()
    _current = Settings(
        mode="live" if live else "offline",
        reason=reason,
        key_sources=sources,
        versions={"python": sys.version.split()[0]} | _versions(),
        offline_url=offline_url,
        servers=servers,
        local_models=local_models,
        colab_models=() if wanted == "offline" else colab.session.models(),
        gateways=gateways,
        notes=tuple(map(redact, [*notes, *key_notes, *shared, *local_notes, *twice, *colab.session.notes()])),
        keep=Path(os.path.expanduser(kept)).absolute() if kept else None,
        _values=values,
    )
    if in_notebook():
        reached = [vendor.api for vendor in VENDORS.values() if vendor.name in sources or not live]
        importing.warm([*reached, *(VENDORS["local"].api for _ in local_models)])
    return _current


def current() -> Settings:
    """The settings of the last ``setup()``; calls it first if nobody has, or if a fork left the stand-ins behind."""
    if around := _held.get():
        return around
    mode, keep, process = _asked
    if _current and (process in (0, os.getpid()) or _current.mode == "live"):
        return _current
    return setup(mode, keep=keep)


@contextmanager
def held() -> Iterator[None]:
    """Inside, and in the tasks that begin there, the settings stay as they are, whatever ``setup()`` does."""
    token = _held.set(current())
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine that nobody awaits any more is closed in another context
            _held.reset(token)


def connection(name: str, sdk: Sdk | None = None, *, sync: bool = False) -> Connection:
    """The arguments for a vendor's SDK: its own address and your key, or offline those of the stand-in.

    Where a variable for proxies or certificates would disturb calls to this machine, they also hold an HTTP client that
    it does not reach. (With ``NO_PROXY=127.0.0.1`` no proxy does.)

    Args:
        name: a vendor, or a model ``vendor:model-id``; models of ``local:`` may each have an address of their own.
        sdk: ``"openai"``, ``"anthropic"`` or ``"mistral"``, for whose client they are. Default: the vendor's. Model
            servers on your machine speak the formats of all three.
        sync: whether they are for the SDK's synchronous client, such as ``OpenAI``, or for ``AsyncOpenAI``.

    Raises:
        UnknownModel: there is no such vendor; or live, no server on this machine lists that model of ``local:``.
        MissingKey: live, and the vendor's key is not set, or Colab's panel does not answer when asked for it.
        ImportError: live, and the vendor is ``colab``, but this is not Google Colab.
    """
    how = reach(name, sdk)
    for url in [how[part] for part in ("base_url", "server_url") if part in how]:
        how |= for_hand_made(sdk or VENDORS[name.partition(":")[0]].api, url, sync=sync)
    return how


def reach(name: str, sdk: Sdk | None = None) -> Connection:
    """The key and the address alone; errors are those of ``connection``."""
    vendor_name = name.partition(":")[0]
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
        url = f"{settings.offline_url}/{vendor.name}" + ("/v1" if vendor.api in ("openai", "colab") else "")
        key: str | None = "offline"
    elif vendor.name == "local":
        url, key = _on_a_server(name, settings)
    else:
        url, key = settings.address(vendor), settings.key(vendor)
    if key is None and "@" in url:
        key = "none-needed"  # the login in the address is sent in its place
    if key is None:
        raise MissingKey(colab.HINTS["no key"].format(vendor.name, vendor.key_variable))
    api = sdk or vendor.api
    if sdk in ("anthropic", "mistral"):  # these SDKs add the version to the address themselves
        url = url.removesuffix("/v1")
    return Connection({"api_key": Key(key), "server_url" if api == "mistral" else "base_url": remember_logins(url)})


def is_here(model: Model) -> bool:
    """Whether a real model answers on this machine: live, at a loopback address that is no gateway to vendors."""
    settings = current()
    url = "" if settings.mode == "offline" or model.vendor.api == "colab" else _address(model, settings)
    return loopback(url) and local.place_of(url) not in settings.gateways


def priced(name: str) -> Model:
    """The model of that name with its price where it is asked: as in the catalogue at its vendor's own address.

    Live, what runs on this machine is free, and at another address than the vendor's own the price is unknown. But at a
    gateway to several vendors it is each vendor's own. It raises what ``find`` raises.
    """
    model, settings = find(name), current()
    if settings.mode == "offline" or model.vendor.api == "colab":
        return model
    if is_here(model) and not model.id.endswith(("-cloud", ":cloud")):  # so Ollama calls what it only passes on
        return replace(model, usd_in_per_m=0.0, usd_out_per_m=0.0, prices_hold_to_input_tokens=None)
    its_own = {local.place_of(model.vendor.base_url), *settings.gateways}
    if local.place_of(_address(model, settings)) in its_own:
        return model
    return replace(model, usd_in_per_m=None, usd_out_per_m=None)


def world(*, offline: bool, chooses: bool) -> str:
    """Who answers: ``"live"``, or the stand-ins with all that their answers depend on besides the request."""
    if not offline:
        return "live"
    from moa_helpers.offline import world as stand_ins

    return stand_ins(chooses=chooses)


def _address(model: Model, settings: Settings) -> str:
    return settings.local_models.get(model.name, "") if model.vendor.name == "local" else settings.address(model.vendor)


def _by_name(servers: Sequence[local.Server]) -> tuple[dict[str, str], list[str]]:
    """The address of each model of ``local:``, the first server's that lists it; and what the reader should know."""
    found: dict[str, str] = {}
    notes = []
    for server in servers:
        for name in [f"local:{model}" for model in server.models]:
            if found.setdefault(name, server.url) != server.url:
                used = without_login(found[name])
                notes.append(f"{name} is listed at {server.place}, too: the one at {used} is asked.")
    return found, notes


def _on_a_server(name: str, settings: Settings) -> tuple[str, str]:
    """Where a model of ``local:`` is asked and with which key; of the vendor alone, where its first model is."""
    url = settings.local_models.get(name) if ":" in name else settings.address(VENDORS["local"])
    if not url:
        there = ", ".join(settings.local_models) or "no model at all"
        raise UnknownModel(
            f"No server on this machine lists {name}. Found: {there}. Start its server or set LOCAL_BASE_URL to its "
            "address, then run moa.setup()."
        )
    keys = [settings.value(each) for server in settings.servers if server.url == url for each in server.key_variables]
    return url, next((remember(key) for key in keys if key), "none-needed")


def _versions() -> dict[str, str]:
    from importlib import metadata

    # A version that was found is kept: reading it takes longer than all the rest of setup().
    for package in set(PACKAGES) - set(_found_versions):
        with suppress(metadata.PackageNotFoundError):
            _found_versions[package] = metadata.version(package)
    return {package: _found_versions.get(package, "not installed") for package in PACKAGES}
