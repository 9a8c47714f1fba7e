"""Checks of single values: what is wrong, and what to write instead."""

import math


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


def check_seed(shuffle_seed: object) -> None:
    """Raise TypeError unless it is a whole number or None."""
    if shuffle_seed is not None and (isinstance(shuffle_seed, bool) or not isinstance(shuffle_seed, int)):
        raise TypeError(f"shuffle_seed must be a whole number, not {shuffle_seed!r}.")
