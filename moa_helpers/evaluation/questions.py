"""What a comparison asks: the questions, the strategies and the judges; checked, priced, not begun."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, TypeAlias

from moa_helpers.bulk.questions import Asked, questions_of
from moa_helpers.estimating import estimate
from moa_helpers.evaluation.comparison import NULL
from moa_helpers.evaluation.judging import JUDGE_TOKENS
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.conversations import read_prompt
from moa_helpers.limits.members import Member, Named
from moa_helpers.limits.purse import Estimate, tokens
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.plan import plan_fan_out, plan_mixture
from moa_helpers.results import total
from moa_helpers.steps.ranking import ranker_system
from moa_helpers.vendors import settings

VERDICT_TOKENS = 5  # what a judge is expected to write: a number
Strategies: TypeAlias = Mapping[str, Named | Mapping[str, Any]]
Judges: TypeAlias = Named | Sequence[Named] | None


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
