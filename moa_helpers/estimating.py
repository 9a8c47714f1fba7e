"""What a mixture will cost, without a call."""

from collections.abc import Sequence
from dataclasses import replace

from moa_helpers.limits.checks import check_number
from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.inputs import proposer_layers, requests
from moa_helpers.limits.members import Named, in_turn
from moa_helpers.limits.purse import Estimate, price
from moa_helpers.plan import framed
from moa_helpers.vendors.batches import at_batch_price, goes_by_batch
from moa_helpers.vendors.requests import Request

WINDOW = 24.0  # hours within which a vendor answers a batch, or gives it up


def estimate(
    prompt: Prompt,
    reference_models: Sequence[Named] | None = None,
    aggregator: Named | Sequence[Named] | None = None,
    *,
    layers: int | Sequence[Sequence[Named]] = 2,
    system: str | None = None,
    max_tokens: int = 2048,
    answer_tokens: int = 400,
) -> Estimate:
    """Say what a mixture will cost, from the catalogue's prices, without a call.

    Args:
        prompt, reference_models, aggregator, layers, max_tokens: as in ``mixture_of_agents``. Of several aggregators
            the first is counted. Without one, the proposers alone are, as for ``fan_out``.
        system: as in ``fan_out``.
        answer_tokens: how many tokens to expect of an answer.

    Raises:
        TypeError, ValueError: the input is wrong.
    """
    check_number("answer_tokens", answer_tokens, whole=True)
    stages = [requests(models, prompt, system, max_tokens) for models in proposer_layers(reference_models, layers)]
    final = () if aggregator is None else requests(in_turn(aggregator), prompt, system, max_tokens)
    batches, mixed = (batched(stages, final, mixed=mixed, answer_tokens=answer_tokens) for mixed in (False, True))
    stages += [final[:1]] if final else []
    windows = sum(any(map(goes_by_batch, stage)) for stage in stages)
    return replace(
        price(stages, framed(stages), answer_tokens),
        fallbacks=len(final[1:]),
        batch_usd=batches.usd,
        mixed_usd=mixed.usd,
        worst_hours=windows * WINDOW,
    )


def batched(
    stages: Sequence[Sequence[Request]], final: Sequence[Request], *, mixed: bool, answer_tokens: int = 400
) -> Estimate:
    """Price layers of proposers and the first of the aggregators by batch; ``mixed``: the latter live."""
    asked = [[*map(at_batch_price, stage)] for stage in stages]
    asked += [[one if mixed else at_batch_price(one)] for one in final[:1]]
    return price(asked, framed(stages), answer_tokens)
