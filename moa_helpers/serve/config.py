"""The configuration of a server: a file in TOML or the same as a mapping, refused in one line where it is wrong."""

import inspect
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from moa_helpers.limits.checks import check_number, check_text
from moa_helpers.limits.members import Member
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.plan import plan_mixture
from moa_helpers.texts import decoded
from moa_helpers.vendors.secrets import remember
from moa_helpers.vendors.settings import current

ARGUMENTS = [name for name in inspect.signature(mixture_of_agents).parameters if name != "prompt"]
OF_MEMBERS = ("reference_models", "aggregator", "layers", "hedge_with")  # arguments whose tables are members
NAME = re.compile(r"[\w.:/-]{1,100}")
ORIGIN = re.compile(r"https?://[^/\s*]+")
TOKEN = "MOA_SERVE_TOKEN"


@dataclass(frozen=True)
class Config:
    """The mixtures by their names, each as arguments of ``mixture_of_agents``; and the settings of the server.

    Raises:
        TypeError, ValueError: a setting makes no sense.
    """

    mixtures: Mapping[str, Mapping[str, Any]]
    host: str = "127.0.0.1"
    port: int = 8080  # 0: a free one
    token: str | None = field(default=None, repr=False)  # what a client shows in place of an API key
    store: str | None = None  # the file of moa.keep
    max_requests: int = 64  # at once
    daily_budget_usd: float | None = None
    origins: Sequence[str] = ()  # web pages that may ask, such as https://app.example
    progress: bool = False  # whether streams tell as reasoning text who has answered
    drain_seconds: float = 30.0  # that requests under way have to end when the server is told to

    def __post_init__(self) -> None:
        check_text("host", self.host, "address to listen at, such as 127.0.0.1")
        for name in ("token", "store"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name), "text or leave it out")
        check_number("port", self.port, least=0, whole=True)
        if self.port > 65535:
            raise ValueError(f"port is {self.port}; it must be at most 65535.")
        check_number("max_requests", self.max_requests, whole=True)
        check_number("drain_seconds", self.drain_seconds, least=0)
        if self.daily_budget_usd is not None:
            check_number("daily_budget_usd", self.daily_budget_usd)
        if not isinstance(self.progress, bool):
            raise TypeError(f"progress must be true or false, not {self.progress!r}.")
        if isinstance(self.origins, str) or not all(ORIGIN.fullmatch(str(one)) for one in self.origins):
            raise ValueError("origins must be a list of addresses such as ['https://app.example'], without a path.")
        if self.token is None and not self.is_loopback:
            raise ValueError(
                f"host is {self.host}, which others can reach: set a token in [server] or in {TOKEN}, or listen at "
                "127.0.0.1."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def read_config(source: str | Path | Mapping[str, Any], **server: Any) -> Config:
    """The configuration that stands in a file or a mapping; each mixture is planned once, so that errors come now.

    Args:
        source: the path, or a mapping with the tables ``mixtures`` and ``server``.
        server: settings that win over those of ``server``.

    Raises:
        ValueError: what is wrong, in one line.
    """
    file = isinstance(source, str | Path)
    try:
        return _read(_tables(Path(source)) if isinstance(source, str | Path) else source, server)
    except (TypeError, ValueError, ImportError, OSError) as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{source}: {words}" if file else words) from None


def _tables(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(decoded(path.read_bytes()))
    except FileNotFoundError:
        raise ValueError("there is no such file.") from None
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}.") from None


def _read(tables: Mapping[str, Any], given: Mapping[str, Any]) -> Config:
    settings = [each.name for each in fields(Config) if each.name != "mixtures"]
    _check_names("configuration", tables, ["mixtures", "server"])
    mixtures, server = (_table(name, tables.get(name, {})) for name in ("mixtures", "server"))
    if not mixtures:
        raise ValueError("There is no mixture: add a table [mixtures.NAME] with reference_models and an aggregator.")
    _check_names("[server]", server, settings)
    _check_names("[server]", given, settings)
    token = current().value(TOKEN)  # from the environment or .env
    named = {name: _mixture(name, options) for name, options in mixtures.items()}
    config = Config(named, **{"token": token, **server, **given})
    if config.token:
        remember(config.token)  # so that no message shows it
    for name, options in config.mixtures.items():
        _try(name, options, config.daily_budget_usd)
    return config


def _mixture(name: str, options: object) -> dict[str, Any]:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no mixture: use letters, digits and . _ - : / without spaces.")
    table = _table(f"mixtures.{name}", options)
    _check_names(f"[mixtures.{name}]", table, ARGUMENTS)
    try:
        return {key: _members(value) if key in OF_MEMBERS else value for key, value in table.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"[mixtures.{name}]: {error}") from None


def _members(value: Any) -> Any:
    """Models as they stand in a file: names, tables, or lists of these."""
    if isinstance(value, Mapping):
        if "model" not in value:
            raise ValueError("A table in place of a model's name needs model = 'vendor:model-id'.")
        return Member(value["model"], **{name: each for name, each in value.items() if name != "model"})
    return [_members(one) for one in value] if isinstance(value, list | tuple) else value


def _try(name: str, options: Mapping[str, Any], budget_usd: float | None) -> None:
    try:
        plan = plan_mixture("Is this configuration right?", **options).bound()
    except (TypeError, ValueError, ImportError) as error:
        raise ValueError(f"[mixtures.{name}]: {error}") from None
    if budget_usd is None:
        return
    if plan.estimate.most_usd is None:
        unknown = ", ".join(plan.estimate.unpriced)
        raise ValueError(f"[mixtures.{name}]: daily_budget_usd cannot be kept, as no price is known for {unknown}.")
    if plan.estimate.most_usd > budget_usd:
        raise ValueError(
            f"[mixtures.{name}]: one answer may cost ${plan.estimate.most_usd:.7g}, but daily_budget_usd is "
            f"${budget_usd:.7g}: lower max_tokens, ask fewer models, or raise it."
        )


def _table(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"[{name}] must be a table, not {type(value).__name__}.")
    return value


def _check_names(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{where}: there is no {', '.join(map(repr, unknown))}; there are {', '.join(known)}.")
