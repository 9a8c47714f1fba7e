"""What the playground shows of a run, as widgets: its state, its calls, its result, its code, and the last runs."""

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from moa_helpers.results import Answer
from moa_helpers.ui.html import render
from moa_helpers.ui.panel import GAP, Live, Seen, columns, framed
from moa_helpers.ui.playground.hinted import close_within, hinted
from moa_helpers.ui.playground.runs import Run, comparison_html, numbered, result_html


class Watched(widgets.VBox):  # type: ignore[misc]
    """What ``Live.html`` shows, each request in a widget of its own.

    A front end draws again only those whose HTML has changed. So a request that has ended can be scrolled and selected
    while others go on.
    """

    def __init__(self) -> None:
        self._head, self._more = _html(), _html()
        layout = widgets.Layout(min_width="0", grid_gap=GAP)
        self._grid = widgets.GridBox(layout=layout)
        super().__init__([self._head, self._grid, self._more], layout=widgets.Layout(width="auto", min_width="0"))
        self.add_class("moa-watched")

    def show(self, live: Live | None, *, whole: bool = False, bars: bool = True, told: bool = False) -> None:
        """Show the calls as they are now; ``told``: the aggregator's text, if it is good, is shown elsewhere."""
        nothing: tuple[str, list[Seen], list[Seen], int] = "", [], [], 0
        head, shown, folded, hidden = live.parts(whole=whole, bars=bars) if live else nothing
        self._head.value = framed(head) if head else ""
        more = [one.html(whole) for one in folded]
        self._more.value = framed("", folded=more, hidden=hidden, grid=columns(folded)) if hidden else ""
        boxes = [*self._grid.children, *(_html() for _ in shown[len(self._grid.children) :])]
        for box, one in zip(boxes, shown, strict=False):
            last = one.call.request.role == "aggregator"
            box.value = framed(one.html(whole, told=told and last and one.reply.ok))
            box.layout.grid_area = "auto / 1 / auto / -1" if last else "auto"  # a grid_column is lost in the page
        self._grid.layout.grid_template_columns = columns(shown)
        self._grid.children = boxes[: len(shown)]
        close_within(boxes[len(shown) :])


class Outputs:
    """All that is shown below the controls, in ``parts``. ``load`` is called to show the run ``wanted`` again."""

    def __init__(self, load: Callable[[], object]) -> None:
        self.calls = Watched()
        names = ("moa-said", "moa-result", "moa-runs", "moa-copy")
        self._said, self._result, self._runs, self._copy = (_html().add_class(name) for name in names)
        self._code = hinted(widgets.Textarea, "code", layout=widgets.Layout(width="auto")).add_class("moa-code")
        own = widgets.Layout(width="auto", min_width="0")
        self._load = hinted(widgets.Dropdown, "load", options=[""], layout=own)
        self._load.observe(lambda change: load(), "value")
        self._load.layout.display = "none"
        self.parts = [self._said, self.calls, self._result, self._code, self._copy, self._load, self._runs]

    @property
    def wanted(self) -> int | None:
        """The number of the run that is chosen from the old ones."""
        return self._load.value or None

    def say(self, text: str, *, alert: bool = False) -> None:
        """Say what is going on; screen readers read it out, an alert at once."""
        self._said.value = render("play_text.html", text=text, role="alert" if alert else "status")

    def clear(self) -> None:
        """Show no run; the table of the last runs stays."""
        self.calls.show(None)
        self._result.value = ""
        self._give("")

    def begin(self, code: str) -> None:
        """A run begins."""
        self.say("running…")
        self._result.value = ""
        self._give(code)

    def finish(self, runs: Sequence[Run]) -> None:
        """The last of these runs has ended."""
        self.say(runs[-1].heading)
        self._runs.value = comparison_html(runs)
        self._load.options = [("choose one", 0), *((f"run {n}: {run.heading}", n) for n, run in numbered(runs))]
        self._load.layout.display = None
        self.show(runs[-1])

    def show(self, run: Run) -> None:
        """Show a run that has ended: its calls, its answer, its code."""
        answer, whole = run.answer, run.answer is not None
        told = isinstance(answer, Answer) and bool(answer.text) and not answer.picked
        self.calls.show(run.live, whole=whole, bars=not whole, told=told)  # the timeline has the bars
        self._result.value = result_html(run)
        self._give(run.code)

    def _give(self, code: str) -> None:
        self._code.value, self._code.rows = code, min(code.count("\n") + 1, 24)
        self._copy.value = ""  # drawn anew, so that its button no longer says Copied
        self._copy.value = render("play_copy.html")
        for part in (self._code, self._copy):
            part.layout.display = None if code else "none"


def _html() -> widgets.HTML:
    return widgets.HTML(layout=widgets.Layout(width="auto", min_width="0", margin="0"))
