"""How results look: one card with a heading, a table and a text, as HTML, Markdown and plain text.

Everything that came from a model passes through an escape here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass


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
        parts = [f"<p><strong>{html.escape(card.heading)}</strong></p>"]
        if card.rows:
            left = ' style="text-align:left"'
            head = "".join(f'<th scope="col"{left}>{html.escape(cell)}</th>' for cell in card.header)
            body = "".join(
                "<tr>" + "".join(f"<td{left}>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in card.rows
            )
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        if card.text:
            wrap = "white-space:pre-wrap;overflow-wrap:anywhere;max-width:60em"
            parts.append(f'<div style="{wrap}">{html.escape(card.text)}</div>')
        return "".join(parts)


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
    """A text that Markdown shows as it stands: no link, no image, no HTML."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>&~$])", r"\\\1", text)


def _fenced(text: str) -> str:
    """A text of several lines as a code block, whose fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _markdown_cell(text: str) -> str:
    return _markdown(" ".join(text.split()))
