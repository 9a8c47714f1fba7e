"""What a call takes: the checks of all that can be checked before one is made."""

import math
from collections.abc import Sequence

from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.settings import priced


def requests(
    models: Sequence[str],
    prompt: str,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
) -> tuple[Request, ...]:
    """A request for each model, once all is checked that needs no key; one that is listed again gets another sample.

    Raises:
        TypeError, ValueError: what is wrong, and what to write instead.
        UnknownModel: a name names no model.
    """
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise TypeError(f"Give the models as a list of names, such as ['openai:model-id'], not {models!r}.")
    if not models:
        raise ValueError("The list of models is empty: name at least one.")
    check_text("prompt", prompt, "question")
    if system is not None:
        check_text("system", system, "instruction")
    check_number("max_tokens", max_tokens, whole=True)
    if temperature is not None:
        check_number("temperature", temperature, least=0)
    found = [priced(name) for name in models]
    for model in found:
        if temperature is not None and not model.takes_temperature:
            raise ValueError(f"{model.name} takes no temperature ({model.accepts_temperature}): leave it out.")
        if max_tokens > (model.max_output_tokens or math.inf):
            raise ValueError(f"max_tokens is {max_tokens}; {model.name} writes at most {model.max_output_tokens}.")
    return tuple(
        Request(model, prompt, system, max_tokens, temperature, sample=models[:place].count(model.name))
        for place, model in enumerate(found)
    )


def proposer_layers(
    reference_models: Sequence[str] | None, layers: int | Sequence[Sequence[str]]
) -> list[Sequence[str]]:
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


def check_seed(shuffle_seed: object) -> None:
    """Raise TypeError unless it is a whole number or None."""
    if shuffle_seed is not None and (isinstance(shuffle_seed, bool) or not isinstance(shuffle_seed, int)):
        raise TypeError(f"shuffle_seed must be a whole number, not {shuffle_seed!r}.")


def check_text(name: str, text: object, what: str) -> None:
    """Raise unless ``text`` is a text that can be sent; ``what`` says what to write."""
    if not isinstance(text, str):
        raise TypeError(f"The {name} must be text, not {type(text).__name__}.")
    if not text.strip():
        raise ValueError(f"The {name} is empty: write the {what}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"The {name} holds half a character (a lone surrogate), which cannot be sent: replace it."
        ) from None


def check_number(name: str, value: object, *, least: float | None = None, whole: bool = False) -> None:
    """Raise unless ``value`` is a number above 0, or at least ``least``; with ``whole``, an integer (from 1)."""
    kinds, article = ((int,), "a whole number") if whole else ((int, float), "a number")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be {article}, not {value!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    enough = number > 0 if least is None else number >= least
    if number == math.inf and not whole:
        raise ValueError(f"{name} is infinite; it must be a finite number.")
    if not enough:  # as NaN never is
        raise ValueError(f"{name} is {number:g}; it must be {'above 0' if least is None else f'at least {least}'}.")
