"""The configuration of a server: a file in TOML or the same as a mapping, refused in one line where it is wrong."""

import inspect
import ipaddress
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from moa_helpers.catalogue.hosts import located
from moa_helpers.limits.checks import check_number, check_text
from moa_helpers.limits.members import Member
from moa_helpers.limits.purse import Purse
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.plan import plan_mixture
from moa_helpers.texts import decoded
from moa_helpers.vendors.secrets import remember
from moa_helpers.vendors.settings import current

ARGUMENTS = [name for name in inspect.signature(mixture_of_agents).parameters if name != "prompt"]
OF_MEMBERS = ("reference_models", "aggregator", "layers", "hedge_with")  # arguments whose tables are members
NAME = re.compile(r"[\w.:/-]{1,100}")
ORIGIN = re.compile(r"https?://[^/\s*]+")
SENDABLE = re.compile(r"[!-~]([ -~]*[!-~])?")  # in a header, whose ends are stripped
TOKEN = "MOA_SERVE_TOKEN"


@dataclass(frozen=True)
class Config:
    """The mixtures by their names, each as arguments of ``mixture_of_agents``; and the settings of the server."""

    mixtures: Mapping[str, Mapping[str, Any]]
    host: str = "127.0.0.1"
    port: int = 8080  # 0: a free one
    token: str | None = field(default=None, repr=False)  # what a client sends as its API key
    store: str | None = None  # the file of moa.keep
    max_requests: int = 64  # at once
    daily_budget_usd: float | None = None
    origins: Sequence[str] = ()  # of web pages that may ask, such as https://app.example
    progress: bool = False  # whether streams tell as reasoning text who has answered
    drain_seconds: float = 30.0  # that requests under way have to end when the server is told to

    def __post_init__(self) -> None:
        check_text("host", self.host, "address to listen at, such as 127.0.0.1")
        for name in ("token", "store"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name), "text, or leave it out")
        if self.token and not SENDABLE.fullmatch(self.token):
            raise ValueError("token must be of ASCII letters, digits and signs, as no client can send another.")
        check_number("port", self.port, least=0, whole=True)
        check_number("max_requests", self.max_requests, whole=True)
        check_number("drain_seconds", self.drain_seconds, least=0)
        if self.daily_budget_usd is not None:
            check_number("daily_budget_usd", self.daily_budget_usd)
        if self.port > 65535:
            raise ValueError(f"port is {self.port}; it must be at most 65535.")
        if not isinstance(self.progress, bool):
            raise TypeError(f"progress must be true or false, not {self.progress!r}.")
        if not isinstance(self.origins, list | tuple) or not all(ORIGIN.fullmatch(str(one)) for one in self.origins):
            raise ValueError("origins must be a list of addresses without a path, such as ['https://app.example'].")
        if self.token is None and not _is_loopback(self.host):
            words = f"set a token in [server] or in {TOKEN}, or listen at 127.0.0.1."
            raise ValueError(f"host is {self.host}, where others may ask, too: {words}")


def read_config(source: str | Path | Mapping[str, Any], **server: Any) -> Config:
    """The configuration in a file or a mapping; ``server`` wins. Each mixture is planned once, so errors come now."""
    file = isinstance(source, str | Path)
    try:
        tables = source if isinstance(source, Mapping) else tomllib.loads(decoded(Path(source).read_bytes()))
        _check("The configuration", tables, ("mixtures", "server"))
        given = {**_check("[server]", tables.get("server", {})), **server}
        _check("[server]", given, [each.name for each in fields(Config)[1:]])
        named = _check("[mixtures]", tables.get("mixtures", {}))
        mixtures = {name: _mixture(name, options) for name, options in named.items()}
        if not mixtures:
            raise ValueError("There is no mixture: add a table [mixtures.NAME] with reference_models and aggregator.")
        config = Config(mixtures, **{"token": current().value(TOKEN), **given})
        for name, options in mixtures.items():
            _plan(name, options, config.daily_budget_usd)
    except (TypeError, ValueError, ImportError, OSError, RecursionError) as error:
        words = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ValueError(f"{source}: {words}" if file else words) from None
    if config.token:
        remember(config.token)  # so that no message shows it
    return config


def _mixture(name: str, options: object) -> dict[str, Any]:
    """The arguments of a mixture, with members in place of tables."""
    where = f"[mixtures.{name}]"
    if not NAME.fullmatch(name):
        raise ValueError(f"{where}: name it with letters, digits and . _ - : / alone, without spaces.")
    table = dict(_check(where, options, ARGUMENTS))
    with located(where):
        return table | {key: _members(value) for key, value in table.items() if key in OF_MEMBERS}


def _members(value: Any) -> Any:
    """Models as a file has them: names, tables, or lists of these."""
    if isinstance(value, Mapping):
        _check("A member", value, ("model", *(each.name for each in fields(Member)[1:])))
        if "model" not in value:
            raise ValueError("a member needs its model, such as { model = 'vendor:model-id' }.")
        return Member(**{"name" if key == "model" else key: each for key, each in value.items()})
    return [_members(one) for one in value] if isinstance(value, list | tuple) else value


def _plan(name: str, options: Mapping[str, Any], budget_usd: float | None) -> None:
    """Plan a mixture as if it were asked, and see that the budget of a day can be kept."""
    with located(f"[mixtures.{name}]"):
        plan = plan_mixture("Is this right?", **options).bound()
        try:
            Purse(None, budget_usd).check(plan.estimate)
        except ValueError as error:
            raise ValueError(str(error).replace("budget_usd", "daily_budget_usd")) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _check(where: str, value: Any, known: Collection[str] | None = None) -> Mapping[str, Any]:
    """The value, which must be a table, with no other names than those that are known."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a table, not {type(value).__name__}.")
    if unknown := [name for name in value if known is not None and name not in known]:
        raise ValueError(f"{where} takes {', '.join(known or ())}, not {', '.join(map(repr, unknown))}.")
    return value
