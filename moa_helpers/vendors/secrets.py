"""Keys: every one that was used is remembered, so that no text shows it, and none prints itself."""

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from moa_helpers.vendors import colab

SHORTEST = 8  # characters; a shorter text is no secret, and to hide each "a" would make garbage of a message
_SHAPES = re.compile(
    r"\b(?:sk|gsk|csk)[-_][\w*.-]{6,}|\b(?:pk|key|hf|tgp)[-_](?=[\w.-]{0,80}[\d*])[\w*.-]{6,}"
    r"|\bBearer\s+(?!(?:tokens?|auth\w*)(?![\w-]))\S+|\b(?i:basic|bearer)\s+(?=\S*\d)\S{8,}"
    r"|(?<=://)[^\s/?#]*(?=@)|(?<=[?&])(?i:key|api[-_]?key|(?:access_)?token)=[^\s&#,;]+"
)
_used: dict[str, None] = {}  # every key and password since the process began


class Key(str):
    """A key, or an address with a login: a text whose ``repr`` hides it, in a traceback with local variables, too."""

    def __repr__(self) -> str:
        return repr(redact(str(self))) if "://" in self else "'…hidden…'"

    def __getitem__(self, part: Any) -> "Key":
        return Key(super().__getitem__(part))

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Key, (redact(str(self)) if "://" in self else str(self),)  # Settings, which are kept, have addresses

    def __deepcopy__(self, memo: object) -> "Key":
        return self


class Variables(Mapping[str, str]):
    """The variables that were found, keys included. It shows, copies and pickles none of them."""

    def __init__(self, found: Mapping[str, str] | None = None) -> None:
        # a function holds them, as vars() shows what an attribute holds
        self._found: Callable[[], Mapping[str, str]] = lambda: found or {}

    def __getitem__(self, name: str) -> str:
        return self._found()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Variables, ()


def remember(key: str) -> Key:
    """The same as a ``Key``, which ``redact`` hides from now on."""
    if len(key) >= SHORTEST:
        _used[str(key)] = None
    return Key(key)


def remember_logins(addresses: str) -> Key:
    """The same as a ``Key``; passwords of logins in the addresses, and names without one, are hidden from now on."""
    for login in re.findall(r"(?://|^|[\s,;])([^\s/?#]*)@", addresses):
        name, _, password = login.partition(":")
        for secret in (login, unquote(login), password or name, unquote(password or name)):
            remember(secret)
    return Key(addresses)


def redact(text: str) -> str:
    """The text without the keys and passwords that this process ever used, and without what looks like one."""
    return _SHAPES.sub("[key]", hide_used(text))


def hide_used(text: str) -> str:
    """The text without the keys and passwords that this process ever used.

    They are also found in capitals, quoted for an address or for JSON, with other blanks, or in a header's base64.
    """
    if token := os.environ.get(colab.TOKEN):  # set when google.colab.ai is first used
        remember(token)
    small = text.lower()
    for key in sorted([*_used], key=len, reverse=True):
        if any(mark in small for mark in _marks(key)):  # quick, where any form of any key would take seconds
            text = _any_form(key).sub("[key]", text)
    return text


def _coded(key: str) -> list[str]:
    """The key in base64, alone or with an empty password or name."""
    return [b64encode(form.encode(errors="surrogatepass")).decode() for form in (key, f"{key}:", f":{key}")]


@cache
def _marks(key: str) -> list[str]:
    """Texts of which one is in every text that holds the key in any form."""
    return [max(re.findall(r"[a-z0-9]*", key.lower()), key=len), *map(str.lower, _coded(key))]


@cache
def _any_form(key: str) -> re.Pattern[str]:
    written = "".join(map(_written, re.findall(r"\s+|\S", key)))
    return re.compile("|".join([written, *map(re.escape, _coded(key))]), re.I)


def _written(character: str) -> str:
    """The ways to write a character of a key, or a run of blanks in it."""
    if character.isspace():
        return r"(?:\s|\\[nrt]|%20|%0[9AD]|\+)+"
    if character.isalnum() and character.isascii():
        return character
    quoted = "".join(f"%{byte:02x}" for byte in character.encode(errors="surrogatepass"))
    return f"(?:{re.escape(character)}|{quoted}|" + rf"\\u{ord(character):04x}|\\{re.escape(character)})"
