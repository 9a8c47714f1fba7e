"""Whether a server has silently cut a prompt: it reports far fewer tokens than the prompt must have."""

import re
from collections.abc import Callable
from functools import lru_cache

from moa_helpers.limits.purse import tokens
from moa_helpers.vendors.requests import Request

SHORTEST = 300  # tokens, about; a shorter prompt fits everywhere
SHARE, SUSPICIOUS = 0.66, 0.85  # of the estimate; the second where the numbers add up to a server's usual limit
LIMITS = tuple(2**power for power in range(9, 21))  # tokens
LONGEST = 100_000  # characters that are looked at; of a longer prompt, some slices

# Pieces of a text, and about how many tokens most tokenizers make of one of so many characters.
_TOKENS: dict[str, Callable[[int], float]] = {
    "blanks": lambda size: 1.0,
    "code": lambda size: size / 4,  # base64, digests: no words
    "inner": lambda size: max(0.75, min(size, 30) / 4.5),  # as in inCamelCase, or in base64
    "word": lambda size: max(1.0, min(size, 30) / 4.5),
    "digits": lambda size: 1.0,
    "signs": lambda size: 0.8,  # Chinese, Japanese and Korean
    "letters": lambda size: max(1.0, size / 3),  # other than Latin
    "marks": lambda size: 1.0,
}
_UPPER, _LOWER = r"A-Z\u00c0-\u00de", r"a-z\u00df-\u024f\u1e00-\u1eff"
_SIGNS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = f"[{_UPPER}]?[{_LOWER}]+|[{_UPPER}]+"
_REPEATED = re.compile(r"(\S)\1{7,}")  # one sign again and again
_PIECES = re.compile(
    rf"(?P<blanks>\s{{2,}})|(?P<code>[A-Za-z0-9][A-Za-z0-9_+/]{{39,}})|(?P<inner>(?<=[{_LOWER}])(?:{_WORD}))"
    rf"|(?P<word>{_WORD})|(?P<digits>\d{{1,3}})|(?P<signs>[{_SIGNS}])|(?P<letters>[^\x00-\x7f\s{_SIGNS}{_LOWER}{_UPPER}]+)|(?P<marks>[!-/:-@\[-^`{{-~]+)"
)


def cut_warnings(request: Request, input_tokens: int | None, output_tokens: int | None) -> tuple[str, ...]:
    """A sentence if the server seems to have read a part of the prompt only; empty else, and where nobody can tell."""
    if request.offline or not input_tokens or request.model.vendor.api not in ("openai", "mistral"):
        return ()
    text = request.text
    expected, share = _about(text), SHARE
    if input_tokens in LIMITS or input_tokens + (output_tokens or 0) in LIMITS:
        expected, share = max(expected, tokens(text)), SUSPICIOUS
    if expected < SHORTEST or input_tokens >= expected * share:
        return ()
    return (
        f"The server reports {input_tokens:,} tokens for a prompt of about {expected:,}, so it seems to have cut off a "
        "part: give its model a larger context (Ollama: OLLAMA_CONTEXT_LENGTH), or send fewer or shorter references.",
    )


@lru_cache(maxsize=8)
def _about(text: str) -> int:
    """About how many tokens a text has, on the low side for what tokenizers differ about."""
    if len(text) > LONGEST:
        step = len(text) // 50
        part = "".join(text[place : place + LONGEST // 50] for place in range(0, len(text) - step + 1, step))
        return round(_about(part) * len(text) / len(part))
    found = 0.0
    for piece in _PIECES.finditer(_REPEATED.sub(" ", text)):
        found += _TOKENS[piece.lastgroup or "marks"](piece.end() - piece.start())
    return round(found)
