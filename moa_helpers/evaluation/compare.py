"""Does it help? Several ways to answer, on the same questions, judged in pairs; every call is kept in a file."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from moa_helpers import offline
from moa_helpers.calls import ask, check, kept_by, prepare, results, stop
from moa_helpers.catalogue import find
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged
from moa_helpers.evaluation.judging import JUDGE_TOKENS, judge
from moa_helpers.evaluation.questions import Asked, Question, questions_of
from moa_helpers.limits.purse import Estimate, most, tokens, total
from moa_helpers.limits.values import Bounds, Limits, check_number
from moa_helpers.mixture import estimate, mixture_of_agents
from moa_helpers.prompts import ranker_system
from moa_helpers.results import Replies, Reply
from moa_helpers.store.ledger import Ledger
from moa_helpers.ui.cards import STYLED, dollars, escaped
from moa_helpers.ui.panel import follow, progress_view
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import current, world

NULL_TEXT = "Thank you for your question. There is nothing that I can say about it."
MOST_QUESTIONS = 64  # at the same time, where only vendors have limits
VERDICT_TOKENS = 5  # what a judge is expected to write: a number
Strategy: TypeAlias = str | Mapping[str, Any]
T = TypeVar("T")


def estimate_comparison(
    questions: Sequence[Asked],
    strategies: Mapping[str, Strategy],
    *,
    judge: str | Sequence[str] | None = None,
    max_tokens: int = 2048,
    answer_tokens: int = 400,
    null_checks: int = 20,
) -> Estimate:
    """Say what a comparison will cost, from the catalogue's prices, without a call.

    Args:
        questions, strategies, judge, max_tokens, null_checks: as in ``compare``.
        answer_tokens: how many tokens to expect of an answer.

    Returns:
        The estimate; each of its stages is a question.

    Raises:
        TypeError, ValueError: the input is wrong.
    """
    check_number("answer_tokens", answer_tokens, whole=True)
    plan = _Plan(questions, strategies, judge, null_checks, {"max_tokens": max_tokens})
    prices = [plan.price(number, answer_tokens) for number in range(len(plan.questions))]
    unpriced = dict.fromkeys(name for price in prices for name in price.unpriced)
    stages = tuple((price.calls, price.most_usd) for price in prices)
    usd = total(price.usd for price in prices)
    return Estimate(usd, min(answer_tokens, plan.longest), plan.longest, stages, tuple(unpriced))


async def compare(
    questions: Sequence[Asked],
    strategies: Mapping[str, Strategy],
    *,
    judge: str | Sequence[str] | None = None,
    path: str | Path = "comparison.jsonl",
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
        strategies: a name for each, and the model to ask, or the arguments of ``mixture_of_agents`` as a mapping, but
            for ``deadline``, which would run while calls wait for a place. The first is the baseline: the others are
            judged against it.
        judge: the model that judges, or several, whose scores are averaged; None: nothing is judged.
        path: the file. One is enough for all your comparisons; delete it to ask anew.
        max_concurrency: most calls at the same time, as in ``fan_out``.
        budget_usd: most US dollars to spend from now on: no question is begun that could cost more than is left, with
            every answer at ``max_tokens``. Retries and second requests come on top; they count for the next question.
        max_tokens, timeout, retries: as in ``ask``, for each call, unless a strategy has its own.
        null_checks: for so many questions, each judge also compares the baseline's answer with one that says nothing,
            which has to lose. 0 for none.

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
    options = {"max_tokens": max_tokens, "timeout": timeout, "retries": retries}
    plan = _Plan(questions, strategies, judge, null_checks, options)
    await plan.check()
    for number, question in enumerate(plan.questions if budget_usd is not None else ()):
        if unpriced := plan.unpriced(number):
            raise ValueError(
                f"budget_usd cannot be kept: no price is known for {', '.join(unpriced)}, asked the question "
                f"{question.id!r}. Take other models from moa.models(), or leave budget_usd out."
            )
    with closing(Ledger(Path(path))) as ledger, closing(progress_view()) as view:
        work = _Work(plan, ledger, limits)
        try:
            at_once = min(limits.places().get("all", MOST_QUESTIONS), len(plan.questions))
            tasks = [asyncio.create_task(work.run()) for _ in range(at_once)]
            await follow(tasks, lambda last: view.update(work, last))
            results(tasks)
        except BaseException as error:
            error.comparison = work.comparison()  # type: ignore[attr-defined]
            raise
        return work.comparison()


class _Plan:
    """What is to be compared; it refuses what makes no sense."""

    def __init__(
        self,
        questions: Sequence[Asked],
        strategies: Mapping[str, Strategy],
        judge: str | Sequence[str] | None,
        null_checks: int,
        options: dict[str, Any],
    ) -> None:
        if not isinstance(strategies, Mapping) or not all(isinstance(name, str) for name in strategies):
            raise TypeError("Give the strategies as a mapping: a name, and a model's name or a mixture's arguments.")
        if not strategies:
            raise ValueError("There is no strategy: give at least one.")
        if NULL in strategies:
            raise ValueError(f"{NULL!r} is what the control is called: give that strategy another name.")
        for name, strategy in strategies.items():
            if not isinstance(strategy, str | Mapping):
                raise TypeError(f"The strategy {name!r} must be a model's name or a mapping, not {strategy!r}.")
            if not isinstance(strategy, str):
                _check_arguments(name, strategy)
        check_number("max_tokens", options["max_tokens"], whole=True)
        check_number("null_checks", null_checks, least=0, whole=True)
        self.questions = questions_of(questions)
        if not isinstance(judge, str | Sequence | None):
            raise TypeError(f"The judge is a model's name, or a list of them, not {judge!r}.")
        self.judges = tuple([judge] if isinstance(judge, str) else judge or ())
        self.models = [find(name) for name in self.judges]
        if len(set(self.judges)) < len(self.judges):
            raise ValueError(f"A judge is listed twice: {', '.join(self.judges)}. It would say the same again.")
        self.options, self._null_checks = options, null_checks
        self.strategies = {
            name: strategy if isinstance(strategy, str) else {**options, **strategy}
            for name, strategy in strategies.items()
        }
        self.longest: int = max(self._size(strategy) for strategy in self.strategies.values())

    async def check(self) -> None:
        """Raise what any of the calls would raise, before one is made."""
        for question in self.questions:
            check(["openai:any"], question.prompt)
        # what depends on the prompt depends on its length: whether a strategy's own budget reaches
        prompt = max((question.prompt for question in self.questions), key=lambda text: tokens(text, at_most=True))
        for name, strategy in self.strategies.items():
            try:
                if isinstance(strategy, str):
                    prepare([strategy], prompt, max_tokens=self.options["max_tokens"])
                else:
                    await mixture_of_agents(prompt, **strategy, _check_only=True)
            except (TypeError, ValueError) as error:
                error.add_note(f"(the strategy {name!r})")
                raise
        if self.judges:
            prepare(self.judges, prompt, max_tokens=JUDGE_TOKENS)

    def _size(self, strategy: Strategy) -> int:
        """The most tokens that each of its answers may have."""
        return int((self.options if isinstance(strategy, str) else strategy)["max_tokens"])

    def opponents(self, number: int) -> list[str]:
        """Whose answers to a question are judged against the baseline's."""
        return [*list(self.strategies)[1:], *([NULL] if number < self._null_checks else [])] if self.judges else []

    def unpriced(self, number: int) -> list[str]:
        """The models whose price for a question is not known, those of second requests included."""
        read = tokens(self.questions[number].prompt, at_most=True)
        given = [strategy for strategy in self.strategies.values() if not isinstance(strategy, str)]
        seconds = [strategy["hedge_with"] for strategy in given if strategy.get("hedge_with") is not None]
        return [*self.price(number).unpriced, *(name for name in seconds if find(name).cost(read, 1) is None)]

    def price(self, number: int, answer_tokens: int = 400) -> Estimate:
        """What a question costs in all, as one stage; ``number`` counts from 0."""
        question, parts, longest = self.questions[number], [], self.longest
        for strategy in self.strategies.values():
            chosen: Mapping[str, Any] = {"reference_models": [strategy]} if isinstance(strategy, str) else strategy
            named = ("reference_models", "aggregator", "layers")
            given: dict[str, Any] = {name: chosen[name] for name in named if name in chosen}
            size = self._size(strategy)
            parts.append(estimate(question.prompt, **given, max_tokens=size, answer_tokens=min(answer_tokens, size)))
        calls = sum(part.calls for part in parts)
        usd, most_usd = [part.usd for part in parts], [part.most_usd for part in parts]
        unpriced = dict.fromkeys(name for part in parts for name in part.unpriced)
        often = 2 * len(self.opponents(number))
        asked = ranker_system(["", ""]) + question.prompt + (question.reference or "")
        for model in self.models if often else ():
            calls += often
            usd.append(_times(often, model.cost(tokens(asked) + 2 * min(answer_tokens, longest), VERDICT_TOKENS)))
            most_usd.append(_times(often, model.cost(tokens(asked, at_most=True) + 2 * longest, JUDGE_TOKENS)))
            unpriced |= {model.name: None} if usd[-1] is None else {}
        return Estimate(total(usd), answer_tokens, longest, ((calls, total(most_usd)),), tuple(unpriced))


class _Work:
    """A comparison under way. Several tasks ``run()`` it; each takes the next question that waits."""

    def __init__(self, plan: _Plan, ledger: Ledger, limits: Limits) -> None:
        self.ledger, self.bounds = ledger, Bounds(limits)
        self.total, self.ended = len(plan.questions), 0
        self.kept = self.made = 0  # calls
        self.known_usd = self.unknown_usd = 0.0  # spent from this start on; the latter is the most that it may be
        self.unknown = 0  # attempts whose cost is not known, maybe not even the most
        self._plan, self._budget = plan, math.inf if limits.budget_usd is None else limits.budget_usd
        self._set_aside: dict[int, float] = {}  # the most that each question under way may cost
        self._question_ended = asyncio.Condition()
        self._waiting = iter(range(self.total))
        self._answers: dict[int, list[Answered]] = {}
        self._judgements: dict[int, list[Judged]] = {}
        self._problem = ""

    async def run(self) -> None:
        """Work on one question after another until none waits, or the money does not reach for the next."""
        for number in self._waiting:
            most_usd = self._plan.price(number).most_usd or 0.0
            async with self._question_ended:
                while self._affordable(most_usd) is None:
                    await self._question_ended.wait()
                if not self._affordable(most_usd):
                    again = "a budget_usd above that" if most_usd > self._budget else "the same budget_usd"
                    self._problem = (
                        f"Stopped: the next question may cost ${most_usd:.4f}, if nothing of it is in the file, and "
                        f"what is left of budget_usd does not reach for it. Start again with {again} to go on; what is "
                        "in the file is kept and costs nothing."
                    )
                    return
                self._set_aside[number] = most_usd
            await self._work_on(number)
            del self._set_aside[number]
            self.ended += 1
            async with self._question_ended:
                self._question_ended.notify_all()

    def comparison(self) -> Comparison:
        """What has been found so far."""
        return Comparison(
            strategies=tuple(self._plan.strategies),
            judges=self._plan.judges,
            planned=self.total,
            answers=tuple(each for _, group in sorted(self._answers.items()) for each in group),
            judgements=tuple(each for _, group in sorted(self._judgements.items()) for each in group),
            path=self.ledger.path,
            problem=self._problem,
        )

    def line(self) -> str:
        """How far it is."""
        made = f"{self.made:,} calls made" + f", {self.kept:,} found in the file" * bool(self.kept)
        cost = dollars(None if self.unknown else self.known_usd, self.known_usd)
        return f"{self.ended:,} of {self.total:,} questions · {made} · {cost}"

    def html(self, *, whole: bool = False) -> str:
        """The same as HTML."""
        bar = f'<progress max="{self.total}" value="{self.ended}" aria-label="questions ended"></progress>'
        return f'<div class="{STYLED}">{bar} {escaped(self.line())}</div>'

    def _affordable(self, most_usd: float) -> bool | None:
        """Whether a question may begin; None: that depends on those under way."""
        left = self._budget - self.known_usd - self.unknown_usd
        return True if math.fsum(self._set_aside.values()) + most_usd <= left else None if self._set_aside else False

    async def _work_on(self, number: int) -> None:
        question = self._plan.questions[number]
        answers = await self._all(question, {name: self._answer(question, name) for name in self._plan.strategies})
        texts = {each.strategy: each.text for each in answers} | {NULL: NULL_TEXT}
        judging = {
            (name, model): self._judge(question, name, model, texts)
            for name in self._plan.opponents(number)
            for model in self._plan.judges
        }
        judgements = await self._all(question, judging)
        self._answers[number], self._judgements[number] = answers, judgements

    async def _all(self, question: Question, work: Mapping[Any, Coroutine[Any, Any, T]]) -> list[T]:
        """Do it all at once; calls are kept by question and by what the work is called."""
        lanes = {what: _Lane(self, question.id, what if isinstance(what, str) else what[0]) for what in work}
        tasks = [asyncio.create_task(each, context=kept_by(lanes[what])) for what, each in work.items()]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await stop(tasks)
        return results(tasks)

    async def _answer(self, question: Question, name: str) -> Answered:
        strategy = self._plan.strategies[name]
        patience = ("timeout", "retries")  # they do not change what is asked
        how = strategy if isinstance(strategy, str) else {n: v for n, v in strategy.items() if n not in patience}
        asked = (question.id, question.prompt, name, how, _world())
        if known := self.ledger.find_answer(*asked):
            self.kept += known["calls"]
            return Answered(**known)
        if isinstance(strategy, str):
            reply = await ask(strategy, question.prompt, **self._plan.options)
            text, stages = reply.text if reply.ok else "", [Replies([reply])]
            outcome: str = reply.failure.kind if reply.failure else "ok"
        else:
            answer = await mixture_of_agents(question.prompt, **strategy)
            text, outcome = answer.text, answer.outcome
            stages = [*answer.layers, *([Replies([answer.aggregator])] if answer.aggregator else [])]
        replies = Replies(reply for stage in stages for reply in stage)
        answered = Answered(
            question=question.id,
            strategy=name,
            outcome=outcome,
            text=text,
            calls=sum(len(reply.attempts) for reply in replies),
            cost_usd=replies.cost_usd,
            seconds=math.fsum(max(reply.elapsed for reply in stage) for stage in stages),
            characters=len(text),
            offline=any(reply.offline for reply in replies),
            **_points(question, text, replies),
        )
        stopped = any(reply.abandoned or reply.hedged for reply in replies)
        if stopped and text and all(reply.ok or reply.abandoned for reply in replies):
            self.ledger.keep_answer(asdict(answered), *asked)
        return answered

    async def _judge(self, question: Question, name: str, model: str, texts: Mapping[str, str]) -> Judged:
        one, other = texts[name], texts[next(iter(self._plan.strategies))]
        if not one or not other:
            score = 0.5 if not one and not other else float(bool(one))
            return Judged(question.id, name, model, None, score, 0.0)
        options = {name: value for name, value in self._plan.options.items() if name != "max_tokens"}
        verdict = await judge(question.prompt, one, other, model, known=question.reference, **options)
        places = verdict.places if verdict.replies else None
        return Judged(question.id, name, model, places, verdict.score, verdict.replies.cost_usd)


@dataclass(frozen=True)
class _Lane:
    """Keeps the calls that one strategy makes for one question."""

    work: _Work
    question: str
    strategy: str

    def find(self, request: Request) -> Reply | None:
        """What the file has."""
        reply = self.work.ledger.find(self.question, self.strategy, request)
        self.work.kept += reply is not None
        return reply

    def keep(self, request: Request, reply: Reply) -> None:
        """Write it into the file."""
        self.work.made += 1
        unknown = sum(attempt.cost_usd is None for attempt in reply.attempts)
        self.work.known_usd += reply.least_usd
        self.work.unknown += unknown
        self.work.unknown_usd += unknown * (most(request) or 0.0)
        self.work.ledger.keep(self.question, self.strategy, request, reply)

    @asynccontextmanager
    async def place(self, vendor: str) -> AsyncIterator[None]:
        """Wait for a place among all calls of the comparison; raises if its answer could not be written down."""
        async with self.work.bounds.place(vendor):
            self.work.ledger.check()
            yield


def _check_arguments(name: str, strategy: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError unless a strategy's mapping holds arguments of a mixture, an aggregator for one."""
    known = [each for each in signature(mixture_of_agents).parameters if each != "prompt" and not each.startswith("_")]
    if unknown := [repr(each) for each in strategy if each not in known]:
        raise TypeError(f"The strategy {name!r} has {', '.join(unknown)}; a mixture takes {', '.join(known)}.")
    if strategy.get("aggregator") is None:
        raise TypeError(f"The strategy {name!r} has no aggregator: name it by a string such as 'openai:model-id'.")
    if "max_tokens" in strategy:
        check_number("max_tokens", strategy["max_tokens"], whole=True)
    if strategy.get("hedge_with") is not None:
        find(strategy["hedge_with"])
    if strategy.get("deadline") is not None:
        raise ValueError(f"The strategy {name!r} has a deadline, which would run while it waits: use timeout.")


def _points(question: Question, text: str, replies: Replies) -> dict[str, int]:
    """Offline, how many points of a prepared question a text has right and wrong."""
    if not replies or not all(reply.offline for reply in replies):
        return {}
    try:
        score = offline.score(question.prompt, text)
    except ValueError:  # not a prepared question
        return {}
    return {"points_right": score.covered, "points_wrong": score.wrong, "points_possible": score.possible}


def _world() -> str:
    """Who answers: the vendors, or stand-ins with certain traits."""
    return world(offline=current().mode == "offline", chooses=True)


def _times(often: int, usd: float | None) -> float | None:
    return None if usd is None else often * usd
