"""The bank of prepared questions: every point that a stand-in can make, true or false, and how a text is scored."""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache, lru_cache
from pathlib import Path

VARIANT = re.compile(r"\s*\(variant (\d+)\)\s*$")


@dataclass(frozen=True)
class Point:
    """One claim, true or false, in three wordings."""

    id: str
    topic: str
    true: bool
    contradicts: str | None
    wordings: tuple[str, str, str]


@dataclass(frozen=True)
class Question:
    """A prepared question and everything that the stand-ins can say about it."""

    id: str
    kind: str
    prompt: str
    pick: int | None  # how many topics an answer takes up; None: all
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Score:
    """How good a text is, exactly: true points in it, false points in it, and the most true points it could hold."""

    covered: int
    wrong: int
    possible: int


def questions(variants: int = 1) -> tuple[Question, ...]:
    """The prepared questions.

    Args:
        variants: how often each question is there, its number at the end of its prompt, what is known drawn anew.
    """
    if variants < 1:
        raise ValueError(f"variants is {variants}; each question is there at least once.")
    more = [
        replace(question, id=f"{question.id}-{number}", prompt=f"{question.prompt} (variant {number})")
        for number in range(2, variants + 1)
        for question in _bank()
    ]
    return (*_bank(), *more)


@cache
def _bank() -> tuple[Question, ...]:
    found = []
    for entry in json.loads(Path(__file__).with_name("bank.json").read_text(encoding="utf-8"))["questions"]:
        points = [
            Point(topic=topic["title"], **{**point, "wordings": tuple(point["wordings"])})
            for topic in entry.pop("topics")
            for point in topic["points"]
        ]
        found.append(Question(**entry, points=tuple(points)))
    return tuple(found)


def match(prompt: str) -> Question | None:
    """The prepared question that a prompt asks, even in slightly other words; None if it asks none of them."""
    return _match(VARIANT.sub("", prompt))


@lru_cache(maxsize=256)
def _match(prompt: str) -> Question | None:
    asked = _plain(prompt)
    close = [(SequenceMatcher(None, asked, _plain(question.prompt)).ratio(), question) for question in _bank()]
    likeness, best = max(close, key=lambda pair: pair[0])
    return best if likeness >= 0.9 else None


def points_in(question: Question, text: str) -> list[Point]:
    """The question's points that a text makes, in the order of the bank."""
    flat = " ".join(text.split())
    return [point for point in question.points if any(wording in flat for wording in point.wordings)]


def score(prompt: str, text: str) -> Score:
    """Score an offline answer to a prepared question.

    Raises:
        ValueError: the prompt is not a prepared question, so there is nothing to score against.
    """
    question = match(prompt)
    if question is None:
        raise ValueError(f"{prompt!r} is not a prepared question; prepared are {[q.prompt for q in _bank()]}.")
    found = points_in(question, text)
    sizes = Counter(point.topic for point in question.points if point.true)
    possible = sum(size for _, size in sizes.most_common(question.pick))
    return Score(sum(point.true for point in found), sum(not point.true for point in found), possible)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w.]+", text.lower()))
