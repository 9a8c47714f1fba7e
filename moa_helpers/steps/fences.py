"""Other models' answers as material in a prompt: numbered, and fenced so that none can pass for an instruction."""

import hashlib
from collections.abc import Sequence


def fenced(
    what: str, texts: Sequence[str], notes: Sequence[str] | None = None, *, beside: Sequence[str] = ()
) -> tuple[str, str]:
    """The name of a fence that occurs in none of the texts, nor in what stands ``beside`` them; and the texts in it."""
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
