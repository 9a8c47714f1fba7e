"""Unit tests: no server, no SDK; streams are scripted, and time is virtual."""

import random
from unittest.mock import AsyncMock

import pytest

from moa_helpers import offline
from moa_helpers.vendors import settings
from tests.support import clock, scripts


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Each test: an empty directory and .env, offline settings without a server."""
    random.seed(0)  # so that a backoff is the same in each run of a test
    (tmp_path / ".env").touch()  # found first, so none above it is read
    monkeypatch.chdir(tmp_path)
    found = settings.Settings("offline", "this is a unit test", {}, {}, offline_url="http://offline.invalid")
    monkeypatch.setattr(settings, "_current", found)
    monkeypatch.setattr(offline, "start", lambda *variables: pytest.fail("a unit test starts no server"))


@pytest.fixture(autouse=True)
def script(monkeypatch):
    """What the models do when they are asked, and a record of it: see ``scripts``."""
    script = scripts.Script()
    monkeypatch.setattr(scripts.STREAM, script)
    monkeypatch.setattr(scripts.CLIENT, lambda model: None)
    monkeypatch.setattr(scripts.IMPORTED, AsyncMock())
    return script


@pytest.fixture
def run(script):
    """Run a coroutine on a virtual clock; it may leave neither a task behind nor a stream open."""

    def run(coroutine, **options):
        script.clear()
        try:
            return clock.run(coroutine, **options)
        finally:
            still = [asked.model for asked in script.asked if asked.ended is None]
            assert not still, f"streams were left open: {still}"

    return run


@pytest.fixture
def question():
    """A question that fits in a line."""
    return "Why is the sky blue?"
