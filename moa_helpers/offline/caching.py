"""The vendors' prompt caches, simulated: the beginning of a prompt that a model has read before is cheaper to read.

Each in its own way, as of November 2026. Mistral (docs.mistral.ai, "Prompt caching") keeps blocks of 64 tokens, for
requests with a ``prompt_cache_key``. OpenAI (developers.openai.com, "Prompt caching") kept steps of 128 tokens from
1,024 on. Since GPT-5.6 it keeps the whole of a prompt and what a ``prompt_cache_breakpoint`` marks. It finds nothing
that ends elsewhere. Anthropic (platform.claude.com, "Prompt caching") keeps what ``cache_control`` marks. Other hosts
do not say.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from moa_helpers.catalogue import Model

KEPT = 20_000  # the latest prefixes of all models, as hashes
LEAST, STEP, BLOCK = 1_024, 128, 64  # tokens
MOST = 10_000  # messages; of more nothing is kept, as reading them takes too long
LOOKED_BACK = {"openai": 80, "anthropic": 20}  # parts of messages before the last mark
TOKEN = 4  # characters, as in the stand-ins' own count
STEPWISE = re.compile(r"gpt-(4|5(?!\.[6-9]))|o\d")  # the models of OpenAI's before GPT-5.6


class Prefix(NamedTuple):
    """The beginning of a prompt, and whether it is to be kept."""

    tokens: int
    hash: bytes
    kept: bool


class PromptCache:
    """What the models have read; of the prefixes the latest ``KEPT``."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def read(self, model: Model, prefixes: Sequence[Prefix]) -> int:
        """How many tokens of a prompt the model has read before."""
        return max((one.tokens for one in prefixes if (model.name, one.hash) in self._known), default=0)

    def keep(self, model: Model, prefixes: Sequence[Prefix]) -> None:
        """Keep what of a prompt is to be kept; a vendor does so when it begins to answer."""
        for one in prefixes:
            if one.kept:
                self._known.pop((model.name, one.hash), None)
                self._known[model.name, one.hash] = None
        while len(self._known) > KEPT:
            self._known.popitem(last=False)


def prefixes(model: Model, asked: Mapping[str, Any], tokens: int) -> list[Prefix] | None:
    """The beginnings of a request's prompt, of so many tokens, that the vendor may know; None if it has no cache."""
    vendor = model.vendor.name
    if vendor != "mistral" and vendor not in LOOKED_BACK:
        return None
    least, step = (BLOCK, BLOCK) if vendor == "mistral" else (LEAST, STEP)
    told = vendor != "mistral" or asked.get("prompt_cache_key")
    if tokens < least or len(asked["messages"]) > MOST or not told:
        return []
    pieces = [*_pieces(asked)]
    text = "".join(piece for piece, _ in pieces)
    if vendor == "mistral" or (vendor == "openai" and STEPWISE.match(model.id)):
        return _hashed(text, dict.fromkeys(range(least * TOKEN, len(text) + 1, step * TOKEN), True), tokens)
    explicit = (asked.get("prompt_cache_options") or {}).get("mode") == "explicit"
    if asked.get("cache_control") if vendor == "anthropic" else not explicit:
        pieces[-1] = pieces[-1][0], True
    while pieces and not pieces[-1][1]:  # nothing is looked for behind the last mark
        pieces.pop()
    places = [*accumulate(len(piece) for piece, _ in pieces)]
    ends = dict(zip(places, (kept for _, kept in pieces), strict=True))
    looked_at = dict([*ends.items()][-LOOKED_BACK[vendor] :])
    return [one for one in _hashed(text, looked_at, tokens) if one.tokens >= LEAST]


def _pieces(asked: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The parts of the messages in the order in which they are read, and whether each has the mark of a cache."""
    for message in ({"role": "system", "content": asked.get("system")}, *asked["messages"]):
        content = message.get("content") or ""
        for part in [{"text": content}] if isinstance(content, str) else content:
            marked = part.get("cache_control") or part.get("prompt_cache_breakpoint")
            yield message["role"][0] + (part.get("text") or ""), bool(marked)


def _hashed(text: str, ends: Mapping[int, bool], most: int) -> list[Prefix]:
    hashed, begin, found = hashlib.blake2b(digest_size=16), 0, []
    for end, kept in ends.items():
        hashed.update(text[begin:end].encode())
        begin = end
        found.append(Prefix(min(end // TOKEN, most), hashed.digest(), kept))
    return found
