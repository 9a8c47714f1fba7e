"""The embedded vendors: a real HTTP server on loopback that speaks the vendors' wire formats."""

import asyncio
import json
import math
import socket
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from moa_helpers.catalogue import VENDORS, Model, find, listed
from moa_helpers.offline import standins
from moa_helpers.offline.faults import ERROR_TYPES, KINDS, Faults
from moa_helpers.offline.latency import Latency
from moa_helpers.offline.wire import Dialect, Plan

TICK = 0.04  # seconds between two pieces of a stream


class OfflineVendors:
    """All vendors at once, as one web application. Without a vendor in the path, the catalogue says whose model it is.

    ``faults`` and ``speed`` may be changed while it runs. ``asked`` counts requests by model, ``under_way`` open ones.
    """

    def __init__(self, *, seed: int = 0, speed: float = 1.0, faults: str = "") -> None:
        if not speed > 0:
            raise ValueError(f"The speed is {speed}; it must be above 0 (20 is twenty times as fast as the vendors).")
        self.speed = speed
        self.faults = Faults(faults, seed)
        self.asked: Counter[str] = Counter()
        self.under_way = 0
        self._latency = Latency(seed)

    def application(self) -> web.Application:
        """The application, ready to be served."""
        application = web.Application(client_max_size=64 * 2**20)
        for prefix in ("", "/{vendor}"):
            application.router.add_post(f"{prefix}/v1/chat/completions", self._answer)
            application.router.add_post(f"{prefix}/v1/messages", self._answer)
            application.router.add_get(f"{prefix}/v1/models", self._models)
        return application

    async def _models(self, request: web.Request) -> web.Response:
        vendor = request.match_info.get("vendor")
        found = {model.id: model for model in listed().values() if vendor in (None, model.vendor.name)}
        data = [{"id": name, "object": "model", "created": 0, "owned_by": found[name].vendor.name} for name in found]
        return web.json_response({"object": "list", "data": data})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        try:
            return await self._handle(request)
        except (ConnectionError, asyncio.CancelledError):
            return web.Response(status=499)  # the client has gone; nobody reads this
        finally:
            self.under_way -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        anthropic = request.path.endswith("/messages")
        dialect = Dialect("anthropic" if anthropic else "openai", with_usage=False)
        try:
            asked = json.loads(await request.read())
            model = _model(asked["model"], request.match_info.get("vendor"), anthropic)
            if model.vendor.name == "mistral":
                dialect = Dialect("mistral")
            elif not anthropic:
                dialect = Dialect("openai", bool((asked.get("stream_options") or {}).get("include_usage")))
            system, prompt = _texts(asked)
            fault = self.faults.next(model.vendor.name, model.name, prompt, request.headers.get("x-moa-fault"))
            kind = fault.kind if fault else ""
            plan = _plan(request, asked, model, kind, system, prompt)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return web.json_response(dialect.error(400, f"The request is malformed: {error!r}"), status=400)
        self.asked[model.name] += 1
        ttft, rate = self._latency.draw(model.name, prompt)  # also for what is refused: a retry is another request
        status, message = _refusal(request, asked, model)
        if kind in ERROR_TYPES:
            status, message = int(kind), f"{KINDS[kind]} (a fault on demand)"
        if status:
            headers = {"retry-after": f"{fault.retry_after:g}"} if fault and fault.retry_after is not None else {}
            return web.json_response(dialect.error(status, message), status=status, headers=headers)
        if kind == "reset":
            return _reset(request)
        if kind == "hang":
            await _until_gone(request)
        await asyncio.sleep(ttft / self.speed)
        duration = plan.output_tokens / rate / self.speed
        if asked.get("stream"):
            return await self._stream(request, dialect, plan, duration, kind)
        return await self._whole(request, dialect, plan, duration, kind)

    async def _whole(
        self, request: web.Request, dialect: Dialect, plan: Plan, duration: float, kind: str
    ) -> web.StreamResponse:
        await asyncio.sleep(duration)
        body = json.dumps(dialect.body(plan)).encode()
        if kind == "error_event":
            return web.json_response(dialect.error(500, "the answer failed halfway (a fault on demand)"), status=500)
        if kind == "malformed_json":
            body = body[: len(body) // 2]
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        if kind in ("truncated_body", "truncated_stream", "stalled_stream"):
            await response.write(body[: len(body) // 2])
            if kind == "stalled_stream":
                await _until_gone(request)
            return _reset(request)
        await (_trickle(body, response) if kind == "slow_body" else response.write(body))
        await response.write_eof()
        return response

    async def _stream(
        self, request: web.Request, dialect: Dialect, plan: Plan, duration: float, kind: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        await response.prepare(request)
        await response.write(dialect.opening(plan))
        text = plan.text
        if kind in ("truncated_body", "truncated_stream", "stalled_stream", "error_event", "malformed_json"):
            text, duration = text[: len(text) // 2], duration / 2
        size = math.ceil(len(text) / max(1, min(plan.output_tokens, round(duration / TICK)))) or 1
        pieces = [text[place : place + size] for place in range(0, len(text), size)] or [""]
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, piece in enumerate(pieces):
            await asyncio.sleep(began + duration * number / len(pieces) - loop.time())
            event = dialect.piece(plan, piece)
            await (_trickle(event, response) if kind == "slow_body" else response.write(event))
        if kind == "truncated_body":
            return _reset(request)
        if kind == "stalled_stream":
            await _until_gone(request)
        if kind == "error_event":
            await response.write(dialect.error_event("the answer failed halfway (a fault on demand)"))
        elif kind == "malformed_json":
            await response.write(b'event: content_block_delta\ndata: {"id": "offline", "choices": [{"delta\n\n')
        elif kind != "truncated_stream":
            await response.write(dialect.closing(plan))
        await response.write_eof()
        return response


class Server:
    """The offline vendors in a thread of their own, on a port of this machine; ``url`` says where.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, vendors: OfflineVendors, port: int = 0) -> None:
        self.vendors = vendors
        self._runner = web.AppRunner(vendors.application(), access_log=None, shutdown_timeout=0.1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="offline vendors", daemon=True)
        self._thread.start()
        try:
            self._run(self._runner.setup())
            self._run(web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024).start())
        except OSError:
            self.stop()
            raise
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def stop(self) -> None:
        """Close the port and end the thread."""
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _model(model_id: str, vendor: str | None, anthropic: bool) -> Model:
    if vendor is None:
        found = [model for model in listed().values() if model.id == model_id]
        vendor = found[0].vendor.name if found else "anthropic" if anthropic else "openai"
    if vendor not in VENDORS:
        raise ValueError(f"no vendor {vendor!r}")
    return find(f"{vendor}:{model_id}")


def _plan(request: web.Request, asked: dict[str, Any], model: Model, kind: str, system: str, prompt: str) -> Plan:
    sample = request.headers.get("x-moa-sample") or asked.get("seed") or asked.get("random_seed") or 0
    text = standins.answer(model, system, prompt, int(sample), lie=kind == "liar", inject=kind == "injector")
    finish, limit = "stop", 4 * int(asked.get("max_completion_tokens") or asked.get("max_tokens") or 10**9)
    if kind == "length":
        limit = len(text) // 2
    if len(text) > limit:
        text, finish = text[:limit], "length"
    if kind in ("empty", "content_filter"):
        text, finish = "", "stop" if kind == "empty" else kind
    identity = f"offline-{uuid.uuid4().hex[:12]}"
    tokens = (math.ceil(len(part) / 4) for part in (system + prompt, text))  # the stand-ins' own count
    return Plan(identity, model.id, text, finish, *tokens)


def _texts(asked: dict[str, Any]) -> tuple[str, str]:
    """The system message and the last user message, from either format."""

    def text(content: Any) -> str:
        return content if isinstance(content, str) else "".join(block.get("text", "") for block in content or ())

    messages = asked["messages"]
    system = [text(message["content"]) for message in messages if message["role"] in ("system", "developer")]
    users = [message for message in messages if message["role"] == "user"]
    if not users:
        raise ValueError("there is no user message")
    return "".join([text(asked.get("system")), *system]), text(users[-1]["content"])


def _refusal(request: web.Request, asked: dict[str, Any], model: Model) -> tuple[int, str]:
    """Refuse what the vendor itself would refuse: (status, message), or (0, "")."""
    key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not key:
        return 401, "No API key: send one (any text will do offline)."
    if "temperature" in asked and not model.takes_temperature:
        return 400, f"Unsupported parameter: temperature ({model.id}: {model.accepts_temperature})."
    if model.token_parameter == "max_completion_tokens" and "max_tokens" in asked and model.tier != "legacy":
        return 400, f"Unsupported parameter: max_tokens. {model.id} takes max_completion_tokens."
    if model.vendor.api == "anthropic" and "max_tokens" not in asked:
        return 400, "max_tokens: Field required."
    return 0, ""


def _reset(request: web.Request) -> web.Response:
    """Break the connection so that the client sees a reset, not an end."""
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    raise ConnectionResetError


async def _until_gone(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    raise ConnectionResetError


async def _trickle(data: bytes, response: web.StreamResponse) -> None:
    for byte in data:
        await response.write(bytes([byte]))
        await asyncio.sleep(0.2)
