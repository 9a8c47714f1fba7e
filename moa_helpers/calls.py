"""One call: it is tried, tried again where that may help, and bounded in time; nothing that arrived is lost."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Literal, Self

from moa_helpers.events import Delta, Retry
from moa_helpers.limits import retry
from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.cut import cut_warnings
from moa_helpers.limits.members import Named
from moa_helpers.limits.replay import kept
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import cancelled_once, pause
from moa_helpers.plan import plan_fan_out
from moa_helpers.results import Attempt, Failure, Reply, total
from moa_helpers.vendors.arriving import Arriving
from moa_helpers.vendors.errors import explain, failed
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.streams import stream

State = Literal["queued", "waiting", "writing", "pausing", "done"]


async def ask(
    model: Named,
    prompt: Prompt,
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
        model: ``vendor:model-id``, or a ``Member``, whose own settings count in place of these.
        prompt: the user's message; or a conversation, as a list of messages of which the last is the user's.
        system: the system message, if any, of the model or of the conversation.
        max_tokens: most tokens that the answer may have.
        temperature: only for models that take one.
        timeout: seconds for each attempt, from request to last token.
        deadline: seconds for all attempts and the pauses between them.
        retries: how often to try again after a rate limit, overload, server error, lost connection or time-out.

    Returns:
        The reply; where no usable answer came, its ``failure`` says why.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        asyncio.CancelledError: it was cancelled. The exception's ``replies`` hold what has arrived.
    """
    asked = {name: value for name, value in locals().items() if name != "model"}
    plan = await plan_fan_out([model], **asked).ready()
    with Scope(plan.limits).open() as scope:
        call = Call(plan.stages[0][0], scope)
        scope.add(call)
        return await call.run()


class Call:
    """A request under way. ``reply()`` gives what is known at any moment.

    ``state`` says what it does now: it is queued for a place, waiting for the first token, writing, pausing before a
    retry, or done. ``began`` is set when the first attempt begins.

    Args:
        request: what is asked.
        scope: what it shares with other calls.
        listen: hears every piece of text and every retry.
        wanted: is asked whenever a place is free and the request is about to be sent.
    """

    def __init__(
        self,
        request: Request,
        scope: Scope,
        listen: Callable[[Delta | Retry], None] = lambda happened: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.request, self._scope, self._listen, self._wanted = request, scope, listen, wanted
        self.began = asyncio.Event()
        self._started = time.perf_counter()
        self._ended: float | None = self._started  # a call that never runs takes no time
        self._kept = kept(request, scope, self._started)  # what a run before this one has paid for
        at_once = self._kept and self._kept.at_once
        self.state: State = "done" if at_once else "queued"
        self._failure = self._kept.failure if self._kept and at_once else self._fail("cancelled")
        self._now = Arriving(request.model)  # what the last attempt has brought
        self._attempts, self._trying = list[Attempt](), False  # whether one is under way
        self._final: Reply | None = None  # once it has ended
        self._granted = False  # whether the purse holds something for a retry that is not sent yet

    @property
    def ok(self) -> bool:
        """Whether there is an answer to use."""
        return self._failure is None

    @property
    def sent(self) -> tuple[Self, ...]:
        """The calls of single requests that it is made of: itself alone, as it is not hedged."""
        return (self,)

    async def run(self) -> Reply:
        """Try until there is an answer, or no retry is left, or the failure is not one to retry."""
        if self._kept:
            self._scope.purse.release(self.request)
            await self._kept.run(self._listen)
            self.state, self._failure = "done", self._kept.failure
            return self.reply()
        try:
            while True:
                async with self._scope.place(self.request) as place:
                    if not self._may_begin(place.problem):
                        break
                    await self._attempt()
                    place.used(self._now.input_tokens, self._now.output_tokens)
                happened = self._failure and retry.after(self._failure, self._attempts, self.request, self._scope)
                if not isinstance(happened, Retry):
                    self._failure = happened
                    break
                self._granted, self.state = True, "pausing"
                self._listen(happened)
                await pause(happened.wait)
        except asyncio.CancelledError:
            if self._failure is not None:  # else the answer was complete
                self._failure = self._fail("cancelled")
            raise
        finally:
            self._end()
        return self.reply()

    def reply(self) -> Reply:
        """The reply so far; before the end its failure is ``cancelled``, and an attempt under way has none yet."""
        if self._kept:
            return self._kept.reply(self._failure)
        if self._final:
            return self._final
        now = self._now
        attempts = [*self._attempts, *([now.attempt(self._started, None)] if self._trying else [])]
        return Reply(
            model=self.request.model.name,
            **now.fields(),
            ttft=now.first - self._started if now.first and self.request.streamed else None,
            elapsed=(time.perf_counter() if self._ended is None else self._ended) - self._started,
            cost_usd=total(attempt.cost_usd for attempt in attempts),
            attempts=tuple(attempts),
            failure=self._failure,
            started=self._started,
            offline=self.request.offline,
            least_usd=math.fsum(attempt.least_usd for attempt in attempts),
            warnings=cut_warnings(self.request, now.input_tokens, now.output_tokens),
            settings=self.request.settings,
        )

    def _may_begin(self, problem: Failure | None) -> bool:
        """Asked when a place is free, or there is a problem with it: whether the request is sent now."""
        if not self._wanted():
            self._failure = self._fail("cancelled")
            return False
        if self._ended is not None:
            self._started, self._ended = time.perf_counter(), None
        if problem:
            self._failure = problem
            return False
        if self._scope.store:
            self._scope.store.check()
        self.began.set()
        self._granted = False
        return True

    def _end(self) -> None:
        self.state = "done"
        self._ended = time.perf_counter() if self._ended is None else self._ended  # as of one that never began
        if self._granted:
            self._scope.purse.release(self.request)
        self._final = self.reply()
        if self._scope.store and self._attempts:
            self._scope.store.keep(self.request, self._final)
        del self._scope  # which knows this call: without a circle both are gone as soon as nobody asks for them

    async def _attempt(self) -> None:
        now = self._now = Arriving(self.request.model)
        self.state, self._trying = "waiting", True
        timeout, until = self._scope.limits.timeout, self._scope.until
        limit = timeout if until is None else min(timeout, until - now.began)
        problem: Failure | None = self._fail("cancelled")
        self._failure = problem
        try:
            async with asyncio.timeout(limit) as clock:
                await cancelled_once(self._read(), lambda: now.first is not None)
            problem = now.problem()
        except Exception as error:
            if isinstance(error, TimeoutError) and clock.expired():
                problem = self._fail("timeout" if limit == timeout else "deadline")
            else:
                problem = explain(error, self.request.model.name)
        finally:
            if now.finish_reason and now.problem() is None:
                problem = None  # the answer is complete, whatever came between it and the end of the stream
            attempt = now.attempt(self._started, problem)
            self._attempts.append(attempt)
            self._trying, self._failure = False, problem
            self._scope.purse.spend(self.request, attempt.cost_usd)

    async def _read(self) -> None:
        async with aclosing(stream(self.request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                self._scope.learn(self.request, chunk.headers)
                for piece in self._now.take(chunk):
                    self.state = "writing"
                    model = self.request.model.name
                    void = Failure("cancelled", f"{model}: what it wrote so far was its thinking.")
                    self._listen(Retry(void, 0.0) if piece is None else Delta(piece, model))

    def _fail(self, kind: str) -> Failure:
        return failed(kind, self.request.model.name)
