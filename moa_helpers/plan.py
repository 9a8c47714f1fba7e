"""A fan-out or a mixture as a value: checked, priced, and not begun."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.hedging import second_requests
from moa_helpers.limits.inputs import bind, check_manner, proposer_layers, requests
from moa_helpers.limits.members import Named, in_turn
from moa_helpers.limits.purse import Estimate, Purse, price
from moa_helpers.limits.values import Limits
from moa_helpers.prompts import frame, told
from moa_helpers.vendors.importing import imported
from moa_helpers.vendors.requests import Request


@dataclass(frozen=True)
class Plan:
    """What will be asked, of whom, within which limits, and what it will cost. It makes no call.

    ``stages`` has the requests of each layer of proposers, and ``seconds`` a second one for each of them, should it be
    slow. ``final`` has those of the aggregators or rankers, in the order in which they are tried. The other fields are
    the arguments of ``mixture_of_agents``.
    """

    stages: tuple[tuple[Request, ...], ...]
    seconds: tuple[tuple[Request, ...], ...]
    final: tuple[Request, ...]
    limits: Limits
    estimate: Estimate
    robust: bool = False
    stop_at: float | None = None
    pick: bool = False
    shuffle_seed: int | None = None

    @property
    def prompt(self) -> str:
        """What all are asked: the text, or the last one of a conversation."""
        return self.stages[0][0].prompt

    @property
    def needed(self) -> int:
        """How many good answers a layer needs for the next stage to begin."""
        return self.limits.quorum or 1

    def bound(self, *, streamed: bool = True) -> Self:
        """The same, bound to the clients that will ask, whatever ``setup()`` does later; ``streamed`` or whole.

        Raises:
            MissingKey, ImportError: a vendor's key or its SDK is not there.
        """
        stages, seconds = ([bind(stage, streamed) for stage in of] for of in (self.stages, self.seconds))
        return replace(self, stages=tuple(stages), seconds=tuple(seconds), final=bind(self.final, streamed))

    async def ready(self) -> Self:
        """The same as ``bound()``, but it imports SDKs in a thread: the event loop goes on for those seconds."""
        await imported(one.model.vendor.api for stage in (*self.stages, *self.seconds, self.final) for one in stage)
        return self.bound()


def plan_fan_out(
    models: Sequence[Named],
    prompt: Prompt,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
    **limits: Any,
) -> Plan:
    """Plan a fan-out; arguments and errors are those of ``fan_out``."""
    bounds = Limits.of(limits)
    return _plan([requests(models, prompt, system, max_tokens, temperature)], (), bounds)


def plan_mixture(
    prompt: Prompt,
    reference_models: Sequence[Named] | None = None,
    aggregator: Named | Sequence[Named] | None = None,
    *,
    layers: int | Sequence[Sequence[Named]] = 2,
    max_tokens: int = 2048,
    temperature: float | None = None,
    robust: bool = False,
    stop_at: float | None = None,
    pick: bool = False,
    shuffle_seed: int | None = None,
    **limits: Any,
) -> Plan:
    """Plan a mixture; arguments and errors are those of ``mixture_of_agents``."""
    bounds = Limits.of(limits)
    check_manner(robust=robust, stop_at=stop_at, pick=pick, shuffle_seed=shuffle_seed)
    named = [*proposer_layers(reference_models, layers), in_turn(aggregator)]
    *stages, final = (requests(models, prompt, None, max_tokens, temperature) for models in named)
    plan = _plan(stages, final, bounds)
    return replace(plan, robust=robust, stop_at=stop_at, pick=pick, shuffle_seed=shuffle_seed)


def _plan(stages: Sequence[tuple[Request, ...]], final: tuple[Request, ...], limits: Limits) -> Plan:
    """Check the limits against what is asked, and put it together."""
    smallest = min(map(len, stages))
    if limits.quorum is not None and limits.quorum > smallest:
        raise ValueError(f"quorum is {limits.quorum}, but only {smallest} models are asked: lower it or list more.")
    seconds = tuple(second_requests(stage, limits) for stage in stages)
    expected = replace(price([*stages, *filter(None, [final[:1]])], framed(stages)), fallbacks=len(final[1:]))
    Purse.of(limits).check(expected)
    return Plan(tuple(stages), seconds, final, limits, expected)


def framed(stages: Sequence[Sequence[Request]]) -> Callable[[Request], Request]:
    """What a request of a later stage is told, with empty answers."""
    return partial(told, instruction=frame(max(map(len, stages))))
