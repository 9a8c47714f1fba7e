"""Who may come in now: so many requests at once, and so many US dollars a day."""

import asyncio
import time
from collections.abc import Callable

from moa_helpers.offline.asked import Refused
from moa_helpers.serve.formats import QUOTA

DAY = 86_400  # seconds; a day begins at midnight UTC


class Gate:
    """Counts what is under way and what was spent today. Once it is ``draining``, nobody comes in any more."""

    def __init__(self, most: int, budget_usd: float | None, spent_since: Callable[[float], float] | None) -> None:
        self.under_way, self.draining, self.empty = 0, False, asyncio.Event()
        self.empty.set()
        self._most, self._budget_usd, self._held_usd = most, budget_usd, 0.0
        self._day = time.time() // DAY
        self._spent_usd = spent_since(self._day * DAY) if spent_since and budget_usd is not None else 0.0

    def enter(self, most_usd: float | None) -> None:
        """Take a place, and set aside the most that the request may cost, until it leaves; ``Refused`` without room."""
        if self.draining:
            raise _refused(503, "The server is shutting down: ask another one.", after=1)
        if self.under_way >= self._most:
            raise _refused(429, f"{self._most} requests are under way, as many as this server takes.", after=1)
        if self._budget_usd is not None:
            self._check_budget(most_usd, self._budget_usd)
        self.under_way += 1
        self._held_usd += most_usd or 0.0
        self.empty.clear()

    def leave(self, most_usd: float | None, spent_usd: float) -> None:
        """Give up the place, and what was set aside but not spent."""
        self.under_way -= 1
        self._held_usd -= most_usd or 0.0
        self._spent_usd += spent_usd
        if not self.under_way:
            self.empty.set()

    def _check_budget(self, most_usd: float | None, budget_usd: float) -> None:
        now = time.time()
        if now // DAY != self._day:
            self._day, self._spent_usd = now // DAY, 0.0
        if most_usd is None:
            raise Refused(400, "No price is known for so long a prompt, so the server's budget cannot be kept.")
        if self._spent_usd + self._held_usd + most_usd > budget_usd:
            words = f"What is left of the server's budget of ${budget_usd:g} a day is too little for this request."
            refused = _refused(429, words, QUOTA, after=int((self._day + 1) * DAY - now) + 1)
            refused.headers["x-should-retry"] = "false"
            raise refused


def _refused(status: int, words: str, code: str | None = None, *, after: int) -> Refused:
    refused = Refused(status, words, code=code)
    refused.headers["retry-after"] = str(after)
    return refused
