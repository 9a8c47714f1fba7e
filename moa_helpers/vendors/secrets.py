"""Keys: every one that was used is remembered, so that no text shows it, and a key does not print itself."""

import os
import re

from moa_helpers.vendors import colab

_KEY_SHAPED = re.compile(r"\b(?:sk|gsk|csk|pk|key|hf|tgp)[-_][\w*.-]{6,}|\bBearer\s+\S+")
_used: dict[str, None] = {}  # every key since the process began


class Key(str):
    """A key: a text whose ``repr`` hides it, so that no traceback with local variables shows it."""

    def __repr__(self) -> str:
        return "'…hidden…'"


def remember(key: str) -> Key:
    """The same as a ``Key``, which ``redact`` hides from now on."""
    _used[str(key)] = None
    return Key(key)


def redact(text: str) -> str:
    """The text without the keys that were used since the process began, and without what looks like a key."""
    if token := os.environ.get(colab.TOKEN):  # set when google.colab.ai is first used
        remember(token)
    for key in sorted(_used, key=len, reverse=True):
        text = text.replace(key, "[key]")
    return _KEY_SHAPED.sub("[key]", text)
