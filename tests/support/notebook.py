"""A notebook's output without a notebook: what ``display`` was given, and when."""

import asyncio
import types

import IPython.core.getipython
import IPython.display
import pytest

import moa_helpers as moa
from tests.support import clock
from tests.support.pages import read


class Shown(list):
    """What an output showed, one after the other: (seconds, line, HTML). The properties are of the last."""

    line = property(lambda self: self[-1][1])
    html = property(lambda self: self[-1][2])
    page = property(lambda self: read(self.html))

    @property
    def calls(self):
        """The names of the calls that are shown one by one."""
        return self.page.labels("section")

    @property
    def before_the_end(self):
        """The last that was shown before all had ended or was stopped."""
        return Shown(self[:-1])

    def note(self, bundle):
        self.append((clock.now(), bundle["text/plain"], bundle["text/html"]))


def enter(monkeypatch):
    """Have ``moa.watch`` find itself in a notebook, on a virtual clock; gives what it shows."""
    shown = Shown()

    class Handle:
        def update(self, bundle, *, raw):
            assert raw
            shown.note(bundle)

    def display(bundle, *, raw, display_id):
        assert raw
        assert display_id
        assert not shown, "one output, replaced in place"
        shown.note(bundle)
        return Handle()

    monkeypatch.setattr(IPython.core.getipython, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    return shown


async def until(seconds, coroutine):
    """Watch for so long, then cancel."""
    task = asyncio.create_task(moa.watch(coroutine))
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
