"""What the environment, a ``.env`` file and Colab's secrets say: read as far as can be, and keys checked."""

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from moa_helpers.catalogue import VENDORS
from moa_helpers.texts import decoded
from moa_helpers.vendors import colab
from moa_helpers.vendors.secrets import Key, Variables, remember, remember_logins

LARGEST = 100_000  # bytes of a .env file that are read: its reader takes a second for them
PATIENCE = 1.0  # seconds for a pipe to say something
_PLACEHOLDER = re.compile(
    r"\.{3}|^<.*>$|^\$?\{\w+\}$|^\$\w+$|(?<![a-z])(?:your|insert|paste)[-_ ]|(?:change|replace)[-_]?me"
    r"|[-_]here$|^(?:sk-)?[x*]{3,}$|^(?:todo|none|null)$",
    re.I,
)
_ADDRESSES = re.compile(r"_(?:url|host|proxy)$|^moa_host_", re.I)  # variables whose values may hold a login


def read() -> tuple[Variables, list[str]]:
    """The variables that are set and not blank, the environment before the file; and what could not be read."""
    found, notes = _file()
    around = {name: os.environ.get(name, "") for name in [*os.environ]}  # another thread may change it meanwhile
    found |= {name: value for name, value in around.items() if value.strip()}
    found = {name: value.strip() for name, value in found.items() if value.strip()}
    return with_logins(found), notes


def with_logins(values: Mapping[str, str]) -> Variables:
    """The same, with addresses that hide the logins in them."""
    logins = {name: remember_logins(text) for name, text in values.items() if "@" in text and _ADDRESSES.search(name)}
    return Variables({**values, **logins})


def find_keys(values: Variables, *, needed: bool) -> tuple[dict[str, str], dict[str, Key], list[str]]:
    """Where each vendor's key comes from, the keys by their variables, and which of them count as unset, and why.

    A placeholder does, unless the reader has set the address: some gateways and hosts take any text for a key. If they
    are ``needed``, Colab's panel is looked at, and a key that cannot be one is a ValueError, which never shows it.
    """
    sources: dict[str, str] = {}
    keys: dict[str, Key] = {}
    notes = []
    for vendor in VENDORS.values():
        name = vendor.key_variable or vendor.optional_key_variable or ""
        key = Key(values.get(name) or (needed and vendor.key_variable and colab.session.secret(name)) or "")
        where = "environment" if os.environ.get(name, "").strip() else ".env" if name in values else "Colab secrets"
        keys |= {name: Key("")} if key else {}
        public = vendor.key_variable and not vendor.origin and vendor.url_variable not in values
        if public and _PLACEHOLDER.search(key):
            notes.append(f"{name} ({where}) is a placeholder, not a key: it counts as unset.")
        elif problem := _oddity(key, name):
            notes.append(f"{name} ({where}) {problem}: copy the key again, alone, or remove it.")
            if needed:
                raise ValueError(notes[-1])
        elif key:
            keys[name] = remember(key)
            sources |= {vendor.name: where} if vendor.key_variable else {}
    return sources, keys, notes


def _oddity(key: str, name: str) -> str:
    """What a key has that none has; empty if it looks like one."""
    if odd := re.search(r"[^!#-&(-_a-~]", key):
        letter = unicodedata.name(odd[0], "a control character")
        return f"has a character that no key has (U+{ord(odd[0]):04X}, {letter})"
    return "begins with its own name" if key.startswith(f"{name}=") else ""


def _file() -> tuple[dict[str, str], list[str]]:
    """The variables of the ``.env`` that python-dotenv finds, here or above, and what of it could not be read."""
    from io import StringIO

    from dotenv import dotenv_values, find_dotenv
    from dotenv.parser import parse_stream

    notes: list[str] = []
    path = ".env"
    try:
        path, here = find_dotenv(usecwd=True), os.path.abspath(".env")
        if path != here and os.path.lexists(here):
            notes.append(f"{here} is no file that can be read.")
        written = _bytes(Path(path)) if path else b""
        text = decoded(written if len(written) <= LARGEST else written[:LARGEST].rpartition(b"\n")[0])
    except (OSError, ValueError) as error:
        return {}, [*notes, f"{path} cannot be read: {error}"]
    if len(written) > LARGEST:
        notes.append(f"{path} is larger than 100 kB: only its beginning was read.")
    good, wrong = "", []
    for line in parse_stream(StringIO(text)):
        if line.error or not re.fullmatch(r"[\w.-]+", line.key or "comment"):
            wrong.append(str(line.original.line))
        else:
            good += line.original.string
    if wrong:
        notes.append(f"{path}: cannot be read as NAME=value in line {', '.join(wrong[:5])}.")
    return {name: value for name, value in dotenv_values(stream=StringIO(good)).items() if value}, notes


def _bytes(path: Path) -> bytes:
    """The file's beginning. A pipe, which some password stores put there, is given a second to say something."""
    if not path.is_fifo():
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    from select import select

    written, pipe = b"", os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while len(written) <= LARGEST and select([pipe], [], [], PATIENCE)[0] and (piece := os.read(pipe, 65536)):
            written += piece
    finally:
        os.close(pipe)
    if not written:
        raise OSError("it is a pipe to which nobody writes")
    return written
