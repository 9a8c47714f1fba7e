"""Show progress while tasks run: as an output of the notebook's cell, or as a bar on stderr."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from moa_helpers.limits.tasks import stop
from moa_helpers.shown import lesson
from moa_helpers.ui.html import render

REFRESH = 0.1  # seconds between two looks at the tasks
WIDTH = 20  # characters of the bar


async def follow(tasks: Sequence[asyncio.Task[Any]], show: Callable[[bool], None]) -> None:
    """Call ``show(False)`` several times a second until all tasks have ended or one has failed, then ``show(True)``.

    However it ends, no task is left running. What cannot be shown, as on a terminal that is gone or a full disk, is not
    shown: it ends no task, and hides nothing that a task raised.
    """
    try:
        while True:
            with suppress(Exception):
                show(False)
            done, pending = await asyncio.wait(tasks, timeout=REFRESH, return_when=asyncio.FIRST_EXCEPTION)
            if not pending or any(task.cancelled() or task.exception() for task in done):
                break
    finally:
        try:
            await stop(tasks)
        finally:
            with suppress(Exception):
                show(True)


def progress_view() -> "_Output | _Bar":
    """An output of the notebook's cell; outside a notebook, a progress bar on stderr.

    What it shows has ``ended`` and ``total``, as numbers, and a ``line()`` and ``html(whole=...)`` that say more.

    Raises:
        ImportError: a package is missing that it takes in a notebook.
    """
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython

        if hasattr(get_ipython(), "kernel"):
            return _Output()
    return _Bar()


class _Output:
    """An output of the cell, replaced in place."""

    def __init__(self) -> None:
        with lesson():
            render("comparing.html", total=0, ended=0, line="")  # the first to need those packages
        self._shown: dict[str, str] = {}
        self._handle: Any = None

    def update(self, progress: Any, last: bool) -> None:
        from IPython.display import display

        bundle = {"text/html": progress.html(whole=last), "text/plain": progress.line()}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        elif bundle != self._shown:
            self._handle.update(bundle, raw=True)
        self._shown = bundle


class _Bar:
    """A bar on stderr, drawn over itself."""

    def __init__(self) -> None:
        self._shown = ""

    def update(self, progress: Any, last: bool) -> None:
        done = WIDTH * progress.ended // max(progress.total, 1)
        line = f"[{'#' * done}{'-' * (WIDTH - done)}] {progress.line()}"
        if sys.stderr.isatty():
            line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be drawn over
        if line != self._shown:
            sys.stderr.write("\r" + line.ljust(len(self._shown)))
        sys.stderr.write("\n" * last)
        sys.stderr.flush()
        self._shown = line
