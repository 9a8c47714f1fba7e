"""Many questions, answered in one of several ways; what is in the file already is not paid for again."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from moa_helpers.bulk.questions import Question, Source, opened
from moa_helpers.bulk.rows import AnswerSet, Place, Row
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.bulk.work import Work, shared
from moa_helpers.estimating import batched
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.members import Named
from moa_helpers.limits.purse import Estimate, Purse
from moa_helpers.limits.rates import Rate, Rates
from moa_helpers.limits.values import Limits
from moa_helpers.plan import Plan
from moa_helpers.store.answers import Answers, key_of
from moa_helpers.vendors.settings import current, held, world

How = Literal["live", "batch", "mixed", "ray"]
WAYS = {"live": "answering", "batch": "batching", "mixed": "batching", "ray": "ray"}  # the files beside this one


async def answer_all(
    questions: Source,
    mixture_or_model: Named | Mapping[str, Any],
    *,
    path: str | Path = "answers.sqlite",
    how: How = "live",
    max_concurrency: int | Mapping[str, int] = 8,
    budget_usd: float | None = None,
    rates: Mapping[str, Rate] | None = None,
    max_tokens: int = 2048,
    timeout: float = 60.0,
    retries: int = 2,
    patience: float = 24.0,
    late: Literal["batch", "live"] = "batch",
) -> AnswerSet:
    """Answer any number of questions, by one model or by a mixture, and keep every call in a file.

    A second start with the same file, after a stop or a crash, makes only those calls that are not in it, or failed.
    Answers are asked whole, so the time to first token is unknown; that halves the CPU time of a call.

    Args:
        questions: texts or ``Question``s in a list, or in anything else that gives one after the other, such as a
            generator; or a DataFrame or a file, as of ``read_questions``.
        mixture_or_model: a model's name or a ``Member``; or the arguments of ``mixture_of_agents`` as a mapping, but
            for ``deadline``, which would run while calls wait for a place.
        path: the file, as of ``moa.keep``.
        how: "live": ask now. "batch": by the vendors' batch APIs, at about half the price, within hours; "mixed": the
            proposers so, and the last stage live. "ray": live, by the processes of a Ray cluster.
        max_concurrency: most calls at the same time, as in ``fan_out``.
        budget_usd: most US dollars to spend from now on: no question is begun that could cost more than is left, with
            every answer at ``max_tokens``. Retries and second requests come on top; they count for the next question.
        rates: for a vendor, how many requests and tokens a minute it allows.
        max_tokens, timeout, retries: as in ``ask``, for each call, unless the mixture has its own.
        patience: in a batch, hours that a stage may take.
        late: how what failed in a batch, or was late, is asked again: in another one, or live.

    Returns:
        The answers, as a table or a file. Failures do not raise: they are rows without a text.

    Raises:
        TypeError, ValueError: the input is wrong, or the file holds something else; no call was made, but where a
            generator gives a question later on that is wrong.
        OSError: the file cannot be read or written; if that is so later on, no further call is made.
        asyncio.CancelledError: if it is cancelled; the exception's ``answers`` have what was finished.
    """
    _check_way(how, patience, late, Path(path))
    limits = shared(timeout, retries, max_concurrency, budget_usd)
    strategy = Strategy.of(mixture_or_model, max_tokens=max_tokens, timeout=timeout, retries=retries)
    asked, total = opened(questions)
    minutes = Rates(rates)
    _check_one(strategy, how, budget_usd, minutes)
    way = import_module(f"moa_helpers.bulk.{WAYS[how]}")
    options = {"patience": patience, "late": late} if WAYS[how] == "batching" else {}
    with held(), closing(Answers(path)) as store:
        work = Answering(strategy, how, store, limits, minutes, total)
        return await work.followed(way.run(work, asked, **options), "answers", work.answers)


def _check_way(how: str, patience: float, late: str, path: Path) -> None:
    if how not in WAYS:
        raise ValueError(f"how is {how!r}; it must be one of {', '.join(WAYS)}.")
    check_number("patience", patience)
    if late not in ("batch", "live"):
        raise ValueError(f"late is {late!r}; it must be 'batch' or 'live'.")
    if path.suffix in (".csv", ".jsonl", ".parquet"):
        raise ValueError(f"path={str(path)!r} keeps the calls, and is no table: name it {path.stem}.sqlite.")


def _check_one(strategy: Strategy, how: How, budget_usd: float | None, rates: Rates) -> None:
    """Raise what would stop every question: a model that is not there, a budget or a rate that holds not even one."""
    plan = strategy.plan("?").bound()
    Purse(budget_usd=budget_usd).check(_estimate(plan, how))
    for request in (one for stage in (*plan.stages, plan.final) for one in stage):
        rates.check(request)


def _estimate(plan: Plan, how: How) -> Estimate:
    return batched(plan.stages, plan.final, mixed=how == "mixed") if how in ("batch", "mixed") else plan.estimate


class Answering(Work):
    """Questions that are being answered, in one way or another: what all ways share; arguments as in ``answer_all``."""

    def __init__(
        self, strategy: Strategy, how: How, store: Answers, limits: Limits, rates: Rates, total: int | None
    ) -> None:
        super().__init__(store, limits, rates, total)
        self.strategy, self.how = strategy, how
        self._who = world(offline=current().mode == "offline", chooses=True)
        self._places: dict[str, Place] = {}  # of the questions that were taken so far, by id
        self._in_table: dict[str, bool] = {}  # keys of rows, and whether they were there before
        self._under_way: dict[str, asyncio.Event] = {}  # the same, of what is asked now; set when it has ended

    def most_usd(self, question: Question) -> float | None:
        """Take a question; the most that it may cost, in US dollars, if there is a budget; None if its row is there."""
        how = self.strategy.identity, self.strategy.given["max_tokens"]
        key = key_of("answer_all", repr(question.prompt), *how, self._who)  # what is no prompt has a key, too
        if key not in self._in_table and self.store.has(key):
            self._in_table[key] = True
        self._places[question.id] = Place(question.id, key, self._in_table.get(key, False))
        if key in self._in_table:
            return None
        if self.left_usd < math.inf:
            with suppress(TypeError, ValueError):  # for which it will be refused
                return _estimate(self.strategy.plan(question.prompt), self.how).most_usd or 0.0
        return 0.0

    def key(self, question: Question) -> str:
        """The key of the row of a question that was taken."""
        return self._places[question.id].key

    def done(self, question: Question, row: Row) -> None:
        """Keep how a question was answered. What failed is in the table, too, but asked again in the next start."""
        key = self.key(question)
        self.store.keep_row(key, asdict(row), good=row.ok)
        self._in_table[key] = False

    async def answer(self, question: Question, by: Callable[[Question], Awaitable[Row]]) -> None:
        """Have a question answered, unless its row is there, or is about to be, as another says the same."""
        key = self.key(question)
        if key in self._under_way:
            await self._under_way[key].wait()
        if key in self._in_table:
            return
        ended = self._under_way[key] = asyncio.Event()
        try:
            self.done(question, await by(question))
        finally:
            del self._under_way[key]
            ended.set()

    def answers(self) -> AnswerSet:
        """What was answered so far."""
        problem = " ".join(filter(None, (self.problem.strip(), self.store.problem)))
        places = [place for place in self._places.values() if place.key in self._in_table]
        return AnswerSet(self.store.path, self.known_usd, problem, self.total, places, self.store)


async def run(work: Answering, questions: Iterator[Question]) -> None:
    """The live way."""
    await work.each(questions, work.most_usd, partial(work.answer, by=work.strategy.answer))
