"""The questions of a comparison, and how to read your own from a file."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from moa_helpers import offline


@dataclass(frozen=True)
class Question:
    """A question to compare on, and an answer that is known to be right, if there is one, for the judge to see."""

    id: str
    prompt: str
    reference: str | None = None


Asked: TypeAlias = str | Question | offline.Question


def read_questions(path: str | Path) -> list[Question]:
    """Questions from a file: JSON lines, or CSV with a header line.

    Each has an ``id``, a ``prompt`` and, if you like, a ``reference``: an answer that is known to be right. In CSV, a
    text that holds a comma must stand in quotation marks: what follows would be taken for the next column. The name
    ends in ``.jsonl`` or ``.csv``; the text is UTF-8.

    Raises:
        ValueError: a question lacks something or has too much, or two have the same id; the message says which.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".csv"):
        raise ValueError(f"{path} is neither .jsonl nor .csv.")
    entries: list[Any] = []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            rows = csv.DictReader(lines, strict=True) if path.suffix == ".csv" else filter(str.strip, lines)
            for row in rows:
                entries.append(json.loads(row) if isinstance(row, str) else row)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"Question {len(entries) + 1} in {path} cannot be read: {error}.") from None
    found = []
    for number, entry in enumerate(entries, 1):
        given = entry if isinstance(entry, Mapping) else {}
        name, prompt, reference = (given.get(field) for field in ("id", "prompt", "reference"))
        if name in (None, "") or not isinstance(prompt, str) or not prompt.strip():
            there = ", ".join(map(str, given)) or "nothing"
            raise ValueError(f"Question {number} in {path} has no id or no prompt. It has: {there}.")
        if None in given:  # where csv puts what is too much
            raise ValueError(f"Question {number} in {path} has too many cells: is there a comma outside of quotes?")
        known = "" if reference is None else str(reference)
        found.append(Question(str(name), prompt, known if known.strip() else None))
    return questions_of(found) if found else []


def questions_of(given: Sequence[Asked]) -> list[Question]:
    """Questions in one form; a text is its own id. Raises TypeError or ValueError unless they are a list of such."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"Give the questions as a list, not {type(given).__name__}.")
    if not given:
        raise ValueError("The list of questions is empty: give at least one.")
    found = []
    for number, asked in enumerate(given, 1):
        if isinstance(asked, str):
            asked = Question(asked, asked)
        elif isinstance(asked, offline.Question):
            asked = Question(asked.id, asked.prompt)
        elif not isinstance(asked, Question):
            raise TypeError(f"Question {number} must be a text or a Question, not {type(asked).__name__}.")
        elif not isinstance(asked.id, str):
            raise TypeError(f"The id of question {number} must be text, not {type(asked.id).__name__}.")
        elif not isinstance(asked.reference, str | None):
            raise TypeError(f"The reference of {asked.id!r} must be text, not {type(asked.reference).__name__}.")
        found.append(asked)
    twice = [name for name, often in Counter(question.id for question in found).items() if often > 1]
    if twice:
        raise ValueError(f"The id {twice[0]!r} is there twice: give each question its own.")
    return found
