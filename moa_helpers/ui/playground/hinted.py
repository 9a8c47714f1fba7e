"""What all widgets of the playground need: a label and a tooltip in words, and an end."""

from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets

from moa_helpers.ui.html import escaped
from moa_helpers.ui.playground.choice import HINTS, LIMITS, SWITCHES

HTML = {"description_allow_html": True} if "description_allow_html" in widgets.Text.class_trait_names() else {}


def hinted(kind: type, name: str, **traits: Any) -> Any:
    """A control with the label and the tooltip that ``hints.json`` has for it; a checkbox has its label as tooltip.

    The tooltip is on the label: on a control that has a label, version 8 shows none.
    """
    label, *more = (HINTS["controls"] | LIMITS | SWITCHES)[name]
    if not more:
        return kind(description=f"{label} ({name})", **traits)
    tip = more[-1] if name in HINTS["controls"] else f"{more[-1]} Argument: {name}."
    empty = {"placeholder": more[0]} if name in LIMITS else {}
    return kind(description=f'<span title="{escaped(tip)}">{label}</span>', **HTML, **empty, **traits)


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
