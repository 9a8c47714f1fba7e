"""Scripted streams: what each model does when it is asked, and a record of who was asked what and when.

``script["openai:gpt-6-luna"] = [fails(429, retry_after=2), answers("Blue.")]`` has the model's first request refused
and all others answered. A model without a script answers at once something of its own. Times are virtual seconds.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from moa_helpers.vendors.requests import Chunk, Request
from tests.support import clock

STREAM = "moa_helpers.calls.stream"  # the seam that a Script replaces
CLIENT = "moa_helpers.limits.inputs.client"  # what binds a request to an SDK; no SDK is wanted
IMPORTED = "moa_helpers.plan.imported"  # what imports an SDK in a thread, which knows no virtual clock

# Small models whose prices are known, each of another vendor, and a larger one.
LUNA, HAIKU, SMALL, OSS = MODELS = (
    "openai:gpt-6-luna",
    "anthropic:claude-haiku-5-5",
    "mistral:mistral-small-2603",
    "groq:openai/gpt-oss-120b",
)
SOL = "openai:gpt-6-sol"


class APIStatusError(Exception):
    """As the SDKs raise where the vendor refused with an HTTP status."""

    def __init__(self, status, message="Refused.", headers=None):
        super().__init__(message)
        self.status_code, self.body = status, {"error": {"message": message}}
        self.response = type("Response", (), {"headers": headers or {}})()


class APIConnectionError(Exception):
    """As the SDKs raise where the connection was lost or never there."""


@dataclass(frozen=True)
class Act:
    """What a model does with one request: wait, write pieces, and then end, fail or hang."""

    text: str | Callable[[Request], str] | None = None  # None: a text of its own, another for each sample
    after: float = 1.0  # seconds until the first piece, or until the failure
    per_piece: float = 0.1  # seconds between pieces (words)
    finish: str | None = "stop"  # None: no reason is given
    error: Exception | None = None  # raised after the last piece
    hangs: bool = False  # after the last piece, for ever
    # In and out, reported with the first piece and with the reason; or how to count them, from request and text.
    tokens: tuple[int, int] | Callable[[Request, str], tuple[int, int]] | None = (100, 20)
    closing: float = 0.0  # seconds to close what is cut off; a cancellation meanwhile leaves the stream open
    deaf: int = 0  # how many cancellations it loses while it waits for the first piece

    def pieces(self, request):
        text = self.text(request) if callable(self.text) else self.text
        return re.findall(r"^\s+|\S+\s*", own_text(request) if text is None else text)


def answers(text=None, **options):
    """A complete answer: ``after`` seconds until its first word, ``per_piece`` between words."""
    return Act(text, **options)


def fails(status, *, after=0.0, retry_after=None, message="Refused.", headers=None):
    """An HTTP error."""
    headers = {"retry-after": str(retry_after)} if retry_after is not None else headers
    return Act("", after, error=APIStatusError(status, message, headers), finish=None, tokens=None)


def loses_connection(text="", *, after=0.0):
    """The connection is lost, after a part of the answer or before any."""
    return Act(text, after, error=APIConnectionError("Connection lost."), finish=None)


def breaks_off(text="Half an", **options):
    """The stream ends in the middle of the answer, without an error."""
    return Act(text, finish=None, **options)


def hangs(text="", **options):
    """Nothing comes any more, after a part of the answer or from the beginning."""
    return Act(text, finish=None, hangs=True, **options)


def own_text(request):
    """What a model without a script says: its name, and which sample it is, once there are several."""
    return f"{request.model.id} says {request.sample}."


@dataclass
class Asked:
    """One request that was sent: when, and what became of it."""

    request: Request
    at: float
    ended: float | None = None
    how: str = "open"  # "done", "failed", "cancelled" or "closed" by the reader, "left open" by a cancelled close
    text: str = ""  # what was written

    @property
    def model(self):
        return self.request.model.name


@dataclass
class Script:
    """The vendors' part. Stands in for ``stream``: called with a request, it gives chunks."""

    acts: dict[str, list[Act] | Callable[[Request], Act]] = field(default_factory=dict)
    default: Act = field(default_factory=Act)
    asked: list[Asked] = field(default_factory=list)
    now: Counter = field(default_factory=Counter)  # requests under way, by vendor and in "all"
    most: Counter = field(default_factory=Counter)  # the most of them at the same time
    written: list[str] = field(default_factory=list)  # texts that came to their end

    def __setitem__(self, model, acts):
        """What a model does with its first request, its second, and so on; the last act is repeated.

        Or a function that says what it does with a request.
        """
        self.acts[model] = [acts] if isinstance(acts, Act) else acts if callable(acts) else list(acts)

    def clear(self):
        """Forget what was asked, so that the scripts begin anew."""
        for record in (self.asked, self.now, self.most, self.written):
            record.clear()

    def times(self, model=None):
        """When requests were sent, in virtual seconds since the run began; of one model or of all."""
        return [asked.at for asked in self.asked if model in (None, asked.model)]

    def counts(self):
        """How many requests each model had."""
        return Counter(asked.model for asked in self.asked)

    def hows(self, model=None):
        """What became of the requests, in the order in which they were sent."""
        return [asked.how for asked in self.asked if model in (None, asked.model)]

    def written_last(self):
        """What each call's last attempt wrote; an attempt is void once another follows."""
        return [text for text in {asked.request: asked.text for asked in self.asked}.values() if text]

    async def __call__(self, request):
        acts = self.acts.get(request.model.name, [self.default])
        act = acts(request) if callable(acts) else acts[min(self.counts()[request.model.name], len(acts) - 1)]
        asked = Asked(request, clock.now())
        self.asked.append(asked)
        places = (request.model.vendor.name, "all")
        self.now.update(places)
        for place in places:
            self.most[place] = max(self.most[place], self.now[place])
        how = "failed"
        try:
            async for chunk in self._play(act, request):
                asked.text += chunk.text
                yield chunk
            how = "done"
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        except GeneratorExit:
            how = "closed"
            raise
        finally:
            self.now.subtract(places)
            if act.closing and how in ("cancelled", "closed"):
                asked.how = "left open"
                await asyncio.sleep(act.closing)
            asked.how, asked.ended = how, clock.now()

    async def _play(self, act, request):
        time, deaf = asyncio.get_running_loop().time, act.deaf
        until = time() + act.after
        while (left := until - time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if not deaf:
                    raise
                deaf -= 1
        pieces = act.pieces(request)
        counted = act.tokens(request, "".join(pieces)) if callable(act.tokens) else act.tokens
        took, wrote = counted or (None, None)
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(act.per_piece)
            yield Chunk(piece, answered_by=None if number else request.model.id, input_tokens=None if number else took)
        if act.finish:
            self.written.append("".join(pieces))
            yield Chunk("", act.finish, request.model.id, took, wrote)
        if act.error:
            raise act.error
        if act.hangs:
            await asyncio.get_running_loop().create_future()
