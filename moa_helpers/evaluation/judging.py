"""Which of two answers a model judges to be better. It is asked twice, in both orders."""

from dataclasses import dataclass, replace

from moa_helpers.fanout import run_all
from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.members import Named
from moa_helpers.limits.scope import Scope
from moa_helpers.plan import Plan, plan_fan_out
from moa_helpers.prompts import told
from moa_helpers.results import Replies
from moa_helpers.shown import Shown
from moa_helpers.steps.ranking import chosen, ranker_system, reminder

JUDGE_TOKENS = 1024  # enough for a number and the reasoning before it


@dataclass(frozen=True)
class Verdict(Shown):
    """A judge's verdict on two answers, ``one`` and ``other``.

    ``places`` has the place (1 or 2) that it chose when ``one`` was first, and when ``other`` was. 0 is a draw, None a
    judgement that failed or named no place. Equal texts are a draw, without a call.
    """

    judge: str
    places: tuple[int | None, int | None]
    replies: Replies
    _views = "moa_helpers.evaluation.views"

    @property
    def score(self) -> float | None:
        """1 if ``one`` is better in both orders, 0 if ``other`` is, 0.5 otherwise; None if a judgement is missing."""
        return None if None in self.places else {(1, 2): 1.0, (2, 1): 0.0}.get(self.places, 0.5)  # type: ignore[arg-type]


async def judge(
    prompt: Prompt,
    one: str,
    other: str,
    model: Named,
    *,
    known: str | None = None,
    max_tokens: int = JUDGE_TOKENS,
    timeout: float = 60.0,
    retries: int = 2,
) -> Verdict:
    """Ask a model which of two answers to a question is better, once in each order.

    Raises TypeError or ValueError if the input is wrong, before any call.

    Args:
        prompt: the question, or the conversation.
        one, other: the answers. They are fenced, to keep them apart from the judge's instruction.
        model: the judge, ``vendor:model-id`` or a ``Member``.
        known: an answer that is known to be right, for the judge to compare with.
        max_tokens, timeout, retries: as in ``ask``.
    """
    for name, text in {"one": one, "other": other, "known": "" if known is None else known}.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} must be an answer's text, not {type(text).__name__}.")
    if known is not None and not known.strip():
        raise ValueError("known is empty: write the answer that is known to be right, or leave it out.")
    plan = plan_fan_out([model], prompt, max_tokens=max_tokens, timeout=timeout, retries=retries)
    return await verdict(plan if one.strip() == other.strip() else plan.bound(), one, other, known)


async def verdict(plan: Plan, one: str, other: str, known: str | None) -> Verdict:
    """The verdict of a judge whose plan is bound; ``one``, ``other`` and ``known`` as in ``judge``."""
    ((request,),) = plan.stages
    if one.strip() == other.strip():
        return Verdict(request.model.name, (0, 0), Replies())
    systems = [ranker_system(order, draw=True, known=known) for order in ([one, other], [other, one])]
    asked = replace(request, role="judge", reminder=reminder(draw=True))
    with Scope(plan.limits).open() as scope:
        replies = await run_all([told(asked, system) for system in systems], scope)
    first, second = (chosen(reply.text, 2, draw=True) if reply.ok else None for reply in replies)
    return Verdict(request.model.name, (first, second), replies)
