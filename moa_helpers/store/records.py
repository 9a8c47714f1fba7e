"""Results as JSON text and back, so that what was paid for can be kept in a file."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from moa_helpers.results import Answer, Attempt, Failure, Replies, Reply

T = TypeVar("T")


def to_json(result: Reply | Replies | Answer) -> str:
    """One line of JSON that holds everything about a result; ``from_json`` makes the same result of it.

    Raises:
        TypeError: it is no result of a call, a fan-out or a mixture.
    """
    if isinstance(result, Replies):
        return json.dumps({"Replies": [*map(asdict, result)]}, ensure_ascii=False)
    if isinstance(result, Reply | Answer):
        return json.dumps({type(result).__name__: asdict(result)}, ensure_ascii=False)
    raise TypeError(f"Only a Reply, Replies or an Answer can be kept, not {type(result).__name__}.")


def from_json(text: str) -> Reply | Replies | Answer:
    """The result that ``to_json`` wrote.

    Raises:
        ValueError: the text is something else.
    """
    try:
        ((kind, value),) = json.loads(text).items()
        if kind == "Replies":
            return _replies(value)
        return read_reply(value) if kind == "Reply" else _read({"Answer": Answer}[kind], value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no result that to_json wrote ({type(error).__name__}: {error}).") from None


def read_reply(fields: Mapping[str, Any]) -> Reply:
    """The reply whose fields these are, as they come out of JSON."""
    return _read(Reply, fields)


def _read(kind: Callable[..., T], fields: Mapping[str, Any]) -> T:
    given = {name: value for name, value in fields.items() if name in _NESTED and (value or name not in _OPTIONAL)}
    return kind(**{**fields, **{name: _NESTED[name](value) for name, value in given.items()}})


def _replies(listed: Iterable[Mapping[str, Any]]) -> Replies:
    return Replies(map(read_reply, listed))


_OPTIONAL = ("failure", "aggregator", "picked")  # may be None
_NESTED: dict[str, Callable[[Any], Any]] = {  # the fields that JSON gives back in another form
    "failure": partial(_read, Failure),
    "attempts": lambda listed: tuple(_read(Attempt, fields) for fields in listed),
    "warnings": tuple,
    "hedged": lambda listed: tuple(map(read_reply, listed)),
    "aggregator": read_reply,
    "picked": read_reply,
    "left_out": _replies,
    "layers": lambda layers: tuple(map(_replies, layers)),
}
