"""Other models' answers as material in a prompt: numbered, and fenced so that none can pass for an instruction."""

import hashlib
import re
from collections.abc import Sequence

_NAMED = re.compile(r"<([a-z]+-[0-9a-f]{8}) number=")  # first in an instruction, before all references


def fenced(
    what: str, texts: Sequence[str], notes: Sequence[str] | None = None, *, beside: Sequence[str] = ()
) -> tuple[str, str]:
    """The name of a fence that occurs in none of the texts, nor in the texts ``beside`` them; and the texts in it."""
    texts = [text.strip() for text in texts]
    mark = hashlib.sha256("\0".join([*texts, *beside]).encode("utf-8", "surrogatepass")).hexdigest()
    while any(mark[:8] in text.lower() for text in [*texts, *beside]):
        mark = hashlib.sha256(mark.encode()).hexdigest()
    fence = f"{what}-{mark[:8]}"
    numbered = zip(texts, notes or [""] * len(texts), strict=True)
    blocks = [
        f'<{fence} number="{number}"{note}>\n{text}\n</{fence}>' for number, (text, note) in enumerate(numbered, 1)
    ]
    return fence, "\n\n".join(blocks)


def apart(instruction: str, beside: str) -> str:
    """The same instruction, with another mark on its fence if that mark is in the text beside it, too."""
    named, taken = _NAMED.search(instruction), beside.lower()
    if not named or (mark := named[1][-8:]) not in taken:
        return instruction
    while mark in taken + instruction.lower():
        mark = hashlib.sha256(mark.encode()).hexdigest()[:8]
    return instruction.replace(named[1][-8:], mark)


def unfenced(text: str, system: str) -> str:
    """The text without the fence of that system message: a weak model copies it, and no other text can hold it.

    A line that is nothing else goes as a whole. A text that is nothing but fences stays as it is.
    """
    named = _NAMED.search(system)
    if not named or named[1] not in text:
        return text
    tag = rf"</?{named[1]}\b[^<>\n]{{0,80}}>"
    return re.sub(rf"(?m)^[ \t>*`]{{0,8}}{tag}[ \t*`]{{0,8}}(?:\n|\Z)|{tag}", "", text).strip() or text
