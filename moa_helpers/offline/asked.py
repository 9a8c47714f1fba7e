"""What a request asks: read, checked against ``parameters.csv``, and refused in plain words where a vendor would."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import VENDORS, Model, UnknownModel, find, listed, rows
from moa_helpers.offline.caching import Prefix, prefixes

LARGEST = 8 * 2**20  # bytes of a body
LONGEST_ID = 200  # characters of a model's id
OLD_API = "2023-06-01"  # a version of Anthropic's API with which some models take a temperature, and the first without
NEW_API = "2026-10-21"
SYSTEM, OTHERS = ("system", "developer"), ("assistant", "tool", "function")  # the roles beside the user's
TEXTS = ("text", "input_text", "output_text")  # parts of a message that are read
PASSED_OVER = ("tool_use", "tool_result", "thinking", "redacted_thinking", "refusal", "reference")
ALONE = "A stand-in reads text alone, no images, sound or files."
GUESSES = {  # whose model an id that the catalogue does not list is likely to be
    "openai": r"gpt-(?!oss)|chatgpt-|o\d",
    "anthropic": r"claude-",
    "mistral": r"(open-)?(mistral|ministral|mixtral|codestral|magistral|pixtral|devstral|voxtral)-",
}
ANYONES = "vllm"  # which serves whatever it is given
_PARAMETERS = rows(Path(__file__).with_name("parameters.csv"))


class Refused(Exception):
    """A request that is refused: the HTTP status, why, and which parameter is to blame."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.vendor: str | None = None  # by whom, if it is known
        self.headers: dict[str, str] = {}  # of the response


@dataclass(frozen=True)
class Asked:
    """What a request asks for, in one vocabulary for all formats."""

    model: Model
    system: str
    prompt: str  # the last user message
    input_tokens: int  # of the whole conversation, in the stand-ins' own count
    prefixes: list[Prefix] | None  # of it, that its vendor may know already; None: it says nothing of the kind
    sample: int
    choices: int
    limit: int | None  # tokens
    stops: tuple[str, ...]
    stream: bool
    with_usage: bool


def read(asked: Mapping[str, Any], headers: Mapping[str, str], vendor: str | None, *, messages: bool) -> Asked:
    """What a request's body asks. Without a ``vendor`` the model's id names it. ``messages``: Anthropic's format."""
    model = named(asked.get("model"), vendor, messages=messages)
    try:
        check(asked, _PARAMETERS, "A stand-in answers in plain text; leave it out.")
        _check_for(model, asked, headers, messages)
        system, users, length = _texts(asked)
    except Refused as refused:
        refused.vendor = model.vendor.name
        raise
    stop = asked.get("stop_sequences" if messages else "stop") or []
    return Asked(
        model,
        system,
        prompt=next(filter(None, reversed(users)), ""),
        input_tokens=tokens(length),
        prefixes=prefixes(model, asked, tokens(length)),
        sample=_sample(headers.get("x-moa-sample", ""), asked),
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
        raise malformed(f"it {words}", "model", "missing_required_parameter")
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


def malformed(words: str, param: str | None = None, code: str | None = None) -> Refused:
    """A request that cannot be read."""
    return Refused(400, f"The request is malformed: {words}.", param, code)


def _unsupported(param: str, words: str, code: str = "unsupported_parameter") -> Refused:
    return Refused(400, f"Unsupported parameter: {param}{words}", param, code)


def _guess(model_id: str) -> str | None:
    return next((vendor for vendor, pattern in GUESSES.items() if re.match(pattern, model_id)), None)


def parsed(body: bytes, headers: Mapping[str, str], of_each: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """The object that a body holds; whatever else it may be is refused. ``of_each`` replaces every object in it."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise malformed("its body is packed; send it as it is")
    try:
        text = body.decode("utf-8-sig")
        asked = json.loads(text, parse_constant=int, object_hook=of_each)  # NaN and Infinity are no int
        if b"\\ud" in body.lower():  # half a surrogate pair is JSON, but no text
            json.dumps(asked, ensure_ascii=False).encode()
    except RecursionError:
        raise malformed("its JSON is nested too deep") from None
    except UnicodeError:
        raise malformed("it holds text that is no valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise malformed(f"its JSON cannot be read ({error})") from None
    except ValueError:
        raise malformed("its JSON holds NaN, Infinity or a huge number") from None
    if not isinstance(asked, dict):
        raise malformed(f"it is {shown(asked)}; it must be an object")
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


def check(asked: Mapping[str, Any], parameters: Iterable[Mapping[str, str]], why: str) -> None:
    """Check parameters as the rows of ``parameters.csv`` say; ``why`` is added where one asks for another form."""
    for row in parameters:
        whole, _, part = row["parameter"].partition(".")
        _check(row, (asked.get(whole) or {}).get(part) if part else asked.get(whole), why)


def _check(row: Mapping[str, str], value: Any, why: str) -> None:
    """Check one parameter; each may be null. Of a list, the bounds are those of its length."""
    name, must_be, least, most, harmless = row.values()
    if value is None:
        return
    right = any(_IS[kind](value) for kind in re.split(r" or (?=an? )", must_be))
    size = len(value) if isinstance(value, list) else value if isinstance(value, int | float) else 1
    if not right or (least and size < float(least)) or (most and size > float(most)):
        upto = f" {'to' if least else 'of up to'} {most}" if most else ""
        bounds = (f" from {least}" if least else "") + upto
        words = f"{name} is {shown(value)}; it must be {must_be}{bounds}"
        raise malformed(words, name, "invalid_value" if right else "invalid_type")
    if harmless:
        kinds = value if isinstance(value, list) else [value.get("type") or value if isinstance(value, dict) else value]
        if any(str(kind).lower() not in harmless.split() for kind in kinds):
            raise _unsupported(name, f". {why}")


def _check_for(model: Model, asked: Mapping[str, Any], headers: Mapping[str, str], messages: bool) -> None:
    """Check what depends on the model and the format."""
    if messages and asked.get("max_tokens") is None:
        raise Refused(400, "max_tokens: Field required.", "max_tokens", "missing_required_parameter")
    if messages and (asked.get("n") or 1) > 1:
        raise _unsupported("n", ". There is one answer to a request.")
    only_completion = model.token_parameter == "max_completion_tokens" and model.tier != "legacy"
    openai = model.name in listed() or _guess(model.id) == "openai"
    if only_completion and openai and not messages and asked.get("max_tokens") is not None:
        raise _unsupported("max_tokens", f". {model.id} takes max_completion_tokens.")
    accepts, version = model.accepts_temperature, headers.get("anthropic-version", NEW_API if messages else OLD_API)
    taken = accepts in ("yes", "unknown")
    taken |= "reasoning_effort=none" in accepts and asked.get("reasoning_effort") == "none"
    taken |= "old API version" in accepts and version < NEW_API
    if asked.get("temperature") not in (None, 1) and not taken:
        also = f", such as the header anthropic-version: {OLD_API}" if "old API version" in accepts else ""
        raise _unsupported("temperature", f", other than 1 ({model.id}: {accepts}{also}).", "unsupported_value")


def _texts(asked: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """The system message, the user messages, and how many characters the conversation has."""
    systems, users, length = [text_of(asked.get("system"), "system", PASSED_OVER, ALONE)], [], 0
    role = None
    for place, message in enumerate(asked.get("messages") or []):
        at = f"messages[{place}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in (*SYSTEM, "user", *OTHERS):
            roles = ", ".join((*SYSTEM, "user", *OTHERS))
            raise malformed(f"{at} must be an object with one of the roles {roles}", at)
        if message.get("content") is None and role not in OTHERS:
            raise malformed(f"{at}.content is missing", f"{at}.content")
        text = text_of(message.get("content"), f"{at}.content", PASSED_OVER, ALONE)
        length += len(text)
        if role in SYSTEM:
            systems.append(text)
        elif role == "user":
            users.append(text)
    if not users:
        raise malformed("there is no user message", "messages")
    if role == "assistant":
        words = "The last message is the assistant's: a stand-in does not go on with a text that others began."
        raise Refused(400, words, at, "unsupported_value")
    return "".join(systems), users, length + len(systems[0])


def text_of(content: Any, at: str, passed_over: Collection[str], why: str) -> str:
    """The text of a message's content, which may be a list of parts; ``why`` says what is wrong with other parts."""
    if isinstance(content, str | None):
        return content or ""
    if not isinstance(content, list):
        raise malformed(f"{at} is {shown(content)}; it must be a text or a list of parts", at)
    texts = []
    for place, part in enumerate(content):
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind in TEXTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind not in passed_over:
            raise Refused(400, f"{at}[{place}]: it is no text. {why}", f"{at}[{place}]", "unsupported_value")
    return "".join(texts)


def _sample(text: str, asked: Mapping[str, Any]) -> int:
    """Which answer of the model: a line of a batch, which has no headers, says it as a user ``sample-3``."""
    if not re.fullmatch(r"(-?\d{1,18})?", text):
        raise malformed(f"x-moa-sample is {shown(text)}; it must be a whole number")
    user = re.fullmatch(r"sample-(\d{1,18})", str((asked.get("metadata") or {}).get("user_id")))
    return int(text or 0) or int(user[1] if user else 0) or asked.get("seed") or asked.get("random_seed") or 0
