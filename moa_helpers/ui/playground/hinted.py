"""What all widgets of the playground need: a label and a tooltip in words, and an end."""

from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets

from moa_helpers.ui.playground.choice import HINTS, LIMITS, SWITCHES


def hinted(kind: type, name: str, **traits: Any) -> Any:
    """A control with the label and the tooltip that ``hints.json`` has for it."""
    label, *empty, tip = (HINTS["controls"] | LIMITS | SWITCHES)[name]
    traits |= {"placeholder": empty[0]} if empty else {}
    argument = f" Argument: {name}." * (name not in HINTS["controls"])
    return with_tip(kind(description=label, **traits), tip + argument)


def with_tip(control: Any, tip: str) -> Any:
    """The control, with a text that shows while the pointer rests on it; version 7.7 has another name for that."""
    setattr(control, "tooltip" if control.has_trait("tooltip") else "description_tooltip", tip)
    return control


def close_all(opened: Iterable[Any]) -> None:
    """Close widgets, with all that is within them: the kernel and the page keep each one until it is closed."""
    for each in opened:
        if isinstance(each, list | tuple):
            close_all(each)
        elif isinstance(each, widgets.Widget):
            close_parts(each)
            each.close()


def close_parts(widget: Any) -> None:
    """Close all that is within a widget."""
    close_all(getattr(widget, name) for name in widget.keys)
