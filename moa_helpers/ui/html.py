"""HTML out of templates, in which everything is escaped unless it says that it is HTML already.

Jinja2 and markdown-it are loaded on first use: they belong to the lesson, not to a service.
"""

from __future__ import annotations

import html
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markdown_it import MarkdownIt
    from markupsafe import Markup

LONGEST_MARKDOWN = 20_000  # characters; a longer text is shown as it stands
# Inside a widget, JupyterLab lays text and tables out only with the first two; MathJax leaves alone what has the third.
STYLED = "jp-RenderedHTMLCommon rendered_html mathjax_ignore"
WRAP = "white-space:pre-wrap;overflow-wrap:anywhere"
# A control character becomes its picture, as "\x07" becomes "␇", so that it does nothing but is seen.
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_CONTROLS = re.compile(f"[{''.join(map(chr, PICTURES))}]")


def render(template: str, **values: Any) -> Markup:
    """The HTML of a template in ``templates/``; its values are escaped, and their control characters made visible."""
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(values))


@lru_cache(maxsize=64)  # a live panel shows the same texts again and again
def rendered(text: str) -> Markup:
    """A model's text as HTML: its Markdown is laid out, but nothing in it becomes a link, an image, HTML or maths."""
    from markupsafe import Markup

    plain = len(text) > LONGEST_MARKDOWN
    inner = text if plain else Markup(_markdown_reader().render(visible(text)))
    return render("text.html", text=inner, wrap=f";{WRAP}" if plain else "")


def escaped(text: str) -> str:
    """A text for a place in HTML, shown as it stands; its control characters become visible."""
    return html.escape(visible(text))


def visible(text: str) -> str:
    """A text whose control characters can be seen."""
    return text.translate(PICTURES) if _CONTROLS.search(text) else text  # to look first is ten times as fast


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("moa_helpers.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
        auto_reload=False,  # a live panel would look for newer files hundreds of times a second
    )


def _shown(value: Any) -> Any:
    from markupsafe import Markup

    return Markup(escaped(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _markdown_reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    without = ["link", "image", "autolink", "html_inline", "html_block", "reference"]
    return MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable(without)
