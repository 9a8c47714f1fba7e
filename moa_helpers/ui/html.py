"""HTML out of templates, in which everything is escaped unless it says that it is HTML already."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# A control character becomes its picture, as "\x07" becomes "␇", so that it does nothing but is seen.
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_CONTROLS = re.compile(f"[{''.join(map(chr, PICTURES))}]")


def render(template: str, **values: Any) -> Markup:
    """The HTML of a template in ``templates/``; its values are escaped, and their control characters made visible."""
    return Markup(_environment().get_template(template).render(values))


def visible(text: str) -> str:
    """A text whose control characters can be seen."""
    return text.translate(PICTURES) if _CONTROLS.search(text) else text  # to look first is ten times as fast


def _visible(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("moa_helpers.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
        auto_reload=False,  # a live panel would look for newer files hundreds of times a second
    )
