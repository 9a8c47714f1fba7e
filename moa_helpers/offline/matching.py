"""Which prepared question a text asks: in other words, too, and anywhere in the text.

A text is cut into sentences. One that asks a prepared question holds every word that the question needs (a row of
``askings.csv``). Its other words change nothing about what is asked (``filler_words.csv``). A sentence with any other
word, such as "Why is the sky blue on Mars?", may ask something else, so it does not match. All this takes time in
proportion to the text. Of a long text only the beginning and the end are read.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from moa_helpers.catalogue import rows

READ = 12_000  # so many characters at each end of a text
FEW = 150  # in a text of so few words, a word with one wrong letter is read as the word that is meant
LONGEST = 4  # sentences of a question
PLACES = 20  # where the rarest word of a question is: so many at each end are looked at
TOKEN = re.compile(r"[^\W_]+(?:\.[^\W_]+)*|[.?!:;\n\"“”„«»‹›<>{}\[\]|]")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Asking:
    """One way to ask a question: a word out of each of ``needs``, the rarest first, and any out of ``may``."""

    question: str
    needs: tuple[frozenset[str], ...]
    may: frozenset[str]

    def fits(self, words: list[str]) -> bool:
        """Whether words ask the question, and nothing else."""
        if not all(need.intersection(words) for need in self.needs):
            return False
        needed = frozenset().union(*self.needs)
        first = next(place for place, word in enumerate(words) if word in needed)
        while _says_little([words[first]]) and all(need.intersection(words[first + 1 :]) for need in self.needs):
            first += 1  # "Explain why": the "why" is enough
        end = max(place for place, word in enumerate(words, 1) if word in needed or word in self.may)
        before, asked, after = words[:first], words[first:end], words[end:]
        return (
            all(word in needed or word in self.may or word in INSIDE for word in asked)
            and _says_little(before, self.may | BEFORE)
            and (not after or (after[0] in AFTER and _says_little(after, BEFORE if after[0] == "to" else frozenset())))
        )


class Sentence(NamedTuple):
    """The words between two marks, the mark that ends them, and the number of the line."""

    words: list[str]
    end: str
    line: int

    def asks_else(self) -> bool:
        """Whether this asks something of its own."""
        return self.end == "?" and not _says_little(self.words, BEFORE)


ASKINGS = [
    Asking(
        row["question"],
        tuple(frozenset(need.split("|")) for need in row["needs"].split()),
        frozenset(row["may"].split()),
    )
    for row in rows(_HERE / "askings.csv")
]
INSIDE, AROUND, BEFORE, AFTER, ROLE, TASK = (
    frozenset(" ".join(row["words"] for row in rows(_HERE / "filler_words.csv") if row["where"] == where).split())
    for where in ("inside", "around", "before", "after", "role", "task")
)
NEEDED = sorted({word for asking in ASKINGS for need in asking.needs for word in need})
RAREST = frozenset().union(*(asking.needs[0] for asking in ASKINGS))
KNOWN = frozenset(NEEDED).union(INSIDE, AROUND, BEFORE, AFTER, TASK, *(asking.may for asking in ASKINGS))


def ends(text: str, read: int = READ) -> str:
    """A text, or of a long one so many characters at the beginning and at the end."""
    text = text.strip()
    return text if len(text) <= 2 * read else f"{text[:read]}\n{text[-read:]}"


def asked(text: str) -> str | None:
    """The id of the prepared question that a text asks, the last one if it asks several; None if it asks none."""
    sentences = _sentences(text)
    places = [place for place, sentence in enumerate(sentences) if not RAREST.isdisjoint(sentence.words)]
    found = [match for asking in ASKINGS for match in _matches(asking, sentences, places)]
    if not found:
        return None
    last, first, question = max(found)
    before, behind = sentences[:first], sentences[last + 1 :]
    if before and (
        TASK.intersection(before[-1].words) or (before[-1].asks_else() and before[-1].line == sentences[first].line)
    ):
        return None
    if (behind and behind[0].asks_else()) or any(_turn(*pair) for pair in pairwise(behind)):
        return None
    return question


def asks_anything(text: str) -> bool:
    """Whether a text asks any question of its own."""
    return any(sentence.asks_else() for sentence in _sentences(text))


def _matches(asking: Asking, sentences: list[Sentence], near: list[int]) -> Iterator[tuple[int, int, str]]:
    """The last and the first sentence of each place that asks the question; ``near`` are the places to look at."""
    places = [place for place in near if not asking.needs[0].isdisjoint(sentences[place].words)]
    for place in dict.fromkeys(places[:PLACES] + places[-PLACES:]):
        for first in range(max(0, place - LONGEST + 1), place + 1):
            words: list[str] = []
            for last, sentence in enumerate(sentences[first : first + LONGEST], first):
                words = words + sentence.words
                if len(words) > FEW:
                    break
                if last >= place and asking.fits(words):
                    yield last, first, asking.question


def _turn(mark: Sentence, sentence: Sentence) -> bool:
    """Whether a sentence is the question of another turn of a conversation, behind a mark such as ``User:``."""
    return len(mark.words) <= 2 and mark.words[0] in ROLE and sentence.asks_else()


@lru_cache(maxsize=64)
def _sentences(text: str) -> list[Sentence]:
    plain = ends(unicodedata.normalize("NFKC", ends(text))).casefold().replace("\\n", "\n")
    tokens = TOKEN.findall(plain)
    if len(tokens) <= FEW:
        tokens = [_meant(token) for token in tokens]
    found: list[Sentence] = []
    words: list[str] = []
    line = 0
    for token in [*tokens, "\n"]:
        if token[0].isalnum():
            words.append(token)
            continue
        if words:
            found.append(Sentence(words, token, line))
            words = []
        line += token == "\n"
    return found


def _says_little(words: list[str], may: frozenset[str] = frozenset()) -> bool:
    """Whether words only frame a question: what they say is how to answer, not what about."""
    return all(
        word in AROUND or word in INSIDE or word in may or word in ROLE or (word.isdecimal() and len(word) <= 3)
        for word in words
    )


@lru_cache(maxsize=4096)
def _meant(word: str) -> str:
    """The word that a question needs and that is meant by a word with one slip."""
    if word in KNOWN or len(word) < 4:
        return word
    return next((MEANT[part] for part in sorted(_parts(word)) if part in MEANT), word)


def _parts(word: str) -> set[str]:
    """What a word and the same with one slip have in common; of a short word that is its letters in any order."""
    if len(word) < 5:
        return {word[0] + "".join(sorted(word[1:]))}
    return {word, *(word[:place] + word[place + 1 :] for place in range(1, len(word)))}


MEANT = {part: word for word in NEEDED if len(word) >= 4 for part in _parts(word)}
