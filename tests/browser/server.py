"""A JupyterLab as `make lab` starts it, on a copy of the notebooks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.browser.lab import Lab

ROOT = Path(__file__).parents[2]
TOKEN = "for-this-test-only"


@contextmanager
def jupyter_lab(place):
    """The server, with all that it writes in a folder."""
    folder, home = place / "copy", place / "home"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy2(ROOT / "Makefile", folder)
    (folder / ".env").touch()  # found first, so none above it is read
    home.mkdir()
    places = {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
    places |= {f"JUPYTERLAB_{name.upper()}_DIR": str(home / name) for name in ("settings", "workspaces")}
    environment = os.environ | places | {"IPYTHONDIR": str(home / "ipython"), "MOA_MODE": "offline"}
    environment.pop("MOA_OFFLINE_SPEED", None)  # as a reader has it
    prefix, options = Path(sys.prefix), f"--no-browser --IdentityProvider.token={TOKEN}"
    command = ["make", "-o", f"{prefix}/warm", "lab", f"VENV={prefix}", f"LAB={options}"]
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
