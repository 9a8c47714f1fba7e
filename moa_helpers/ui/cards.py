"""How results look: one card with a heading, a table and a text, as HTML, Markdown and plain text.

Everything that came from a model passes through an escape here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LONGEST_MARKDOWN = 20_000  # characters; a longer text is shown as it stands
# Inside a widget, JupyterLab lays text and tables out only with the first two; MathJax leaves alone what has the third.
STYLED = "jp-RenderedHTMLCommon rendered_html mathjax_ignore"
WRAP = "white-space:pre-wrap;overflow-wrap:anywhere"
# A control character becomes its picture, as "\x07" becomes "␇", so that it does nothing but is seen.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


@dataclass(frozen=True)
class Card:
    """What a result shows of itself."""

    heading: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    text: str = ""


class Shown:
    """A result that shows itself as a card; subclasses say which."""

    def __init_subclass__(cls) -> None:
        # IPython prefers a class's own __repr__ (a dataclass has one) to a _repr_pretty_ that it inherits.
        cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    def _card(self) -> Card:
        raise NotImplementedError

    def __str__(self) -> str:
        card = self._card()
        table = [card.header, *card.rows] if card.rows else []
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        return "\n".join([card.heading, *(line.rstrip() for line in lines), *([card.text] if card.text else [])])

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text(str(self))  # type: ignore[attr-defined]

    def _repr_markdown_(self) -> str:
        card = self._card()
        parts = [f"**{_markdown(card.heading)}**"]
        if card.rows:
            lines = [card.header, ["---"] * len(card.header), *card.rows]
            parts.append("\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines))
        return "\n\n".join([*parts, *([_fenced(card.text)] if card.text else [])])

    def _repr_html_(self) -> str:
        card = self._card()
        parts = [f'<p class="mathjax_ignore"><strong>{escaped(card.heading)}</strong></p>']
        if card.rows:
            left = ' style="text-align:left"'
            last = ' style="text-align:left;overflow-wrap:anywhere"'  # only there, else it would squeeze the others
            head = "".join(f'<th scope="col"{left}>{escaped(cell)}</th>' for cell in card.header)
            body = "".join(
                "<tr>"
                + "".join(f"<td{left}>{escaped(cell)}</td>" for cell in row[:-1])
                + f"<td{last}>{escaped(row[-1])}</td></tr>"
                for row in card.rows
            )
            head, body = f"<thead><tr>{head}</tr></thead>", f"<tbody>{body}</tbody>"
            parts.append(f'<table class="mathjax_ignore">{head}{body}</table>')
        if card.text:
            parts.append(rendered(card.text))
        return "".join(parts)


@lru_cache(maxsize=64)  # a live panel shows the same texts again and again
def rendered(text: str) -> Markup:
    """A model's text as HTML: its Markdown is laid out, but nothing in it becomes a link, an image, HTML or maths."""
    style = "unicode-bidi:isolate;overflow-x:auto;max-width:60em"
    if len(text) > LONGEST_MARKDOWN:
        style, inner = f"{style};{WRAP}", escaped(text)
    else:
        inner = _markdown_reader().render(text.translate(_PICTURES))
    return Markup(f'<div class="mathjax_ignore" dir="auto" style="{style}">{inner}</div>')


def escaped(text: str) -> str:
    """A text for a place in HTML, shown as it stands; its control characters become visible."""
    return html.escape(text.translate(_PICTURES))


@cache
def _markdown_reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    without = ["link", "image", "autolink", "html_inline", "html_block", "reference"]
    return MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable(without)


def seconds(value: float | None) -> str:
    """A time for the reader: ``1.23 s``."""
    return "unknown" if value is None else f"{value:.2f} s"


def dollars(value: float | None, least: float = 0.0) -> str:
    """A price for the reader, with enough digits for a single small call: ``$0.000123``.

    If it is unknown but ``least`` of it is certain: ``at least $0.000100``.
    """
    if value is None:
        return f"at least ${least:.6f}" if least else "unknown"
    return f"${value:.6f}"


def count(value: int | None) -> str:
    """A number of tokens for the reader."""
    return "unknown" if value is None else f"{value:,}"


def _markdown(text: str) -> str:
    """A text that Markdown shows as it stands: no link (of an address that stands bare, neither), image or HTML."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>&~$]|:(?=//)|(?<=www)\.)", r"\\\1", text)


def _fenced(text: str) -> str:
    """A text of several lines as a code block, whose fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _markdown_cell(text: str) -> str:
    return _markdown(" ".join(text.split()))
