"""Who may come in now: so many requests at once, and so many US dollars a day."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moa_helpers.offline.asked import Refused
from moa_helpers.results import Replies
from moa_helpers.serve.formats import QUOTA

DAY = 86_400  # seconds; a day begins at midnight UTC


class Gate:
    """Counts what is under way and what was spent today.

    Args:
        most: requests at once.
        budget_usd: US dollars a day; None: any number.
        spent_since: what was spent since a moment (seconds since 1970), as a store knows it; asked once, at the start.
    """

    def __init__(
        self, most: int, budget_usd: float | None, spent_since: Callable[[float], float] = lambda moment: 0.0
    ) -> None:
        self.under_way, self.draining = 0, False
        self._most, self._budget_usd, self._held_usd = most, budget_usd, 0.0
        self._day = _today()
        self._spent_usd = 0.0 if budget_usd is None else spent_since(self._day * DAY)

    @contextmanager
    def passed(self, most_usd: float | None) -> Iterator["Visit"]:
        """Hold a place, and set aside the most that the request may cost, until its end.

        Raises:
            Refused: there is no place, or not so much money left.
        """
        if self.draining:
            raise _refused(503, "The server is shutting down: ask another one.", after=1)
        if self.under_way >= self._most:
            raise _refused(429, f"{self._most} requests are under way, as many as this server takes.", after=1)
        visit = Visit(0.0 if self._budget_usd is None else self._affordable(most_usd, self._budget_usd))
        self.under_way += 1
        self._held_usd += visit.usd
        held = visit.usd
        try:
            yield visit
        finally:
            self.under_way -= 1
            self._held_usd -= held
            self._turn_day()
            self._spent_usd += visit.usd

    def _affordable(self, most_usd: float | None, budget_usd: float) -> float:
        self._turn_day()
        if most_usd is None:
            raise Refused(400, "What this may cost is not known, so the server's budget cannot be kept: ask less.")
        if self._spent_usd + self._held_usd + most_usd > budget_usd:
            words = f"The server's budget of ${budget_usd:g} a day is used up, or what is left of it is set aside."
            refused = _refused(429, words, QUOTA, after=(self._day + 1) * DAY - int(time.time()))
            refused.headers["x-should-retry"] = "false"
            raise refused
        return most_usd

    def _turn_day(self) -> None:
        if self._day != _today():
            self._day, self._spent_usd = _today(), 0.0


class Visit:
    """One request under way. ``usd`` is the most that it may cost, and after ``cost`` what it did cost."""

    def __init__(self, most_usd: float) -> None:
        self.usd = most_usd

    def cost(self, replies: Replies, planned: int) -> None:
        """Say what came of so many planned calls; one whose cost is unknown counts as an average one at its most."""
        share = self.usd / planned
        self.usd = math.fsum(share if reply.cost_usd is None else reply.cost_usd for reply in replies)


def _today() -> int:
    return int(time.time() // DAY)


def _refused(status: int, words: str, code: str | None = None, *, after: int) -> Refused:
    refused = Refused(status, words, code=code)
    refused.headers["retry-after"] = str(max(1, after))
    return refused
