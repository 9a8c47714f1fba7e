"""A look at an address: what it answers, without a proxy, a TLS context where none is needed, or a wait without end."""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

LIST = "/v1/models"
LARGEST = 2**20  # bytes of an answer that are read
SLOWEST = 0.5  # seconds that a connection may take to answer at all


class Look:
    """A look that has begun, in a thread of its own.

    ``seen`` has the status and the JSON object that came for each path, ``/v1/models`` first. The other paths, from the
    root, are asked for only where something speaks HTTP. A login in the address is sent in the key's place.
    """

    def __init__(self, url: str, key: str, others: Iterable[str]) -> None:
        self.seen: dict[str, tuple[int, dict[str, Any]]] = {}
        self.stand_in = False  # whether it is one of our own offline vendors
        self._silent = False  # whether nothing came for SLOWEST seconds
        self._place, self._key, self._others = urlsplit(url), key or "none-needed", others
        self._thread = threading.Thread(target=self._look, name="a look for model servers", daemon=True)
        self._thread.start()

    def ended(self, until: float) -> bool:
        """Wait until then (``time.monotonic``) at most; whether the look came to its end, and nothing was silent."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return not (self._thread.is_alive() or self._silent)

    def _look(self) -> None:
        root = self._place.path.rpartition("/")[0]
        self._get(LIST, f"{self._place.path}/models")
        for path in self._others:
            if self.seen and not self.stand_in:
                self._get(path, root + path)

    def _get(self, name: str, path: str) -> None:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection  # takes long to load

        place = self._place
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        try:
            with closing(kind(place.hostname or "", place.port, timeout=SLOWEST)) as direct:
                direct.request("GET", path, headers={"authorization": self._authorization(), "connection": "close"})
                answer = direct.getresponse()
                self.stand_in = self.stand_in or answer.getheader("x-moa-offline") is not None
                self.seen[name] = answer.status, _json(answer.read(LARGEST + 1))
        except TimeoutError:
            self._silent = True
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
