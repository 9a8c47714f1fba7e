"""What a comparison asks: the questions, the strategies and the judges; checked, priced, not begun."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from moa_helpers.bulk.questions import Source, questions_of
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.estimating import estimate
from moa_helpers.evaluation.comparison import NULL
from moa_helpers.evaluation.judging import JUDGE_TOKENS
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.conversations import read_prompt
from moa_helpers.limits.members import Member, Named
from moa_helpers.limits.purse import Estimate, price, tokens
from moa_helpers.limits.rates import Rates
from moa_helpers.plan import plan_fan_out
from moa_helpers.results import total
from moa_helpers.steps.ranking import ranker_system
from moa_helpers.vendors import settings

VERDICT_TOKENS = 5  # expected of a judge, who writes a number
PANEL = "shared panel"  # the name under which a panel's calls are kept
Strategies: TypeAlias = Mapping[str, Named | Mapping[str, Any]]
Judges: TypeAlias = Named | Sequence[Named] | None


class Planned:
    """What is to be compared. Wrong input is refused."""

    def __init__(
        self,
        questions: Source,
        strategies: Strategies,
        judge: Judges,
        null_checks: int,
        share_panel: bool,
        **options: Any,
    ) -> None:
        if not isinstance(strategies, Mapping) or not all(isinstance(name, str) for name in strategies):
            raise TypeError("Give the strategies as a mapping: a name, and a model or a mixture's arguments.")
        if not strategies:
            raise ValueError("There is no strategy: give at least one.")
        for taken, what in ((NULL, "control"), (PANEL, "panel")):
            if taken in strategies:
                raise ValueError(f"{taken!r} is the name of the {what}: give that strategy another one.")
        self.strategies = {name: Strategy.of(given, name, **options) for name, given in strategies.items()}
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
        self.options, self._null_checks, self.share_panel = options, null_checks, share_panel
        self.longest: int = max(strategy.given["max_tokens"] for strategy in self.strategies.values())

    def check(self, rates: Rates, *, priced: bool) -> None:
        """Raise what any of the calls would raise, before one is made. With ``priced``, an unknown price is refused."""
        for question in self.questions:
            read_prompt(question.prompt)
        # the longest prompt, as a strategy's own budget may be too small for it
        prompt = max(self.questions, key=lambda question: tokens(question.text, at_most=True)).prompt
        for name, strategy in self.strategies.items():
            try:
                plan = strategy.plan(prompt).bound()
                for request in chain(*plan.stages, plan.final):
                    rates.check(request)
            except (TypeError, ValueError) as error:
                error.add_note(f"(the strategy {name!r})")
                raise
        panels = {name: each.plan(prompt).stages[0] for name, each in self.strategies.items() if not each.single}
        first = next(iter(panels), "")
        for name, panel in panels.items() if self.share_panel else ():
            if panel != panels[first]:
                raise ValueError(f"share_panel: {first!r} and {name!r} ask different proposers or with other settings.")
        if self.judges:
            for request in plan_fan_out([*self.judges.values()], prompt, max_tokens=JUDGE_TOKENS).bound().stages[0]:
                rates.check(request)
        others = [other for how in self.strategies.values() if (other := how.given.get("hedge_with")) is not None]
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
        """The strategies whose answers to a question are judged against the baseline's."""
        return [*list(self.strategies)[1:], *([NULL] if number < self._null_checks else [])] if self.judges else []

    def price(self, number: int, answer_tokens: int = 400) -> Estimate:
        """The price of a question in all, as one stage. ``number`` counts from 0."""
        question, longest = self.questions[number], self.longest
        names = ("reference_models", "aggregator", "layers", "max_tokens")
        asked = [{name: each.given[name] for name in names if name in each.given} for each in self.strategies.values()]
        parts = [estimate(question.prompt, **given, answer_tokens=answer_tokens) for given in asked]
        calls = sum(part.calls for part in parts)
        usd, most_usd = [part.usd for part in parts], [part.most_usd for part in parts]
        mixtures = [strategy for strategy in self.strategies.values() if not strategy.single]
        for strategy in mixtures[1:] if self.share_panel else ():
            panel = price(strategy.plan(question.prompt).stages[:1], answer_tokens=answer_tokens)
            calls -= panel.calls
            usd.append(None if panel.usd is None else -panel.usd)
            most_usd.append(None if panel.most_usd is None else -panel.most_usd)
        unpriced = dict.fromkeys(name for part in parts for name in part.unpriced)
        often = 2 * len(self.opponents(number))
        read = ranker_system(["", ""]) + question.text + (question.reference or "")
        for model in self.models if often else ():
            calls += often
            usd += [model.cost(tokens(read) + 2 * min(answer_tokens, longest), VERDICT_TOKENS)] * often
            most_usd += [model.cost(tokens(read, at_most=True) + 2 * longest, JUDGE_TOKENS)] * often
            unpriced |= {model.name: None} if usd[-1] is None else {}
        return Estimate(total(usd), answer_tokens, longest, ((calls, total(most_usd)),), tuple(unpriced))
