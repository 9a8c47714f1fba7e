"""Which models exist: vendor, id, price, limits, and what parameters they accept.

The figures are in ``models.csv`` beside this file; each row names its source. To add a model, add a row.
"""

import csv
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Api = Literal["openai", "anthropic", "mistral", "colab"]


class UnknownModel(ValueError):
    """A model name that does not start with a known vendor."""


@dataclass(frozen=True)
class Vendor:
    """Who serves a model: the API it speaks, where it is, and which variables hold its key and address."""

    name: str
    api: Api
    base_url: str = field(default="", repr=False)  # a host's may hold a login
    key_variable: str | None = None  # None: this vendor needs no key
    url_variable: str = ""
    optional_key_variable: str | None = None  # of a vendor that may have a key and needs none
    batch: float | None = None  # the share of its prices that it takes in its batch API, if it has one
    batch_source: str = ""
    stream_options: bool = True  # whether it takes the parameter, and so reports tokens
    origin: str = ""  # of a host of the reader's own: who named it
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False, repr=False)  # of such a host


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file as texts by column."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


AS_OF = "November 2026"  # what models.csv says held then
_HERE = Path(__file__).parent


def _vendor(row: Mapping[str, Any]) -> Vendor:
    given: dict[str, Any] = {name: value for name, value in row.items() if value}
    return Vendor(**given | {"batch": float(row["batch"]) if row["batch"] else None})


VENDORS = {row["name"]: _vendor(row) for row in rows(_HERE / "vendors.csv")}


@dataclass(frozen=True)
class Model:
    """One model of one vendor. Prices are US dollars per million tokens; None means unknown."""

    vendor: Vendor
    id: str
    tier: str = "unlisted"
    usd_in_per_m: float | None = None
    usd_out_per_m: float | None = None
    prices_hold_to_input_tokens: int | None = None  # above this many input tokens the vendor charges another price
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    token_parameter: str = "max_tokens"
    accepts_temperature: str = "unknown"  # "yes", "no", "unknown", or the condition in words
    shutdown_date: date | None = None
    successor: str | None = None
    notes: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The name to ask for, ``vendor:model-id``."""
        return f"{self.vendor.name}:{self.id}"

    @property
    def is_shut_down(self) -> bool:
        """Whether its shutdown date has come."""
        return self.shutdown_date is not None and self.shutdown_date <= date.today()

    @property
    def takes_temperature(self) -> bool:
        """Whether a temperature may be sent. To a model that is not in the catalogue it may: its vendor decides."""
        return self.accepts_temperature in ("yes", "unknown") and self.vendor.api != "anthropic"

    def times(self, share: float) -> "Model":
        """The same at so much of its price."""
        into, out = (usd and usd * share for usd in (self.usd_in_per_m, self.usd_out_per_m))
        return replace(self, usd_in_per_m=into, usd_out_per_m=out)

    def cost(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        """Price of a call in US dollars, or None where a price or a token count is unknown."""
        if self.usd_in_per_m == self.usd_out_per_m == 0:
            return 0.0  # also where such a host reports no tokens
        if self.usd_in_per_m is None or self.usd_out_per_m is None or input_tokens is None or output_tokens is None:
            return None
        if self.prices_hold_to_input_tokens is not None and input_tokens > self.prices_hold_to_input_tokens:
            return None
        return (input_tokens * self.usd_in_per_m + output_tokens * self.usd_out_per_m) / 1e6


def find(name: str) -> Model:
    """The model called ``vendor:model-id``; one that the catalogue does not list has unknown price and limits.

    Raises:
        TypeError: the name is no string.
        UnknownModel: it has no known vendor, or no id.
    """
    if not isinstance(name, str):
        raise TypeError(f"A model is named by a string such as 'openai:model-id', not by {type(name).__name__}.")
    vendor_name, _, model_id = name.partition(":")
    if vendor_name not in VENDORS or not model_id or model_id != model_id.strip():
        raise UnknownModel(
            f"{name!r} names no model. Write 'vendor:model-id', without spaces around it, with one of the vendors "
            f"{', '.join(VENDORS)}; moa.models() lists the models whose price is known."
        )
    if name in listed():
        return listed()[name]
    vendor = VENDORS[vendor_name]
    if vendor.api == "colab":
        notes, temperature = "max_tokens is not passed on to it", "google.colab.ai cannot pass one on"
        return Model(vendor, model_id, "free", 0.0, 0.0, accepts_temperature=temperature, notes=notes)
    usd_in, usd_out = vendor.prices.get(model_id, (None, None))
    parameter = "max_completion_tokens" if vendor_name == "openai" else "max_tokens"
    return Model(vendor, model_id, usd_in_per_m=usd_in, usd_out_per_m=usd_out, token_parameter=parameter)


def warn_of(model: Model, *, offline: bool = False) -> None:
    """Warn if a model is past its shutdown date, or is not listed: offline a stand-in answers for any name."""
    if model.is_shut_down:
        successor = f"{model.vendor.name}:{model.successor}"
        warnings.warn(f"{model.name} was shut down on {model.shutdown_date}; use {successor} instead.", stacklevel=2)
    if model.name not in listed():
        digits = re.sub(r"\D", "", model.id)  # another number may well be another version
        of_vendor = [name for name in listed() if name.startswith(f"{model.vendor.name}:")]
        like = [name for name in of_vendor if re.sub(r"\D", "", name) == digits]
        if near := get_close_matches(model.name, like, n=1, cutoff=0.85):
            warnings.warn(f"{model.name} is not in the catalogue. Did you mean {near[0]}?", stacklevel=2)
        elif of_vendor and offline:
            words = "A stand-in answers for it; live it may not exist."
            warnings.warn(f"{model.name} is not in the catalogue. {words}", stacklevel=2)


def models() -> "pd.DataFrame":
    """The catalogue as a table: one row a model, prices in US dollars per million tokens, sizes in tokens.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("moa.models() needs pandas: pip install 'moa-helpers[lesson]'") from error
    table = pd.DataFrame([vars(model) for model in listed().values()], index=pd.Index([*listed()], name="model"))
    return table.drop(columns=["vendor", "id"]).astype(dict.fromkeys(_SIZES, "Int64"))


@cache
def listed() -> dict[str, Model]:
    """The models of the catalogue by their names."""
    found = {}
    for row in rows(_HERE / "models.csv"):
        fields = {name: _READ.get(name, str)(value) for name, value in row.items() if value}  # an empty cell is unknown
        model = Model(VENDORS[fields.pop("vendor")], fields.pop("model_id"), **fields)
        found[model.name] = model
    return found


_SIZES = ("prices_hold_to_input_tokens", "context_tokens", "max_output_tokens")
# How a column is read that holds no text.
_READ: dict[str, Callable[[str], Any]] = {"shutdown_date": date.fromisoformat, **dict.fromkeys(_SIZES, int)}
_READ |= dict.fromkeys(("usd_in_per_m", "usd_out_per_m"), float)
