"""Which browser the browser tests take; and that where one is required, as in CI, they do not skip for want of it."""

import pytest

from tests.browser import chromium


class Missing(Exception):
    """As Playwright's error where a browser is not there."""


class Playwright:
    """Starts what is ``there``, a mapping of what can be asked for, and notes what it was asked for."""

    def __init__(self, *there):
        self.there, self.asked = there, []

    def launch(self, args, **place):
        assert "--no-first-run" in args
        self.asked.append(place)
        if place not in self.there:
            raise Missing("not found\nat length")
        return place


CHROME, EDGE = {"channel": "chrome"}, {"channel": "msedge"}


@pytest.fixture(autouse=True)
def _no_browser(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("MOA_BROWSER", "MOA_CHROMIUM"):
        monkeypatch.delenv(name, raising=False)


def test_the_first_that_starts_is_taken():
    for there, asked in (({}, 1), (CHROME, 2), (EDGE, 3)):
        playwright = Playwright(there, EDGE)
        assert chromium.launch(playwright, Missing) == there
        assert len(playwright.asked) == asked


def test_the_systems_own_is_found_on_the_path(tmp_path):
    own = tmp_path / "chromium"
    own.touch(mode=0o755)
    place = {"executable_path": str(own)}
    assert chromium.launch(Playwright(place), Missing) == place


def test_what_the_reader_names_is_taken_and_nothing_else(monkeypatch):
    monkeypatch.setenv("MOA_CHROMIUM", "/my/own")
    mine = {"executable_path": "/my/own"}
    assert chromium.launch(Playwright(CHROME, mine), Missing) == mine
    with pytest.raises(pytest.skip.Exception, match="/my/own"):
        chromium.launch(Playwright(CHROME), Missing)


def test_without_a_browser_it_says_what_to_install_and_fails_where_one_is_required(monkeypatch):
    for outcome in (pytest.skip.Exception, pytest.fail.Exception):
        with pytest.raises(outcome, match="Install one") as caught:
            chromium.launch(Playwright(), Missing)
        assert "msedge'}: not found" in str(caught.value)
        assert "at length" not in str(caught.value)
        monkeypatch.setenv("MOA_BROWSER", "required")
    assert "MOA_BROWSER=required" in str(caught.value)
