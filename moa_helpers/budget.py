"""What calls will cost, before they are made; and what may still be spent while they run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moa_helpers.catalogue import Model
from moa_helpers.display import Card, Shown, dollars
from moa_helpers.vendors import Request

# Rules of thumb; each vendor counts with a tokenizer of its own, and text without spaces or with many digits has more.
CHARACTERS_A_TOKEN = 4  # of English, about
BYTES_A_TOKEN = 3  # fewer than most texts have, for the estimate that is to be on the safe side


@dataclass(frozen=True)
class Estimate(Shown):
    """What a run will cost in US dollars, if nothing is retried or hedged; None where a price is unknown.

    ``usd`` takes every answer to be ``answer_tokens`` long, ``most_usd`` as long as ``max_tokens`` allows.
    """

    calls: int
    usd: float | None
    most_usd: float | None
    answer_tokens: int
    max_tokens: int
    unpriced: tuple[str, ...] = ()

    def _card(self) -> Card:
        rows = [
            (f"{self.answer_tokens} tokens", dollars(self.usd)),
            (f"{self.max_tokens} tokens, the most allowed", dollars(self.most_usd)),
        ]
        unknown = f" · no price known for {', '.join(self.unpriced)}" if self.unpriced else ""
        return Card(f"{self.calls} calls, estimated{unknown}", ("if each answer has", "cost"), rows)


class Allowance:
    """What may be spent on retries and second requests; what was planned is set aside first.

    Args:
        planned: what will be called in any case.
        max_calls: most requests in all.
        budget_usd: most US dollars in all.

    Raises:
        ValueError: the plan alone is above a limit, or cannot be priced.
    """

    def __init__(
        self, planned: Estimate | None = None, max_calls: int | None = None, budget_usd: float | None = None
    ) -> None:
        self._calls = self._usd = math.inf
        if planned and max_calls is not None:
            if planned.calls > max_calls:
                raise ValueError(
                    f"{planned.calls} calls are planned, but max_calls is {max_calls}: raise it or ask fewer."
                )
            self._calls = max_calls - planned.calls
        if planned and budget_usd is not None:
            if planned.most_usd is None:
                raise ValueError(
                    f"budget_usd cannot be kept: no price is known for {', '.join(planned.unpriced)}. "
                    "Take models from moa.models(), or bound the calls with max_calls instead."
                )
            if planned.most_usd > budget_usd:
                raise ValueError(
                    f"{planned.calls} calls of up to {planned.max_tokens} tokens may cost {dollars(planned.most_usd)}, "
                    f"but budget_usd is {dollars(budget_usd)}: lower max_tokens, ask fewer models, or raise it."
                )
            self._usd = budget_usd - planned.most_usd

    def grants(self, request: Request) -> bool:
        """Set aside one more request at the most that it may cost, if that is still allowed."""
        most = _most(request) if self._usd < math.inf else 0.0
        if self._calls < 1 or most is None or most > self._usd:
            return False
        self._calls -= 1
        self._usd -= most
        return True

    def settle(self, request: Request, cost_usd: float | None) -> None:
        """Give back what a request was set aside for and did not cost; nothing, if its cost is unknown."""
        if self._usd < math.inf and cost_usd is not None:
            self._usd += (_most(request) or 0.0) - cost_usd


def price(
    stages: Sequence[Sequence[Model]],
    text: str,
    *,
    max_tokens: int,
    answer_tokens: int = 400,
    frame: str = "",
) -> Estimate:
    """Price stages of calls, of which each after the first also reads the answers of the one before.

    Args:
        stages: the models of each stage.
        text: what every call reads, prompt and system message.
        max_tokens: the most tokens of an answer.
        answer_tokens: how many tokens to expect of one.
        frame: what stands around the answers in the later stages.
    """
    answer_tokens = min(answer_tokens, max_tokens)
    unpriced: dict[str, None] = {}  # an ordered set

    def total(written: int, at_most: bool) -> float | None:
        costs, read = [], tokens(text, at_most=at_most)
        for models in stages:
            for model in models:
                costs.append(model.cost(read, written))
                if costs[-1] is None:
                    unpriced[model.name] = None
            read = tokens(text + frame, at_most=at_most) + len(models) * written
        return None if None in costs else math.fsum(cost for cost in costs if cost is not None)

    usd, most_usd = total(answer_tokens, False), total(max_tokens, True)
    calls = sum(len(models) for models in stages)
    return Estimate(calls, usd, most_usd, answer_tokens, max_tokens, tuple(unpriced))


def tokens(text: str, *, at_most: bool = False) -> int:
    """About how many tokens a text has; with ``at_most``, more than most texts of its length."""
    return math.ceil(len(text.encode()) / BYTES_A_TOKEN if at_most else len(text) / CHARACTERS_A_TOKEN)


def _most(request: Request) -> float | None:
    return request.model.cost(tokens((request.system or "") + request.prompt, at_most=True), request.max_tokens)
