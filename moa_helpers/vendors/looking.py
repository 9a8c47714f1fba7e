"""A look at an address: what it answers, without a proxy, a TLS context where none is needed, or a wait without end."""

import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

LARGEST = 2**20  # bytes of an answer that are read
SLOWEST = 0.5  # seconds that a connection may take to answer at all


class Look:
    """A look that has begun, in threads of its own; ``answers`` has what came, a JSON object for each path.

    ``/v1/models`` is asked for first; the other paths, from the root, only where something speaks HTTP.

    Args:
        url: the address, ending in ``/v1``.
        key: to show to it; any text for a server that wants one, whichever it is.
        others: the other paths to ask for.
    """

    def __init__(self, url: str, key: str, others: Iterable[str]) -> None:
        self.answers: dict[str, Any] = {}
        self.status: int | None = None  # of the answer at ``/v1/models``
        self.stand_in = False  # whether it is one of our own offline vendors
        self._place, self._key, self._others = urlsplit(url), key or "none-needed", others
        self._sockets: list[socket.socket] = []
        self._over = False
        self._thread = threading.Thread(target=self._look, name="a look for model servers", daemon=True)
        self._thread.start()

    def wait(self, until: float) -> bool:
        """Wait until then (``time.monotonic``) at most, and end it; whether it had come to its end."""
        self._thread.join(max(0.0, until - time.monotonic()))
        in_time, self._over = not self._thread.is_alive(), True
        self.answers = dict(self.answers)  # what comes from now on comes too late
        for connected in [*self._sockets]:
            with suppress(OSError):  # it is closed already
                connected.shutdown(socket.SHUT_RDWR)
        return in_time

    def _look(self) -> None:
        self._get("/v1/models", self._place.path + "/models")
        if self.status is not None and not self.stand_in:
            root = self._place.path.rpartition("/")[0]
            threads = [
                threading.Thread(target=self._get, args=(path, root + path), daemon=True) for path in self._others
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _get(self, name: str, path: str) -> None:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection  # takes long to load

        answers, place = self.answers, self._place
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        try:
            with closing(kind(place.hostname or "", place.port, timeout=SLOWEST)) as direct:
                direct.connect()
                self._sockets.append(direct.sock)
                if self._over:
                    return
                direct.request("GET", path, headers={"authorization": self._authorization(), "connection": "close"})
                answer = direct.getresponse()
                if name == "/v1/models":
                    self.stand_in, self.status = answer.getheader("x-moa-offline") is not None, answer.status
                body = answer.read(LARGEST + 1)
            found = json.loads(body) if answer.status == 200 and len(body) <= LARGEST else None
        except (OSError, HTTPException, ValueError, RecursionError):
            return  # nothing there, or something else than a server of models
        if isinstance(found, dict) and "error" not in found:  # some servers answer 200 to what they do not know
            answers[name] = found

    def _authorization(self) -> str:
        if self._place.username is None:
            return f"Bearer {self._key}"
        login = f"{unquote(self._place.username)}:{unquote(self._place.password or '')}"
        return f"Basic {b64encode(login.encode()).decode()}"
