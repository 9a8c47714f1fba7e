"""Find a browser of the Chromium family: ``python tools/find_chromium.py`` prints its path, or what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "msedge"]
MAC = ["Google Chrome", "Chromium", "Microsoft Edge"]
WINDOWS = [r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe"]
MISSING = (
    "No Chromium, Chrome or Edge found. Install one (Debian: apt install chromium; elsewhere: Google Chrome), or set "
    "MOA_CHROMIUM to the path of one."
)


def find(*, install: bool = False) -> str | None:
    """The path of a browser, or None.

    Args:
        install: where there is none, this is Debian, and we are root: install Debian's chromium.

    Raises:
        subprocess.CalledProcessError: installing it failed.
        FileNotFoundError: MOA_CHROMIUM names no file.
    """
    given = os.environ.get("MOA_CHROMIUM")
    if given and not Path(given).is_file():
        raise FileNotFoundError(f"MOA_CHROMIUM is {given}, and there is no such file: correct it or unset it.")
    found = given or next(filter(None, _candidates()), None)
    if not found and install and _can_install():
        for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", *command], check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        found = shutil.which("chromium")
    return found


def _candidates() -> Iterator[str | None]:
    yield from map(shutil.which, NAMES)
    for name in MAC:
        yield _there(Path("/Applications") / f"{name}.app/Contents/MacOS/{name}")
    for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        if variable in os.environ:
            yield from (_there(Path(os.environ[variable], place)) for place in WINDOWS)


def _there(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _can_install() -> bool:
    """Whether this is Debian itself (Ubuntu's chromium is a snap, which needs a running snapd), and we are root."""
    if not shutil.which("apt-get") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    return "ID=debian" in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    path = find(install="--install" in sys.argv)
    print(path or MISSING, file=sys.stdout if path else sys.stderr)
    sys.exit(path is None)
