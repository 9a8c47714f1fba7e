"""Many questions, asked live, by batch or with Ray. What the file has already is not paid for again."""

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
WAYS = {"live": "answering", "batch": "batching", "mixed": "batching", "ray": "ray"}  # the modules of this folder


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

    A second start with the same file, after a stop or a crash, makes only the calls that are missing or failed. Answers
    are not streamed, which halves the CPU time of a call. So the time to the first token is unknown.

    Args:
        questions: texts or ``Question``s in a list or a generator; or a DataFrame or a file, as in ``read_questions``.
        mixture_or_model: a model's name or a ``Member``; or a mapping with the arguments of ``mixture_of_agents``.
            ``deadline`` is not allowed, as it would run while calls wait for a place.
        path: the file that keeps the calls, as in ``moa.keep``.
        how: ``"live"`` asks now. ``"batch"`` uses the vendors' batch APIs, for about half the price, within hours.
            ``"mixed"`` asks the proposers by batch and the last stage live. With ``"ray"`` the processes of a Ray
            cluster ask live.
        max_concurrency: most calls at the same time, as in ``fan_out``.
        budget_usd: most US dollars to spend from now on. A question is begun only if what is left covers it, with every
            answer at ``max_tokens``. Retries and second requests come on top, and count for the next question.
        rates: the requests and tokens a minute that each vendor allows.
        max_tokens, timeout, retries: as in ``ask``, for each call, unless the mixture has its own.
        patience: hours that a batch may take.
        late: how to ask again what a batch did not answer: in another "batch", or "live".

    Returns:
        The answers, as a table or a file. Failures do not raise: they are rows without a text.

    Raises:
        TypeError, ValueError: the input is wrong, or the file is not of this kind. No call was made, unless a generator
            gave a wrong question later on.
        OSError: the file cannot be read or written. No further call is made.
        asyncio.CancelledError: it was cancelled. The exception's ``answers`` has what was finished.
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
        raise ValueError(f"path={str(path)!r} keeps the calls and is no table: name it {path.stem}.sqlite.")


def _check_one(strategy: Strategy, how: How, budget_usd: float | None, rates: Rates) -> None:
    """Raise what would stop every question: an unknown model, or a budget or rate too small for a single one."""
    plan = strategy.plan("?").bound()
    Purse(budget_usd=budget_usd).check(_estimate(plan, how))
    for request in (one for stage in (*plan.stages, plan.final) for one in stage):
        rates.check(request)


def _estimate(plan: Plan, how: How) -> Estimate:
    return batched(plan.stages, plan.final, mixed=how == "mixed") if how in ("batch", "mixed") else plan.estimate


class Answering(Work):
    """Questions that are being answered: what all ways of asking share. Arguments as in ``answer_all``."""

    def __init__(
        self, strategy: Strategy, how: How, store: Answers, limits: Limits, rates: Rates, total: int | None
    ) -> None:
        super().__init__(store, limits, rates, total)
        self.strategy, self.how = strategy, how
        self._who = world(offline=current().mode == "offline", chooses=True)
        self._places: dict[str, Place] = {}  # of the questions taken so far, by id
        self._in_table: dict[str, bool] = {}  # keys of rows -> whether an earlier start answered them
        self._under_way: dict[str, asyncio.Event] = {}  # keys of rows that are asked now; set when they have ended

    def most_usd(self, question: Question) -> float | None:
        """Take a question. The most US dollars that it may cost, if there is a budget; None if it has its row."""
        how = self.strategy.identity, self.strategy.given["max_tokens"]
        key = key_of("answer_all", repr(question.prompt), *how, self._who)  # of a wrong prompt, too
        if key not in self._in_table and self.store.has(key):
            self._in_table[key] = True
        self._places[question.id] = Place(question.id, key, self._in_table.get(key, False))
        if key in self._in_table:
            return None
        if self.left_usd < math.inf:
            with suppress(TypeError, ValueError):  # it will be refused for that
                return _estimate(self.strategy.plan(question.prompt), self.how).most_usd or 0.0
        return 0.0

    def key(self, question: Question) -> str:
        """The key of the row of a question that was taken."""
        return self._places[question.id].key

    def done(self, question: Question, row: Row) -> None:
        """Keep how a question was answered. A failure has a row, too, but the next start asks again."""
        key = self.key(question)
        self.store.keep_row(key, asdict(row), good=row.ok)
        self._in_table[key] = False

    async def answer(self, question: Question, by: Callable[[Question], Awaitable[Row]]) -> None:
        """Have a question answered, unless it has its row, or another question with that prompt gives it one."""
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
    """Ask live."""
    await work.each(questions, work.most_usd, partial(work.answer, by=work.strategy.answer))
