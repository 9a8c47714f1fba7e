"""Files of the batch APIs, on disk, and what their lines may hold."""

import asyncio
import json
import os
import re
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moa_helpers.offline.asked import LARGEST, Refused, named, parsed, shown

SPACE = re.compile(r"[ \t\r\n]*")


class File:
    """A file on disk, for as long as anybody refers to it."""

    def __init__(self, name: str, owner: str, created: float, kind: str = "request") -> None:
        self.id = f"file-{uuid.uuid4().hex}"
        self.name, self.owner, self.created, self.kind = name, owner, created, kind
        self.size = self.lines = 0
        handle, self._path = tempfile.mkstemp(prefix="moa-offline-")
        os.close(handle)
        weakref.finalize(self, _remove, self._path, os.getpid())

    def append(self, data: bytes) -> None:
        """Write at the end."""
        with open(self._path, "ab") as file:
            file.write(data)
        self.size += len(data)
        self.lines += data.count(b"\n")

    def read(self, place: int, size: int = 2**16) -> bytes:
        """So many bytes from there on."""
        with open(self._path, "rb") as file:
            file.seek(place)
            return file.read(size)

    def each(self) -> Iterator[tuple[int, bytes]]:
        """Where each line begins, and the line; one that is too long counts as several."""
        with open(self._path, "rb") as file:
            place = 0
            while line := file.readline(LARGEST):
                yield place, line
                place += len(line)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked has no part in it
        Path(path).unlink(missing_ok=True)


async def apart(text: str, lines: File) -> dict[str, Any]:
    """What an object holds. Of its list of requests, which may be huge, each goes into a line of a file of its own."""
    read, given = json.JSONDecoder(parse_constant=int).raw_decode, {}

    def after(place: int, mark: str = "") -> int:
        if not text.startswith(mark, place):
            raise json.JSONDecodeError(f"Expecting {mark}", text, place)
        return SPACE.match(text, place + len(mark)).end()  # type: ignore[union-attr]

    place = after(after(0), "{")
    while not text.startswith("}", place):
        name, place = read(text, place)
        place = after(after(place), ":")
        if name == "requests" and text.startswith("[", place):
            place = after(place, "[")
            while not text.startswith("]", place):
                _, end = read(text, place)
                lines.append(text[place:end].replace("\n", " ").replace("\r", " ").encode() + b"\n")
                place = after(end)
                place = place if text.startswith("]", place) else after(place, ",")
                await asyncio.sleep(0)  # so that others are not held up
            given[name], place = True, place + 1
        else:
            given[str(name)], place = read(text, place)
        place = after(place)
        place = place if text.startswith("}", place) else after(place, ",")
    if after(place, "}") < len(text):
        raise json.JSONDecodeError("Extra data", text, place)
    return given


class Wrong(Exception):
    """What is wrong with a line: a code, why, and which parameter is to blame."""


def checked(line: bytes, dialect: str, given: Mapping[str, Any], vendor: str | None) -> tuple[str, str | None]:
    """The custom_id and the model of a line, as a vendor checks them before it begins. Raises ``Wrong``."""
    try:
        item = parsed(line, {})
    except Refused as refused:
        raise Wrong("invalid_json_line", refused.message, None) from None
    identity, body = item.get("custom_id"), item.get("params" if dialect == "anthropic" else "body")
    if not isinstance(identity, str) or (dialect == "anthropic" and not re.fullmatch(r"[\w-]{1,64}", identity, re.A)):
        raise Wrong(
            "invalid_value", f"custom_id is {shown(identity)}; it must be a text that names the line.", "custom_id"
        )
    if not isinstance(body, dict):
        raise Wrong("missing_required_parameter", f"It asks {shown(body)}; it must be a request.", "body")
    if dialect == "anthropic":
        return identity, None  # each of its requests fails for itself
    if dialect == "openai" and (item.get("method"), item.get("url")) != ("POST", given["endpoint"]):
        raise Wrong("url_mismatch", f"A line must be a POST to {given['endpoint']}, as its batch is.", "url")
    try:
        model = named(body.get("model") or given.get("model"), vendor)
    except Refused as refused:
        raise Wrong("model_not_found", refused.message, "model") from None
    if vendor not in (None, model.vendor.name):
        raise Wrong("model_not_found", f"There is no model {shown(model.id)}.", "model")
    return identity, model.id
