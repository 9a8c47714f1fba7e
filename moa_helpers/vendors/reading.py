"""What a vendor sends, read event by event from the bytes: the SDKs hide, or stumble over, what they do not expect."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from moa_helpers.vendors.bodies import words
from moa_helpers.vendors.requests import Malformed, Refused

LARGEST = 16_000_000  # bytes of one event, or of a body that is no stream
TURN = 0.01  # seconds after which others get their turn, however much has arrived at once
LAST = 0.1  # seconds for the end of the body after the end mark: only a connection that was read to there is used again
STOP = {"type": "message_stop"}  # Anthropic's end mark, and what stands for OpenAI's [DONE]


async def events(response: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events of a streamed answer, ``STOP`` for its end mark. An answer sent whole is a single event.

    The body of the response (of httpx or httpx2) is not read yet. An error that was sent is raised as ``Refused``, and
    what is neither as ``Malformed``. If that may be a sign of life, it is raised at the end, unless the answer is
    complete.
    """
    if "," in response.headers.get("content-encoding", ""):
        raise Malformed("The answer is compressed more than once.")  # a few bytes may hide more than the memory holds
    nothing = Malformed(f"The answer is empty (HTTP {response.status_code}).")
    problem: Exception | None = nothing
    async with aclosing(_lines(response)) as lines, aclosing(_blocks(lines)) as blocks:
        async for name, data in blocks:
            for event in _parsed(name, data):
                if isinstance(event, Exception):
                    problem = event
                    continue
                problem = None if problem is nothing else problem
                if is_end(event) and problem:
                    raise problem
                yield event
                if is_end(event):
                    with suppress(Exception):  # the answer is complete, whatever comes now
                        async with asyncio.timeout(LAST):
                            async for _ in lines:
                                pass
                    return
    if problem:
        raise problem


def of_whole(answer: Any) -> list[dict[str, Any]]:
    """The events that stand for an answer that was sent whole; raises as ``events`` does."""
    event = _event(None, answer)
    if isinstance(event, Exception):
        raise event
    return [event, STOP]


def _parsed(name: str | None, data: str) -> list[dict[str, Any] | Exception]:
    """The events that some data hold, and exceptions for what may be an error; one that is for sure is raised.

    Mostly it is one event; it is more where a server leaves no line between them. The name is the event's, "" if it has
    none, and None for a body that is no stream.
    """
    if data.strip() in ("", "[DONE]"):
        return [STOP] if data.strip() else []
    try:
        value = json.loads(data, strict=False, parse_int=_whole, parse_constant=lambda word: None)
    except (ValueError, RecursionError):
        lines = [line.strip() for line in data.splitlines() if line.strip()]
        if len(lines) > 1 and all(line.startswith("{") or line == "[DONE]" for line in lines):
            return [event for line in lines for event in _parsed("", line)]
        return [_text(name, data)]
    if isinstance(value, str):
        return _parsed(name, value)
    found = value if isinstance(value, list) else [value] * (value is not None)
    return [*(_event(name, each) for each in found), *([STOP] if name is None else [])]


def _text(name: str | None, data: str) -> Exception:
    """What a text means that is no JSON."""
    shown = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(data[:1000].split())[:200])
    if name == "error":
        raise Refused(shown)
    if name is not None and not shown.startswith(("{", "[", "<")) and "\ufffd" not in shown:
        return Refused(shown)
    problem = Malformed(f"This came instead of an answer: {words(data[:50_000]) or shown}")
    if shown.startswith(("{", "[")):
        raise problem  # a piece of the answer is lost
    return problem


def _event(name: str | None, event: Any) -> dict[str, Any] | Exception:
    """An event, or what speaks against it. Each host reports an error in a form of its own."""
    if not isinstance(event, dict):
        return Malformed(f"This came instead of an event: {str(event)[:200]}")
    if name:
        event.setdefault("type", name)
    choices = event.get("choices")
    first = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    for error in (event.get("error"), first.get("error"), mapping(event.get("x_groq")).get("error")):
        if any(error.values()) if isinstance(error, dict) else error:
            raise Refused(event | {"error": error})
    if "error" in (name, event.get("type"), event.get("object")):
        raise Refused(event)
    if choices is None and event.get("content") is None:
        if "type" not in event and (event.get("detail") or event.get("message")):
            return Refused(event)
        if name is None:
            return Malformed(f"This came instead of an answer: {words(event) or str(event)[:200]}")
    return event


def is_end(event: Mapping[str, Any]) -> bool:
    """Whether an event is the end mark; some hosts add to it what they measured."""
    return event.get("type") == STOP["type"]


def mapping(value: object) -> Mapping[str, Any]:
    """A value that should be an object; empty where it is none."""
    return value if isinstance(value, dict) else {}


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) < 20 else None  # Python refuses some thousand digits; nothing here has so many


async def _lines(response: Any) -> AsyncGenerator[str, None]:
    """The lines of a body. Others have their turn every now and then, even if a great many arrive at once."""
    line, due = bytearray(), 0.0
    try:
        async for piece in response.aiter_bytes():
            rest, *others = piece.split(b"\n")
            line += rest
            for other in others:
                yield line.decode(errors="replace").rstrip("\r")
                line = bytearray(other)
                if time.perf_counter() >= due:
                    await asyncio.sleep(0)
                    due = time.perf_counter() + TURN
            if len(line) > LARGEST:
                raise Malformed(f"A single line of the answer has more than {LARGEST:,} bytes.")
    except Exception as error:
        if "DecodingError" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        raise Malformed(f"The answer is not compressed as its content-encoding says ({error}).") from error
    yield line.decode(errors="replace")


async def _blocks(lines: AsyncIterator[str]) -> AsyncGenerator[tuple[str | None, str], None]:
    """The name and the data of each event. What has not the form of an event is a body to its end, without a name."""
    data: list[str] = []
    name: str | None = ""
    begun, size = False, 0
    async for raw in lines:
        line = raw if begun else raw.lstrip("\ufeff \t")
        field, _, value = line.partition(":")
        if name is None:
            data.append(line)
        elif not line:
            if data:
                yield name, "\n".join(data)
            name, data, size = "", [], 0
        elif field in ("data", "error"):
            name = name if field == "data" else field  # "error: {…}" is an older llama.cpp's
            data.append(value.removeprefix(" "))
        elif field == "event":
            name = value.strip()
        elif field not in ("", "id", "retry") and not data and (not begun or line.lstrip()[:1] in ("{", "[", "<")):
            name, data = None, [line]
        begun, size = True, size + len(line)
        if size > LARGEST:
            raise Malformed(f"A single event of the answer has more than {LARGEST:,} bytes.")
    if data:
        yield name, "\n".join(data)
