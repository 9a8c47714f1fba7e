"""One call: attempts, retries, and time limits."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeVar

from moa_helpers import catalogue
from moa_helpers.limits.values import Bounds, Limits, check_number
from moa_helpers.results import Attempt, Delta, Failure, Replies, Reply, Retry, total
from moa_helpers.vendors.errors import ADVICE, RETRIED, explain
from moa_helpers.vendors.requests import FINISH_REASONS, Chunk, Request
from moa_helpers.vendors.settings import current
from moa_helpers.vendors.streams import client, stream

BACKOFF_BASE, BACKOFF_CAP = 0.5, 8.0  # seconds
LONGEST_WAIT = 60.0  # seconds; a vendor that asks for more is not waited for
PATIENCE = 0.25  # seconds that a cancelled task has to end
TICK = 0.2  # seconds; a notebook's Stop is noticed only when the event loop wakes, so nothing sleeps longer

T = TypeVar("T")
State = Literal["queued", "waiting", "writing", "pausing", "done"]


def prepare(
    models: Sequence[str],
    prompt: str,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
) -> list[Request]:
    """Check everything that can be checked before a call is made, and give one request for each model.

    Raises:
        TypeError, ValueError: what is wrong, and what to write instead.
        UnknownModel, MissingKey, ImportError: the model, its key or its SDK is not there.
    """
    found = check(models, prompt, system=system, max_tokens=max_tokens, temperature=temperature)
    for model in found:
        catalogue.warn_if_shut_down(model)
    offline = current().mode == "offline"
    return [
        Request(
            model,
            prompt,
            client(model.vendor),
            offline,
            system,
            max_tokens,
            temperature,
            sample=models[:position].count(model.name),
        )
        for position, model in enumerate(found)
    ]


def check(
    models: Sequence[str],
    prompt: str,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
) -> list[catalogue.Model]:
    """Check the input of a call, and find the models; raises as ``prepare`` does, but asks for no key."""
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise TypeError(f"Give the models as a list of names, such as ['openai:model-id'], not {models!r}.")
    if not models:
        raise ValueError("The list of models is empty: name at least one.")
    for name, text in {"prompt": prompt, "system": system}.items():
        if text is None and name == "system":
            continue
        if not isinstance(text, str):
            raise TypeError(f"The {name} must be text, not {type(text).__name__}.")
        if not text.strip():
            raise ValueError(f"The {name} is empty: write the {'question' if name == 'prompt' else 'instruction'}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"The {name} holds half a character (a lone surrogate), which cannot be sent: replace it."
            ) from None
    check_number("max_tokens", max_tokens, whole=True)
    if temperature is not None:
        check_number("temperature", temperature, least=0)
    found = [catalogue.find(name) for name in models]
    for model in found:
        if temperature is not None and not model.takes_temperature:
            raise ValueError(f"{model.name} takes no temperature ({model.accepts_temperature}): leave it out.")
        if max_tokens > (model.max_output_tokens or math.inf):
            raise ValueError(f"max_tokens is {max_tokens}; {model.name} writes at most {model.max_output_tokens}.")
    return found


async def ask(
    model: str,
    prompt: str,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    temperature: float | None = None,
    timeout: float = 60.0,
    deadline: float | None = None,
    retries: int = 2,
) -> Reply:
    """Ask one model one question.

    Args:
        model: ``vendor:model-id``.
        prompt: the user's message.
        system: the system message, if any.
        max_tokens: most tokens that the answer may have.
        temperature: only for models that take one.
        timeout: seconds for each attempt, from request to last token.
        deadline: seconds for all attempts and the pauses between them.
        retries: how often to try again after a rate limit, overload, server error, lost connection or time-out.

    Returns:
        The reply; where no usable answer came, its ``failure`` says why.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        asyncio.CancelledError: if it is cancelled; the exception's ``replies`` hold what has arrived.
    """
    limits = Limits(timeout, deadline, retries)
    (request,) = prepare([model], prompt, system=system, max_tokens=max_tokens, temperature=temperature)
    call = Call(request, Bounds(limits))
    try:
        return await call.run()
    except BaseException as error:
        error.replies = Replies([call.reply()])  # type: ignore[attr-defined]
        raise


class Call:
    """A request under way. ``reply()`` gives what is known at any moment, so that nothing that arrived is lost.

    ``state`` says what it does now: it is queued for a place, waiting for the first token, writing, pausing before a
    retry, or done. ``began`` is set when the first attempt begins.
    """

    def __init__(
        self,
        request: Request,
        bounds: Bounds,
        listen: Callable[[Delta | Retry], None] = lambda happened: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.request, self._bounds, self._listen = request, bounds, listen
        self.state: State = "queued"
        self._wanted = wanted  # asked when a place is free and the request is about to be sent
        self._granted = False  # set aside for a retry that is not sent yet
        self.began = asyncio.Event()
        self._started = time.perf_counter()
        self._ended: float | None = self._started  # a call that never runs takes no time
        self._attempts: list[Attempt] = []
        self._attempt_began: float | None = None  # None between attempts
        self._failure: Failure | None = self._fail("cancelled")
        self._keeper = _keeper.get()
        self._kept = self._keeper.find(request) if self._keeper else None  # what a run before this one has paid for
        if self._kept:
            self._kept, self._failure, self.state = replace(self._kept, started=self._started), None, "done"
        self._clear()
        if watcher := _watcher.get():
            watcher(self)

    async def run(self) -> Reply:
        """Try until there is an answer, or no retry is left, or the failure is not one to retry."""
        if self._kept:
            self._bounds.allowance.release(self.request)
            return self._kept
        until, vendor = self._bounds.until, self.request.model.vendor.name
        try:
            while True:
                async with self._bounds.place(vendor), self._keeper.place(vendor) if self._keeper else nullcontext():
                    if not self._wanted():
                        self._failure = self._fail("cancelled")
                        break
                    if self._ended is not None:
                        self._started, self._ended = time.perf_counter(), None
                    if until is not None and time.perf_counter() >= until:
                        self._failure = self._fail("deadline")
                        break
                    self.began.set()
                    self._granted = False
                    await self._attempt()
                retry = self._next()
                if retry is None:
                    break
                self._listen(retry)
                self.state = "pausing"
                await _pause(retry.wait)
        except asyncio.CancelledError:
            if self._failure is not None:  # else the answer was complete
                self._failure = self._fail("cancelled")
            raise
        finally:
            self.state = "done"
            if self._ended is None:  # else it never began
                self._ended = time.perf_counter()
            if self._granted:
                self._bounds.allowance.release(self.request)
            if self._keeper and self._attempts:
                self._keeper.keep(self.request, self.reply())
        return self.reply()

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return self._failure is None

    def reply(self) -> Reply:
        """The reply so far; before the end its failure is ``cancelled``, and an attempt under way has none yet."""
        if self._kept:
            return self._kept
        ended = self._ended or time.perf_counter()
        attempts = [*self._attempts]
        if self._attempt_began is not None:
            attempts.append(self._tried(self._attempt_began, None))
        return Reply(
            model=self.request.model.name,
            text=self._text(),
            answered_by=self._last.answered_by,
            finish_reason=FINISH_REASONS.get(self._last.finish_reason, "other") if self._last.finish_reason else None,
            ttft=self._ttft,
            elapsed=ended - self._started,
            input_tokens=self._last.input_tokens,
            output_tokens=self._last.output_tokens,
            cost_usd=total(attempt.cost_usd for attempt in attempts),
            attempts=tuple(attempts),
            failure=self._failure,
            started=self._started,
            offline=self.request.offline,
            least_usd=math.fsum(attempt.least_usd for attempt in attempts),
        )

    def _clear(self) -> None:
        self._pieces: list[str] = []
        self._ttft: float | None = None
        self._last = Chunk()  # the latest value of each field

    def _text(self) -> str:
        """What has arrived. A character that was split between two pieces is whole again; half a one is replaced."""
        return "".join(self._pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    async def _attempt(self) -> None:
        self._clear()
        started = self._attempt_began = time.perf_counter()
        self.state = "waiting"
        timeout, until = self._bounds.limits.timeout, self._bounds.until
        limit = timeout if until is None else min(timeout, until - started)
        failure: Failure | None = self._fail("cancelled")
        self._failure = failure
        try:
            async with asyncio.timeout(limit) as clock:
                await self._read()
            failure = self._verdict()
        except Exception as error:
            if isinstance(error, TimeoutError) and clock.expired():
                failure = self._fail("timeout" if limit == timeout else "deadline")
            else:
                failure = explain(error, self.request.model.name)
        finally:
            if self._last.finish_reason and self._verdict() is None:
                failure = None  # the answer is complete, whatever came between it and the end of the stream
            attempt = self._tried(started, failure)
            self._attempts.append(attempt)
            self._attempt_began, self._failure = None, failure
            self._bounds.allowance.spend(self.request, attempt.cost_usd)

    async def _read(self) -> None:
        """Take the answer as it arrives, in a task that is cancelled once at most, however often this one is.

        A client that is cancelled again while it closes a connection may leave it open, with the vendor still writing.
        """

        async def read() -> None:
            async with aclosing(stream(self.request)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    self._take(chunk)

        reading = asyncio.create_task(read())
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=TICK)
        finally:
            await stop([reading])
        reading.result()

    def _tried(self, started: float, failure: Failure | None) -> Attempt:
        """The attempt that began at ``started``, as it stands now."""
        refused = failure is not None and failure.status not in (None, 408, 504)  # these may come after a start
        model, known = self.request.model, (self._last.input_tokens, self._last.output_tokens)
        cost = 0.0 if refused else model.cost(*known)
        least = 0.0 if refused else model.cost(*(count or 0 for count in known)) or 0.0
        return Attempt(started - self._started, time.perf_counter() - started, failure, cost, least)

    def _take(self, chunk: Chunk) -> None:
        if chunk.text:
            if self._ttft is None:
                self._ttft = time.perf_counter() - self._started
                self.state = "writing"
            self._pieces.append(chunk.text)
            self._listen(Delta(chunk.text, self.request.model.name))
        self._last = Chunk(
            "",
            chunk.finish_reason or self._last.finish_reason,
            chunk.answered_by or self._last.answered_by,
            self._last.input_tokens if chunk.input_tokens is None else chunk.input_tokens,
            self._last.output_tokens if chunk.output_tokens is None else chunk.output_tokens,
        )

    def _verdict(self) -> Failure | None:
        """Judge an attempt whose stream came to an end without an error."""
        reason = self._last.finish_reason
        if reason is None:
            return self._fail("incomplete" if self._last.answered_by else "malformed")
        if FINISH_REASONS.get(reason) in ("content_filter", "error"):
            return self._fail("content_filter" if FINISH_REASONS[reason] == "content_filter" else "server_error")
        return None if self._text().strip() else self._fail("empty")

    def _next(self) -> Retry | None:
        """Whether another attempt follows, and after how long.

        The vendor's Retry-After where it gives one, else exponential backoff with full jitter: uniform between 0 and
        0.5 s, 1 s, 2 s ... (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
        """
        failure, number = self._failure, len(self._attempts)
        if failure is None or failure.kind not in RETRIED or number > self._bounds.limits.retries:
            return None
        wait = failure.retry_after
        if wait is None:
            wait = random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (number - 1)))
        until = self._bounds.until
        if wait > LONGEST_WAIT or (until is not None and time.perf_counter() + wait >= until):
            reason = f"the next attempt was due only after {wait:.1f} s"
        elif not self._bounds.allowance.grants(self.request):
            reason = "max_calls or budget_usd leaves none"
        else:
            self._granted = True
            return Retry(failure, wait)
        message = f"{failure.message} Not tried again: {reason}."
        self._failure = Failure(failure.kind, message, failure.status, failure.retry_after)
        return None

    def _fail(self, kind: str) -> Failure:
        return Failure(kind, f"{self.request.model.name}: {kind.replace('_', ' ')}. {ADVICE[kind]}")


class Keeper(Protocol):
    """Keeps what calls give, so that none has to be made a second time, and holds the places that they share."""

    def find(self, request: Request) -> Reply | None:
        """What this request was answered before; None if it has to be made."""

    def keep(self, request: Request, reply: Reply) -> None:
        """A call has ended; good or not, it may have cost something."""

    def place(self, vendor: str) -> AbstractAsyncContextManager[None]:
        """Wait for a free place at the vendor, and hold it."""


_keeper: ContextVar[Keeper | None] = ContextVar("_keeper", default=None)


def kept_by(keeper: Keeper) -> Context:
    """A context for ``asyncio.create_task``: each call that is made in it is looked up and kept by ``keeper``."""
    context = copy_context()
    context.run(_keeper.set, keeper)
    return context


_watcher: ContextVar[Callable[[Call], None] | None] = ContextVar("_watcher", default=None)


def watched_by(watcher: Callable[[Call], None]) -> Context:
    """A context for ``asyncio.create_task``: ``watcher`` gets each call that is made in it, before it begins."""
    context = copy_context()
    context.run(_watcher.set, watcher)
    return context


async def stop(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all have ended, even if this is itself cancelled meanwhile.

    A task that goes on all the same is cancelled again after a while: the HTTP clients may lose a cancellation that
    comes in the moment of connecting.
    """
    cancelled = None
    pending, again = set(tasks), 0.0
    while pending:
        if time.perf_counter() >= again:
            again = time.perf_counter() + PATIENCE
            for task in pending:
                task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=PATIENCE)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten
    if cancelled:
        raise cancelled


def results(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    """The results of tasks that have ended. It raises what one failed with, not that others were stopped for it."""
    for task in tasks:
        if not task.cancelled():
            task.result()
    return [task.result() for task in tasks]


async def _pause(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(left, TICK))
