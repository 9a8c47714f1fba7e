"""What all widgets of the playground need: a label and a tooltip in words, and an end."""

from typing import Any

import ipywidgets as widgets

from moa_helpers.ui.html import escaped
from moa_helpers.ui.playground.choice import HINTS, LIMITS, SWITCHES

WIDE = {"description_width": "initial"}  # a label as wide as its text
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
    described = {"description": f'<span title="{escaped(tip)}">{label}</span>', "style": WIDE}
    return kind(**described | HTML | empty | traits)


def close_within(whole: Any) -> None:
    """Close all widgets in a list or a widget: the kernel and the page keep each one until it is closed."""
    for part in [getattr(whole, name) for name in whole.keys] if isinstance(whole, widgets.Widget) else whole:
        if isinstance(part, list | tuple | widgets.Widget):
            close_within(part)
        if isinstance(part, widgets.Widget):
            part.close()
