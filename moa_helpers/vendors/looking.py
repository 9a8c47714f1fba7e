"""A look at an address: a GET of JSON without a proxy, a TLS context where none is needed, or a wait without end."""

import json
import threading
import time
from base64 import b64encode
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

LARGEST = 2**20  # bytes of an answer that are read
SLOWEST = 0.5  # seconds that a connection may take to answer at all


class Look:
    """A look that has begun, in a thread of its own. Once it has ended, ``status`` and ``found`` have what came.

    Args:
        url: what to get; a login in it is sent in the key's place.
        key: to show to it; any text for a server that wants one, whichever it is.
    """

    def __init__(self, url: str, key: str) -> None:
        self.status: int | None = None
        self.found: dict[str, Any] = {}  # the JSON object
        self.stand_in = False  # whether one of our own offline vendors sent it
        self._place, self._key = urlsplit(url), key or "none-needed"
        self._thread = threading.Thread(target=self._get, name="a look for model servers", daemon=True)
        self._thread.start()

    def ended(self, until: float) -> bool:
        """Wait until then (``time.monotonic``) at most; whether the look has come to its end."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    @property
    def answer(self) -> dict[str, Any]:
        """What a server of models answered; empty if it is an error, as some report with status 200."""
        return {} if self.status != 200 or self.stand_in or self.found.get("error") else self.found

    def _get(self) -> None:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection  # takes long to load

        place = self._place
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        try:
            with closing(kind(place.hostname or "", place.port, timeout=SLOWEST)) as direct:
                headers = {"authorization": self._authorization(), "connection": "close"}
                direct.request("GET", place.path, headers=headers)
                answer = direct.getresponse()
                self.found = _json(answer.read(LARGEST + 1))
                self.status, self.stand_in = answer.status, answer.getheader("x-moa-offline") is not None
        except (OSError, HTTPException, ValueError):
            return  # nothing there, or something else than a server of models

    def _authorization(self) -> str:
        if self._place.username is None:
            return f"Bearer {self._key}"
        login = f"{unquote(self._place.username)}:{unquote(self._place.password or '')}"
        return f"Basic {b64encode(login.encode()).decode()}"


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body) if len(body) <= LARGEST else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"data": found}
