"""What a prompt may be: a text, or a conversation as a list of messages whose last one is the user's."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias

from moa_helpers.limits.checks import check_text
from moa_helpers.vendors.requests import Turn

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
EXAMPLE = '[{"role": "user", "content": "Why is the sky blue?"}]'
ROLES = ("system", "user", "assistant")


def read_prompt(prompt: Prompt) -> tuple[str | None, tuple[Turn, ...], str]:
    """A prompt's system message, its turns before the last, and the text of the last, which is the user's.

    Messages have a ``role`` (``user``, ``assistant``, or once, at the beginning, ``system``) and a ``content``: a text
    or a list of parts ``{"type": "text", "text": …}``. Several of one role in a row become one: Anthropic joins them,
    and the chat templates of some models refuse them. A TypeError or ValueError says what is wrong, and where.
    """
    if not isinstance(prompt, Sequence) or isinstance(prompt, str | bytes):
        check_text("prompt", prompt, "question")
        return None, (), str(prompt)
    if not prompt:
        raise ValueError(f"The conversation is empty: write at least {EXAMPLE}.")
    turns = [_turn(message, f"message {number} of the conversation") for number, message in enumerate(prompt, 1)]
    system, turns = (turns[0].text, turns[1:]) if turns[0].role == "system" else (None, turns)
    if any(turn.role == "system" for turn in turns):
        raise ValueError("A conversation has one system message, its first message: join them, or leave one out.")
    rows = groupby(turns, key=attrgetter("role"))
    turns = [Turn(role, "\n\n".join(turn.text for turn in row)) for role, row in rows]
    if not turns or turns[-1].role != "user":
        raise ValueError("The conversation must end with a message of the user: add what is asked now.")
    return system, tuple(turns[:-1]), turns[-1].text


def _turn(message: object, which: str) -> Turn:
    if not isinstance(message, Mapping):
        raise TypeError(f"{which.capitalize()} must be a mapping as in {EXAMPLE}, not {type(message).__name__}.")
    if message.get("role") not in ROLES:
        raise ValueError(f"{which.capitalize()} has the role {message.get('role')!r}; it takes {', '.join(ROLES)}.")
    if others := [name for name, value in message.items() if name not in ("role", "content") and value]:
        raise ValueError(f"{which.capitalize()} holds {', '.join(map(repr, others))}, which no model here is given.")
    text = message.get("content")
    if isinstance(text, Sequence) and not isinstance(text, str):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in text):
            raise TypeError(f"{which.capitalize()} has a part that is no text: models here read text alone.")
        text = "".join(part["text"] for part in text)
    check_text(which, text, "text, or leave the message out")
    return Turn(message["role"], str(text))
