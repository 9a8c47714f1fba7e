"""HTML out of templates, in which everything is escaped unless it says that it is HTML already.

Jinja2 and markdown-it are loaded on first use: they belong to the lesson, not to a service.
"""

import html
import re
import sys
from functools import cache, lru_cache
from typing import Any

LONGEST_MARKDOWN, MOST_CELLS = 20_000, 10_000  # characters, cells; a text that may have more is shown as it is
# Inside a widget, JupyterLab lays text and tables out only with the first two; MathJax leaves alone what has the third.
STYLED = "jp-RenderedHTMLCommon rendered_html mathjax_ignore"
# A control character becomes its picture, as "\x07" becomes "␇", so that it does nothing but is seen. Half a character,
# as JSON can hold, could not even be printed.
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
PICTURES |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)
PLAIN = str.maketrans("·×–—‘’“”", "-x--''\"\"") | {0x2026: "..."}  # where a stream cannot write these
_NAMES = re.compile(r"\b[\w.]+:[\w./@+-]{1,60}(?![\w./@+-])")  # of models, in which no line ends
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def render(template: str, **values: Any) -> str:
    """The HTML of a template, as ``Markup``; its values are escaped, and their control characters made visible."""
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(values))


@lru_cache(maxsize=64)  # a live panel shows the same texts again and again
def rendered(text: str) -> str:
    """A model's text as HTML: its Markdown is laid out, but nothing in it becomes a link, an image, HTML or maths."""
    lines = text.split("\n")
    cells = len(lines) * max(line.count("|") for line in lines)  # at most: a short row of a table is filled up
    return render("text.html", text=text, laid_out=len(text) <= LONGEST_MARKDOWN and cells <= MOST_CELLS)


def escaped(text: str) -> str:
    """A text for a place in HTML, shown as it is; its control characters become visible."""
    return html.escape(visible(text))


def visible(text: str) -> str:
    """A text whose control characters can be seen and do nothing, neither on a page nor in a terminal."""
    return text.translate(PICTURES) if _CONTROLS.search(text) else text  # to look first is ten times as fast


def printable(text: str, stream: object = None) -> str:
    """The same, in the characters that a stream can write; default: stdout."""
    text, encoding = visible(text), getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return value if isinstance(value, Markup) or not isinstance(value, str) else Markup(escaped(value))

    without = ["link", "image", "autolink", "html_inline", "html_block", "reference"]
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable(without)
    environment = Environment(
        loader=PackageLoader("moa_helpers.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
        auto_reload=False,  # a live panel would look for newer files hundreds of times a second
    )
    environment.globals["styled"] = STYLED
    environment.filters["rendered"] = rendered
    whole = r'<span style="white-space:nowrap">\g<0></span>'
    environment.filters["unbroken"] = lambda text: Markup(_NAMES.sub(whole, str(shown(text))))
    environment.filters["markdown"] = lambda text: Markup(reader.render(visible(text)))
    return environment
