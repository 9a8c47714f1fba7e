"""What a call takes: the checks of all that can be checked before one is made."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moa_helpers.catalogue import warn_of
from moa_helpers.limits.checks import check_number, check_seed, check_text
from moa_helpers.limits.conversations import Prompt, read_prompt
from moa_helpers.limits.members import Member, Named
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import current, is_here, priced
from moa_helpers.vendors.streams import checked, client


def requests(
    models: Sequence[Named],
    prompt: Prompt,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
) -> tuple[Request, ...]:
    """A request for each model, once all is checked that needs no key; one that is listed again gets another sample."""
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise TypeError(f"Give the models as a list of names, such as ['openai:model-id'], not {models!r}.")
    if not models:
        raise ValueError("The list of models is empty: name at least one.")
    first, before, text = read_prompt(prompt)
    if system is not None:
        check_text("system", system, "instruction")
        if first:
            raise ValueError("system= is given, and the conversation has a system message, too: join them in one.")
    check_number("max_tokens", max_tokens, whole=True)
    if temperature is not None:
        check_number("temperature", temperature, least=0)
    found = list[Request]()
    for member in map(Member.of, models):
        role = system if member.system is None else member.system
        both = "\n\n".join(filter(None, (first, role))) or None
        sample = sum(other.model.name == member.name for other in found)
        one = Request(priced(member.name), text, both, max_tokens, temperature, sample, before=before)
        found.append(of_member(one, member))
    return tuple(found)


def of_member(request: Request, member: Member) -> Request:
    """The same request to another model, with that member's own settings where it has some."""
    found = replace(
        request,
        model=priced(member.name),
        max_tokens=member.max_tokens or request.max_tokens,
        temperature=request.temperature if member.temperature is None else member.temperature,
        effort=member.effort,
        extra=member.extra,
        settings=member.settings,
    )
    model = found.model
    if found.temperature is not None and not model.takes_temperature:
        raise ValueError(f"{model.name} takes no temperature ({model.accepts_temperature}): leave it out.")
    if found.max_tokens > (model.max_output_tokens or math.inf):
        raise ValueError(f"max_tokens is {found.max_tokens}; {model.name} writes at most {model.max_output_tokens}.")
    return found


def proposer_layers(
    reference_models: Sequence[Named] | None, layers: int | Sequence[Sequence[Named]]
) -> list[Sequence[Named]]:
    """The models of each layer of proposers, as ``mixture_of_agents`` takes them."""
    if isinstance(layers, Sequence) and not isinstance(layers, str):
        if reference_models is not None:
            raise TypeError("Give the models in reference_models, or by layer in layers, but not in both.")
        if not layers:
            raise ValueError("layers is empty: list the models of one layer of proposers at least.")
        return list(layers)
    check_number("layers", layers, least=2, whole=True)
    if reference_models is None:
        raise TypeError("Give the reference models as a list of names, such as ['openai:model-id'].")
    return [reference_models] * (int(layers) - 1)


def check_manner(*, robust: object, stop_at: float | None, pick: object, shuffle_seed: object) -> None:
    """Raise TypeError or ValueError unless ``mixture_of_agents`` takes these."""
    check_seed(shuffle_seed)
    for name, value in {"robust": robust, "pick": pick}.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}.")
    if stop_at is not None:
        check_number("stop_at", stop_at)
        if stop_at > 1:
            raise ValueError(f"stop_at is {stop_at}; it is a share, at most 1.")


def bind(stage: Sequence[Request], streamed: bool) -> tuple[Request, ...]:
    """These requests, bound to the clients that will ask; ``streamed`` or whole."""
    how: Any = {"offline": current().mode == "offline", "streamed": streamed}
    for model in dict.fromkeys(one.model for one in stage):
        warn_of(model, offline=how["offline"])
    bound = (replace(one, sdk=client(one.model), here=is_here(one.model), **how) for one in stage)
    return tuple(map(checked, bound))
