"""Results as JSON text and back, so that what was paid for can be kept in a file."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache, partial
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from moa_helpers.results import Answer, Attempt, Failure, Replies, Reply

T = TypeVar("T")
BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what reading something else may raise


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
        return read_reply(value) if kind == "Reply" else read({"Answer": Answer}[kind], value)
    except BROKEN as error:
        raise ValueError(f"This is no result that to_json wrote ({type(error).__name__}: {error}).") from None


def read_reply(fields: Mapping[str, Any]) -> Reply:
    """The reply whose fields these are, as they come out of JSON."""
    return read(Reply, fields)


def read(kind: Callable[..., T], fields: Mapping[str, Any]) -> T:
    """The data class of this kind whose fields these are.

    Raises:
        TypeError: there are others, one is missing, or one is of another type.
        ValueError, KeyError, AttributeError: the same, further inside.
    """
    found = dict(fields)
    for name, types in _types(kind).items():
        value = found.get(name)
        if name in _NESTED and name in found and (value or name not in _OPTIONAL):
            value = found[name] = _NESTED[name](value)
        if name in found and not isinstance(value, types):
            raise TypeError(f"{name} is {type(value).__name__}")
    return kind(**found)


@cache
def _types(kind: Any) -> dict[str, tuple[type, ...]]:
    """The types that each field of a data class may have."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        each = [get_origin(one) or one for one in (get_args(hint) if isinstance(hint, UnionType) else [hint])]
        found[name] = tuple({Literal: str}.get(one, one) for one in each) + (int,) * (float in each)
    return found


def _replies(listed: Iterable[Mapping[str, Any]]) -> Replies:
    return Replies(map(read_reply, listed))


_OPTIONAL = ("failure", "aggregator", "picked")  # may be None
_NESTED: dict[str, Callable[[Any], Any]] = {  # the fields that JSON gives back in another form
    "failure": partial(read, Failure),
    "attempts": lambda listed: tuple(read(Attempt, fields) for fields in listed),
    "warnings": tuple,
    "hedged": lambda listed: tuple(map(read_reply, listed)),
    "aggregator": read_reply,
    "picked": read_reply,
    "left_out": _replies,
    "layers": lambda layers: tuple(map(_replies, layers)),
}
