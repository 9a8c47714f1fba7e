"""A JupyterLab as `make lab` starts it, on a copy of the notebooks, and a browser that looks at it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.browser.chromium import absent, launch
from tests.browser.lab import Lab, Notebook
from tests.support.recorder import Recorder

ROOT = Path(__file__).parents[2]
NEWS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"  # else it asks whether it may fetch some
TOKEN = "for-this-test-only"
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
    folder, home = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy2(ROOT / "Makefile", folder)
    (folder / ".env").touch()  # found first, so none above it is read
    (home / "settings" / NEWS).parent.mkdir(parents=True)
    (home / "settings" / NEWS).write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
    places = {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
    places |= {f"JUPYTERLAB_{name.upper()}_DIR": str(home / name) for name in ("settings", "workspaces")}
    environment = os.environ | places | {"IPYTHONDIR": str(home / "ipython"), "MOA_MODE": "offline"}
    environment.pop("MOA_OFFLINE_SPEED", None)  # as a reader has it
    prefix, options = Path(sys.prefix), f"--no-browser --IdentityProvider.token={TOKEN}"
    command = ["make", "-o", f"{prefix}/ready", "lab", f"VENV={prefix}", f"LAB={options}"]
    log = home / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            lab = Lab(_address(home / "runtime", server, log), TOKEN, folder)
            yield lab
            lab.shut_down()  # ends its kernels, too
            server.wait(timeout=60)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _address(runtime, server, log):
    """The server's address, once it answers."""
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            url = json.loads(path.read_text(encoding="utf-8") or "{}").get("url")
            if url:
                with urllib.request.urlopen(f"{url}api", timeout=60):
                    return url
        time.sleep(0.1)
    raise RuntimeError(f"`make lab` did not start:\n{log.read_text()[-3000:]}")


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
