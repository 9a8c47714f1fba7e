"""What a comparison asks: the questions, which may come from a file, and the strategies; checked, priced, not begun."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from moa_helpers import offline
from moa_helpers.estimating import estimate
from moa_helpers.evaluation.comparison import NULL
from moa_helpers.evaluation.judging import JUDGE_TOKENS
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.conversations import Prompt, read_prompt
from moa_helpers.limits.members import Member, Named
from moa_helpers.limits.purse import Estimate, tokens
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.plan import plan_fan_out, plan_mixture
from moa_helpers.results import total
from moa_helpers.steps.ranking import ranker_system
from moa_helpers.texts import decoded
from moa_helpers.vendors import settings

VERDICT_TOKENS = 5  # what a judge is expected to write: a number
Strategies: TypeAlias = Mapping[str, Named | Mapping[str, Any]]
Judges: TypeAlias = Named | Sequence[Named] | None


@dataclass(frozen=True)
class Question:
    """A question to compare on, and an answer that is known to be right, if there is one, for the judge to see.

    ``prompt`` is a text or a conversation, as in ``ask``.
    """

    id: str
    prompt: Prompt
    reference: str | None = None

    @property
    def text(self) -> str:
        """All that is read of it."""
        system, before, last = read_prompt(self.prompt)
        return "\n".join([system or "", *(turn.text for turn in before), last]).strip()


Asked: TypeAlias = str | Question | offline.Question


def read_questions(path: str | Path) -> list[Question]:
    """Questions from a file: JSON lines, or CSV with a header line.

    Each has an ``id``, a ``prompt`` and, if you like, a ``reference``: an answer that is known to be right. In CSV, a
    text that holds the separator must stand in quotation marks: what follows would be taken for the next column. The
    name ends in ``.jsonl`` or ``.csv``; the text is UTF-8, or as Excel writes it: with semicolons or tabs, in UTF-16.

    Raises:
        ValueError: a question lacks something or has too much, or two have the same id; the message says which.
        OSError: the file cannot be read.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".jsonl", ".csv", ".tsv"):
        raise ValueError(f"{path} is neither .jsonl nor .csv.")
    entries: list[Any] = []
    try:
        text = re.sub(r"\r\n?", "\n", decoded(path.read_bytes())).lstrip("\ufeff\n")
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from None
    try:
        for row in filter(str.strip, text.split("\n")) if kind == ".jsonl" else _table(text):
            entries.append(json.loads(row) if isinstance(row, str) else row)
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"Question {len(entries) + 1} in {path} cannot be read: {error}.") from None
    found = []
    for number, entry in enumerate(entries, 1):
        given = entry if isinstance(entry, Mapping) else {}
        name, prompt, reference = (given.get(field) for field in ("id", "prompt", "reference"))
        name = "" if name is None else str(name).strip()
        if not name or not isinstance(prompt, str) or not prompt.strip():
            there = ", ".join(map(str, filter(None, given))) or "nothing"
            raise ValueError(f"Question {number} in {path} has no id or no prompt. It has: {there}.")
        if None in given:  # where csv puts what is too much
            raise ValueError(f"Question {number} in {path} has too many cells: is there a comma outside of quotes?")
        known = "" if reference is None else str(reference)
        found.append(Question(name, prompt, known if known.strip() else None))
    return questions_of(found) if found else []


def _table(text: str) -> Iterator[dict[str | None, Any]]:
    """The rows of a CSV file that have something in them, by the names in its header line."""
    first, _, rest = text.partition("\n")
    if told := re.fullmatch(r"\"?sep=(.)\"?\s*", first, re.I):  # Excel's own way to say what separates
        separator, text = told[1], rest
    else:
        names = re.sub(r'"[^"]*"', "", first)  # the header, without what is quoted
        separator = max(",;\t", key=names.count)
    rows = csv.reader(StringIO(text), delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    header = [name.strip().lower() for name in next(rows, [])]
    for row in rows:
        if any(map(str.strip, row)):
            cells: dict[str | None, Any] = dict(zip(header, row, strict=False))
            yield cells | ({None: row[len(header) :]} if any(row[len(header) :]) else {})


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


class Planned:
    """What is to be compared; it refuses what makes no sense."""

    def __init__(
        self, questions: Sequence[Asked], strategies: Strategies, judge: Judges, null_checks: int, **options: Any
    ) -> None:
        if not isinstance(strategies, Mapping) or not all(isinstance(name, str) for name in strategies):
            raise TypeError("Give the strategies as a mapping: a name, and a model or a mixture's arguments.")
        if not strategies:
            raise ValueError("There is no strategy: give at least one.")
        if NULL in strategies:
            raise ValueError(f"{NULL!r} is what the control is called: give that strategy another name.")
        for name, strategy in strategies.items():
            if isinstance(strategy, Mapping):
                _check_arguments(name, strategy)
            elif not isinstance(strategy, Named):
                raise TypeError(
                    f"The strategy {name!r} must be a model's name or a Member, or a mapping, not {strategy!r}."
                )
        check_number("max_tokens", options["max_tokens"], whole=True)
        check_number("null_checks", null_checks, least=0, whole=True)
        self.questions, self.given = questions_of(questions), dict(strategies)
        if not isinstance(judge, Named | Sequence | None):
            raise TypeError(f"The judge is a model's name or a Member, or a list of them, not {judge!r}.")
        judges = [judge] if isinstance(judge, Named) else judge or ()
        self.judges = {str(each): each for each in judges}
        self.models = [settings.priced(Member.of(each).name) for each in judges]
        if len(self.judges) < len(judges):
            raise ValueError(f"A judge is listed twice: {', '.join(map(str, judges))}. It would say the same again.")
        self.options, self._null_checks = options, null_checks
        self.strategies: dict[str, dict[str, Any]] = {  # a single model is one without an aggregator
            name: {**options, **({"reference_models": [strategy]} if isinstance(strategy, Named) else strategy)}
            for name, strategy in strategies.items()
        }
        self.longest: int = max(strategy["max_tokens"] for strategy in self.strategies.values())

    def check(self, *, priced: bool) -> None:
        """Raise what any of the calls would raise, before one is made; with ``priced``, also for an unknown price."""
        for question in self.questions:
            read_prompt(question.prompt)
        # what depends on the prompt depends on its length: whether a strategy's own budget reaches
        prompt = max(self.questions, key=lambda question: tokens(question.text, at_most=True)).prompt
        for name, strategy in self.strategies.items():
            try:
                if "aggregator" in strategy:
                    plan_mixture(prompt, **strategy).bound()
                else:
                    plan_fan_out(strategy["reference_models"], prompt, max_tokens=strategy["max_tokens"]).bound()
            except (TypeError, ValueError) as error:
                error.add_note(f"(the strategy {name!r})")
                raise
        if self.judges:
            plan_fan_out([*self.judges.values()], prompt, max_tokens=JUDGE_TOKENS).bound()
        others = [how["hedge_with"] for how in self.strategies.values() if how.get("hedge_with") is not None]
        seconds = [settings.priced(Member.of(each).name) for each in others]
        for number, question in enumerate(self.questions if priced else ()):
            read = tokens(question.text, at_most=True)
            unpriced = [*self.price(number).unpriced, *(each.name for each in seconds if each.cost(read, 1) is None)]
            if unpriced:
                raise ValueError(
                    f"budget_usd cannot be kept: no price is known for {', '.join(unpriced)}, asked the question "
                    f"{question.id!r}. Take other models from moa.models(), or leave budget_usd out."
                )

    def opponents(self, number: int) -> list[str]:
        """Whose answers to a question are judged against the baseline's."""
        return [*list(self.strategies)[1:], *([NULL] if number < self._null_checks else [])] if self.judges else []

    def price(self, number: int, answer_tokens: int = 400) -> Estimate:
        """What a question costs in all, as one stage; ``number`` counts from 0."""
        question, longest = self.questions[number], self.longest
        names = ("reference_models", "aggregator", "layers", "max_tokens")
        parts = [
            estimate(question.prompt, **{name: how[name] for name in names if name in how}, answer_tokens=answer_tokens)
            for how in self.strategies.values()
        ]
        calls = sum(part.calls for part in parts)
        usd, most_usd = [part.usd for part in parts], [part.most_usd for part in parts]
        unpriced = dict.fromkeys(name for part in parts for name in part.unpriced)
        often = 2 * len(self.opponents(number))
        asked = ranker_system(["", ""]) + question.text + (question.reference or "")
        for model in self.models if often else ():
            calls += often
            usd += [model.cost(tokens(asked) + 2 * min(answer_tokens, longest), VERDICT_TOKENS)] * often
            most_usd += [model.cost(tokens(asked, at_most=True) + 2 * longest, JUDGE_TOKENS)] * often
            unpriced |= {model.name: None} if usd[-1] is None else {}
        return Estimate(total(usd), answer_tokens, longest, ((calls, total(most_usd)),), tuple(unpriced))


def _check_arguments(name: str, strategy: Mapping[str, Any]) -> None:
    known = [each for each in signature(mixture_of_agents).parameters if each != "prompt"]
    if unknown := [repr(each) for each in strategy if each not in known]:
        raise TypeError(f"The strategy {name!r} has {', '.join(unknown)}; a mixture takes {', '.join(known)}.")
    if strategy.get("aggregator") is None:
        raise TypeError(f"The strategy {name!r} has no aggregator: name it by a string such as 'openai:model-id'.")
    if "max_tokens" in strategy:
        check_number("max_tokens", strategy["max_tokens"], whole=True)
    if strategy.get("hedge_with") is not None:
        Member.of(strategy["hedge_with"])
    if strategy.get("deadline") is not None:
        raise ValueError(f"The strategy {name!r} has a deadline, which would run while it waits: use timeout.")
