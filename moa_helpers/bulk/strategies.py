"""What a question is answered by: one model, or a mixture."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Self

from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.fanout import run_all
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.members import Member, Named
from moa_helpers.limits.scope import Scope
from moa_helpers.mixture import mixture_of_agents, run_mixture
from moa_helpers.plan import Plan, plan_fan_out, plan_mixture
from moa_helpers.results import Answer, Reply

NOT_ASKED = ("timeout", "retries")  # they change how long to wait for an answer, not what is asked


@dataclass(frozen=True)
class Strategy:
    """The arguments of ``mixture_of_agents``; or one reference model and no aggregator."""

    given: Mapping[str, Any]

    @classmethod
    def of(cls, given: Named | Mapping[str, Any], name: str = "", **options: Any) -> Self:
        """The strategy for a model or a mixture's arguments; ``options`` are for what these leave out."""
        called = f"The strategy {name!r}" if name else "The mixture"
        if isinstance(given, Named):
            return cls({**options, "reference_models": [given]})
        if not isinstance(given, Mapping):
            raise TypeError(
                f"{called} must be a model's name, a Member, or arguments such as "
                f'{{"reference_models": [...], "aggregator": "openai:model-id"}}, not {given!r}.'
            )
        known = [each for each in signature(mixture_of_agents).parameters if each != "prompt"]
        if unknown := [repr(each) for each in given if each not in known]:
            raise TypeError(f"{called} has {', '.join(unknown)}; a mixture takes {', '.join(known)}.")
        if given.get("aggregator") is None:
            raise TypeError(f"{called} has no aggregator: name it by a string such as 'openai:model-id'.")
        if "max_tokens" in given:
            check_number("max_tokens", given["max_tokens"], whole=True)
        if given.get("hedge_with") is not None:
            Member.of(given["hedge_with"])
        if given.get("deadline") is not None:
            raise ValueError(f"{called} has a deadline, which would run while calls wait for a place: use timeout.")
        return cls({**options, **given})

    @property
    def single(self) -> bool:
        """Whether it asks one model alone."""
        return "aggregator" not in self.given

    @property
    def identity(self) -> Any:
        """All that can change its answers: everything except how long to wait."""
        asked = {name: value for name, value in self.given.items() if name not in NOT_ASKED}
        return asked["reference_models"][0] if self.single else asked

    def plan(self, prompt: Prompt) -> Plan:
        """The calls to make; arguments and errors are those of ``mixture_of_agents``."""
        if self.single:
            options = {**self.given}
            return plan_fan_out(options.pop("reference_models"), prompt, **options)
        return plan_mixture(prompt, **self.given)

    async def answer(self, question: Question) -> Row:
        """Ask a question live, and return its row. The row of a question that cannot be asked says why."""
        try:
            plan = self.plan(question.prompt)
        except (TypeError, ValueError) as error:
            return Row.refused(question, error)
        return Row.of(question, await answered(plan.bound(streamed=False)))


async def answered(plan: Plan) -> Answer | Reply:
    """Carry out a bound plan: a mixture gives an answer, a single model a reply."""
    if plan.final:
        return await run_mixture(plan)
    with Scope(plan.limits).open() as scope:
        scope.purse.plan(plan.stages[0])
        (reply,) = await run_all(plan.stages[0], scope, plan.seconds[0])
        return reply
