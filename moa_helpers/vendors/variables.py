"""What the environment, a ``.env`` file and Colab's secrets say: read as far as can be, and keys checked."""

import os
import re
from pathlib import Path

from moa_helpers.catalogue import VENDORS
from moa_helpers.texts import decoded
from moa_helpers.vendors import colab
from moa_helpers.vendors.secrets import Key, Variables, remember, remember_logins

LARGEST = 100_000  # bytes of a .env file that are read: its reader takes a second for them
PATIENCE = 1.0  # seconds for a pipe to say something
_PLACEHOLDER = re.compile(
    r"\.{3}|<.*>|\b(?:your|insert)[-_ ]|(?:change|replace)[-_]?me|[-_]here$|^(?:sk-)?[x*]{3,}$", re.I
)
_ADDRESSES = re.compile(r"_(?:url|host|proxy)$|^moa_host_", re.I)  # variables whose values may hold a login


def read() -> tuple[Variables, list[str]]:
    """The variables that are set and not blank, the environment before the file; and what could not be read."""
    found, notes = _file()
    around = {name: os.environ.get(name, "") for name in [*os.environ]}  # another thread may change it meanwhile
    found |= {name: value for name, value in around.items() if value.strip()}
    found = {name: value.strip() for name, value in found.items() if value.strip()}
    logins = {name: remember_logins(value) for name, value in found.items() if "@" in value and _ADDRESSES.search(name)}
    return Variables(found | logins), notes


def find_keys(values: Variables, *, ask_colab: bool) -> tuple[dict[str, str], dict[str, Key]]:
    """Where each vendor's key comes from, and the keys by their variables: Colab's panel may have some that are unset.

    Raises:
        ValueError: a key cannot be one; the message names its variable and never shows it.
    """
    sources, keys = {}, {}
    for vendor in VENDORS.values():
        name = vendor.key_variable or ""
        if name in values:
            sources[vendor.name] = "environment" if os.environ.get(name, "").strip() else ".env"
        elif name and ask_colab and colab.session.secret(name):
            sources[vendor.name] = "Colab secrets"
        if vendor.name in sources:
            keys[name] = remember(values.get(name) or colab.session.secret(name) or "")
            if problem := _oddity(keys[name]):
                raise ValueError(f"{name} ({sources[vendor.name]}) {problem}: copy the key again, alone, or remove it.")
    return sources, keys


def _oddity(key: str) -> str:
    """What a key has that none has; empty if it looks like one."""
    if any(character.isspace() for character in key):
        return "has a blank or a line break inside"
    if any(mark in key for mark in "\"'`“”„‘’‚«»"):
        return "has quotation marks"
    for character in key:
        if not "!" <= character <= "~":
            return f"has a character that no key has (U+{ord(character):04X})"
    return "is a placeholder, not a key" if _PLACEHOLDER.search(key) else ""


def _file() -> tuple[dict[str, str], list[str]]:
    """The variables of the first ``.env`` that is a file, here or above, and what of it could not be read."""
    from io import StringIO

    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    notes: list[str] = []
    try:
        here = Path.cwd()
    except OSError as error:  # it was removed meanwhile
        return {}, [f"No .env was looked for: {error}"]
    for path in [folder / ".env" for folder in (here, *here.parents)]:
        try:
            if path.is_dir():
                notes.append(f"{path} is a folder, not a file with keys.")
            if path.is_dir() or not os.path.lexists(path):
                continue
            written = _bytes(path)
            text = decoded(written if len(written) <= LARGEST else written[:LARGEST].rpartition(b"\n")[0])
        except (OSError, ValueError) as error:
            return {}, [*notes, f"{path} cannot be read: {error}"]
        if len(written) > LARGEST:
            notes.append(f"{path} is larger than 100 kB: only its beginning was read.")
        if wrong := [str(line.original.line) for line in parse_stream(StringIO(text)) if line.error]:
            notes.append(f"{path}: cannot be read as NAME=value in line {', '.join(wrong[:5])}.")
        return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value}, notes
    return {}, notes


def _bytes(path: Path) -> bytes:
    """The file's beginning. A pipe, which some password stores put there, is given a second to say something."""
    if path.is_file():
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    if not path.is_fifo():
        raise OSError("it is neither a file nor a pipe")
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
