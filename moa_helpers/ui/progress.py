"""Show progress while tasks run: as an output of the notebook's cell, or as a bar on stderr."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from moa_helpers.limits.tasks import stop
from moa_helpers.shown import lesson

REFRESH = 0.1  # seconds between two looks at the tasks


async def follow(tasks: Sequence[asyncio.Task[Any]], show: Callable[[bool], None]) -> None:
    """Call ``show(False)`` several times a second until all tasks have ended or one has failed, then ``show(True)``.

    However it ends, no task is left running.
    """
    try:
        while True:
            show(False)
            done, pending = await asyncio.wait(tasks, timeout=REFRESH, return_when=asyncio.FIRST_EXCEPTION)
            if not pending or any(task.cancelled() or task.exception() for task in done):
                break
    finally:
        try:
            await stop(tasks)
        finally:
            show(True)


def progress_view() -> "_Output | _Bar":
    """An output of the notebook's cell; outside a notebook, a progress bar on stderr.

    What it shows has ``ended`` and ``total``, as numbers, and a ``line()`` and ``html(whole=...)`` that say more.
    """
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython

        if hasattr(get_ipython(), "kernel"):
            return _Output()
    return _Bar()


class _Output:
    """An output of the cell, replaced in place."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._handle: Any = None

    def update(self, progress: Any, last: bool) -> None:
        from IPython.display import display

        with lesson():
            bundle = {"text/html": progress.html(whole=last), "text/plain": progress.line()}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        elif bundle != self._shown:
            self._handle.update(bundle, raw=True)
        self._shown = bundle

    def close(self) -> None:
        pass  # the output stays


class _Bar:
    """A progress bar on stderr."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=0, bar_format="{bar:20} {desc}")
        self.close = self._bar.close

    def update(self, progress: Any, last: bool) -> None:
        self._bar.total, self._bar.n = progress.total, progress.ended
        self._bar.set_description_str(progress.line())
