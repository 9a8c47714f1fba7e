"""Rates: what a vendor is sent in any minute, in requests and in tokens, by all calls that share them.

A vendor counts a request when it arrives, at some moment between the beginning and the end of the attempt. So what an
attempt took is free again a minute after its end, and no minute at the vendor ever holds more than was set.
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

# Own code: aiolimiter, pyrate-limiter, limits and throttled-py count a call when it begins and take no tokens back.
MINUTE = 61.0  # seconds; the vendor's, and one for a request that was given up while it was on its way
LONGEST_HOLD = 120.0  # seconds
# How vendors name what they tell of a minute; Groq's requests are those of a day. {}: limit, remaining or reset.
_HEADERS = {
    "requests": ("x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}", "x-ratelimit-{}-req-minute"),
    "tokens": (
        *("x-ratelimit-{}-tokens", "anthropic-ratelimit-tokens-{}"),
        *("x-ratelimit-{}-tokens-minute", "ratelimitbysize-{}", "x-ratelimitbysize-{}-minute"),
    ),
    "a part of the tokens": ("anthropic-ratelimit-input-tokens-{}", "anthropic-ratelimit-output-tokens-{}"),
}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


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
                check_number(f"{name} of a Rate", most, whole=True)


@dataclass
class Turn:
    """The room of one attempt, in tokens. Set ``sent`` to False if nothing was sent after all: it is free at once."""

    tokens: int
    sent: bool = True

    def used(self, tokens: int | None) -> None:
        """Say how many tokens it took in the end; None: unknown, so all that was set aside counts."""
        self.tokens = self.tokens if tokens is None else tokens


class Rates:
    """The rates of all vendors: ``given``, and what the vendors tell. For one event loop."""

    def __init__(self, given: Mapping[str, Rate] | None = None) -> None:
        if not isinstance(given, Mapping | None):
            raise TypeError('rates must be a mapping such as {"openai": moa.Rate(requests=500, tokens=200_000)}.')
        self.given = dict(given or {})
        for vendor, rate in self.given.items():
            if vendor not in VENDORS:
                raise ValueError(f"rates names {vendor!r}; it takes the vendors {', '.join(VENDORS)}.")
            if not isinstance(rate, Rate):
                raise TypeError(f"rates has {rate!r} for {vendor}: write moa.Rate(requests=…, tokens=…), a minute.")
        self._windows = defaultdict(_Window, {vendor: _Window(rate) for vendor, rate in self.given.items()})

    def check(self, request: Request) -> None:
        """Raise ValueError if a request may take more tokens than its vendor is sent in a whole minute."""
        self._check(request.model.vendor.name, size(request))

    def _check(self, vendor: str, tokens: int) -> None:
        most = self.given[vendor].tokens if vendor in self.given else None
        if most is not None and tokens > most:
            raise ValueError(
                f"A request to {vendor} may take {tokens:,} tokens, but its rate is {most:,} a minute: "
                "lower max_tokens, shorten the prompt, or raise tokens in its Rate."
            )

    @asynccontextmanager
    async def turn(self, vendor: str, tokens: int, until: float = math.inf) -> AsyncIterator[Turn]:
        """Wait for room at a vendor, first come, first served, and hold it for one attempt; raises as ``check`` does.

        At ``until``, on the clock of ``time.perf_counter``, it waits no longer. What it gives then is no room: nothing
        may be sent.
        """
        self._check(vendor, tokens)
        window = self._windows[vendor]
        try:
            async with asyncio.timeout(None if until == math.inf else until - time.perf_counter()):
                await window.enter(tokens)
        except TimeoutError:
            await pause(until - time.perf_counter())  # where the loop's clock is ahead
            yield Turn(0, sent=False)
            return
        turn = Turn(tokens)
        try:
            yield turn
        finally:
            window.leave(turn, tokens)

    def hold(self, vendor: str, seconds: float | None) -> None:
        """Send a vendor nothing for so long, two minutes at most; what is no span of time is ignored."""
        if seconds is not None and 0 < seconds < math.inf:
            window = self._windows[vendor]
            window.until = max(window.until, time.perf_counter() + min(seconds, LONGEST_HOLD))

    def learn(self, vendor: str, headers: Mapping[str, str]) -> None:
        """Take from a response's headers what the vendor tells: a limit counts where it is lower than the rate given.

        While nothing remains, nothing is sent. Values that cannot be are ignored.
        """
        told: dict[str, float] = {}
        for kind, names in _HEADERS.items():
            for name in names:
                limit, remaining, reset = (headers.get(name.format(of), "") for of in ("limit", "remaining", "reset"))
                if re.fullmatch("[1-9][0-9]{0,11}", limit):
                    told[kind] = min(int(limit), told.get(kind, math.inf))
                if remaining == "0":
                    self.hold(vendor, _seconds(reset))
        self._windows[vendor].told |= told
        self.hold(vendor, _seconds(headers.get("retry-after", "")))


class _Window:
    """What one vendor is being sent, or was sent less than a minute ago."""

    def __init__(self, given: Rate | None = None) -> None:
        self._given = {} if given is None else vars(given)
        self.told: dict[str, float] = {}
        self.until = -math.inf  # nothing is sent before
        self._requests, self._tokens = 0, 0
        self._ended: deque[tuple[float, int]] = deque()  # when, and with how many tokens
        self._first = asyncio.Lock()

    async def enter(self, tokens: int) -> None:
        async with self._first:  # whoever has it has waited longest
            while (left := self._left(tokens)) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(left, TICK))
            self._requests, self._tokens = self._requests + 1, self._tokens + tokens

    def leave(self, turn: Turn, tokens: int) -> None:
        self._tokens += turn.tokens - tokens
        if turn.sent:
            self._ended.append((time.perf_counter(), turn.tokens))
        else:
            self._ended.appendleft((-math.inf, turn.tokens))  # long ago

    def _left(self, tokens: int) -> float:
        """Seconds until there may be room for so many tokens; 0.0 if there is now."""
        now = time.perf_counter()
        while self._ended and self._ended[0][0] + MINUTE <= now:
            self._requests, self._tokens = self._requests - 1, self._tokens - self._ended.popleft()[1]
        if now < self.until:
            return self.until - now
        fits = all(
            taken <= min(self._given.get(kind) or math.inf, self.told.get(kind, math.inf))
            for kind, taken in (("requests", self._requests + 1), ("tokens", self._tokens + tokens))
        )
        if fits or not self._requests:  # a request above what the vendor tells goes alone
            return 0.0
        return self._ended[0][0] + MINUTE - now if self._ended else TICK


def size(request: Request) -> int:
    """The most tokens that a request may take, read and written."""
    return tokens_of(request.text, at_most=True) + request.max_tokens


def _seconds(text: str) -> float | None:
    """Seconds, or those until a moment, as vendors write them: ``6m0s``, ``59.7s``, ``20ms``, ``12``, RFC 3339."""
    if re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?(h|ms|m|s|$))+", text):
        return sum(float(number) * _UNITS[unit or "s"] for number, unit in re.findall(r"([0-9.]+)([hms]*)", text))
    with suppress(ValueError, TypeError, OverflowError):
        return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()
    return None
