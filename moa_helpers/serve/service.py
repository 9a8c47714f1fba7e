"""The endpoints: a request in a vendor's format becomes a run of a mixture, and its answer goes back in that format."""

import asyncio
import hmac
import json
import logging
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from moa_helpers.events import AggregatorDelta, Event, MixtureDone, ProposerDone, Retrying
from moa_helpers.limits.scope import Scope, Store
from moa_helpers.limits.tasks import stop
from moa_helpers.mixture import run_mixture
from moa_helpers.offline.asked import LARGEST, Refused, shown
from moa_helpers.offline.door import answered, check_loopback
from moa_helpers.results import Answer
from moa_helpers.serve import answers
from moa_helpers.serve.asked import Asked, read
from moa_helpers.serve.config import Config
from moa_helpers.serve.formats import PATHS, Writer, error_body
from moa_helpers.serve.gate import Gate

KEEP_ALIVE = 10.0  # seconds of silence after which a stream says that it is alive
SERVED = f"POST {', '.join(PATHS)}, GET /v1/models and GET /health"
HUNG_UP = 499  # the status in the log of a request whose client has gone
LOG = logging.getLogger("moa_helpers.serve")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """The web application of a configuration. ``gate`` knows what is under way.

    Args:
        config: the mixtures and the settings.
        gate: who may come in.
        store: where answers are looked up and kept, if anywhere.
    """

    def __init__(self, config: Config, gate: Gate, store: Store | None) -> None:
        self.config, self.gate, self._store = config, gate, store

    def application(self) -> web.Application:
        """The application, ready to be served."""
        application = web.Application(client_max_size=LARGEST, middlewares=[self._door])
        application.on_response_prepare.append(self._mark)
        for path in PATHS:
            application.router.add_post(path, self._answer)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/v1/models/{name:.+}", self._models)
        application.router.add_get("/health", self._health)
        return application

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may ask, say every refusal in the format of the request, and log how it ended."""
        began, log = time.perf_counter(), {"id": f"req_{uuid.uuid4().hex}", "path": None, "mixture": None}
        request["log"] = log
        log["path"] = getattr(request.match_info.route.resource, "canonical", None)

        async def let_in(request: web.Request) -> web.StreamResponse:
            if request.method == "OPTIONS" and request.headers.get("Origin") in self.config.origins:
                return web.Response(status=204)
            if request.path != "/health":
                self._check_sender(request)
            return await handler(request)

        try:
            answer = await answered(request, let_in, SERVED)
            if isinstance(answer, Refused):
                answer = self._refusal(request, answer)
            log.setdefault("status", answer.status)
            return answer
        except asyncio.CancelledError:
            log.setdefault("status", HUNG_UP)
            raise
        except Exception as error:
            return self._refusal(request, _unexpected(error, log))
        finally:
            log["seconds"] = round(time.perf_counter() - began, 3)
            LOG.info(json.dumps(log))

    def _check_sender(self, request: web.Request) -> None:
        token, origin = self.config.token, request.headers.get("Origin")
        if token is None:
            if origin not in self.config.origins:
                check_loopback(request)
            return
        authorization = request.headers.get("Authorization", "")
        sent = request.headers.get("x-api-key") or authorization.removeprefix("Bearer ").strip()
        if not hmac.compare_digest(sent.encode("utf-8", "replace"), token.encode()):
            raise Refused(401, "The token is missing or wrong: give the client the server's token as its API key.")

    def _refusal(self, request: web.Request, refused: Refused) -> web.Response:
        body = error_body(_form(request), refused, request["log"]["id"])
        return web.json_response(body, status=refused.status, headers=refused.headers)

    async def _mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every response has."""
        name = "request-id" if _form(request) == "anthropic" else "x-request-id"
        response.headers[name] = request["log"]["id"]
        if (origin := request.headers.get("Origin")) in self.config.origins:
            response.headers["access-control-allow-origin"] = str(origin)
            response.headers["access-control-expose-headers"] = "*"
            response.headers["access-control-allow-methods"] = "GET, POST"
            asked = request.headers.get("access-control-request-headers", "*")
            response.headers["access-control-allow-headers"] = asked
            response.headers["vary"] = "Origin"

    async def _health(self, request: web.Request) -> web.Response:
        draining = self.gate.draining
        body = {"status": "draining" if draining else "ok", "under_way": self.gate.under_way}
        return web.json_response(body, status=503 if draining else 200)

    async def _models(self, request: web.Request) -> web.Response:
        """The mixtures as a list of models, or one of them, in words that all clients know."""
        names = [request.match_info["name"]] if "name" in request.match_info else [*self.config.mixtures]
        listed = []
        for name in names:
            self._options(name)
            model = {"id": name, "object": "model", "created": 0, "owned_by": "moa", "type": "model"}
            listed.append(model | {"display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        if "name" in request.match_info:
            return web.json_response(listed[0])
        ends = {"has_more": False, "first_id": names[0], "last_id": names[-1]}
        return web.json_response({"object": "list", "data": listed, **ends})

    def _options(self, name: str) -> Any:
        if name not in self.config.mixtures:
            there = ", ".join(self.config.mixtures)
            raise Refused(404, f"There is no mixture {shown(name)}; there are {there}.", "model", "model_not_found")
        return self.config.mixtures[name]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Run the mixture that is asked for. Whatever happens, no call of it outlives the request."""
        asked = read(await request.read(), request.headers, _form(request))
        plan = asked.planned(self._options(asked.model)).bound()
        request["log"]["mixture"] = asked.model
        with self.gate.passed(plan.estimate.most_usd) as visit:
            happened: asyncio.Queue[Event | None] = asyncio.Queue()
            scope = Scope(store=self._store)
            task = asyncio.create_task(run_mixture(plan, happened.put_nowait), context=scope.context())
            task.add_done_callback(lambda task: happened.put_nowait(None))
            try:
                if asked.stream:
                    return await self._stream(request, asked, task, happened)
                return self._whole(request, asked, await task)
            finally:
                try:
                    await stop([task])
                finally:
                    replies = scope.replies
                    visit.cost(replies, plan.estimate.calls)
                    request["log"] |= {"calls": len(replies), "cost_usd": replies.cost_usd}

    def _whole(self, request: web.Request, asked: Asked, answer: Answer) -> web.Response:
        _log(request, answer)
        if not answer.text:
            raise answers.refused(answer, asked.ignored)
        moa = answers.facts(answer, asked.ignored)
        writer = Writer(_form(request), asked.model)
        body = writer.body(answer.text, answers.finish(answer), answers.tokens(answer), moa)
        return web.json_response(body, headers=answers.headers(moa))

    async def _stream(
        self,
        request: web.Request,
        asked: Asked,
        task: asyncio.Task[Answer],
        happened: asyncio.Queue[Event | None],
    ) -> web.StreamResponse:
        """Send events while they happen. The head goes with the first, so that what fails before has its own status."""
        writer = Writer(_form(request), asked.model, with_usage=asked.with_usage)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})

        async def send(events: bytes) -> None:
            if events and not response.prepared:
                await response.prepare(request)
                events = writer.opening() + events
            if events:
                await response.write(events)

        try:
            while (event := await _next(happened)) is not None:
                await send(self._events(request, asked, writer, event))
            await task  # raises what the mixture raised
        except Exception as error:
            if isinstance(error, ConnectionError):
                request["log"]["status"] = HUNG_UP
                return response
            if not response.prepared:
                raise
            refused = error if isinstance(error, Refused) else _unexpected(error, request["log"])
            request["log"]["status"] = refused.status
            await response.write(writer.error(refused))
        await response.write_eof()
        return response

    def _events(self, request: web.Request, asked: Asked, writer: Writer, event: Event | str) -> bytes:
        """What a client is sent when this happens.

        Raises:
            Refused: there is no answer, or what was sent of it is void.
        """
        if isinstance(event, str):
            return writer.keep_alive()
        if isinstance(event, AggregatorDelta):
            return writer.write("text", event.text)
        if isinstance(event, ProposerDone) and self.config.progress:
            return writer.write("thought", f"Layer {event.layer}: {event.reply.model} {event.reply.summary}\n")
        if isinstance(event, Retrying) and event.index is None and writer.text:
            words = "The aggregator failed halfway, so the text that was sent is void: ask again."
            raise Refused(502, words, code="aggregator_failed")
        if isinstance(event, MixtureDone):
            answer = event.answer
            _log(request, answer)
            if not answer.text:
                raise answers.refused(answer, asked.ignored)
            moa = answers.facts(answer, asked.ignored)
            return writer.closing(answer.text, answers.finish(answer), answers.tokens(answer), moa)
        return b""


async def _next(happened: asyncio.Queue[Event | None]) -> Event | str | None:
    """The next event; None at the end, and "silence" if none comes for a while."""
    try:
        async with asyncio.timeout(KEEP_ALIVE):
            return await happened.get()
    except TimeoutError:
        return "silence"


def _form(request: web.Request) -> str:
    return PATHS.get(request.path) or ("anthropic" if "anthropic-version" in request.headers else "openai")


def _log(request: web.Request, answer: Answer) -> None:
    counted = answers.tokens(answer)
    failed = {reply.model: reply.failure.kind for reply in answer.replies if reply.failure}
    log = {"outcome": answer.outcome, "failed": failed}
    request["log"] |= log | {"input_tokens": counted["input_tokens"], "output_tokens": counted["output_tokens"]}


def _unexpected(error: Exception, log: dict[str, Any]) -> Refused:
    """What a client is told of an error that is ours; the log says where it was, and no text that it may hold."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log |= {"status": 500, "error": f"{type(error).__name__} in {frame.name}, {frame.filename}:{frame.lineno}"}
    return Refused(500, f"The server failed ({type(error).__name__}); its log says where, under the request's id.")
