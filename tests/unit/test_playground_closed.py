"""Playgrounds that nobody sees any more are closed, with all their widgets: kernel and page would keep each."""

import asyncio

import ipywidgets
import pytest
from ipywidgets.widgets import widget as registry

import moa_helpers as moa
from moa_helpers.ui.playground import widget
from tests.support import standins
from tests.support.reading import draw_nothing
from tests.support.replies import MODELS, A
from tests.support.scripts import hangs


@pytest.fixture(autouse=True)
def _closed(monkeypatch, script):
    standins.enter(monkeypatch, script)
    draw_nothing(monkeypatch)
    close_all()
    yield
    close_all()


def close_all():
    for play in [*widget.Playground._open]:
        play.close()
    assert widget.Playground._open == []


def count():
    """How many widgets are open."""
    return len(registry._instances if hasattr(registry, "_instances") else ipywidgets.Widget.widgets)


def made():
    return moa.playground("Why?", MODELS, A)


def test_a_closed_one_leaves_no_widget(run):
    async def go():
        before = count()
        play = made()
        one = count() - before
        await play.run()
        play._reset()
        play._reset()
        assert count() - before <= one + 30, "Reset makes new boxes for the models, and closes the old ones"
        play.close()
        play.close()
        assert play.runs[0].answer.outcome == "complete"
        return before, count()

    before, after = run(go())
    assert after == before


def test_very_many_do_not_stay(run):
    async def go():
        plays = [made() for _ in range(widget.MOST_OPEN)]
        most = count()
        plays += [made() for _ in range(5)]
        assert count() == most
        assert widget.Playground._open == plays[-widget.MOST_OPEN :]

    run(go())


def test_one_that_is_closed_while_it_runs_keeps_what_arrived(run, script):
    async def go():
        script[A] = hangs("Half ")
        play = made()
        play._run()
        while not script.asked:
            await asyncio.sleep(1)
        for _ in range(widget.MOST_OPEN):
            made()
        most = count()
        for _ in range(20):
            await asyncio.sleep(1)
        assert count() == most
        return play.runs

    (one,) = run(go())
    assert one.heading.startswith("stopped; ")
    assert "Half " in [reply.text for reply in one.replies]
