"""Which browser there is: one that Playwright has, Chrome, Edge, or a system's own Chromium."""

import os
import shutil

import pytest

MISSING = (
    "No Chromium, Chrome or Edge found. Install one (Debian: apt install chromium; elsewhere: Google Chrome), or set "
    "MOA_CHROMIUM to the path of one."
)
ARGUMENTS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
ARGUMENTS += ["--disable-component-update"]


def absent(what):
    """Fail where the browser tests are required, else skip."""
    if os.environ.get("MOA_BROWSER") == "required":
        pytest.fail(f"{what} MOA_BROWSER=required asks for it.", pytrace=False)
    pytest.skip(f"THE BROWSER TESTS DID NOT RUN. {what}")


def places():
    """Where to look, as Playwright takes it: what the reader named, else what Playwright knows, else the PATH."""
    if given := os.environ.get("MOA_CHROMIUM"):
        return [{"executable_path": given}]
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "microsoft-edge")))
    return [{}, {"channel": "chrome"}, {"channel": "msedge"}, *({"executable_path": path} for path in found)]


def launch(chromium, missing):
    """The first browser that starts; ``missing`` is what Playwright raises where there is none."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    problems = []
    for place in places():
        try:
            return chromium.launch(**place, args=ARGUMENTS + ["--no-sandbox"] * as_root)
        except missing as problem:
            problems.append(f"{place or 'Playwright'}: {str(problem).splitlines()[0]}")
    return absent(f"{MISSING} ({'; '.join(problems)})")
