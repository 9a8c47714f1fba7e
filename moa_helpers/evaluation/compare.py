"""Does it help? Several ways to answer, on the same questions, judged in pairs; every call is kept in a file."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from moa_helpers.evaluation.comparison import Comparison
from moa_helpers.evaluation.planned import Judges, Planned, Strategies
from moa_helpers.evaluation.questions import Asked
from moa_helpers.evaluation.work import Work
from moa_helpers.limits.inputs import check_number
from moa_helpers.limits.purse import Estimate
from moa_helpers.limits.tasks import results
from moa_helpers.limits.values import Limits
from moa_helpers.results import total
from moa_helpers.store.ledger import Ledger
from moa_helpers.ui.progress import follow, progress_view

MOST_QUESTIONS = 64  # at the same time, where only vendors have limits


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
    with closing(Ledger(Path(path))) as ledger, closing(progress_view()) as view:
        work = Work(plan, ledger, limits)
        try:
            tasks = work.begin(min(limits.places().get("all", MOST_QUESTIONS), len(plan.questions)))
            await follow(tasks, lambda last: view.update(work, last))
            results(tasks)
        except BaseException as error:
            error.comparison = work.comparison()  # type: ignore[attr-defined]
            raise
        return work.comparison()
