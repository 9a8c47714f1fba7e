"""Does it help? Several ways to answer, on the same questions, judged in pairs; every call is kept in a file."""

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from moa_helpers import offline
from moa_helpers.bulk.questions import Asked, Question
from moa_helpers.calls import ask
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged
from moa_helpers.evaluation.judging import judge
from moa_helpers.evaluation.questions import Judges, Planned, Strategies
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.purse import Estimate, most
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import results, stop
from moa_helpers.limits.values import Limits
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.results import Replies, Reply, total
from moa_helpers.store.answers import Answers, key_of
from moa_helpers.ui.cards import dollars
from moa_helpers.ui.html import render
from moa_helpers.ui.progress import follow, progress_view
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import current, world

MOST_QUESTIONS = 64  # at the same time, where only vendors have limits
NULL_TEXT = "Thank you for your question. There is nothing that I can say about it."
T = TypeVar("T")


def estimate_comparison(
    questions: Sequence[Asked],
    strategies: Strategies,
    *,
    judge: Judges = None,
    max_tokens: int = 2048,
    answer_tokens: int = 400,
    null_checks: int = 20,
) -> Estimate:
    """Say what a comparison will cost, from the catalogue's prices, without a call; each stage is a question.

    Args and errors are those of ``compare``; ``answer_tokens``: how many tokens to expect of an answer.
    """
    check_number("answer_tokens", answer_tokens, whole=True)
    plan = Planned(questions, strategies, judge, null_checks, max_tokens=max_tokens)
    prices = [plan.price(number, answer_tokens) for number in range(len(plan.questions))]
    unpriced = dict.fromkeys(name for price in prices for name in price.unpriced)
    stages = tuple(stage for price in prices for stage in price.stages)
    usd = total(price.usd for price in prices)
    return Estimate(usd, min(answer_tokens, plan.longest), plan.longest, stages, tuple(unpriced))


async def compare(
    questions: Sequence[Asked],
    strategies: Strategies,
    *,
    judge: Judges = None,
    path: str | Path = "comparison.sqlite",
    max_concurrency: int | Mapping[str, int] = 8,
    budget_usd: float | None = None,
    max_tokens: int = 2048,
    timeout: float = 60.0,
    retries: int = 2,
    null_checks: int = 20,
) -> Comparison:
    """Answer each question in each of several ways, and have the answers judged in pairs, in both orders.

    Every call is kept in a file as soon as it has ended. A second start with the same file, after a stop, a crash or a
    change of the questions or strategies, makes only those calls that are not in it, or failed.

    Args:
        questions: texts, or ``Question``s as of ``read_questions``, or those of ``offline.questions``.
        strategies: a name for each, and the model or ``Member`` to ask, or the arguments of ``mixture_of_agents`` as a
            mapping, but for ``deadline``, which would run while calls wait for a place. The first is the baseline: the
            others are judged against it.
        judge: the model or ``Member`` that judges, or several, whose scores are averaged; None: nothing is judged.
        path: the file, as of ``moa.keep``. One is enough for all your comparisons; delete it to ask anew. What version
            0.1 kept in a file of the same name that ends in ``.jsonl`` is taken in, and that file left as it is.
        max_concurrency: most calls at the same time, as in ``fan_out``.
        budget_usd: most US dollars to spend from now on: no question is begun that could cost more than is left, with
            every answer at ``max_tokens``. Retries and second requests come on top; they count for the next question.
        max_tokens, timeout, retries: as in ``ask``, for each call, unless a strategy has its own.
        null_checks: for so many questions (0: none), each judge also compares the baseline's answer with one that says
            nothing, which has to lose.

    Returns:
        The comparison. Failures do not raise: an answer that failed loses.

    Raises:
        TypeError, ValueError: the input is wrong, or the file holds something else; no call was made.
        OSError: the file cannot be read or written; if that is so later on, no further call is made.
        asyncio.CancelledError: if it is cancelled; the exception's ``comparison`` has the questions that were finished.
    """
    if max_concurrency is None:
        raise TypeError("max_concurrency must be a number, or a mapping such as {'mistral': 2, 'all': 8}, not None.")
    limits = Limits(timeout, None, retries, max_concurrency=max_concurrency, budget_usd=budget_usd)
    plan = Planned(questions, strategies, judge, null_checks, max_tokens=max_tokens, timeout=timeout, retries=retries)
    plan.check(priced=budget_usd is not None)
    view = progress_view()
    path, old = Path(path), Path(path).with_suffix(".jsonl")
    with closing(Answers(path.with_suffix(".sqlite") if path == old else path)) as store:
        if old.exists() and (path == old or old.name == "comparison.jsonl"):
            store.take_in(old, Answered)
        work = Work(plan, store, limits)
        try:
            tasks = work.begin(min(limits.places().get("all", MOST_QUESTIONS), len(plan.questions)))
            await follow(tasks, lambda last: view.update(work, last))
            results(tasks)
        except BaseException as error:
            error.comparison = work.comparison()  # type: ignore[attr-defined]
            raise
        return work.comparison()


class Work:
    """A comparison under way. It also is what a progress view shows."""

    def __init__(self, plan: Planned, store: Answers, limits: Limits) -> None:
        self.store = store
        self._scope = Scope(limits, remembers=False)  # whose places all calls share
        self.total, self.ended = len(plan.questions), 0
        self.kept = self.made = 0  # calls
        self.known_usd = self.unknown_usd = 0.0  # spent from this start on; the latter is the most that it may be
        self.unknown = 0  # attempts whose cost is not known, maybe not even the most
        self._plan, self._budget = plan, math.inf if limits.budget_usd is None else limits.budget_usd
        self._set_aside: dict[int, float] = {}  # the most that each question under way may cost
        self._question_ended = asyncio.Event()
        self._waiting = iter(range(self.total))
        self._found: list[tuple[list[Answered], list[Judged]]] = [([], [])] * self.total
        self._problem = ""

    def begin(self, at_once: int) -> list[asyncio.Task[None]]:
        """Begin, with so many questions at the same time; each of the tasks takes the next one that waits."""
        return [asyncio.create_task(self._run(), context=self._scope.context()) for _ in range(at_once)]

    async def _run(self) -> None:
        for number in self._waiting:
            most_usd = self._plan.price(number).most_usd or 0.0
            while self._set_aside and not self._affordable(most_usd):
                self._question_ended.clear()
                await self._question_ended.wait()
            if not self._affordable(most_usd):
                again = "a budget_usd above that" if most_usd > self._budget else "the same budget_usd"
                self._problem = (
                    f"Stopped: the next question may cost ${most_usd:.4f}, if nothing of it is in the file, and what "
                    f"is left of budget_usd does not reach for it. Start again with {again} to go on; what is in the "
                    "file is kept and costs nothing."
                )
                return
            self._set_aside[number] = most_usd
            await self._work_on(number)
            del self._set_aside[number]
            self.ended += 1
            self._question_ended.set()

    def comparison(self) -> Comparison:
        """What has been found so far."""
        answers = tuple(each for group, _ in self._found for each in group)
        judgements = tuple(each for _, group in self._found for each in group)
        names, judges = tuple(self._plan.strategies), tuple(self._plan.judges)
        problem = " ".join(filter(None, (self._problem, self.store.problem)))
        asked = tuple(self._plan.questions), self._plan.given
        return Comparison(names, judges, self.total, answers, judgements, self.store.path, problem, *asked)

    def line(self) -> str:
        """How far it is."""
        made = f"{self.made:,} calls made" + f", {self.kept:,} found in the file" * bool(self.kept)
        cost = dollars(None if self.unknown else self.known_usd, self.known_usd)
        return f"{self.ended:,} of {self.total:,} questions · {made} · {cost}"

    def html(self, *, whole: bool = False) -> str:
        """The same as HTML."""
        return str(render("comparing.html", total=self.total, ended=self.ended, line=self.line()))

    def _affordable(self, most_usd: float) -> bool:
        left = self._budget - self.known_usd - self.unknown_usd
        return math.fsum(self._set_aside.values()) + most_usd <= left

    async def _work_on(self, number: int) -> None:
        question = self._plan.questions[number]
        answers = await self._all(question, [(name, self._answer(question, name)) for name in self._plan.strategies])
        texts = {each.strategy: each.text for each in answers} | {NULL: NULL_TEXT}
        judging = [
            (name, self._judge(question, name, model, texts))
            for name in self._plan.opponents(number)
            for model in self._plan.judges
        ]
        self._found[number] = answers, await self._all(question, judging)

    async def _all(self, question: Question, work: Sequence[tuple[str, Coroutine[Any, Any, T]]]) -> list[T]:
        """Do it all at once; calls are kept by question and strategy."""
        tasks = []
        for strategy, each in work:
            scope = Scope(store=_Lane(self, question.id, strategy), remembers=False)
            tasks.append(asyncio.create_task(each, context=scope.context()))
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await stop(tasks)
        return results(tasks)

    async def _answer(self, question: Question, name: str) -> Answered:
        strategy = self._plan.strategies[name]
        how: Any = {each: value for each, value in strategy.items() if each not in ("timeout", "retries")}
        if "aggregator" not in strategy:
            (how,) = strategy["reference_models"]
        who = world(offline=current().mode == "offline", chooses=True)  # the vendors, or stand-ins with certain traits
        key = key_of(question.id, question.prompt, name, how, who)
        if known := self.store.find_row(Answered, key):
            self.kept += known.calls
            return known
        if "aggregator" in strategy:
            answer = await mixture_of_agents(question.prompt, **strategy)
            text, outcome = answer.text, str(answer.outcome)
            last = (*answer.failed_aggregators, answer.aggregator)
            stages = [*answer.layers, *(Replies([reply]) for reply in last if reply)]
        else:
            reply = await ask(how, question.prompt, **self._plan.options)
            text, stages = reply.text if reply.ok else "", [Replies([reply])]
            outcome = reply.failure.kind if reply.failure else "ok"
        replies = Replies(reply for stage in stages for reply in stage)
        answered = Answered(
            question=question.id,
            strategy=name,
            outcome=outcome,
            text=text,
            calls=sum(len(reply.attempts) for reply in replies),
            cost_usd=total(reply.first_cost_usd for reply in replies),
            seconds=math.fsum(max((reply.elapsed for reply in stage), default=0.0) for stage in stages),
            characters=len(text),
            offline=any(reply.offline for reply in replies),
            **_points(question, text, replies),
        )
        stopped = any(reply.abandoned or reply.hedged for reply in replies)
        if stopped and text and all(reply.ok or reply.abandoned for reply in replies):
            self.store.keep_row(key, asdict(answered))
        return answered

    async def _judge(self, question: Question, name: str, model: str, texts: Mapping[str, str]) -> Judged:
        one, other = texts[name], texts[next(iter(self._plan.strategies))]
        if not one or not other:
            return Judged(question.id, name, model, None, 0.5 if one == other else float(bool(one)), 0.0)
        options = {name: value for name, value in self._plan.options.items() if name != "max_tokens"}
        verdict = await judge(
            question.prompt, one, other, self._plan.judges[model], known=question.reference, **options
        )
        places = verdict.places if verdict.replies else None
        cost = total(reply.first_cost_usd for reply in verdict.replies)
        return Judged(question.id, name, model, places, verdict.score, cost)


@dataclass(frozen=True)
class _Lane:
    """Keeps the calls that one strategy makes for one question: the store of their scope."""

    work: Work
    question: str
    strategy: str
    recorded_speed = False

    def find(self, request: Request) -> Reply | None:
        reply = self.work.store.find(request, (self.question, self.strategy))
        self.work.kept += reply is not None
        return reply

    def keep(self, request: Request, reply: Reply) -> None:
        self.work.made += 1
        unknown = sum(attempt.cost_usd is None for attempt in reply.attempts)
        self.work.known_usd += reply.least_usd
        self.work.unknown += unknown
        self.work.unknown_usd += unknown * (most(request) or 0.0)
        self.work.store.keep(request, reply, (self.question, self.strategy))

    def check(self) -> None:
        self.work.store.check()


def _points(question: Question, text: str, replies: Replies) -> dict[str, int]:
    if replies and all(reply.offline for reply in replies):
        with suppress(ValueError):  # it is not a prepared question
            score = offline.score(question.text, text)
            return {"points_right": score.covered, "points_wrong": score.wrong, "points_possible": score.possible}
    return {}
