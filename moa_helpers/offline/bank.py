"""The bank of prepared questions: every point that a stand-in can make, true or false, and how a text is scored."""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from moa_helpers.catalogue import rows
from moa_helpers.offline.matching import asked, asks_anything, ends

UNPREPARED = "This is an offline stand-in, not a language model, and it has no answer to that question."
LIST, GO_LIVE = "It knows these:", "go live:"  # what stands around the list of the prepared questions
LONG = 1_000  # characters
LOOKED_AT = 5_000  # characters at each end of messages that ask nothing
VARIANT = re.compile(r"\(variant (\d+)\)")
ANSWERED = ("{why} **Answer: {answer}**", "{why} The answer is {answer}.", r"{why} So: \boxed{{{answer}}}")
OPEN = ("{why} I would rather not settle on one answer.", "{why} So it stays open.", "{why} There is no one answer.")


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
    reference: str | None = None  # the right answer, where there is one; the points are that and wrong ones then


@dataclass(frozen=True)
class Score:
    """How good a text is, exactly: true points in it, false points in it, and the most true points it could hold."""

    covered: int
    wrong: int
    possible: int


def questions(variants: int = 1, *, checkable: bool = False) -> tuple[Question, ...]:
    """The prepared questions, each in so many variants: with a number at the end, and what is known drawn anew.

    Those that are ``checkable`` have a ``reference``, the one right answer: sums, dates, choices, spelling, logic.
    """
    if variants < 1:
        raise ValueError(f"variants is {variants}; each question is there at least once.")
    once = _checkable() if checkable else _bank()
    more = [
        replace(question, id=f"{question.id}-{number}", prompt=f"{question.prompt} (variant {number})")
        for number in range(2, variants + 1)
        for question in once
    ]
    return (*once, *more)


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


@cache
def _checkable() -> tuple[Question, ...]:
    found = []
    for row in rows(Path(__file__).with_name("checkable.csv")):
        said = {row["id"]: (row["right"], row["why"])}
        said |= {f"{row['id']}-{wrong}": (row[f"wrong_{wrong}"], row[f"why_{wrong}"]) for wrong in ("1", "2")}
        points: list[Point] = []
        for name, (answer, why) in said.items():
            one, two, three = (form.format(why=why, answer=answer) for form in (ANSWERED if answer else OPEN))
            points.append(Point(name, "Working", not points, row["id"] if points else None, (one, two, three)))
        found.append(Question(row["id"], row["kind"], row["prompt"], None, tuple(points), row["right"]))
    return tuple(found)


def match(prompt: str, material: str = "") -> Question | None:
    """The prepared question that a prompt asks, in other words or inside a longer text; None if it asks none of them.

    If it asks nothing at all, but the material (all messages) makes points, it is the question that these answer: other
    people's mixtures send an aggregator the answers alone.
    """
    first, *quoted = prompt.split(LIST)  # nobody asks the questions in a stand-in's answer
    unquoted = " ".join([first, *(part.partition(GO_LIVE)[2] for part in quoted)])
    text = ends(VARIANT.sub("", unquoted))
    if len(text) > LONG:  # it may run into the question without a mark
        for question in _bank():
            text = text.replace(question.prompt, f"| {question.prompt}")
    plain = " ".join(text.split()).casefold()
    for question in _checkable():  # word for word, with something before it or behind
        if plain.startswith(question.prompt.casefold()) or plain.endswith(question.prompt.casefold()):
            return question
    if found := asked(text):
        return next(question for question in _bank() if question.id == found)
    if not material or asks_anything(text):
        return None
    told = ends(material, LOOKED_AT)
    most = max((*_bank(), *_checkable()), key=lambda question: len(points_in(question, told)))
    return most if points_in(most, told) else None


def unprepared() -> str:
    """What a stand-in says to a question that it does not know."""
    prepared = "\n".join(f"- {question.prompt}" for question in questions())
    return (
        f"{UNPREPARED} {LIST}\n\n{prepared}\n\n"
        f"To ask anything else, {GO_LIVE} put an API key into .env and run moa.setup() again."
    )


def points_in(question: Question, text: str) -> list[Point]:
    """The question's points that a text makes, in the order of the bank."""
    made = set(mentions(question, text))
    return [point for point in question.points if point in made]


def mentions(question: Question, text: str) -> list[Point]:
    """The question's points in the order in which a text makes them, each as often as it makes it."""
    flat = " ".join(text.split())
    places = [
        (match.start(), number)
        for number, point in enumerate(question.points)
        for wording in point.wordings
        if wording in flat
        for match in re.finditer(re.escape(wording), flat)
    ]
    return [question.points[number] for _, number in sorted(places)]


def score(prompt: str, text: str) -> Score:
    """Score an offline answer to a prepared question; raises ValueError if the prompt is none."""
    question = match(prompt)
    if question is None:
        raise ValueError(f"{prompt!r} is not a prepared question; prepared are {[q.prompt for q in _bank()]}.")
    found = points_in(question, text)
    sizes = Counter(point.topic for point in question.points if point.true)
    possible = sum(size for _, size in sizes.most_common(question.pick))
    return Score(sum(point.true for point in found), sum(not point.true for point in found), possible)


def points(prompt: str, text: str) -> Score | None:
    """The same, or None if the prompt is no prepared question."""
    return score(prompt, text) if match(prompt) else None
