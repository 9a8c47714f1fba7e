"""Which references enter when some may lie: those that a majority can vouch for, judged by the texts' words alone.

The idea is that of "Cluster & Filter" (Wolf, Yoon and Bogunovic 2025, arXiv:2503.05856: cluster the references, keep
the larger cluster) and of "Krum" (Blanchard et al. 2017: trust what lies close to a majority), without embeddings and
without a further call. It knows words and no meaning: it cannot tell truth from falsehood, only what nobody else says.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeAlias

Claim: TypeAlias = frozenset[str]  # the distinctive words of a sentence

COPY = 0.8  # two texts are near copies if each says this share of the other's sentences
LEFT_OUT_BELOW = 0.7  # of the best reference's agreement
COMMON = frozenset(
    """
    the and for are was were that this with from have has its your you our not but can who which when than then into
    also only any all one two three more most such because since each they them there their what how
    """.split()  # noqa: SIM905
)


def majority(texts: Sequence[str]) -> list[int]:
    """The places of the texts that may enter; the others agree too little with the rest to be trusted.

    A text is left out if its ``agreement`` is below ``LEFT_OUT_BELOW`` of the best one's. At most a minority is left
    out, that is fewer than half. One or two texts always enter. So do all if not even the best finds half of its
    sentences in the others, as then there is nothing to measure by.
    """
    found = agreement(texts)
    if max(found, default=0.0) < 0.5:
        return list(range(len(texts)))
    floor = min(LEFT_OUT_BELOW * max(found), sorted(found)[_minority(len(texts))])
    return [place for place, share in enumerate(found) if share >= floor]


def agreement(texts: Sequence[str]) -> list[float]:
    """For each text the share (0 to 1) of its sentences that at least one other text says as well.

    Another text says a sentence if one of its own holds at least half of the sentence's distinctive words. Near copies
    vouch for each other only where they are too many for a minority: so no minority of copies vouches for itself.
    """
    claims = [_claims(text) for text in texts]
    said_by = _said_by(claims)
    likeness = [Counter(other for claim in own for other in said_by[claim]) for own in claims]

    def says(one: int, other: int) -> float:
        return likeness[one][other] / len(claims[one])

    shares = []
    for place, own in enumerate(claims):
        copies = {other for other in likeness[place] if min(says(place, other), says(other, place)) >= COPY}
        doubtful = copies if len(copies) <= _minority(len(texts)) else {place}  # a text is a copy of itself
        shares.append(sum(bool(said_by[claim] - doubtful) for claim in own) / len(own) if own else 0.0)
    return shares


def between(before: Sequence[str], after: Sequence[str]) -> float:
    """How much two sets of texts say the same: the share (0 to 1) of all their sentences that the other set says, too.

    0 if there is nothing to compare. A text says a sentence as in ``agreement``.
    """
    claims = [_claims(text) for text in (*before, *after)]
    said_by = _said_by(claims)
    places = set(range(len(claims)))
    first = set(range(len(before)))
    shared = [
        bool(said_by[claim] & (places - first if n in first else first))
        for n, own in enumerate(claims)
        for claim in own
    ]
    return sum(shared) / len(shared) if shared else 0.0


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, without Markdown's marks and without notes in parentheses of their own."""
    lines = [re.sub(r"^[\s#>*-]+|\*\*", "", line).strip() for line in text.splitlines()]
    found = [part for line in lines for part in re.split(r"(?<=[.!?:])\s+", line)]
    return [part for part in found if part and not (part.startswith("(") and part.endswith(")"))]


def words_of(sentence: str) -> set[str]:
    """Distinctive words, cut to six letters so that ``walks`` meets ``walking``'s stem as often as not."""
    found = {word[:6] for word in re.findall(r"[^\W_]{3,}", sentence.lower()) if word not in COMMON}
    return found | set(re.findall(r"\d+", sentence))


def _minority(count: int) -> int:
    """The most texts that are still fewer than half."""
    return (count - 1) // 2


def _claims(text: str) -> set[Claim]:
    """A text's sentences of four distinctive words or more; a text without such a sentence is one claim."""
    found = {frozenset(words_of(sentence)) for sentence in sentences_of(text)}
    return {claim for claim in found if len(claim) >= 4} or {frozenset(words_of(text))} - {frozenset()}


def _said_by(claims: Sequence[set[Claim]]) -> dict[Claim, set[int]]:
    """For each claim the places of the texts that say it.

    All sentences are compared at once: each is a bit, and each word a number whose bits say which sentences hold it.
    """
    spans, holding, size = [], defaultdict[str, int](int), 0
    for own in claims:
        spans.append((1 << size + len(own)) - (1 << size))  # the bits of this text's sentences
        for bit, claim in enumerate(own, size):
            for word in claim:
                holding[word] |= 1 << bit
        size += len(own)
    said_by = {}
    for claim in set().union(*claims):
        close = _in_at_least((len(claim) + 1) // 2, [holding[word] for word in claim])
        said_by[claim] = {place for place, span in enumerate(spans) if close & span}
    return said_by


def _in_at_least(least: int, numbers: Sequence[int]) -> int:
    """The bits that are set in at least so many of the numbers."""
    digits: list[int] = []  # how often each bit was set: the first holds the ones of all counts, the next the twos, ...
    for carry in numbers:
        for place, digit in enumerate(digits):
            digits[place], carry = digit ^ carry, digit & carry
        digits += [carry] if carry else []
    more, same = 0, -1  # bits whose count is above, or so far the same as, that of ``least``
    for place in reversed(range(max(len(digits), least.bit_length()))):
        digit = digits[place] if place < len(digits) else 0
        if least >> place & 1:
            same &= digit
        else:
            more |= same & digit
            same &= ~digit
    return more | same
