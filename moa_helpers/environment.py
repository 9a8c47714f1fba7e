"""What is around the lesson: Colab's secrets, a running Ollama, a proxy in the way, the versions of packages."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from http.client import HTTPException
from importlib import metadata

PACKAGES = ("openai", "anthropic", "mistralai", "ipython", "ipykernel", "pandas", "matplotlib")
_colab_secrets: dict[str, str | None] = {}


def keep_proxy_off_loopback() -> None:
    """Exempt this machine from any proxy of the environment, for every HTTP client in this process."""
    for name in ("no_proxy", "NO_PROXY"):
        exempt = [part for part in os.environ.get(name, "").split(",") if part]
        missing = [host for host in ("127.0.0.1", "localhost", "::1") if host not in exempt and "*" not in exempt]
        if missing:
            os.environ[name] = ",".join(exempt + missing)


def running_ollama(url: str, patience: float = 0.3) -> tuple[str, ...]:
    """Names of the models of a running Ollama; none if nothing answers within ``patience`` seconds."""
    found: list[str] = []

    def look() -> None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(url.removesuffix("/v1") + "/api/tags", timeout=patience) as answer:
                found.extend(f"ollama:{model['name']}" for model in json.load(answer)["models"])
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return  # nothing there, or something that is no Ollama

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(patience)
    return () if thread.is_alive() else tuple(found)


def colab_secret(name: str) -> str | None:
    """A secret of Colab's panel; None outside Colab, or when it is missing or not granted (that is asked only once)."""
    if name not in _colab_secrets:
        try:
            from google.colab import userdata  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            return None
        try:
            _colab_secrets[name] = (userdata.get(name) or "").strip() or None
        except userdata.SecretNotFoundError:
            return None  # it may be added before the next setup()
        except (userdata.NotebookAccessError, userdata.TimeoutException):
            _colab_secrets[name] = None
    return _colab_secrets[name]


def versions() -> dict[str, str]:
    """The installed versions of the packages that matter when something does not work."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed
