"""What a request asks: read, checked against ``parameters.csv``, and refused in plain words where a vendor would."""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import VENDORS, Model, UnknownModel, find, listed, rows

LARGEST = 8 * 2**20  # bytes of a body, unpacked
LONGEST_ID = 200  # characters of a model's id
OLD_API = "2023-06-01"  # a version of Anthropic's API with which some models take a temperature, and the first without
NEW_API = "2026-10-21"
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXTS = ("text", "input_text", "output_text")  # parts of a message that are read
PASSED_OVER = ("tool_use", "tool_result", "thinking", "redacted_thinking", "refusal", "reference")
GUESSES = {  # whose model an id that the catalogue does not list is likely to be
    "openai": r"gpt-(?!oss)|chatgpt-|o\d",
    "anthropic": r"claude-",
    "mistral": r"(open-)?(mistral|ministral|mixtral|codestral|magistral|pixtral|devstral|voxtral)-",
}
ANYONES = "vllm"  # which serves whatever it is given
_PARAMETERS = rows(Path(__file__).with_name("parameters.csv"))


class Refused(Exception):
    """A request that is refused: the HTTP status, why, which parameter is to blame, and, if it is known, by whom."""

    vendor: str | None = None

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


@dataclass(frozen=True)
class Asked:
    """What a request asks for, in one vocabulary for all formats."""

    model: Model
    system: str
    prompt: str  # the last user message
    input_tokens: int  # of the whole conversation, in the stand-ins' own count
    sample: int
    choices: int
    limit: int | None  # tokens
    stops: tuple[str, ...]
    stream: bool
    with_usage: bool


def read(body: bytes, headers: Mapping[str, str], vendor: str | None, *, messages: bool) -> Asked:
    """What a request asks.

    Args:
        body: of the request, packed as its headers say.
        headers: of the request.
        vendor: whose model is meant; None: the model's id says it.
        messages: whether the request is in Anthropic's format.

    Raises:
        Refused: the request cannot be read, or the vendor would refuse it.
    """
    asked = _parsed(_unpacked(body, headers.get("content-encoding", "")))
    model = named(asked.get("model"), vendor, messages=messages)
    try:
        for row in _PARAMETERS:
            whole, _, part = row["parameter"].partition(".")
            _check(row, (asked.get(whole) or {}).get(part) if part else asked.get(whole))
        _check_for(model, asked, headers, messages)
        system, users, length = _texts(asked)
    except Refused as refused:
        refused.vendor = model.vendor.name
        raise
    prompt = next((text for text in reversed(users) if text), "")
    stop = asked.get("stop_sequences" if messages else "stop") or []
    return Asked(
        model,
        system,
        prompt,
        input_tokens=tokens(length),
        sample=_sample(headers.get("x-moa-sample", "")) or asked.get("seed") or asked.get("random_seed") or 0,
        choices=asked.get("n") or 1,
        limit=asked.get("max_completion_tokens") or asked.get("max_tokens"),
        stops=tuple(filter(None, [stop] if isinstance(stop, str) else stop)),
        stream=bool(asked.get("stream")),
        with_usage=bool((asked.get("stream_options") or {}).get("include_usage")),
    )


def named(model_id: Any, vendor: str | None, *, messages: bool = False) -> Model:
    """The model that a request names; a text that names none, or one that is retired, is refused."""
    if not isinstance(model_id, str) or not model_id:
        words = "names no model" if model_id in (None, "") else f"names the model {shown(model_id)}; it must be a text"
        raise Refused(400, f"The request is malformed: it {words}.", "model", "missing_required_parameter")
    if len(model_id) > LONGEST_ID:
        raise Refused(404, f"There is no model with an id of {len(model_id)} characters.", "model")
    serving = [model.vendor.name for model in listed().values() if model.id == model_id]
    if vendor == "openai" and serving and "openai" not in serving:
        vendor = serving[0]  # a host's own SDK may put /openai/v1 after its address
    if vendor is None and model_id.partition(":")[0] in VENDORS:
        vendor, _, model_id = model_id.partition(":")
    vendor = vendor or (serving[0] if serving else _guess(model_id)) or ("anthropic" if messages else ANYONES)
    try:
        model = find(f"{vendor}:{model_id}")
    except UnknownModel:
        raise Refused(404, f"There is no model {shown(model_id)}.", "model") from None
    if model.tier == "retired":  # when the catalogue was written: no stand-in's answer depends on today's date
        words = f"The model {model.id} was shut down on {model.shutdown_date}; use {model.successor} instead."
        raise Refused(404, words, "model")
    return model


def tokens(characters: int) -> int:
    """The stand-ins' own count: four characters are a token."""
    return -(-characters // 4)


def shown(value: Any) -> str:
    """A value as its sender wrote it, cut short."""
    kind = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else None
    text = kind or json.dumps(value if not isinstance(value, str) else value[:60])
    return text if len(text) <= 80 else f"{text[:60]}…"


def _guess(model_id: str) -> str | None:
    return next((vendor for vendor, pattern in GUESSES.items() if re.match(pattern, model_id)), None)


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        raise Refused(400, f"The body is packed with {shown(encoding)}; send it as it is, or with gzip.")
    unpacking = zlib.decompressobj(wbits=47)  # zlib's or gzip's, as its head says
    try:
        text = unpacking.decompress(body, LARGEST + 1)
    except zlib.error:
        raise Refused(400, f"The body cannot be unpacked: it is no {encoding}.") from None
    if len(text) > LARGEST:
        raise too_large()
    if not unpacking.eof:
        raise Refused(400, f"The body cannot be unpacked: its {encoding} breaks off.")
    return text


def too_large() -> Refused:
    """The refusal of a body above ``LARGEST``."""
    return Refused(413, f"The request is too large: it may have {LARGEST // 2**20} MB.")


def _parsed(body: bytes) -> dict[str, Any]:
    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        asked = json.loads(body.decode("utf-8-sig"), parse_constant=constant)
        if b"\\ud" in body.lower():  # half a surrogate pair is JSON, but no text
            json.dumps(asked, ensure_ascii=False).encode()
    except RecursionError:
        raise Refused(400, "The request is malformed: its JSON is nested too deep.") from None
    except UnicodeError:
        raise Refused(400, "The request is malformed: it holds text that is no valid UTF-8.") from None
    except ValueError as error:
        words = (
            str(error) if str(error).endswith("JSON") or isinstance(error, json.JSONDecodeError) else "a huge number"
        )
        raise Refused(400, f"The request is malformed: its JSON cannot be read ({words}).") from None
    if not isinstance(asked, dict):
        raise Refused(400, f"The request is malformed: it is {shown(asked)}; it must be an object.")
    return asked


_IS = {
    "a text": lambda value: isinstance(value, str),
    "a list": lambda value: isinstance(value, list),
    "an object": lambda value: isinstance(value, dict),
    "true or false": lambda value: isinstance(value, bool),
    "a whole number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "a number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "a list of texts": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
}


def _check(row: Mapping[str, str], value: Any) -> None:
    """Check one parameter; each may be null."""
    name, must_be, least, most, harmless = row.values()
    if value is None:
        return
    bounds = f" from {least} to {most}" if most else f" from {least}" if least else ""
    right = any(_IS[kind](value) for kind in re.split(r" or (?=an? )", must_be))
    if not right or (least and value < float(least)) or (most and value > float(most)):
        words = f"The request is malformed: {name} is {shown(value)}; it must be {must_be}{bounds}."
        raise Refused(400, words, name, "invalid_type" if not right else "invalid_value")
    if harmless:
        kinds = value if isinstance(value, list) else [value.get("type") or value if isinstance(value, dict) else value]
        if any(str(kind).lower() not in harmless.split() for kind in kinds):
            words = f"Unsupported parameter: {name}. A stand-in answers in plain text; leave it out."
            raise Refused(400, words, name, "unsupported_parameter")


def _check_for(model: Model, asked: Mapping[str, Any], headers: Mapping[str, str], messages: bool) -> None:
    """Check what depends on the model and the format."""
    if messages and asked.get("max_tokens") is None:
        raise Refused(400, "max_tokens: Field required.", "max_tokens", "missing_required_parameter")
    if messages and (asked.get("n") or 1) > 1:
        raise Refused(400, "Unsupported parameter: n. There is one answer to a request.", "n", "unsupported_parameter")
    only_completion = model.token_parameter == "max_completion_tokens" and model.tier != "legacy"
    openai = model.name in listed() or _guess(model.id) == "openai"
    if only_completion and openai and not messages and asked.get("max_tokens") is not None:
        words = f"Unsupported parameter: max_tokens. {model.id} takes max_completion_tokens."
        raise Refused(400, words, "max_tokens", "unsupported_parameter")
    accepts, version = model.accepts_temperature, headers.get("anthropic-version", NEW_API if messages else OLD_API)
    taken = accepts in ("yes", "unknown")
    taken |= "reasoning_effort=none" in accepts and asked.get("reasoning_effort") == "none"
    taken |= "old API version" in accepts and version < NEW_API
    if asked.get("temperature") not in (None, 1) and not taken:
        also = f", such as the header anthropic-version: {OLD_API}" if "old API version" in accepts else ""
        words = f"Unsupported parameter: temperature, other than 1 ({model.id}: {accepts}{also})."
        raise Refused(400, words, "temperature", "unsupported_value")


def _texts(asked: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """The system message, the user messages, and how many characters the conversation has."""
    systems, users, length = [_text(asked.get("system"), "system")], [], 0
    messages = asked.get("messages") or []
    for place, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            words = f"messages[{place}] must be an object with one of the roles {', '.join(ROLES)}"
            raise Refused(400, f"The request is malformed: {words}.", f"messages[{place}]")
        content = message.get("content")
        if content is None and role in ("system", "developer", "user"):
            at = f"messages[{place}].content"
            raise Refused(400, f"The request is malformed: {at} is missing.", at)
        text = content if isinstance(content, str) else _text(content, f"messages[{place}].content")
        if role in ("system", "developer"):
            systems.append(text)
            continue
        length += len(text)
        if role == "user":
            users.append(text)
    if not users:
        raise Refused(400, "The request is malformed: there is no user message.", "messages")
    if messages[-1]["role"] == "assistant":
        words = "The last message is the assistant's: a stand-in does not go on with a text that others began."
        raise Refused(400, words, f"messages[{len(messages) - 1}]", "unsupported_value")
    system = "".join(systems)
    return system, users, length + len(system)


def _text(content: Any, at: str) -> str:
    """The text of a message's content, which may be a list of parts."""
    if isinstance(content, str | None):
        return content or ""
    if not isinstance(content, list):
        words = f"The request is malformed: {at} is {shown(content)}; it must be a text or a list of parts."
        raise Refused(400, words, at)
    texts = []
    for place, part in enumerate(content):
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind in TEXTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind not in PASSED_OVER:
            words = "a stand-in reads text alone, no images, sound or files"
            raise Refused(400, f"The request is malformed: {at}[{place}] is no text; {words}.", f"{at}[{place}]")
    return "".join(texts)


def _sample(text: str) -> int:
    if not re.fullmatch(r"(-?\d{1,18})?", text):
        raise Refused(400, f"The request is malformed: x-moa-sample is {shown(text)}; it must be a whole number.")
    return int(text or 0)
