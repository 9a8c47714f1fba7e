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

import find_chromium
import pytest
from lab import Lab, Notebook

ROOT = Path(__file__).parents[2]
SETTINGS = {  # without asking whether it may fetch news from elsewhere
    "@jupyterlab/apputils-extension": {"notification": {"fetchNews": "false", "checkForUpdates": False}},
}
CHROMIUM = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "for-this-test-only"


def absent(what):
    """Fail where the test is required, else skip."""
    if os.environ.get("MOA_BROWSER") == "required":
        pytest.fail(f"{what} MOA_BROWSER=required asks for it.", pytrace=False)
    pytest.skip(f"THE BROWSER TEST DID NOT RUN. {what}")


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
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install playwright.")
    path = find_chromium.find(install=os.environ.get("MOA_BROWSER") == "required")
    if path is None:
        absent(find_chromium.MISSING)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM + ["--no-sandbox"] * as_root)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """The server that `make lab` starts, in a copy, so that nothing is written into the project."""
    folder, home = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy2(ROOT / "Makefile", folder)
    (folder / ".env").touch()  # found first, so none above it is read
    for extension, settings in SETTINGS.items():
        for plugin, values in settings.items():
            path = home / "settings" / extension / f"{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
    places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    environment = os.environ | {f"JUPYTER_{name}": str(home / place) for name, place in places.items()}
    environment |= {f"JUPYTERLAB_{name.upper()}_DIR": str(home / name) for name in ("settings", "workspaces")}
    environment |= {"IPYTHONDIR": str(home / "ipython"), "MOA_MODE": "offline", "PYTHONUNBUFFERED": "1"}
    environment.pop("MOA_OFFLINE_SPEED", None)  # as a reader has it
    prefix = Path(sys.prefix)
    options = f"--no-browser --port={_free_port()} --ServerApp.port_retries=0 --IdentityProvider.token={TOKEN}"
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


def _free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def _address(runtime, server, log):
    """The server's address, once it answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            url = json.loads(path.read_text(encoding="utf-8") or "{}").get("url")
            if url:
                with urllib.request.urlopen(f"{url}api", timeout=10):
                    return url
        time.sleep(0.1)
    raise RuntimeError(f"`make lab` did not start:\n{log.read_text()[-3000:]}")


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


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("browser")


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report
