"""Does it help? Several strategies on the same questions, scored and judged. Every call is kept in a file."""

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from moa_helpers.bulk.questions import Question, Source
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.strategies import answered
from moa_helpers.bulk.work import Lane, Work, shared
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged, Scored
from moa_helpers.evaluation.judging import JUDGE_TOKENS, verdict
from moa_helpers.evaluation.questions import PANEL, Judges, Planned, Strategies
from moa_helpers.evaluation.scores import Scorer, check_score, scored
from moa_helpers.fanout import run_all
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.purse import Estimate
from moa_helpers.limits.rates import Rate, Rates
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import results, stop
from moa_helpers.limits.values import Limits
from moa_helpers.offline.bank import points
from moa_helpers.plan import plan_fan_out
from moa_helpers.results import Reply, total
from moa_helpers.store.answers import Answers, key_of
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import current, held, world

NULL_TEXT = "Thank you for your question. There is nothing that I can say about it."
SAME = ("outcome", "text", "calls", "cost_usd", "seconds", "offline")  # fields that an Answered shares with a Row
T = TypeVar("T")


def estimate_comparison(
    questions: Source,
    strategies: Strategies,
    *,
    judge: Judges = None,
    max_tokens: int = 2048,
    answer_tokens: int = 400,
    null_checks: int = 20,
    share_panel: bool = False,
) -> Estimate:
    """Say what a comparison will cost, from the catalogue's prices, without a call. Each stage is a question.

    Arguments and errors are those of ``compare``. ``answer_tokens`` is how many tokens to expect in an answer.
    """
    check_number("answer_tokens", answer_tokens, whole=True)
    plan = Planned(questions, strategies, judge, null_checks, share_panel, max_tokens=max_tokens)
    prices = [plan.price(number, answer_tokens) for number in range(len(plan.questions))]
    unpriced = dict.fromkeys(name for price in prices for name in price.unpriced)
    stages = tuple(stage for price in prices for stage in price.stages)
    usd = total(price.usd for price in prices)
    return Estimate(usd, min(answer_tokens, plan.longest), plan.longest, stages, tuple(unpriced))


async def compare(
    questions: Source,
    strategies: Strategies,
    *,
    judge: Judges = None,
    score: Scorer | None = None,
    share_panel: bool = False,
    path: str | Path = "comparison.sqlite",
    max_concurrency: int | Mapping[str, int] = 8,
    budget_usd: float | None = None,
    rates: Mapping[str, Rate] | None = None,
    max_tokens: int = 2048,
    timeout: float = 60.0,
    retries: int = 2,
    null_checks: int = 20,
) -> Comparison:
    """Answer each question by each strategy, score the answers, and have them judged in pairs, in both orders.

    Every call is kept in a file as soon as it has ended. A second start with the same file, after a stop, a crash or a
    change, makes only the calls that are missing or failed. So another ``score`` makes none.

    Args:
        questions: a list of texts or ``Question``s, such as ``offline.questions`` gives; or a file or a DataFrame, as
            in ``read_questions``.
        strategies: a name for each, and its model or mixture, as in ``answer_all``. The first is the baseline, against
            which the others are judged.
        judge: the model or ``Member`` that judges, or several, whose scores are averaged. None: nothing is judged.
        score: one of ``moa.scores``, or any function ``(question, answer) -> float | bool | None``: 1 is right, 0 is
            wrong, None is "nothing to read". An error of it is noted in that row. Calls wait while it works, unless it
            is ``async``. For those of ``moa.scores``, each question needs a reference that they can read.
        share_panel: give all mixtures the same replies of their proposers, paid for once, so that only the rest
            differs. The proposers must be the same. The first layer has no quorum and no second requests.
        path: the file that keeps the calls, as in ``moa.keep``. One is enough for all your comparisons; delete it to
            ask again. A ``.jsonl`` file of the same name, from version 0.1, is read too and left as it is.
        max_concurrency, budget_usd, rates, max_tokens, timeout, retries: as in ``answer_all``.
        null_checks: for how many questions each judge also compares the baseline's answer with one that says nothing
            and has to lose.

    Returns:
        The comparison. Failures do not raise: an answer that failed loses.

    Raises:
        TypeError, ValueError: the input is wrong, or the file is not of this kind. No call was made.
        OSError: the file cannot be read or written. No further call is made.
        asyncio.CancelledError: it was cancelled. The exception's ``comparison`` has the questions that were finished.
    """
    limits = shared(timeout, retries, max_concurrency, budget_usd)
    options = {"max_tokens": max_tokens, "timeout": timeout, "retries": retries}
    plan = Planned(questions, strategies, judge, null_checks, share_panel, **options)
    minutes = Rates(rates)
    plan.check(minutes, priced=budget_usd is not None)
    await check_score(score, plan.questions)
    old = Path(path).with_suffix(".jsonl")
    with held(), closing(Answers(old.with_suffix(".sqlite") if Path(path) == old else path)) as store:
        if old.exists() and (Path(path) == old or old.name == "comparison.jsonl"):
            store.take_in(old, Answered)
        work = Comparing(plan, store, limits, minutes, score)
        return await work.followed(work.run(), "comparison", work.comparison)


class Comparing(Work):
    """A comparison under way. Its items are questions."""

    def __init__(self, plan: Planned, store: Answers, limits: Limits, rates: Rates, score: Scorer | None) -> None:
        super().__init__(store, limits, rates, len(plan.questions))
        self._plan, self._score = plan, score
        self._shared_usd: list[float] = []  # the price of panels, for each strategy after the first
        self._found: dict[int, tuple[list[Answered], list[Scored], list[Judged]]] = {}  # by the number of the question

    async def run(self) -> None:
        """Take the questions in turn."""
        await self.each(range(len(self._plan.questions)), lambda n: self._plan.price(n).most_usd or 0.0, self._work_on)

    def comparison(self) -> Comparison:
        """The results so far."""
        found = [self._found[number] for number in sorted(self._found)]
        return Comparison(
            strategies=tuple(self._plan.strategies),
            judges=tuple(self._plan.judges),
            planned=len(self._plan.questions),
            answers=tuple(each for answers, _, _ in found for each in answers),
            scored=tuple(each for _, scores, _ in found for each in scores),
            judgements=tuple(each for _, _, judgements in found for each in judgements),
            path=self.store.path,
            problem=" ".join(filter(None, (self.problem, self.store.problem))),
            questions=tuple(self._plan.questions),
            given=self._plan.given,
            shared_usd=math.fsum(self._shared_usd),
        )

    async def _work_on(self, number: int) -> None:
        question = self._plan.questions[number]
        panel = await self._panel(question)
        asking = [(name, self._answer(question, name)) for name in self._plan.strategies]
        answers = await self._all(question, asking, panel)
        scores = [await scored(self._score, question, each.strategy, each.text) for each in answers if self._score]
        texts = {each.strategy: each.text for each in answers} | {NULL: NULL_TEXT}
        judging = [
            (name, self._judge(question, name, model, texts))
            for name in self._plan.opponents(number)
            for model in self._plan.judges
        ]
        self._found[number] = answers, scores, await self._all(question, judging)

    async def _all(
        self, question: Question, work: Sequence[tuple[str, Coroutine[Any, Any, T]]], panel: "Panel" = ()
    ) -> list[T]:
        """Do it all at once. Calls are kept by question and strategy."""
        tasks = []
        for strategy, each in work:
            scope = Scope(store=_Lane(self, (question.id, strategy), panel), remembers=False)
            tasks.append(asyncio.create_task(each, context=scope.context()))
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await stop(tasks)
        return results(tasks)

    async def _panel(self, question: Question) -> "Panel":
        """The replies of the proposers, if all mixtures share them."""
        mixtures = [strategy for strategy in self._plan.strategies.values() if not strategy.single]
        if not self._plan.share_panel or not mixtures:
            return ()
        plan = mixtures[0].plan(question.prompt).bound(streamed=False)
        asked = [replace(one, role="layer 1") for one in plan.stages[0]]
        limits = Limits(plan.limits.timeout, None, plan.limits.retries)
        with Scope(limits, store=Lane(self, (question.id, PANEL))).open() as scope:
            scope.purse.plan(asked)
            replies = await run_all(asked, scope)
        cost = total(reply.first_cost_usd for reply in replies)
        self._shared_usd.append((cost or 0.0) * (len(mixtures) - 1))
        return [*zip(asked, replies, strict=True)]

    async def _answer(self, question: Question, name: str) -> Answered:
        strategy = self._plan.strategies[name]
        who = world(offline=current().mode == "offline", chooses=True)  # the vendors, or stand-ins with certain traits
        key = key_of(question.id, question.prompt, name, strategy.identity, who, *[PANEL] * self._plan.share_panel)
        if known := self.store.find_row(Answered, key):
            self.kept += known.calls
            return known
        result = await answered(strategy.plan(question.prompt).bound(streamed=False))
        row, replies = Row.of(question, result), [result] if isinstance(result, Reply) else result.replies
        same: dict[str, Any] = {each: getattr(row, each) for each in SAME}
        found = Answered(question.id, name, characters=len(row.text), **same)
        if all(reply.offline for reply in replies) and (score := points(question.text, row.text)):
            found = replace(found, points_right=score.covered, points_wrong=score.wrong, points_possible=score.possible)
        stopped = any(reply.abandoned or reply.hedged for reply in replies)
        if stopped and row.text and all(reply.ok or reply.abandoned for reply in replies):
            self.store.keep_row(key, asdict(found))
        return found

    async def _judge(self, question: Question, name: str, model: str, texts: Mapping[str, str]) -> Judged:
        one, other = texts[name], texts[next(iter(self._plan.strategies))]
        if not one or not other:
            return Judged(question.id, name, model, None, 0.5 if one == other else float(bool(one)), 0.0)
        options = {name: value for name, value in self._plan.options.items() if name != "max_tokens"}
        plan = plan_fan_out([self._plan.judges[model]], question.prompt, max_tokens=JUDGE_TOKENS, **options)
        found = await verdict(plan.bound(streamed=False), one, other, question.reference)
        cost = total(reply.first_cost_usd for reply in found.replies)
        return Judged(question.id, name, model, found.places if found.replies else None, found.score, cost)


Panel = Sequence[tuple[Request, Reply]]


@dataclass(frozen=True)
class _Lane(Lane):
    """The store of one strategy's calls for one question. The panel's calls, made for all, are found first."""

    panel: Panel = ()

    def find(self, request: Request) -> Reply | None:
        return next((reply for asked, reply in self.panel if asked == request), None) or super().find(request)
