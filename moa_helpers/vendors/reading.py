"""What a vendor sends, read event by event from the bytes: the SDKs hide, or stumble over, what they do not expect."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from moa_helpers.vendors.bodies import words
from moa_helpers.vendors.requests import Malformed, Refused

LARGEST = 16_000_000  # bytes of one event, or of a body that is no stream
TURN = 0.01  # seconds after which others get their turn, however much has arrived at once
LAST = (
    0.1  # seconds for the end of the body after the end mark; a connection is used again only if it was read to there
)
STOP = {"type": "message_stop"}  # the end mark, whether it came as Anthropic's event or as OpenAI's [DONE]
_FIELD = re.compile(r"(data|event|id|retry)?:|(data|event|id|retry)$")


async def events(response: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events of a streamed answer, ``STOP`` for its end mark. An answer sent whole is a single event.

    Args:
        response: of httpx or httpx2, its body not read yet.

    Raises:
        Refused: an error was sent in place of an event or of the answer.
        Malformed: what was sent is neither.
        httpx.TransportError: the connection failed.
    """
    if "," in response.headers.get("content-encoding", ""):
        raise Malformed("The answer is compressed more than once.")  # a few bytes may hide more than the memory holds
    came = False
    async with aclosing(_lines(response)) as lines, aclosing(_blocks(lines)) as blocks:
        async for name, data in blocks:
            came = True
            for event in parsed(name, data):
                yield event
                if event.get("type") == STOP["type"]:
                    with suppress(Exception):  # the answer is complete, whatever comes now
                        async with asyncio.timeout(LAST):
                            async for _ in lines:
                                pass
                    return
    if not came:
        raise Malformed(f"The answer is empty (HTTP {response.status_code}).")


def parsed(name: str | None, data: str) -> list[dict[str, Any]]:
    """The events that the data of one hold: mostly one, more where a server leaves no line between them.

    Args:
        name: the event's, "" if it has none; None for a body that is no stream.
        data: JSON, or the end mark.

    Raises:
        Refused, Malformed: as ``events``.
    """
    if data.strip() == "[DONE]":
        return [STOP]
    try:
        value = json.loads(data, strict=False, parse_int=_whole, parse_constant=lambda word: None)
    except (ValueError, RecursionError):
        lines = [line.strip() for line in data.splitlines() if line.strip()]
        if len(lines) > 1 and all(line.startswith("{") or line == "[DONE]" for line in lines):
            return [event for line in lines for event in parsed("", line)]
        shown = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(data[:1000].split())[:200])
        if name == "error" or (name is not None and shown[:1].isalpha() and "\ufffd" not in shown):
            raise Refused(shown) from None
        raise Malformed(f"This came instead of an answer: {words(data[:50_000]) or shown}") from None
    if isinstance(value, str):
        raise Refused(value)
    found = value if isinstance(value, list) else [value] * (value is not None)
    for event in found:
        if not isinstance(event, dict):
            raise Malformed(f"This came instead of an event: {str(event)[:200]}")
        if name:
            event.setdefault("type", name)
        if name == "error" or _is_error(event):
            raise Refused(event)
    return [*found, STOP] if name is None else found


def mapping(value: object) -> Mapping[str, Any]:
    """A value that should be an object; empty where it is none."""
    return value if isinstance(value, dict) else {}


def _whole(digits: str) -> int | None:
    return (
        int(digits) if len(digits) < 20 else None
    )  # Python refuses some thousand digits, and nothing here has so many


def _is_error(event: Mapping[str, Any]) -> bool:
    """Whether an event reports an error; each host has a form of its own."""
    choices = event.get("choices")
    first = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    if event.get("error") or first.get("error") or "error" in (event.get("type"), event.get("object")):
        return True
    return "choices" not in event and "type" not in event and bool(event.get("detail") or event.get("message"))


async def _lines(response: Any) -> AsyncGenerator[str, None]:
    """The lines of a body. Others have their turn every now and then, even if a great many arrive at once."""
    rest, due = bytearray(), 0.0
    try:
        async for piece in response.aiter_bytes():
            searched, begin = len(rest), 0
            rest += piece
            while (end := rest.find(b"\n", max(begin, searched))) >= 0:
                line, begin = rest[begin:end].decode(errors="replace"), end + 1
                for part in line.rstrip("\r").split("\r"):
                    yield part
                if time.perf_counter() >= due:
                    await asyncio.sleep(0)
                    due = time.perf_counter() + TURN
            del rest[:begin]
            if len(rest) > LARGEST:
                raise Malformed(f"A single line of the answer has more than {LARGEST:,} bytes.")
    except Exception as error:
        if "DecodingError" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        raise Malformed(f"The answer is not compressed as its content-encoding says ({error}).") from error
    for part in rest.decode(errors="replace").split("\r"):
        yield part


async def _blocks(lines: AsyncIterator[str]) -> AsyncGenerator[tuple[str | None, str], None]:
    """The name and the data of each event. What has not the form of an event is a body to its end, without a name."""
    data: list[str] = []
    name, begun, size = "", False, 0
    async for raw in lines:
        line = raw if begun else raw.lstrip("\ufeff \t")
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data, size = "", [], 0
        elif _FIELD.match(line):
            field, _, value = line.partition(":")
            if field == "data":
                data.append(value.removeprefix(" "))
                size += len(value)
            elif field == "event":
                name = value.strip()
        elif not data and (not begun or line.lstrip()[:1] in ("{", "[", "<")):
            body, size = [line], len(line)
            async for more in lines:
                body.append(more)
                if (size := size + len(more)) > LARGEST:
                    break
            yield None, "\n".join(body)
            return
        begun = True
        if size > LARGEST:
            raise Malformed(f"A single event of the answer has more than {LARGEST:,} bytes.")
    if data:
        yield name, "\n".join(data)
