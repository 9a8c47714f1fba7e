"""Rates: what a vendor is sent in any minute, in requests and tokens, by all the calls that share them.

A vendor counts a request when it arrives, which is somewhere between the beginning and the end of the attempt. So what
an attempt takes is free again a minute after its end, and no window of a minute at the vendor ever holds more.
"""

import asyncio
import math
import re
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from moa_helpers.catalogue import VENDORS
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.purse import tokens as tokens_of
from moa_helpers.limits.tasks import TICK, pause
from moa_helpers.vendors.requests import Request

# Own code: aiolimiter, pyrate-limiter, limits and throttled-py count a call when it begins, and give nothing back of the
# tokens that were set aside for it.
MINUTE = 60.0  # seconds
_WORDS = {
    *[
        "x",
        "anthropic",
        "ratelimit",
        "ratelimitbysize",
        "limit",
        "remaining",
        "reset",
        "requests",
        "req",
        "tokens",
        "input",
        "output",
        "minute",
    ]
}
_SPAN = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s?)?|(\d{1,9}(?:\.\d{1,9})?)ms", re.ASCII)


@dataclass(frozen=True)
class Rate:
    """The most that a vendor is sent in any minute: requests, and tokens read and written. None: any number.

    Raises:
        TypeError, ValueError: one is no whole number above 0, or neither is given.
    """

    requests: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.requests is None and self.tokens is None:
            raise ValueError("This Rate limits nothing: give requests, tokens or both, each a minute.")
        for name, most in vars(self).items():
            if most is not None:
                check_number(f"A Rate's {name}", most, whole=True)


@dataclass
class Turn:
    """The room of one attempt, in tokens. Set ``sent`` to False if nothing was sent: its room is free at once."""

    tokens: int
    sent: bool = True

    def used(self, tokens: int | None) -> None:
        """Say what the attempt took in tokens; None: unknown, so all that was set aside counts."""
        self.tokens = self.tokens if tokens is None else tokens


class Rates:
    """The rates of all vendors: those given, and those that the vendors tell. For a single event loop.

    Args:
        given: by vendor; for the others, only what they tell counts.

    Raises:
        TypeError, ValueError: a vendor is unknown, or its rate is no ``Rate``.
    """

    def __init__(self, given: Mapping[str, Rate] | None = None) -> None:
        if not isinstance(given, Mapping | None) or given == {}:
            kind = ValueError if given == {} else TypeError
            raise kind('rates must be a mapping such as {"openai": moa.Rate(requests=500, tokens=200_000)}; or None.')
        for vendor, rate in (given or {}).items():
            if vendor not in VENDORS:
                raise ValueError(f"rates names {vendor!r}; it takes the vendors {', '.join(VENDORS)}.")
            if not isinstance(rate, Rate):
                raise TypeError(f"rates has {rate!r} for {vendor}: write moa.Rate(requests=…, tokens=…), a minute.")
        self.given = dict(given or {})
        self._windows = defaultdict(_Window, {vendor: _Window(rate) for vendor, rate in self.given.items()})

    def check(self, request: Request) -> None:
        """Raise ValueError if a request may take more tokens than the rate allows for a whole minute."""
        self._check(request.model.vendor.name, size(request))

    @asynccontextmanager
    async def turn(self, vendor: str, tokens: int, until: float | None = None) -> AsyncIterator[Turn]:
        """Wait for room at a vendor, and hold it for one attempt; who came first goes first.

        At ``until`` (seconds, on the clock of ``time.perf_counter``) it waits no longer, and gives a turn without
        room, with which nothing may be sent. It raises ValueError as ``check`` does.
        """
        self._check(vendor, tokens)
        window = self._windows[vendor]
        try:
            async with asyncio.timeout(until and until - time.perf_counter()):
                await window.enter(tokens)
        except TimeoutError:
            await pause((until or 0.0) - time.perf_counter())  # the loop's clock may be ahead
            yield Turn(0, sent=False)
            return
        turn = Turn(tokens)
        try:
            yield turn
        finally:
            window.leave(turn, tokens)

    def hold(self, vendor: str, seconds: float | None) -> None:
        """Send nothing to a vendor for so long, at most two minutes. What is no span of time is ignored."""
        if seconds is not None and 0 < seconds < math.inf:
            window = self._windows[vendor]
            window.until = max(window.until, time.perf_counter() + min(seconds, 2 * MINUTE))

    def learn(self, vendor: str, headers: Mapping[str, str]) -> None:
        """Take from the headers of a response what the vendor tells of its rates; odd values are ignored.

        Its own limit counts where it is lower than the rate given, and nothing is sent while it has nothing left.
        """
        told: defaultdict[frozenset[str], dict[str, str]] = defaultdict(dict)
        for name, value in headers.items():
            words = frozenset(name.lower().split("-"))
            if words <= _WORDS and len(which := words & {"limit", "remaining", "reset"}) == 1:
                told[words - which][min(which)] = value.strip()
        limits: dict[str, float] = {}
        for words, values in told.items():
            kind = "tokens" if words & {"tokens", "ratelimitbysize"} else "requests"
            limit = values.get("limit", "")
            if re.fullmatch("0*[1-9][0-9]{0,11}", limit) and not words & {"input", "output"}:
                limits[kind] = min(int(limit), limits.get(kind, math.inf))
            if re.fullmatch("0+", values.get("remaining", "")):
                self.hold(vendor, _seconds(values.get("reset", "")))
        self._windows[vendor].told |= limits
        self.hold(vendor, _seconds(headers.get("retry-after", "")))

    def _check(self, vendor: str, tokens: int) -> None:
        most = self.given[vendor].tokens if vendor in self.given else None
        if most is not None and tokens > most:
            raise ValueError(
                f"A request to {vendor} may take {tokens:,} tokens, but rates allows {most:,} a minute: "
                "lower max_tokens, shorten the prompt, or raise tokens in its Rate."
            )


class _Window:
    """What one vendor was sent less than a minute ago, or is being sent."""

    def __init__(self, given: Rate | None = None) -> None:
        self._given, self.told = (given and vars(given)) or {}, dict[str, float]()
        self.until = -math.inf
        self._requests, self._tokens = 0, 0
        self._ended: deque[tuple[float, int]] = deque()  # when, and its tokens
        self._first = asyncio.Lock()

    async def enter(self, tokens: int) -> None:
        async with self._first:  # whoever holds it is the first of those that wait
            while (left := self._left(tokens)) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(left, TICK))
            self._requests, self._tokens = self._requests + 1, self._tokens + tokens

    def leave(self, turn: Turn, tokens: int) -> None:
        self._tokens += turn.tokens - tokens
        self._ended.append((time.perf_counter() if turn.sent else -math.inf, turn.tokens))
        self._left(0)

    def _left(self, tokens: int) -> float:
        """Seconds until there may be room for so many tokens more; 0.0 if there is."""
        now = time.perf_counter()
        while self._ended and self._ended[0][0] + MINUTE <= now:
            self._requests, self._tokens = self._requests - 1, self._tokens - self._ended.popleft()[1]
        if now < self.until:
            return self.until - now
        fits = all(
            taken <= min(self._given.get(kind) or math.inf, self.told.get(kind, math.inf))
            for kind, taken in (("requests", self._requests + 1), ("tokens", self._tokens + tokens))
        )
        if fits or not self._requests:  # one that is larger than what the vendor tells goes alone
            return 0.0
        return self._ended[0][0] + MINUTE - now if self._ended else TICK


def size(request: Request) -> int:
    """The most tokens that a request may take, read and written."""
    return tokens_of(request.text, at_most=True) + request.max_tokens


def _seconds(text: str) -> float | None:
    """A span of time, or the time until a moment, as vendors write it: ``6m0s``, ``59.7s``, ``20ms``, ``12``, RFC 3339."""
    if span := _SPAN.fullmatch(text.strip()):
        hours, minutes, seconds, thousandths = (float(part or 0) for part in span.groups())
        return hours * 3600 + minutes * 60 + seconds + thousandths / 1000
    with suppress(ValueError, TypeError, OverflowError):
        return (datetime.fromisoformat(text.strip()) - datetime.now(UTC)).total_seconds()
    return None
