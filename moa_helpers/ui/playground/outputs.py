"""What the playground shows of a run, as widgets: how it stands, its calls, its result, its code, and the last runs."""

from collections.abc import Iterable, Sequence
from typing import Any

import ipywidgets as widgets

from moa_helpers.ui.html import render
from moa_helpers.ui.panel import COLUMNS, GAP, Live, Seen, framed
from moa_helpers.ui.playground.runs import Run, comparison_html, result_html


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


class Watched(widgets.VBox):  # type: ignore[misc]
    """What ``Live.html`` shows, each request in a widget of its own.

    A front end draws again only those whose HTML has changed. So a request that has ended can be scrolled and selected
    while others go on.
    """

    def __init__(self) -> None:
        self._head, self._more = _html(), _html()
        layout = widgets.Layout(min_width="0", grid_template_columns=COLUMNS, grid_gap=GAP)
        self._grid = widgets.GridBox(layout=layout)
        super().__init__([self._head, self._grid, self._more], layout=widgets.Layout(width="auto", min_width="0"))
        self.add_class("moa-watched")

    def show(self, live: Live | None, *, whole: bool = False, bars: bool = True) -> None:
        """Show the calls as they stand; without a call, nothing."""
        nothing: tuple[str, list[Seen], list[Seen], int] = "", [], [], 0
        head, shown, folded, hidden = live.parts(whole=whole, bars=bars) if live and live.calls else nothing
        self._head.value = framed(head) if head else ""
        self._more.value = framed("", folded=[one.html(whole) for one in folded], hidden=hidden) if hidden else ""
        boxes = [*self._grid.children, *(_html() for _ in shown[len(self._grid.children) :])]
        for box, one in zip(boxes, shown, strict=False):
            box.value = framed(one.html(whole))
            box.layout.grid_column = "1 / -1" if one.call.request.role == "aggregator" else "auto"
        self._grid.children = boxes[: len(shown)]
        close_all(boxes[len(shown) :])


class Outputs:
    """All that is shown below the controls; ``parts`` has the widgets in the order of the page."""

    def __init__(self) -> None:
        self.calls = Watched()
        full = widgets.Layout(width="auto", min_width="0")
        self._said, self._result, self._runs = (
            widgets.HTML(layout=full).add_class(name) for name in ("moa-said", "moa-result", "moa-runs")
        )
        label, tall = "Code that does the same", widgets.Layout(width="auto", height="11em", display="none")
        self._code = widgets.Textarea(description=label, style={"description_width": "initial"}, layout=tall)
        self.parts = [self._said, self.calls, self._result, self._code.add_class("moa-code"), self._runs]

    def say(self, text: str, *, alert: bool = False) -> None:
        """Say how things stand; screen readers read it out, an alert at once."""
        self._said.value = render("play_text.html", text=text, role="alert" if alert else "status")

    def clear(self) -> None:
        """Show no run; the table of the last runs stays."""
        self.calls.show(None)
        self._result.value = self._code.value = ""
        self._code.layout.display = "none"

    def begin(self, code: str) -> None:
        """A run begins."""
        self.say("running…")
        self._result.value = ""
        self._code.value, self._code.layout.display = code, None

    def finish(self, runs: Sequence[Run], live: Live) -> None:
        """The last of these runs has ended."""
        self.say(runs[-1].heading)
        self._runs.value = comparison_html(runs)
        if runs[-1].answer is not None:
            self.calls.show(live, whole=True, bars=False)  # the timeline has the bars
            self._result.value = result_html(runs[-1])


def _html() -> widgets.HTML:
    return widgets.HTML(layout=widgets.Layout(width="auto", min_width="0", margin="0"))
