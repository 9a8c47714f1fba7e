"""What is around the lesson: Google Colab, a running Ollama, a proxy in the way, the versions of packages."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

PACKAGES = ("openai", "anthropic", "mistralai", "ipython", "ipykernel", "pandas", "matplotlib")
SILENT = (
    "Colab's secrets: the panel did not answer in time, so it is not asked again. To use keys, open the notebook in "
    "Colab's own page and restart the session."
)
COLAB_TOKEN = "MODEL_PROXY_API_KEY"  # google.colab.ai keeps its own key in this variable


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
    place = urlsplit(url)
    # Not urllib: it would build a TLS context, which takes longer than all the rest of setup().
    kind = HTTPSConnection if place.scheme == "https" else HTTPConnection

    def look() -> None:
        try:
            with closing(kind(place.hostname or "", place.port, timeout=patience)) as direct:
                direct.request("GET", f"{place.path.removesuffix('/v1')}/api/tags")
                answer = direct.getresponse()
                if answer.status == 200:
                    found.extend(f"ollama:{model['name']}" for model in json.load(answer)["models"])
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return  # nothing there, or something that is no Ollama

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(patience)
    return () if thread.is_alive() else tuple(found)


class Colab:
    """What Google Colab gives a session: the secrets of its panel, and models that are free to use.

    Each is asked for once, as asking may open a dialog or wait for an answer; only a secret that is missing is looked
    up again, as it may have been added.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._denied: list[str] = []
        self._silent = False
        self._listing: threading.Thread | None = None
        self._models: tuple[str, ...] = ()
        self._problem = ""

    def secret(self, name: str) -> str | None:
        """A secret of the panel; None outside Colab, or where it is missing, not granted, or the panel is silent."""
        if self._silent or name in self._denied or name in self._secrets:
            return self._secrets.get(name)
        try:
            from google.colab import errors, userdata
        except ImportError:
            return None
        try:
            found = str(userdata.get(name) or "").strip()
        except userdata.SecretNotFoundError:
            return None
        except userdata.NotebookAccessError:
            self._denied.append(name)
            return None
        except errors.Error:  # TimeoutException, after ten seconds; the next name would wait as long
            self._silent = True
            return None
        if found:
            self._secrets[name] = found
        return found or None

    def ai(self) -> Any:
        """The module ``google.colab.ai``; None where it cannot be had."""
        try:
            from google.colab import ai
        except ImportError:
            return None
        return ai

    @property
    def keyless(self) -> bool:
        """Whether ``google.colab.ai`` would have to ask a silent panel for its key."""
        return self._silent and COLAB_TOKEN not in os.environ

    def models(self, patience: float = 5.0) -> tuple[str, ...]:
        """Names of the models of ``google.colab.ai``; none outside Colab, or before it has said which there are."""
        try:
            import google.colab  # noqa: F401
        except ImportError:
            return ()
        if self.keyless:
            return ()
        if self._listing is None:
            self._listing = threading.Thread(target=self._list_models, daemon=True)
            self._listing.start()
        self._listing.join(patience)
        return self._models

    def notes(self) -> list[str]:
        """What went wrong, and what to do about it."""
        notes = []
        if self._denied:
            notes.append(
                f"Colab's secrets: no access to {', '.join(self._denied)}, so not asked for again. To use "
                "it, grant the access in the secrets panel and restart the session."
            )
        if self._silent:
            notes.append(SILENT)
        if self._problem:
            notes.append(f"The free models of Colab could not be listed: {self._problem}")
        elif self._listing is not None and self._listing.is_alive():
            notes.append("The free models of Colab are not listed yet: run moa.setup() again.")
        return notes

    def _list_models(self) -> None:
        try:
            from google.colab import ai

            self._models = tuple(f"colab:{name}" for name in ai.list_models())
        except Exception as error:  # of its HTTP library, its proxy or the panel; the report tells the reader
            self._problem = f"{type(error).__name__}: {error}"


colab = Colab()


def versions() -> dict[str, str]:
    """The installed versions of the packages that matter when something does not work."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed
