"""Where the browser test is required, as in CI, it does not skip for want of a browser."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MISSING = "No Chromium, Chrome or Edge found." if find_spec("playwright") else "playwright is not installed"


@pytest.mark.parametrize(("required", "closing"), [({"MOA_BROWSER": "required"}, "1 error"), ({}, "1 skipped")])
def test_without_a_browser(required, closing, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOA_BROWSER")}
    environment |= required | {"PATH": str(tmp_path), "MOA_CHROMIUM": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "tests/browser",
        "-m",
        "browser",
        "-k",
        "new_answer",
        "-p",
        "no:cacheprovider",
    ]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if "make lab" in found.stdout and "passed" in found.stdout:
        pytest.skip("A browser is found in a place of its own.")
    assert closing in found.stdout.splitlines()[-1], found.stdout
    assert MISSING in found.stdout
