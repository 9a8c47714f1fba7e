"""The calls of a playground's run, as widgets."""

from __future__ import annotations

import ipywidgets as widgets

from moa_helpers.ui.panel import COLUMNS, GAP, Live, framed


class Watched(widgets.VBox):  # type: ignore[misc]
    """What ``Live.html`` shows, each call in a widget of its own.

    A front end draws again only those whose HTML has changed, so a call that has ended can be scrolled and selected
    while the others go on.
    """

    def __init__(self) -> None:
        self._head, self._more = _html(), _html()
        self._boxes: list[widgets.HTML] = []  # as many as were ever needed at once
        layout = widgets.Layout(min_width="0", grid_template_columns=COLUMNS, grid_gap=GAP)
        self._grid = widgets.GridBox(layout=layout)
        super().__init__([self._head, self._grid, self._more], layout=widgets.Layout(width="auto", min_width="0"))
        self.add_class("moa-watched")

    def show(self, live: Live | None, *, whole: bool = False, bars: bool = True) -> None:
        """Show the calls as they stand; nothing without a call."""
        if live is None or not live.calls:
            self._grid.children = ()
            self._head.value = self._more.value = ""
            return
        head, sections, more = live.parts(whole=whole, bars=bars)
        self._head.value, self._more.value = framed(head), framed(more) if more else ""
        self._boxes += [_html() for _ in sections[len(self._boxes) :]]
        for box, (section, wide) in zip(self._boxes, sections, strict=False):
            box.value, box.layout.grid_column = framed(section), "1 / -1" if wide else "auto"
        self._grid.children = tuple(self._boxes[: len(sections)])


def _html() -> widgets.HTML:
    return widgets.HTML(layout=widgets.Layout(width="auto", min_width="0", margin="0"))
