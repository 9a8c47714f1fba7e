"""The endpoints: a request in a vendor's format becomes a run of a mixture, and its answer goes back in that format."""

import asyncio
import hmac
import json
import logging
import math
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from aiohttp import web

from moa_helpers.events import AggregatorDelta, Event, MixtureDone, ProposerDone, Retrying
from moa_helpers.limits.scope import Scope, Store
from moa_helpers.limits.tasks import stop
from moa_helpers.mixture import run_mixture
from moa_helpers.offline.asked import LARGEST, Refused, shown
from moa_helpers.offline.door import answered, check_loopback
from moa_helpers.results import Answer
from moa_helpers.serve.answers import NoAnswer, content, facts, headers
from moa_helpers.serve.asked import Asked, read
from moa_helpers.serve.config import Config
from moa_helpers.serve.formats import PATHS, Writer, error_body
from moa_helpers.serve.gate import Gate
from moa_helpers.vendors.settings import current

KEEP_ALIVE = 10.0  # seconds without a word after which a stream says that it is alive
PATIENCE = 60.0  # seconds for a client to read on; one that does not is taken to have hung up
SERVED = f"POST {', '.join(PATHS)}, GET /v1/models and GET /health"
HUNG_UP = 499  # the status in the log where the client has gone
LOG = logging.getLogger("moa_helpers.serve")
_log: ContextVar[dict[str, Any]] = ContextVar("log")  # what is written down of the request at its end
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """The web application of a configuration. Without a store, answers are kept where the code around keeps them."""

    def __init__(self, config: Config, gate: Gate, store: Store | None) -> None:
        self._config, self._gate, self._store = config, gate, store

    def application(self) -> web.Application:
        """The application, ready to be served."""
        application = web.Application(client_max_size=LARGEST, middlewares=[self._door])
        for path in PATHS:
            application.router.add_post(path, self._answer)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/v1/models/{name:.+}", self._models)
        application.router.add_get("/health", self._health)
        return application

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may ask, say every refusal in the format of the request, and log how it ended."""
        began, status = time.perf_counter(), HUNG_UP
        path = getattr(request.match_info.route.resource, "canonical", None)
        log: dict[str, Any] = {"id": f"req_{uuid.uuid4().hex}", "path": path}
        _log.set(log)

        async def let_in(request: web.Request) -> web.StreamResponse:
            if request.method == "OPTIONS" and request.headers.get("Origin") in self._config.origins:
                return web.Response(status=204)
            if request.path != "/health":
                self._check_sender(request)
            return await handler(request)

        try:
            answer = await self._answered(request, let_in)
            status = answer.status
            return answer
        finally:
            seconds = round(time.perf_counter() - began, 3)
            LOG.info(json.dumps({"status": status, "seconds": seconds, **log}))

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The response to a request, whatever happens."""
        try:
            answer = await answered(request, handler, SERVED)
        except Exception as error:
            answer = _unexpected(error)
        if isinstance(answer, Refused):
            body = error_body(_form(request), answer, _log.get()["id"])
            answer = web.json_response(body, status=answer.status, headers=answer.headers)
        if not answer.prepared:
            answer.headers.update(self._headers(request))
        return answer

    def _check_sender(self, request: web.Request) -> None:
        """Refuse who lacks the token; without a token, web pages and others who are not on this machine."""
        token, headers = self._config.token, request.headers
        if token is None:
            if headers.get("Origin") not in self._config.origins:
                check_loopback(request)
            return
        sent = (headers.get("x-api-key", ""), re.sub(r"(?i)^bearer +", "", headers.get("Authorization", "")))
        if not any(hmac.compare_digest(each.encode(errors="replace"), token.encode()) for each in sent):
            raise Refused(401, "The token is missing or wrong: give the client the server's token as its API key.")

    def _headers(self, request: web.Request) -> dict[str, str]:
        """The headers that every response has."""
        found = {"request-id" if _form(request) == "anthropic" else "x-request-id": _log.get()["id"]}
        found |= {"x-moa-offline": "1"} if current().mode == "offline" else {}
        if (origin := request.headers.get("Origin", "")) in self._config.origins:
            wanted = request.headers.get("access-control-request-headers", "*")
            allowed = {"origin": origin, "methods": "GET, POST", "headers": wanted}
            found |= {f"access-control-allow-{name}": value for name, value in allowed.items()}
            found |= {"access-control-expose-headers": "*", "vary": "Origin"}
        return found

    async def _health(self, request: web.Request) -> web.Response:
        draining = self._gate.draining
        body = {"status": "draining" if draining else "ok", "under_way": self._gate.under_way}
        return web.json_response(body, status=503 if draining else 200)

    async def _models(self, request: web.Request) -> web.Response:
        """The mixtures as a list of models, or one of them, in words that the clients of both vendors know."""
        shape = {"object": "model", "created": 0, "owned_by": "moa", "type": "model"}
        shape |= {"created_at": "1970-01-01T00:00:00Z"}
        if (name := request.match_info.get("name")) is not None:
            self._options(name)
            return web.json_response({"id": name, "display_name": name, **shape})
        names = [*self._config.mixtures]
        listed = [{"id": name, "display_name": name, **shape} for name in names]
        ends = {"has_more": False, "first_id": names[0], "last_id": names[-1]}
        return web.json_response({"object": "list", "data": listed, **ends})

    def _options(self, name: str) -> Mapping[str, Any]:
        if name not in self._config.mixtures:
            there = ", ".join(self._config.mixtures)
            raise Refused(404, f"There is no mixture {shown(name)}; there are {there}.", "model", "model_not_found")
        return self._config.mixtures[name]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Run the mixture that is asked for. Whatever happens, no call of it outlives the request."""
        asked = read(await request.read(), request.headers, _form(request))
        plan = asked.planned(self._options(asked.model)).bound()
        log, expected = _log.get(), plan.estimate
        log["mixture"] = asked.model
        self._gate.enter(expected.most_usd)
        happened: asyncio.Queue[Event | None] = asyncio.Queue()
        scope = Scope(store=self._store)
        task = asyncio.create_task(run_mixture(plan, happened.put_nowait), context=scope.context())
        task.add_done_callback(lambda task: happened.put_nowait(None))
        try:
            if asked.stream:
                return await self._stream(request, asked, task, happened)
            told, moa = _told(asked, await task)
            body = Writer(_form(request), asked.model).body(told, moa)
            return web.json_response(body, headers=headers(moa))
        finally:
            try:
                await stop([task])
            finally:
                replies, average_usd = scope.replies, (expected.most_usd or 0.0) / expected.calls
                log |= {"calls": len(replies), "cost_usd": replies.cost_usd}
                # A call whose cost is unknown, as it was stopped, counts as an average one at its most.
                spent = [average_usd if reply.cost_usd is None else reply.cost_usd for reply in replies]
                self._gate.leave(expected.most_usd, math.fsum(spent))

    async def _stream(
        self, request: web.Request, asked: Asked, task: asyncio.Task[Answer], happened: asyncio.Queue[Event | None]
    ) -> web.StreamResponse:
        """Send what happens. The head goes with the first event, so that what fails before has a status of its own."""
        writer = Writer(_form(request), asked.model, with_usage=asked.with_usage)
        head = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        response = web.StreamResponse(headers=head | self._headers(request))
        clock = asyncio.get_running_loop().time
        silent_until = clock() + KEEP_ALIVE
        try:
            while (event := await _next(happened, silent_until)) is not None:
                if events := self._events(asked, writer, event):
                    if not response.prepared:
                        await response.prepare(request)
                    async with asyncio.timeout(PATIENCE):
                        await response.write(events)
                    silent_until = clock() + KEEP_ALIVE
            await task  # raises what the mixture raised
        except (ConnectionError, TimeoutError):
            _log.get()["status"] = HUNG_UP
            if request.transport:
                request.transport.abort()
            return response
        except Exception as error:
            if not response.prepared:
                raise
            refused = error if isinstance(error, Refused) else _unexpected(error)
            _log.get()["status"] = refused.status
            await response.write(writer.error(refused))
        await response.write_eof()
        return response

    def _events(self, asked: Asked, writer: Writer, event: Event | str) -> bytes:
        """What a client is sent when this happens.

        Raises:
            Refused: there is no answer, or what was sent of it is void.
        """
        if isinstance(event, str):
            return writer.keep_alive()
        if isinstance(event, AggregatorDelta):
            return writer.write("text", event.text)
        if isinstance(event, ProposerDone) and self._config.progress:
            return writer.write("thought", f"Layer {event.layer}: {event.reply.model} {event.reply.summary}\n")
        if isinstance(event, Retrying) and event.index is None and writer.text:
            words = "The aggregator failed halfway, so the text that was sent is void: ask again."
            raise Refused(502, words, code="aggregator_failed")
        if isinstance(event, MixtureDone):
            return writer.closing(*_told(asked, event.answer))
        return b""


async def _next(happened: asyncio.Queue[Event | None], until: float) -> Event | str | None:
    """The next event; None at the end, and "silence" if none comes until then, on the clock of the loop."""
    try:
        async with asyncio.timeout_at(until):
            return await happened.get()
    except TimeoutError:
        return "silence"


def _told(asked: Asked, answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the client is told of an answer: its content and its facts. Raises NoAnswer if there is none."""
    told, moa, log = content(answer), facts(answer, asked.ignored), _log.get()
    log["failed"] = {reply.model: reply.failure.kind for reply in answer.replies if reply.failure}
    log |= {name: told[name] for name in ("input_tokens", "output_tokens")} | {"outcome": answer.outcome}
    if not answer.text:
        raise NoAnswer(answer, moa)
    return told, moa


def _form(request: web.Request) -> str:
    return PATHS.get(request.path) or ("anthropic" if "anthropic-version" in request.headers else "openai")


def _unexpected(error: Exception) -> Refused:
    """What a client is told of an error that is ours; the log says where it was, and no text that it may hold."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    _log.get()["error"] = f"{type(error).__name__} in {frame.name}, {frame.filename}:{frame.lineno}"
    return Refused(500, f"The server failed ({type(error).__name__}); its log says where, under the request's id.")
