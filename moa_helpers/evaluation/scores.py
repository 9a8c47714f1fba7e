"""Whether an answer is right, by a rule instead of a judge: each score reads the answer out of a text and says what.

A score is ``(question, answer) -> Score | float | bool | None``, ``question`` having its ``reference``; any function of
your own is one. The extractors read text as models write it, with Markdown, LaTeX and thoughts before the answer.
"""

import math
import re
from collections.abc import Awaitable, Callable
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
    """What a score found: 1 is right, 0 wrong, and None means that it found nothing to read; and what it ``read``."""

    value: float | None
    read: str = ""


Found: TypeAlias = Score | float | bool | None
Scorer: TypeAlias = Callable[[Question, str], Found | Awaitable[Found]]


def check_score(score: Scorer | None) -> None:
    """Raise TypeError unless it takes a question and an answer; ``scores.number`` without its brackets does not."""
    try:
        if score is not None:
            signature(score).bind("question", "answer")
    except (TypeError, ValueError):
        raise TypeError(f"score must take a question and an answer, as scores.number() does, not {score!r}.") from None


async def scored(score: Scorer, question: Question, strategy: str, answer: str) -> Scored:
    """What a score says of a strategy's answer. An answer that is missing is wrong; what the score raises is kept."""
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
    r"""Whether the answer says what the reference says, whatever its case, its spaces and the marks around it.

    It reads what ``\boxed{}`` holds, else what follows "answer:" or "the answer is", else a text of a single line.
    Raises ValueError if the question has no reference.
    """
    found = reading.final(answer)
    if found is None:
        lines = [line for line in spoken(answer).splitlines() if line.strip()]
        found = lines[0] if len(lines) == 1 else None
    return _equal(question, found)


def pattern(regex: str) -> Callable[[Question, str], Score]:
    """Whether what a regular expression finds is the reference: its first group, where it matches last.

    It looks at the last 10,000 characters; nothing stops an expression such as ``(a+)+$``, which may try for ever. The
    score raises ValueError if the question has no reference; this raises re.error for a wrong expression.
    """
    compiled = re.compile(regex)

    def score(question: Question, answer: str) -> Score:
        found = [match[1 if compiled.groups else 0] for match in compiled.finditer(spoken(answer)[-reading.READ :])]
        return _equal(question, found[-1] if found else None)

    return score


def contains(question: Question, answer: str) -> Score:
    """Whether the reference stands in the answer, as whole words; it cannot tell "not 5" from "5".

    Raises ValueError if the question has no reference.
    """
    text = reading.bare(spoken(answer))
    found = re.search(rf"(?<!\w){re.escape(reading.bare(_known(question)))}(?!\w)", text)
    return Score(1.0, text[max(0, found.start() - 20) : found.end() + 20]) if found else Score(0.0)


def choice(letters: str) -> Callable[[Question, str], Score]:
    """Whether the answer takes the letter of the reference, out of ``letters`` such as ``"ABCD"``.

    It reads the letter that is said to be the answer, else the only one that stands alone; of several it reads none.
    The score raises ValueError if the reference holds no such letter; this, if ``letters`` are not different letters.
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
            raise ValueError(f"The reference of {question.id!r} holds none of the letters {letters}.")
        found = letter(answer)
        return Score(float(found == known), found) if found else Score(None)

    return score


def number(*, tolerance: float = 0.0) -> Callable[[Question, str], Score]:
    r"""Whether the answer's number is that of the reference, up to ``tolerance`` in the same unit.

    It reads the number that is said to be the answer (as in ``exact``), else the last one. It knows separators of
    thousands (1,234.5 · 1.234.567 · 1 234 · 1'234), a decimal comma (3,14), signs, fractions (3/4, ``\frac{3}{4}``, ½),
    powers (1.5e6, 1.5 × 10^6), "million", and percent: 12 % is 12 as well as 0.12, where one of both has the sign.
    1,234 is read the English way. Units are left out and not converted, and numbers in words are not read.

    The score raises ValueError if the reference holds no number; this, if ``tolerance`` is below 0.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; it is how far off an answer may be: 0 or more.")

    def score(question: Question, answer: str) -> Score:
        known = reading.number(_known(question))
        if known is None:
            raise ValueError(f"The reference of {question.id!r} holds no number.")
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
    """Whether an answer's Python code passes the tests in the reference: it runs a model's code on your machine.

    The last fenced block is run, then the reference (statements with ``assert``) in the same names: in a process and an
    empty folder of its own, without your environment variables, and without a network where the system allows that. It
    can still read your files: where they matter, start all of it in a container.

    Args:
        on_this_machine: write True, so that you have said so.
        seconds: how long code and tests may take.
        memory_mb: megabytes of memory that they may take.

    Raises:
        ValueError: ``on_this_machine`` is not True; and the score, if the question has no reference.
        OSError: this system cannot limit memory and time.
    """
    if on_this_machine is not True:
        raise ValueError("This runs code that a model wrote. If that is what you want: runs(on_this_machine=True).")
    check_number("seconds", seconds)
    check_number("memory_mb", memory_mb, whole=True)
    running_code.check_limits()

    async def score(question: Question, answer: str) -> Score:
        tests, blocks = _known(question), re.findall(r"(?ms)^\s*```[^\n`]*\n(.*?)^\s*```", spoken(answer))
        if not blocks:
            return Score(None)
        passed, said = await running_code.passes(blocks[-1], tests, seconds, memory_mb)
        return Score(float(passed), said)

    return score


def _known(question: Question) -> str:
    if not question.reference:
        raise ValueError(f"The question {question.id!r} has no reference, which is what the answer is compared with.")
    return question.reference


def _equal(question: Question, found: str | None) -> Score:
    known, said = reading.bare(_known(question)), reading.bare(found or "")
    return Score(float(said == known), (found or "").strip()) if said else Score(None)
