"""Results as JSON text and back, so that what was paid for can be kept in a file."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from moa_helpers.results import Answer, Replies, Reply

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
        return read(Reply, value) if kind == "Reply" else read({"Answer": Answer}[kind], value)
    except BROKEN as error:
        raise ValueError(f"This is no result that to_json wrote ({type(error).__name__}: {error}).") from None


def read(kind: Callable[..., T], value: Any) -> T:
    """The value of this type, as of a data class, that came out of JSON as ``value``. Raises one of ``BROKEN``."""
    return _reader(kind)(value)  # type: ignore[no-any-return]


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of this type of what JSON gave back; it raises one of ``BROKEN`` if that is another type."""
    inside = get_args(kind)
    if isinstance(kind, UnionType):  # or None
        some = _reader(inside[0])
        return lambda value: None if value is None else some(value)
    if kind is Replies:
        return _replies
    if get_origin(kind) is tuple:
        each = _reader(inside[0])
        return lambda listed: tuple(map(each, listed))
    if is_dataclass(kind):
        types = get_type_hints(kind)
        make: Any = kind
        return lambda fields: make(**{name: _reader(types[name])(value) for name, value in fields.items()})
    plain = {float: (float, int)}.get(kind, str if get_origin(kind) is Literal else kind)

    def checked(value: Any) -> Any:
        if not isinstance(value, plain):
            raise TypeError(f"{value!r:.40} is no {kind.__name__}")
        return value

    return checked


def _replies(listed: Iterable[Any]) -> Replies:
    return Replies(map(_reader(Reply), listed))
