"""Questions from a list, a generator, a file or a DataFrame. Each is checked before it is asked."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from moa_helpers import offline
from moa_helpers.limits.conversations import Prompt, read_prompt
from moa_helpers.shown import lesson
from moa_helpers.texts import decoded

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".jsonl", ".csv", ".tsv", ".parquet")  # of files of questions


@dataclass(frozen=True)
class Question:
    """A question. ``prompt`` is a text or a conversation, as in ``ask``.

    ``reference`` is an answer that is known to be right, if there is one. A score or a judge sees it, no other model.
    """

    id: str
    prompt: Prompt
    reference: str | None = None

    @property
    def text(self) -> str:
        """The whole prompt as one text, without the roles."""
        system, before, last = read_prompt(self.prompt)
        return "\n".join([system or "", *(turn.text for turn in before), last]).strip()


Asked: TypeAlias = str | Question | offline.Question
Source: TypeAlias = Union[Iterable[Asked], str, Path, "pd.DataFrame"]


def read_questions(path: str | Path) -> list[Question]:
    """Questions from a file: JSON lines, CSV with a header line, or Parquet.

    Each has an ``id``, a ``prompt`` (or ``question``) and, if you like, a ``reference``: an answer known to be right.
    In JSON lines a prompt may be a conversation. In CSV, put a text that contains the separator in quotation marks. The
    name ends in ``.jsonl``, ``.csv`` or ``.parquet``. The text is UTF-8, or what Excel writes.

    Raises:
        ValueError: a question has no id, no prompt or too many cells, or two have the same id. The message says which.
        ImportError: the file is Parquet, and pandas or pyarrow is missing.
        OSError: the file cannot be read.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        with lesson():
            import pandas as pd
        with parquet():
            return _of_table(pd.read_parquet(path), str(path))
    if kind not in ENDINGS:
        raise ValueError(
            f"{str(path)[:200]!r} is no file of questions. A file's name ends in .jsonl, .csv or .parquet; a single "
            "text is given in a list."
        )
    entries: list[Any] = []
    try:
        text = re.sub(r"\r\n?", "\n", decoded(path.read_bytes())).lstrip("\ufeff\n")
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from None
    try:
        for row in filter(str.strip, text.split("\n")) if kind == ".jsonl" else _rows(text):
            entries.append(json.loads(row) if isinstance(row, str) else row)
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"Question {len(entries) + 1} in {path} cannot be read: {error}.") from None
    return _of_entries(entries, str(path)) if entries else []


@contextmanager
def parquet() -> Iterator[None]:
    """Raise an ImportError that says how to install the package for Parquet, if it is missing."""
    try:
        yield
    except ImportError:
        raise ImportError("Parquet needs pyarrow: run `pip install pyarrow`, or name a .csv or .jsonl.") from None


def _of_table(table: "pd.DataFrame", where: str = "the table") -> list[Question]:
    """The questions of a table. Without a column ``id``, its index is the id."""
    columns = table if "id" in table.columns else table.assign(id=table.index)
    told = columns.apply(lambda each: each.convert_dtypes() if each.hasnans else each)  # so that 1.0 is 1 again
    return _of_entries(told.astype(object).where(told.notna(), None).to_dict("records"), where)


def _of_entries(entries: Sequence[Any], where: str) -> list[Question]:
    found = []
    for number, entry in enumerate(entries, 1):
        given = entry if isinstance(entry, Mapping) else {}
        name, reference = given.get("id"), given.get("reference")
        prompt = given.get("question") if given.get("prompt") is None else given["prompt"]
        name = "" if name is None else str(name).strip()
        if not name or not isinstance(prompt, str | list) or not str(prompt or "").strip():
            there = ", ".join(str(field) for field, value in given.items() if field and value is not None) or "nothing"
            raise ValueError(f"Question {number} in {where} has no id or no prompt. It has: {there}.")
        if None in given:  # where csv puts surplus cells
            raise ValueError(f"Question {number} in {where} has too many cells: is there a comma outside of quotes?")
        known = "" if reference is None else str(reference)
        found.append(Question(name, prompt, known if known.strip() else None))
    return questions_of(found)


def _rows(text: str) -> Iterator[dict[str | None, Any]]:
    """The rows of a CSV file that are not empty, by the names in its header line."""
    first, _, rest = text.partition("\n")
    if told := re.fullmatch(r"\"?sep=(.)\"?\s*", first, re.I):  # how Excel names the separator
        separator, text = told[1], rest
    else:
        names = re.sub(r'"[^"]*"', "", first)  # the header without its quoted parts
        separator = max(",;\t", key=names.count)
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # so that a long text is no error
    rows = csv.reader(StringIO(text), delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    header = [name.strip().lower() for name in next(rows, [])]
    for row in rows:
        if any(map(str.strip, row)):
            cells: dict[str | None, Any] = dict(zip(header, row, strict=False))
            yield cells | ({None: row[len(header) :]} if any(row[len(header) :]) else {})


def opened(given: Source) -> tuple[Iterator[Question], int | None]:
    """The questions of a source one by one, checked, and their number, if that is known before they are read."""
    found = _read(given)
    if isinstance(found, Sequence):
        questions = questions_of(found)
        return iter(questions), len(questions)
    if not isinstance(found, Iterable) or isinstance(found, Mapping):
        raise TypeError(f"Give the questions as a list, a file or a pandas DataFrame, not {type(found).__name__}.")
    return _checked(found), None


def questions_of(given: Source) -> list[Question]:
    """All questions of a list, a file or a DataFrame, checked; a text in a list is its own id."""
    found = _read(given)
    if not isinstance(found, Sequence):
        raise TypeError(f"Give the questions as a list, a file or a pandas DataFrame, not {type(found).__name__}.")
    if not found:
        raise ValueError("The list of questions is empty: give at least one.")
    return [*_checked(found)]


def _read(given: Source) -> Iterable[Asked]:
    """The questions of a file or a table; anything else as it is."""
    if isinstance(given, str | Path):
        return read_questions(given)
    return _of_table(given) if hasattr(given, "columns") and hasattr(given, "index") else given


def _checked(given: Iterable[Asked]) -> Iterator[Question]:
    names: set[str] = set()
    for number, asked in enumerate(given, 1):
        if isinstance(asked, str):
            asked = Question(asked, asked)
        elif isinstance(asked, offline.Question):
            asked = Question(asked.id, asked.prompt, asked.reference)
        elif not isinstance(asked, Question):
            raise TypeError(f"Question {number} must be a text or a Question, not {type(asked).__name__}.")
        elif not isinstance(asked.id, str):
            raise TypeError(f"The id of question {number} must be text, not {type(asked.id).__name__}.")
        elif not isinstance(asked.reference, str | None):
            raise TypeError(f"The reference of {asked.id!r} must be text, not {type(asked.reference).__name__}.")
        if asked.id in names:
            raise ValueError(f"The id {asked.id!r} appears twice: give each question its own.")
        names.add(asked.id)
        yield asked
