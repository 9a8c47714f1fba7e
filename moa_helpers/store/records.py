"""Results as JSON text and back, so that what was paid for can be kept in a file."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from moa_helpers.results import Answer, Attempt, Failure, Replies, Reply

T = TypeVar("T")
Result = Reply | Replies | Answer


def to_json(result: Result) -> str:
    """One line of JSON that holds everything about a result; ``from_json`` makes the same result of it.

    Raises:
        TypeError: it is no result of a call, a fan-out or a mixture.
    """
    if isinstance(result, Replies):
        return json.dumps({"Replies": [*map(asdict, result)]}, ensure_ascii=False)
    if isinstance(result, Reply | Answer):
        return json.dumps({type(result).__name__: asdict(result)}, ensure_ascii=False)
    raise TypeError(f"Only a Reply, Replies or an Answer can be kept, not {type(result).__name__}.")


def from_json(text: str) -> Result:
    """The result that ``to_json`` wrote.

    Raises:
        ValueError: the text is something else.
    """
    try:
        ((kind, value),) = json.loads(text).items()
        return _KINDS[kind](value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no result that to_json wrote ({type(error).__name__}: {error}).") from None


def read_reply(fields: Mapping[str, Any]) -> Reply:
    """The reply whose fields these are, as they come out of JSON."""
    return _read(Reply, fields)


def _read(kind: Callable[..., T], fields: Mapping[str, Any]) -> T:
    read = {name: _NESTED[name](value) for name, value in fields.items() if name in _NESTED and value is not None}
    return kind(**{**fields, **read})


def _read_all(kind: Callable[..., T], listed: Iterable[Mapping[str, Any]]) -> tuple[T, ...]:
    return tuple(_read(kind, fields) for fields in listed)


def _replies(listed: Iterable[Mapping[str, Any]]) -> Replies:
    return Replies(_read_all(Reply, listed))


_NESTED: dict[str, Callable[[Any], Any]] = {  # the fields that hold data classes
    "failure": partial(_read, Failure),
    "attempts": partial(_read_all, Attempt),
    "hedged": partial(_read_all, Reply),
    "aggregator": read_reply,
    "picked": read_reply,
    "left_out": _replies,
    "layers": lambda layers: tuple(map(_replies, layers)),
}
_KINDS: dict[str, Callable[[Any], Result]] = {
    "Reply": read_reply,
    "Replies": _replies,
    "Answer": partial(_read, Answer),
}
