"""What calls will cost, before they are made; and what may still be spent while they run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from moa_helpers.catalogue import Model
from moa_helpers.limits.values import Limits
from moa_helpers.results import total
from moa_helpers.shown import Shown
from moa_helpers.vendors.requests import Request

# Rules of thumb; each vendor counts with a tokenizer of its own, and text without spaces or with many digits has more.
CHARACTERS_A_TOKEN = 4  # of English, about
BYTES_A_TOKEN = 3  # fewer than most texts have, for the estimate that is to be on the safe side
TOKENS_AROUND = 10  # what a vendor may add to a call's messages, for the same


@dataclass(frozen=True)
class Estimate(Shown):
    """What a run will cost in US dollars, if nothing is retried or hedged; None where a price is unknown.

    ``usd`` takes every answer to be ``answer_tokens`` long, ``most_usd`` as long as ``max_tokens`` allows. ``stages``
    has the calls and the most cost of each stage. ``unpriced`` names the models whose price is not known. ``fallbacks``
    are the aggregators that are asked only where one before them fails; they are in none of these numbers.

    ``batch_usd`` is ``usd`` by the batch APIs of those vendors that have one. ``mixed_usd`` is the same with the last
    stage live. ``worst_hours`` is how long the batches may take, one window a stage. Only ``estimate`` knows them.
    """

    usd: float | None
    answer_tokens: int
    max_tokens: int
    stages: tuple[tuple[int, float | None], ...]
    unpriced: tuple[str, ...] = ()
    fallbacks: int = 0
    batch_usd: float | None = None
    mixed_usd: float | None = None
    worst_hours: float | None = None

    @property
    def calls(self) -> int:
        """How many calls will be made."""
        return sum(calls for calls, _ in self.stages)

    @property
    def most_usd(self) -> float | None:
        """The cost if every answer is as long as it may be."""
        return total(usd for _, usd in self.stages)


class Purse:
    """What may be spent in all, in requests and in US dollars (None: any number).

    What is planned is set aside first; retries and second requests get what that leaves.
    """

    def __init__(self, max_calls: int | None = None, budget_usd: float | None = None) -> None:
        self._calls = math.inf if max_calls is None else max_calls  # left in all
        self._usd = math.inf if budget_usd is None else budget_usd
        self._held_calls, self._held_usd = 0, 0.0  # of these, set aside

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """A purse with all that the limits allow."""
        return cls(limits.max_calls, limits.budget_usd)

    def check(self, planned: Estimate) -> None:
        """Raise ValueError if the plan alone is above a limit, or cannot be priced though dollars are limited."""
        if planned.calls > self._calls:
            raise ValueError(
                f"{planned.calls} calls are planned, but max_calls is {self._calls}: raise it or ask fewer."
            )
        if self._usd == math.inf:
            return
        if planned.most_usd is None:
            raise ValueError(
                f"budget_usd cannot be kept: no price is known for {', '.join(planned.unpriced)}. "
                "Take other models from moa.models(), give moa.add_host() its prices, or set max_calls instead."
            )
        if planned.most_usd > self._usd:
            raise ValueError(
                f"{planned.calls} calls of up to {planned.max_tokens} tokens may cost ${planned.most_usd:.7g}, but "
                f"budget_usd is ${self._usd:.7g}: lower max_tokens, ask fewer models, or raise it."
            )

    def plan(self, requests: Sequence[Request], later: Sequence[tuple[int, float | None]] = ()) -> None:
        """Set aside what the stage that begins now takes and what later stages may take; release all else."""
        self._held_calls = len(requests) + sum(calls for calls, _ in later)
        self._held_usd = sum(most(request) or 0.0 for request in requests) + sum(usd or 0.0 for _, usd in later)

    def grants(self, request: Request) -> bool:
        """Set aside one more request at the most that it may cost, if there is room for it."""
        usd = most(request)
        if self._held_calls + 1 > self._calls:
            return False
        if self._usd < math.inf and (usd is None or self._held_usd + usd > self._usd):
            return False
        self.release(request, -1)
        return True

    def release(self, request: Request, count: int = 1) -> None:
        """Set a request aside no longer: it will not be sent after all."""
        self._held_calls -= count
        self._held_usd -= count * (most(request) or 0.0)

    def spend(self, request: Request, cost_usd: float | None) -> None:
        """A request was sent and has ended; a cost that is unknown is taken to be the most that it may be."""
        self.release(request)
        self._calls -= 1
        self._usd -= (most(request) or 0.0) if cost_usd is None else cost_usd


def price(
    stages: Sequence[Sequence[Request]],
    told: Callable[[Request], Request] = lambda request: request,
    answer_tokens: int = 400,
) -> Estimate:
    """Price stages of calls, of which each after the first also reads the answers of the one before.

    ``told`` gives the request of a later stage all that it reads beside the answers.
    """
    longest = max(request.max_tokens for stage in stages for request in stage)
    unpriced: list[str] = []

    def costs(answer: int, at_most: bool) -> list[tuple[int, float | None]]:
        found, material = [], 0
        for number, stage in enumerate(stages):
            usd = []
            for request in stage:
                text = (told(request) if number else request).text
                read = tokens(text, at_most=at_most) + material
                usd.append(request.model.cost(read, min(answer, request.max_tokens)))
            found.append((len(stage), total(usd)))
            unpriced.extend(_without_price(one.model) for one, known in zip(stage, usd, strict=True) if known is None)
            material = sum(min(answer, request.max_tokens) for request in stage)
        return found

    usd = total(stage_usd for _, stage_usd in costs(answer_tokens, at_most=False))
    most_usd = tuple(costs(longest, at_most=True))
    return Estimate(usd, min(answer_tokens, longest), longest, most_usd, tuple(dict.fromkeys(unpriced)))


def most(request: Request) -> float | None:
    """The most that a request may cost, in US dollars, or None if no price is known."""
    return request.model.cost(tokens(request.text, at_most=True), request.max_tokens)


def tokens(text: str, *, at_most: bool = False) -> int:
    """About how many tokens a text has; with ``at_most``, what a call with it has in nearly all cases."""
    if at_most:
        return math.ceil(len(text.encode(errors="replace")) / BYTES_A_TOKEN) + TOKENS_AROUND
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)


def _without_price(model: Model) -> str:
    limit = model.prices_hold_to_input_tokens
    return model.name if model.usd_out_per_m is None or not limit else f"{model.name} above {limit:,} input tokens"
