"""The answers, one row a question: in the store's file, and from there in a table or another file."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import fsum
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, NamedTuple

from moa_helpers.bulk.questions import Question, parquet
from moa_helpers.results import Answer, Replies, Reply, total
from moa_helpers.shown import Shown, lesson
from moa_helpers.store.answers import Answers
from moa_helpers.texts import instead_of
from moa_helpers.ui.cards import STAND_INS, Card, card, dollars

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5  # rows on a card


@dataclass(frozen=True)
class Row:
    """The answer to one question, or why there is none.

    ``outcome`` is that of ``Answer``; for a single model it is "ok", or the kind of failure. ``calls`` counts all
    attempts. ``seconds`` adds up the slowest call of each stage. ``cost_usd`` is the price in US dollars when the calls
    were made, or None if that is unknown. ``kept``: they were made in an earlier start, and cost nothing now.
    ``problem`` says what is wrong, if anything is.
    """

    id: str
    question: str
    text: str  # empty if there is no answer
    outcome: str
    cost_usd: float | None
    calls: int
    seconds: float
    kept: bool = False
    offline: bool = False
    problem: str = ""

    @classmethod
    def of(cls, question: Question, result: Answer | Reply) -> "Row":
        """The row of a question with this result."""
        if isinstance(result, Reply):
            stages: Sequence[Replies] = [Replies([result])]
            text, outcome = result.text if result.ok else "", result.failure.kind if result.failure else "ok"
        else:
            stages, text, outcome = result.stages, result.text, result.outcome
        replies = [reply for stage in stages for reply in stage]
        failures = dict.fromkeys(reply.failure.message for reply in replies if reply.failure)
        return cls(
            id=question.id,
            question=question.text,
            text=text,
            outcome=outcome,
            cost_usd=total(reply.first_cost_usd for reply in replies),
            calls=sum(len(reply.attempts) for reply in replies),
            seconds=fsum(max((reply.elapsed for reply in stage), default=0.0) for stage in stages),
            kept=all(reply.kept for reply in replies),
            offline=any(reply.offline for reply in replies),
            problem=" ".join(failures),
        )

    @classmethod
    def refused(cls, question: Question, error: Exception) -> "Row":
        """The row of a question that cannot be asked."""
        return cls(question.id, str(question.prompt), "", "refused", 0.0, 0, 0.0, problem=str(error))

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return bool(self.text)


class Place(NamedTuple):
    """A question's id, the key of its row in the store, and whether an earlier start wrote that."""

    id: str
    key: str
    kept: bool


@dataclass(frozen=True)
class AnswerSet(Shown):
    """The answers of ``answer_all``. Its rows are read from the file at ``path`` when they are needed, one at a time.

    ``problem`` says why not all questions were asked. ``planned`` is how many there are, if that is known.
    ``spent_usd`` is what this start cost at least. A question that was not begun has no row.
    """

    path: Path
    spent_usd: float
    problem: str = ""
    planned: int | None = None
    _places: Sequence[Place] = field(default=(), repr=False)
    _store: Answers | None = field(default=None, repr=False, compare=False)
    _views = __name__

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        for place in self._places:
            row = self._store and self._store.find_row(Row, place.key)
            if not row:
                raise FileNotFoundError(f"{self.path} no longer has these answers: it was removed or replaced.")
            yield replace(row, id=place.id, kept=place.kept or row.kept)

    def table(self) -> "pd.DataFrame":
        """One row a question, in the given order. The columns are the fields of ``Row``."""
        with lesson():
            import pandas as pd
        return pd.DataFrame(map(asdict, self), columns=[each.name for each in fields(Row)])

    def save(self, path: str | Path) -> Path:
        """Write the table to a ``.csv``, ``.jsonl`` or ``.parquet`` file, and return its path.

        The file appears only when it is whole.

        Raises:
            ValueError: the name has another ending.
            ImportError: Parquet needs the packages pandas and pyarrow.
            OSError: it cannot be written.
        """
        path, names = Path(path).expanduser(), [each.name for each in fields(Row)]
        if path.suffix not in (".csv", ".jsonl", ".parquet"):
            raise ValueError(f"{path.name!r} must end in .csv, .jsonl or .parquet.")
        with instead_of(path) as part:
            if path.suffix == ".parquet":
                with parquet():
                    self.table().to_parquet(part)
                return path
            with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
                if path.suffix == ".csv":
                    writer = csv.DictWriter(file, names)
                    writer.writeheader()
                    writer.writerows(map(asdict, self))
                else:
                    file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self)
        return path


@card.register
def _(answers: AnswerSet) -> Card:
    shown: list[tuple[str, ...]] = []
    costs, good, kept, offline, outcomes = [], 0, 0, False, Counter[str]()
    for row in answers:
        costs.append(row.cost_usd)
        outcomes[row.outcome] += 1
        good, kept, offline = good + row.ok, kept + row.kept, offline or row.offline
        if len(shown) < SHOWN:
            text = shorten((row.text or row.problem).replace("**", ""), 120, placeholder=" …")
            shown.append((shorten(row.id, 60, placeholder=" …"), row.outcome, dollars(row.cost_usd), text))
    spent = f"{dollars(total(costs))} in all, {dollars(answers.spent_usd)} in this start"
    spent += f", {kept:,} kept" * bool(kept)
    ended = ", ".join(f"{often:,} {outcome.replace('_', ' ')}" for outcome, often in outcomes.most_common())
    heading = f"{good:,} of {answers.planned or len(costs):,} questions answered ({ended}) · {spent}"
    heading += STAND_INS * offline
    return Card(heading, ("question", "outcome", "cost", "text"), shown, answers.problem)
