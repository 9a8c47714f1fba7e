"""The one door from data to its views: a result knows the name of the module that shows it, and loads it when shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@contextmanager
def lesson() -> Iterator[None]:
    """Where a package is missing that only the lesson needs, raise an ImportError that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        what = f"This needs {error.name}, which is not installed: run `pip install 'moa-helpers[lesson]'`."
        raise ImportError(what, name=error.name) from error


def in_notebook() -> bool:
    """Whether a kernel runs this, so that a cell can show what changes."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")


def view(module: str, name: str, *results: object) -> Any:
    """What a function of a module makes of results; the module is loaded on first use."""
    with lesson():
        return getattr(import_module(module), name)(*results)


class Shown:
    """A result that shows itself as text, Markdown or HTML, by the function ``card`` of the module ``_views``."""

    _views = "moa_helpers.ui.cards"

    def __init_subclass__(cls) -> None:
        # IPython prefers a class's own __repr__ (a dataclass has one) to a _repr_pretty_ that it inherits.
        cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    def _card(self) -> Any:
        return view(self._views, "card", self)

    def __str__(self) -> str:
        return str(self._card())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_markdown_(self) -> str:
        return str(self._card().markdown())

    def _repr_html_(self) -> str | None:
        try:
            return str(self._card().html())
        except ImportError:  # without the packages of a lesson: the notebook shows the Markdown or the text instead
            return None


class ShownCalls(Shown):
    """A result of several calls, which also has a table and a picture of them."""

    def table(self) -> pd.DataFrame:
        """One row a call; see ``figures.table`` for the columns."""
        return view("moa_helpers.ui.tables", "table", self)

    def timeline(self) -> Figure:
        """A picture of who waited, wrote and failed when; see ``figures.timeline``."""
        return view("moa_helpers.ui.figures", "timeline", self)  # type: ignore[no-any-return]
