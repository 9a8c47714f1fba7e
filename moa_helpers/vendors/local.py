"""Model servers on the reader's machine: where they are, and which models they list.

``local_servers.csv`` says where each kind of server is looked for and how to tell it. All places are looked at side by
side, for 0.3 s in all; a place that is silent is looked at for a moment only for the next minute.
"""

import re
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from moa_helpers.catalogue import VENDORS, Vendor, rows
from moa_helpers.catalogue.hosts import without_login
from moa_helpers.vendors.looking import LIST, Look
from moa_helpers.vendors.secrets import remember_logins

TABLE = rows(Path(__file__).with_name("local_servers.csv"))
PATIENCE, MOMENT = 0.3, 0.05  # seconds to wait for all places, and for those that were silent
REMEMBERED = 60.0  # seconds that a place is known to be silent
DETAILS = (*(path for row in TABLE for path in row["tells"].split()), "/api/ps")  # only some servers answer there
CONTEXTS = ("max_model_len", "context_length", "loaded_context_length", "n_ctx")  # their words for its size
_silent: dict[str, float] = {}  # address -> when nothing came from there in time


@dataclass(frozen=True)
class Server:
    """A model server that answered: its software, the address of its chat completions, and its models by their ids.

    ``slots`` is how many calls it works on at a time, ``contexts`` how many tokens a model's prompt and answer may have
    together; both only where it says so. ``certain`` is false where the port alone tells its software.
    """

    software: str
    url: str
    models: tuple[str, ...]
    slots: int | None = None
    contexts: Mapping[str, int] = field(default_factory=dict)
    key_variables: tuple[str, ...] = ()  # where its key may be, if it has one
    remark: str = ""
    certain: bool = True

    @property
    def place(self) -> str:
        """Where it is, for the reader: host and port, and no login."""
        return without_login(self.url).partition("://")[2].removesuffix("/v1")


class Place(NamedTuple):
    """An address to look at, and the row of the table that names it."""

    url: str
    row: Mapping[str, str]


def base_url(written: str, variable: str, port: int = 8080) -> str:
    """The address that an SDK takes, of what a reader wrote: it may lack scheme, port and ``/v1``, or be 0.0.0.0."""
    text, complete = written.lstrip("/"), "://" in written
    if text.isdecimal():
        text = f":{text}"  # a port alone
    elif text.count(":") > 1 and not complete and not re.search(r"[\[@]", text):
        text = f"[{text}]"  # an IPv6 address
    try:
        parts = urlsplit(text if complete else f"http://{text}")
        host, given = parts.hostname or "127.0.0.1", parts.port
        if parts.scheme not in ("http", "https") or re.search(r"\s", text):
            raise ValueError
    except ValueError:
        shown = without_login(written)
        raise ValueError(f"{variable} is {shown!r}; write it as 127.0.0.1:{port} or http://127.0.0.1:{port}.") from None
    if given is None:
        given = {"http": 80, "https": 443}[parts.scheme] if complete else port
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    login = "".join(parts.netloc.rpartition("@")[:2])
    path = re.sub(r"(/(chat/)?completions|/messages|/models)?/*$", "", parts.path)
    version = "" if re.search(r"/v\d+$", path, re.I) else "/v1"
    return remember_logins(f"{parts.scheme}://{login}{host}:{given}{path}{version}")


@cache
def place_of(url: str) -> str:
    """Host and port of an address, without login and path."""
    scheme, _, rest = url.lower().partition("://")
    host = re.split("[/?#]", rest)[0].rpartition("@")[2]
    host = re.sub("^localhost(?=:|$)", "127.0.0.1", host)
    return host if re.search(r":\d+$", host) else f"{host}:{443 if scheme == 'https' else 80}"


def address_of(vendor: Vendor, values: Mapping[str, str]) -> str:
    """Where a vendor is, live: at the address of its variable, if that is set."""
    url = values.get(vendor.url_variable, vendor.base_url).rstrip("/")
    if vendor.name in ("ollama", "vllm") and vendor.url_variable in values:
        url = base_url(url, vendor.url_variable, urlsplit(vendor.base_url).port or 80)
    return url.removesuffix("/v1") if vendor.api != "openai" else url


def gateways(values: Mapping[str, str]) -> tuple[frozenset[str], list[str]]:
    """Host and port of each address that variables give to several vendors with a key; and what the reader should know.

    Who answers there passes the calls on, so they cost what the vendors charge; unless LOCAL_BASE_URL says that it is a
    server of models.
    """
    sharing: dict[str, list[str]] = {}
    for vendor in VENDORS.values():
        if vendor.key_variable and vendor.url_variable in values:
            sharing.setdefault(place_of(address_of(vendor, values)), []).append(vendor.url_variable)
    served = {place_of(place.url) for place in places(values)[0] if place.row["url_variable"] == "LOCAL_BASE_URL"}
    found = {place: names for place, names in sharing.items() if len(names) > 1 and place not in served}
    notes = [
        f"{', '.join(names)} share an address, {place}: it is taken for a gateway, and calls cost what the vendors "
        "charge. If a server of models runs there, set LOCAL_BASE_URL to it."
        for place, names in found.items()
    ]
    return frozenset(found), notes


def find_servers(
    values: Mapping[str, str], leave_out: Container[str] = ()
) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """The model servers that answer, those of ``LOCAL_BASE_URL`` first; and what the reader should know beside them.

    It takes at most ``PATIENCE`` seconds. A port where nothing listens refuses at once. A place may be silent, behind a
    firewall or as no server of models: looked at again within a minute, it gets only a ``MOMENT``. Raises ValueError if
    a variable holds no address.
    """
    began, (found, notes) = time.monotonic(), places(values)
    where = [place for place in found if place_of(place.url) not in leave_out]
    looks = [Look(place.url, values.get(place.row["key_variable"], ""), DETAILS) for place in where]
    servers = []
    for place, look in zip(where, looks, strict=True):
        patience = MOMENT if began - _silent.get(place.url, -REMEMBERED) < REMEMBERED else PATIENCE
        ended, seen = look.ended(began + patience), dict(look.seen)
        good = {path: found for path, (status, found) in seen.items() if status == 200 and not found.get("error")}
        server = None if look.stand_in else _told(place, good)
        if server:
            servers.append(server)
        else:
            notes += _missed(place, *seen.get(LIST, (0, {})), look.stand_in)
        if server or ended:
            _silent.pop(place.url, None)
        elif patience == PATIENCE:
            _silent[place.url] = began
    return tuple(servers), tuple(notes)


def places(values: Mapping[str, str]) -> tuple[list[Place], list[str]]:
    """Where to look, each place once though it may have two names; and what is wrong with other programs' variables."""
    found: dict[str, Place] = {}
    notes = []
    for row in TABLE:
        variable = next((name for name in (row["url_variable"], row["port_variable"]) if name in values), "")
        ports = row["ports"].split()
        for text in re.split(r"[,;\s]+", values.get(variable, row["ports"])):
            try:
                url = base_url(text, variable, int((ports or [8080])[0])) if text else ""
            except ValueError as error:
                if variable in ("LOCAL_BASE_URL", "OLLAMA_HOST"):
                    raise
                notes.append(f"{error} Until then no {row['software']} is looked for.")
                continue
            found.setdefault(url.replace("//localhost:", "//127.0.0.1:"), Place(url, row))
    return [place for place in found.values() if place.url], notes


def _missed(place: Place, status: int, found: Mapping[str, Any], stand_in: bool) -> list[str]:
    """Why a place is not in the report: one that the reader has named, or one that speaks like a server of models."""
    named = place.row["url_variable"] == "LOCAL_BASE_URL"
    why = "does not list models now: start that server" if named else ""
    if named and stand_in:
        why = "is a stand-in of this lesson: name a server of real models"
    elif status in (401, 403) and (named or found.get("error")):
        key = place.row["key_variable"] or "LOCAL_BASE_URL to its address, and LOCAL_API_KEY"
        why = f"wants a key: set {key} to the right one"
    elif status == 503 and (named or found.get("error")):
        why = "is not ready, as when it loads its model: wait"
    who = "LOCAL_BASE_URL" if named else f"{place.row['software']}?"
    return [f"{who}: {without_login(place.url)} {why}, and run moa.setup() again."] if why else []


def _told(place: Place, answers: Mapping[str, Any]) -> Server | None:
    """The server that gave these answers, a JSON object for each path; None if it is no server of models."""
    listed = [_entries(answer) for answer in answers.values()]
    entries = next(filter(None, listed), {})
    first, props = answers.get(LIST, {}), answers.get("/props")
    owners = [entry.get("owned_by") for entry in entries.values()]
    marked = [row for row in TABLE if row["owned_by"] and row["owned_by"] in owners]
    marked += [row for row in TABLE if any(answers.get(path, first) != first for path in row["tells"].split())]
    if not entries and not (marked and isinstance(first.get("data"), list)):
        return None
    row = marked[0] if marked else place.row
    contexts = {}
    for name in entries:
        said = [found.get(name) for found in listed]
        if sizes := [*_numbers(said, *CONTEXTS), *_numbers(props, "n_ctx")]:
            contexts[name] = min(sizes)
    unfit = {name for found in listed for name, entry in found.items() if _unfit(entry)}
    return Server(
        row["software"],
        place.url,
        models=tuple(name for name in entries if name not in unfit),
        slots=next(iter(_numbers(props, "total_slots")), None),
        contexts=contexts,
        key_variables=tuple(filter(None, dict.fromkeys([place.row["key_variable"], row["key_variable"]]))),
        remark=row["remark"],
        certain=bool(marked) or not (row["owned_by"] or row["tells"]),
    )


def _entries(answer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models of a list by their ids, in whichever of the servers' forms it is."""
    found: dict[str, dict[str, Any]] = {}
    for listed in (answer.get("data"), answer.get("models")):
        for entry in listed if isinstance(listed, list) else []:
            names = [entry.get(field) for field in ("id", "key", "name", "model")] if isinstance(entry, dict) else []
            name = next((name for name in names if isinstance(name, str)), "")
            if name and name == name.strip() and name.isprintable() and len(name) <= 300:
                found.setdefault(name, entry)
    return found


def _unfit(entry: Mapping[str, Any]) -> bool:
    """Whether a server says of a model that it does not write texts, or that it runs elsewhere."""
    said = " ".join(str(entry.get(name)) for name in ("type", "task", "capabilities", "details"))
    embeds = re.search("embed|bert", said) and "completion" not in said
    return bool(embeds or entry.get("remote_host") or entry.get("remote_model"))


def _numbers(found: Any, *names: str, depth: int = 5) -> list[int]:
    """The numbers above 0 that have one of these names, in objects and lists that are nested so deep."""
    if isinstance(found, list):
        found = dict(enumerate(found))
    if not depth or not isinstance(found, dict):
        return []
    numbers = [value for name, value in found.items() if name in names and type(value) is int and 0 < value < 10**9]
    return numbers + [number for part in found.values() for number in _numbers(part, *names, depth=depth - 1)]
