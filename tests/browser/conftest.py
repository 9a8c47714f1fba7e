"""A JupyterLab as `make lab` starts it, on a copy of the notebooks, and a browser that looks at it."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.browser.chromium import absent, launch
from tests.browser.lab import Notebook
from tests.browser.server import jupyter_lab
from tests.support.recorder import Recorder

PASSED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def _fresh():
    """All that these tests ask runs in JupyterLab's processes."""


@pytest.fixture(scope="session")
def artefacts():
    """Where the screenshots go."""
    given = os.environ.get("MOA_BROWSER_ARTEFACTS")
    folder = Path(given) if given else Path(tempfile.gettempdir(), "moa-browser")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    return folder


@pytest.fixture(scope="session")
def chromium():
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install -r tests/requirements.txt.")
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium, Error)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """The server that `make lab` starts, in a copy, so that nothing is written into the project."""
    with jupyter_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def _model_server():
    from moa_helpers.offline.server import Server

    server = Server(Recorder())
    yield server
    server.stop()


@pytest.fixture
def recorder(_model_server):
    """A model server whose ``answer`` a test sets; ``.url`` is its address."""
    recorder = _model_server.vendors
    recorder.url, recorder.requests, recorder.refuse, recorder.answer = _model_server.url, [], False, None
    return recorder


@pytest.fixture
def open_notebook(chromium, lab, artefacts, request):
    """Open a notebook in a new window; what a page may not do (dialogs, other hosts) is collected in ``.strange``."""
    opened = []

    def open_(path=None, *, width=1280, height=1000):
        context = chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=False)
        opened.append(Notebook(context, lab, artefacts, request.node.name.removeprefix("test_")))
        opened[-1].open(path)
        return opened[-1]

    yield open_
    for notebook in opened:
        if not request.node.stash.get(PASSED, False):
            notebook.screenshot("FAILED")
        notebook.page.context.close()
    lab.end_kernels()
    for notebook in opened:
        assert notebook.strange == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report
