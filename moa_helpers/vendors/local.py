"""Model servers on the reader's machine: where they are, and which models they list.

``local_servers.csv`` says where each kind of server is looked for and how to tell it. All places are looked at side by
side, for 0.3 s in all; a place that is silent is looked at for a moment only for the next minute.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moa_helpers.catalogue import rows
from moa_helpers.vendors.looking import Look
from moa_helpers.vendors.secrets import remember_logins

ANY = ("0.0.0.0", "::")  # where a server listens that hears every address
TABLE = rows(Path(__file__).with_name("local_servers.csv"))
PATIENCE, MOMENT = 0.3, 0.05  # seconds to wait for all places, and for those that were silent
REMEMBERED = 60.0  # seconds that a place is known to be silent
DETAILS = ("/props", "/api/v1/models", "/api/tags", "/api/ps")  # what tells the server, and how large its contexts are
_MARKS = {"models", "data", "total_slots", "default_generation_settings"}  # of an answer at such a path
_silent: dict[str, float] = {}  # address -> when nothing came from there in time


@dataclass(frozen=True)
class Server:
    """A model server that answered: its software, the address of its chat completions, and its models by their ids.

    ``slots`` is how many calls it works on at a time, ``contexts`` how many tokens a model's prompt and answer may have
    together; both only where it says so.
    """

    software: str
    url: str
    models: tuple[str, ...]
    slots: int | None = None
    contexts: Mapping[str, int] = field(default_factory=dict)
    key_variables: tuple[str, ...] = ()  # where its key may be, if it has one

    @property
    def place(self) -> str:
        """Where it is, for the reader: host and port, and no login."""
        return without_login(self.url).partition("://")[2].removesuffix("/v1")


@dataclass(frozen=True)
class Place:
    """An address to look at; ``variable`` is what names it, or empty."""

    url: str
    variable: str
    row: Mapping[str, str]


def without_login(url: str) -> str:
    """An address without a name and a password in it."""
    return re.sub(r"^(\w+://)?[^/]*@", r"\1", url)


def base_url(written: str, variable: str, port: int = 8080) -> str:
    """The address that an SDK takes, of what a reader wrote: it may lack scheme, port and ``/v1``, or be 0.0.0.0.

    Raises:
        ValueError: it is no address of a server; the message names the variable.
    """
    schemeless = "://" not in written
    bare = written.count(":") > 1 and schemeless and "[" not in written and "@" not in written  # an IPv6 address
    text = written if not schemeless else f"http://[{written}]" if bare else f"http://{written}"
    try:
        parts = urlsplit(text)
        host, given = parts.hostname or "127.0.0.1", parts.port
        if schemeless and given is None and host.isdecimal():
            host, given = "127.0.0.1", int(host)
        if parts.scheme not in ("http", "https") or re.search(r"\s", written) or (given or 1) > 65535:
            raise ValueError
    except ValueError:
        shown = without_login(written)
        raise ValueError(f"{variable} is {shown!r}; write it as 127.0.0.1:{port} or http://127.0.0.1:{port}.") from None
    if given is None:
        given = port if schemeless else 443 if parts.scheme == "https" else 80
    host = "127.0.0.1" if host in ANY else f"[{host}]" if ":" in host else host
    login = parts.netloc.rpartition("@")[0]
    path = re.sub(r"(/chat/completions|/models)?/*$", "", parts.path)
    version = "" if re.search(r"/v\d+$", path) else "/v1"
    return remember_logins(f"{parts.scheme}://{login}{'@' * bool(login)}{host}:{given}{path}{version}")


def find_servers(values: Mapping[str, str]) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """The model servers that answer, those of ``LOCAL_BASE_URL`` first; and what the reader should know beside them.

    It takes at most ``PATIENCE`` seconds. A port where nothing listens refuses at once; a place that was silent (behind
    a firewall, or no server of models) gets only a ``MOMENT`` if it is looked at again within a minute.

    Raises:
        ValueError: a variable holds no address.
    """
    began, (where, notes) = time.monotonic(), places(values)
    looks = [(place, Look(place.url, values.get(place.row["key_variable"], ""), DETAILS)) for place in where]
    servers = []
    for place, look in looks:
        patience = MOMENT if began - _silent.get(place.url, -REMEMBERED) < REMEMBERED else PATIENCE
        in_time = look.wait(began + patience)
        server = None if look.stand_in else _told(place, look.answers)
        if server:
            servers.append(server)
        elif place.variable == "LOCAL_BASE_URL":
            notes.append(_missed(place, look))
        if in_time or server:
            _silent.pop(place.url, None)
        elif patience == PATIENCE:
            _silent[place.url] = began
    return tuple(servers), tuple(notes)


def places(values: Mapping[str, str]) -> tuple[list[Place], list[str]]:
    """Where to look, each place once though it may have two names; and what is wrong with other programs' variables.

    Raises:
        ValueError: LOCAL_BASE_URL or OLLAMA_HOST holds no address.
    """
    own = {"software": "", "key_variable": "LOCAL_API_KEY", "tells": "", "owned_by": ""}
    written = [(text, "LOCAL_BASE_URL", 8080, own) for text in re.split(r"[,;\s]+", values.get("LOCAL_BASE_URL", ""))]
    for row in TABLE:
        ports = row["ports"].split()
        named = [name for name in (row["url_variable"], row["port_variable"]) if name in values][:1]
        written += [(values[name], name, int(ports[0]), row) for name in named] or [
            (f"127.0.0.1:{port}", "", 0, row) for port in ports
        ]
    found: dict[tuple[object, ...], Place] = {}
    notes = []
    for text, variable, port, row in written:
        try:
            url = base_url(text, variable, port) if text else ""
        except ValueError as error:
            if variable in ("LOCAL_BASE_URL", "OLLAMA_HOST"):
                raise
            notes.append(f"{error} Until then no {row['software']} is looked for.")
            continue
        parts = urlsplit(url)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        found.setdefault((parts.scheme, host, parts.port, parts.path), Place(url, variable, row))
    return [place for place in found.values() if place.url], notes


def _missed(place: Place, look: Look) -> str:
    """Why a place that the reader has named is not in the report."""
    why = "does not list models now: start that server"
    if look.stand_in:
        why = "is a stand-in of this lesson: name a server of real models"
    elif look.status in (401, 403):
        why = f"wants a key: set {place.row['key_variable']} to the right one"
    return f"LOCAL_BASE_URL: {without_login(place.url)} {why}, and run moa.setup() again."


def _told(place: Place, answers: Mapping[str, Any]) -> Server | None:
    """The server that gave these answers, a JSON object for each path; None if it is no server of models."""
    listed = {path: _entries(answer) for path, answer in answers.items()}
    entries = listed.get("/v1/models") or listed.get("/api/tags") or listed.get("/api/v1/models") or {}
    owners = {entry.get("owned_by") for entry in entries.values() if isinstance(entry.get("owned_by"), str)}
    by_owner = [row for row in TABLE if row["owned_by"] and row["owned_by"] in owners]
    by_path = [row for row in TABLE if _MARKS & answers.get(row["tells"], {}).keys()]
    by_place = [] if place.row["tells"] or place.row["owned_by"] else [place.row]  # it has no mark of its own
    software = next(iter(by_owner + by_path + by_place), {"software": "", "key_variable": ""})
    if not entries and not by_path:
        return None
    unfit = {name for found in listed.values() for name, entry in found.items() if _unfit(entry)}
    slots = _count(answers.get("/props"), "total_slots")
    per_slot = _count(answers.get("/props"), "default_generation_settings", "n_ctx")
    contexts = {}
    for name in entries:
        loaded = listed.get("/api/v1/models", {}).get(name, {}).get("loaded_instances")
        said = [
            _count(entries[name], "max_model_len"),
            _count(listed.get("/api/ps", {}).get(name), "context_length"),
            *(_count(one, "config", "context_length") for one in (loaded if isinstance(loaded, list) else [])),
            per_slot,
        ]
        if known := [tokens for tokens in said if tokens]:
            contexts[name] = min(known)
    models = tuple(name for name in entries if name not in unfit)
    keys = tuple(filter(None, dict.fromkeys([place.row["key_variable"], software["key_variable"]])))
    return Server(software["software"] or "a server", place.url, models, slots, contexts, keys)


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
    can, family = entry.get("capabilities"), entry.get("details")
    able = not isinstance(can, list) or not can or "completion" in can or "embedding" not in can
    bert = isinstance(family, dict) and "bert" in str(family.get("family"))
    embeds = str(entry.get("type") or entry.get("task") or "").startswith("embed")
    return bert or embeds or not able or bool(entry.get("remote_host") or entry.get("remote_model"))


def _count(answer: Any, *path: str) -> int | None:
    """A number above 0 in nested objects, or None."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer if isinstance(answer, int) and not isinstance(answer, bool) and 0 < answer < 10**9 else None
