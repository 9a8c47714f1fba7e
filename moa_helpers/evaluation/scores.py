"""Whether an answer is right, by a rule instead of a judge. Each score reads the final answer and says what it read.

A score is any function ``(question, answer) -> Score | float | bool | None``; ``question`` has the ``reference``. These
scores read text as models write it, with Markdown, LaTeX and thoughts before the answer.
"""

import math
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable, signature
from typing import TypeAlias

from moa_helpers.bulk.questions import Question
from moa_helpers.evaluation import reading, running_code
from moa_helpers.evaluation.comparison import Scored
from moa_helpers.limits.checks import check_number
from moa_helpers.steps.ranking import spoken

__all__ = ["Score", "choice", "contains", "exact", "number", "pattern", "runs"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True)
class Score:
    """The result of a score: 1 is right, 0 is wrong, None is nothing to read. ``read`` is the text it is about."""

    value: float | None
    read: str = ""


Found: TypeAlias = Score | float | bool | None
Scorer: TypeAlias = Callable[[Question, str], Found | Awaitable[Found]]


async def check_score(score: Scorer | None, questions: Sequence[Question]) -> None:
    """Raise TypeError unless it takes a question and an answer, ValueError if one of these scores lacks a reference."""
    try:
        if score is not None:
            signature(score).bind("question", "answer")
    except (TypeError, ValueError):
        raise TypeError(f"score must take a question and an answer, as scores.number() does, not {score!r}.") from None
    own = getattr(score, "__module__", "") == __name__  # they look at the reference before they read an answer
    tried = [await scored(score, question, "", "?") for question in questions] if score and own else []
    if problems := [each.problem.partition(": ")[2] for each in tried if each.problem]:
        raise ValueError(
            f"{len(problems):,} of {len(tried):,} questions cannot be scored, so no call was made. {problems[0]} Give "
            "each question such a reference, leave out those without one, or take a judge."
        )


async def scored(score: Scorer, question: Question, strategy: str, answer: str) -> Scored:
    """The score of a strategy's answer. A missing answer is wrong. An error of the score is noted."""
    about = partial(Scored, question.id, strategy, question.reference)
    if not answer:
        return about(0.0)
    try:
        found = score(question, answer)
        found = await found if isawaitable(found) else found
        read = found if isinstance(found, Score) else Score(None if found is None else float(found))
        value = None if read.value is None or math.isnan(read.value) else float(read.value)
        if value is not None and math.isinf(value):
            raise ValueError(f"a score is a number, and not {value}")
        return about(value, str(read.read or "")[: reading.READ])
    except Exception as error:
        return about(None, problem=f"{type(error).__name__}: {error}")


def exact(question: Question, answer: str) -> Score:
    r"""Whether the answer is the reference, apart from case, spaces and the marks around it.

    It reads the text in ``\boxed{}``, or after "answer:" or "the answer is", or a text of a single line. Raises
    ValueError if the question has no reference.
    """
    found = reading.final(answer)
    if found is None:
        lines = [line for line in spoken(answer).splitlines() if line.strip()]
        found = lines[0] if len(lines) == 1 else None
    return _equal(question, found)


def pattern(regex: str) -> Callable[[Question, str], Score]:
    """Whether the last match of a regular expression, or its first group, is the reference.

    It looks at the last 10,000 characters. An expression such as ``(a+)+$`` may never end. The score raises ValueError
    if the question has no reference. This raises re.error for a wrong expression.
    """
    compiled = re.compile(regex)

    def score(question: Question, answer: str) -> Score:
        found = [match[1 if compiled.groups else 0] for match in compiled.finditer(spoken(answer)[-reading.READ :])]
        return _equal(question, found[-1] if found else None)

    return score


def contains(question: Question, answer: str) -> Score:
    """Whether the answer contains the reference as whole words. It cannot tell "not 5" from "5".

    Raises ValueError if the question has no reference.
    """
    text = reading.bare(spoken(answer))
    found = re.search(rf"(?<!\w){re.escape(reading.bare(_known(question)))}(?!\w)", text)
    return Score(1.0, text[max(0, found.start() - 20) : found.end() + 20]) if found else Score(0.0)


def choice(letters: str) -> Callable[[Question, str], Score]:
    """Whether the answer chooses the letter of the reference, out of ``letters`` such as ``"ABCD"``.

    It reads the letter of the final answer, or the only single letter. Several letters are unread. The score raises
    ValueError if the reference has no such letter; this raises it if ``letters`` are not different letters.
    """
    letters = letters.upper()
    if not letters.isalpha() or len(set(letters)) < max(2, len(letters)):
        raise ValueError(f"letters is {letters!r}; write the letters to choose from, such as 'ABCD'.")
    one = f"([{letters}])"
    final = re.compile(rf"(?i)\W*(?:(?:option|choice|letter)\W+)?(?:(?-i:{one})(?![\w'’])|{one}(?:[).:]|\W*\Z))")
    ways = [  # the first that finds any: the whole text, the beginning of a line, a letter alone, and even an article
        rf"(?i)\A\W*{one}\W*\Z",
        rf"(?m)^[^\w\n]*(?:[Oo]ption\W+)?{one}(?:[).:]|[^\w\n]*$)",
        *(rf"(?<![\w'’]){one}(?![\w'’]{unless})" for unless in (r"|\s(?!(?:or|and|is)\b)[a-z]", "")),
    ]

    def letter(text: str) -> str:
        text = reading.plain(spoken(text)[-reading.READ :])
        if said := final.match(reading.final(text) or ""):
            return str(said[1] or said[2]).upper()
        named = {found.upper() for found in next(filter(None, (re.findall(way, text) for way in ways)), [])}
        return named.pop() if len(named) == 1 else ""

    def score(question: Question, answer: str) -> Score:
        known = letter(_known(question))
        if not known:
            raise ValueError(f"The reference of {question.id!r} has none of the letters {letters}.")
        found = letter(answer)
        return Score(float(found == known), found) if found else Score(None)

    return score


def number(*, tolerance: float = 0.0) -> Callable[[Question, str], Score]:
    r"""Whether the answer's number is that of the reference, up to ``tolerance`` in the same unit.

    It reads the number of the final answer (as in ``exact``), or else the last one. It knows separators of thousands
    (1,234.5 · 1.234.567 · 1 234 · 1'234), a decimal comma (3,14), signs, and fractions (3/4, ``\frac{3}{4}``, ½). It
    also knows powers (1.5e6, 1.5 × 10^6), "million", and percent: 12 % equals both 12 and 0.12. 1,234 is read the
    English way. Units are not converted, and numbers in words are not read.

    The score raises ValueError if the reference has no number; this raises it if ``tolerance`` is below 0.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; it is the largest error allowed: 0 or more.")

    def score(question: Question, answer: str) -> Score:
        known = reading.number(_known(question))
        if known is None:
            raise ValueError(f"The reference of {question.id!r} has no number.")
        found = reading.number(answer)
        if found is None:
            return Score(None)
        scales = (1.0, 0.01 if found.percent else 100.0) if found.percent is not known.percent else (1.0,)
        right = any(math.isclose(found.value * by, known.value, rel_tol=1e-9, abs_tol=tolerance) for by in scales)
        return Score(float(right), found.text)

    return score


def runs(
    *, on_this_machine: bool = False, seconds: float = 10.0, memory_mb: int = 512
) -> Callable[[Question, str], Awaitable[Score]]:
    """Whether an answer's Python code passes the tests in the reference. It runs a model's code on your machine.

    The last fenced block runs, and then the reference (statements with ``assert``), in the same namespace. They get a
    process and an empty folder, no environment variables and, if the system allows it, no network. They can still read
    your files: use a container where those matter.

    Args:
        on_this_machine: True, to confirm that.
        seconds: how long code and tests may take.
        memory_mb: megabytes of memory that they may take.

    Raises:
        ValueError: ``on_this_machine`` is not True. The score raises it if the question has no reference.
        OSError: this system cannot limit memory and time.
    """
    if on_this_machine is not True:
        raise ValueError("This runs code that a model wrote. If that is what you want: runs(on_this_machine=True).")
    check_number("seconds", seconds)
    check_number("memory_mb", memory_mb, whole=True)
    if not sys.platform.startswith("linux"):
        raise OSError("scores.runs needs Linux, as on Colab: this system cannot limit the memory and time of code.")

    async def score(question: Question, answer: str) -> Score:
        tests, blocks = _known(question), re.findall(r"(?ms)^\s*```[^\n`]*\n(.*?)^\s*```", spoken(answer))
        if not blocks:
            return Score(None)
        passed, said = await running_code.passes(blocks[-1], tests, seconds, memory_mb)
        return Score(float(passed), said)

    return score


def _known(question: Question) -> str:
    if not question.reference:
        raise ValueError(f"The question {question.id!r} has no reference to compare the answer with.")
    return question.reference


def _equal(question: Question, found: str | None) -> Score:
    known, said = reading.bare(_known(question)), reading.bare(found or "")
    return Score(float(said == known), (found or "").strip()) if said else Score(None)
