"""A look at an address: a GET of JSON without a proxy, a TLS context where none is needed, or a wait without end."""

import json
import socket
import threading
import time
from base64 import b64encode
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

LARGEST = 2**20  # bytes of an answer that are read
SLOWEST = 0.5  # seconds that a connection may take to answer at all


@dataclass(frozen=True)
class Seen:
    """What an address answered: the status, the JSON object, and whether one of our own offline vendors sent it."""

    status: int
    found: dict[str, Any]
    stand_in: bool = False


class Look:
    """A look that has begun, in a thread of its own.

    Args:
        url: what to get; a login in it is sent in the key's place.
        key: to show to it; any text for a server that wants one, whichever it is.
    """

    def __init__(self, url: str, key: str) -> None:
        self.silent = False  # whether nothing had come to an end when the wait for it was over
        self._place, self._key = urlsplit(url), key or "none-needed"
        self._seen: Seen | None = None
        self._socket: socket.socket | None = None
        self._over = False
        self._thread = threading.Thread(target=self._get, name="a look for model servers", daemon=True)
        self._thread.start()

    def wait(self, until: float) -> Seen | None:
        """What was seen; it is waited for until then (``time.monotonic``) at most, and the look ends."""
        self._thread.join(max(0.0, until - time.monotonic()))
        self.silent, self._over, seen = self._thread.is_alive(), True, self._seen
        if self._socket:
            with suppress(OSError):  # it is closed already
                self._socket.shutdown(socket.SHUT_RDWR)
        return seen

    def _get(self) -> None:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection  # takes long to load

        place = self._place
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        try:
            with closing(kind(place.hostname or "", place.port, timeout=SLOWEST)) as direct:
                direct.connect()
                self._socket = direct.sock
                if self._over:
                    return
                headers = {"authorization": self._authorization(), "connection": "close"}
                direct.request("GET", place.path, headers=headers)
                answer = direct.getresponse()
                body = answer.read(LARGEST + 1)
        except (OSError, HTTPException, ValueError):
            return  # nothing there, or something else than a server of models
        self._seen = Seen(answer.status, _json(body), answer.getheader("x-moa-offline") is not None)

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
