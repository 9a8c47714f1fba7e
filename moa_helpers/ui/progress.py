"""Show progress while tasks run: as an output of the notebook's cell, or as a bar on stderr."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from moa_helpers.limits.tasks import stop
from moa_helpers.shown import in_notebook, lesson
from moa_helpers.ui.html import printable, render

REFRESH = 0.1  # seconds between two looks at the tasks
RARELY = 10.0  # seconds between two lines in a log


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
    """An output of the notebook's cell; elsewhere a bar on stderr. It shows a ``Work`` or a ``Live``."""
    return _Output() if in_notebook() else _Bar()


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
    """A bar on stderr, drawn over itself; in a log, a line now and then."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._due = 0.0
        with suppress(Exception):  # as of a stderr that is gone
            if not sys.stderr.isatty():
                return
        from tqdm import tqdm

        self._bar = tqdm(total=0, bar_format="{bar:20} {desc}", file=_Stderr(), dynamic_ncols=True)

    def update(self, progress: Any, last: bool) -> None:
        line = printable(progress.line(), sys.stderr)
        if self._bar is None:
            if last or time.monotonic() >= self._due:
                self._due = time.monotonic() + RARELY
                _Stderr().write(line + "\n")
            return
        self._bar.total, self._bar.n = progress.total, progress.ended
        self._bar.set_description_str(line)
        if last:
            self._bar.close()


class _Stderr:
    """A stderr that never fails: tqdm would keep its lock then, and the process would hang at its end."""

    def write(self, text: str) -> None:
        with suppress(Exception):
            sys.stderr.write(text)
            sys.stderr.flush()

    def fileno(self) -> int:  # which tells how wide the terminal is
        return sys.stderr.fileno()
