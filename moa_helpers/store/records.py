"""Results as JSON text and back, so that what was paid for can be kept in a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from moa_helpers.results import Answer, Attempt, Failure, Replies, Reply


def to_json(result: Reply | Replies | Answer) -> str:
    """One line of JSON that holds everything about a result; ``from_json`` makes the same result of it.

    Raises:
        TypeError: it is no result of a call, a fan-out or a mixture.
    """
    if isinstance(result, Replies):
        return json.dumps({"Replies": [*map(dataclasses.asdict, result)]}, ensure_ascii=False)
    if isinstance(result, Reply | Answer):
        return json.dumps({type(result).__name__: dataclasses.asdict(result)}, ensure_ascii=False)
    raise TypeError(f"Only a Reply, Replies or an Answer can be kept, not {type(result).__name__}.")


def from_json(text: str) -> Reply | Replies | Answer:
    """The result that ``to_json`` wrote.

    Raises:
        ValueError: the text is something else.
    """
    readers: dict[str, Callable[[Any], Reply | Replies | Answer]]
    readers = {"Reply": read_reply, "Replies": _replies, "Answer": _answer}
    try:
        ((kind, fields),) = json.loads(text).items()
        return readers[kind](fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no result that to_json wrote ({type(error).__name__}: {error}).") from None


def read_reply(fields: dict[str, Any]) -> Reply:
    """The reply whose fields these are, as they come out of JSON."""
    attempts = (Attempt(**{**each, "failure": _failure(each["failure"])}) for each in fields["attempts"])
    return Reply(
        **{
            **fields,
            "attempts": tuple(attempts),
            "failure": _failure(fields["failure"]),
            "hedged": tuple(map(read_reply, fields["hedged"])),
        }
    )


def _replies(listed: list[dict[str, Any]]) -> Replies:
    return Replies(map(read_reply, listed))


def _answer(fields: dict[str, Any]) -> Answer:
    aggregator = fields["aggregator"]
    return Answer(
        **{
            **fields,
            "layers": tuple(map(_replies, fields["layers"])),
            "aggregator": read_reply(aggregator) if aggregator else None,
            "left_out": _replies(fields["left_out"]),
            "picked": read_reply(fields["picked"]) if fields["picked"] else None,
        }
    )


def _failure(fields: dict[str, Any] | None) -> Failure | None:
    return None if fields is None else Failure(**fields)
