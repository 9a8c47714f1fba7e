"""The embedded vendors: a real HTTP server on loopback that speaks the vendors' wire formats."""

import asyncio
import json
import math
import socket
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Mapping
from itertools import zip_longest
from typing import Any, NoReturn

from aiohttp import web

from moa_helpers.catalogue import listed
from moa_helpers.offline import door, standins
from moa_helpers.offline.asked import LARGEST, Asked, Refused, named, parsed, read, shown, tokens
from moa_helpers.offline.batches import Batches
from moa_helpers.offline.caching import PromptCache
from moa_helpers.offline.faults import KINDS, Faults
from moa_helpers.offline.jobs import TOKENS, Job
from moa_helpers.offline.latency import Latency
from moa_helpers.offline.wire import Choice, Dialect, Plan

TICK = 0.04  # seconds between two pieces of a stream
MOST_COUNTED = 10_000  # models in ``asked``
MOST_BATCHED = 1_000_000  # ids in ``batched``
BASES = ("/v1", "/api/v1", "/{vendor}/v1", "/{vendor}/openai/v1", "/{vendor}/api/v1")  # as vendors' own addresses end
FAILED, ON_DEMAND = "the answer failed halfway", "(a fault on demand)"
NO_JSON = b'event: content_block_delta\ndata: {"id": "offline", "choices": [{"delta\n\n'
CUT = ("truncated_body", "truncated_stream", "stalled_stream", "error_event", "malformed_json")


class OfflineVendors:
    """All vendors at once, as one web application. Without a vendor in the path, the model's id says whose it is.

    ``faults`` and ``speed`` may be changed while it runs. ``asked`` counts live requests by model, ``batched`` the
    answers in batches by custom_id, ``under_way`` open live requests; GET /offline/counts tells them.
    """

    def __init__(self, *, seed: int = 0, speed: float = 1.0, faults: str = "") -> None:
        if not 0 < speed < math.inf:
            raise ValueError(f"The speed is {speed}; it must be above 0 (20 is twenty times as fast as the vendors).")
        self.speed = speed
        self.faults = Faults(faults, seed)
        self.asked: Counter[str] = Counter()
        self.batched: Counter[str] = Counter()
        self.under_way = 0
        self._latency = Latency(seed)
        self._cache = PromptCache()
        self._batches = Batches(self._item, self.faults, lambda: self.speed, seed)

    def application(self) -> web.Application:
        """The application, ready to be served."""
        application = web.Application(client_max_size=LARGEST, middlewares=[door.opened])
        application.on_response_prepare.append(door.marked)
        for base in BASES:
            application.router.add_post(f"{base}/chat/completions", self._answer)
            application.router.add_post(f"{base}/messages", self._answer)
            application.router.add_get(f"{base}/models", self._models)
            application.router.add_get(f"{base}/models/{{id:.+}}", self._models)
            self._batches.serve(application, base)
        application.router.add_get("/offline/counts", self._counts)
        application.on_cleanup.append(self._batches.jobs.stop)
        return application

    async def _counts(self, request: web.Request) -> web.Response:
        return web.json_response({"asked": self.asked, "batched": self.batched, "under_way": self.under_way})

    async def _models(self, request: web.Request) -> web.Response:
        vendor, dialect = door.vendor_of(request), door.dialect_of(request)
        if vendor is None and dialect.name == "openai":
            dialect = Dialect("mistral")  # an entry of which has all that OpenAI's has
        if model_id := request.match_info.get("id"):
            model = named(model_id, vendor)
            if model.name not in listed():
                raise Refused(404, f"The list has no model {shown(model_id)}; GET /v1/models gives all of it.", "model")
            return web.json_response(dialect.listed(model))
        served = [one for one in listed().values() if vendor in (None, one.vendor.name) and one.tier != "retired"]
        return web.json_response(dialect.listing([*{model.id: model for model in served}.values()]))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        try:
            return await self._handle(request)
        except ConnectionError:
            return web.Response()  # nobody reads this: the client has gone
        finally:
            self.under_way -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        vendor = door.vendor_of(request)
        door.key_of(request)
        body = parsed(await request.read(), request.headers)
        asked = read(body, request.headers, vendor, messages=request.path.endswith("/messages"))
        model = asked.model
        dialect = door.dialect_of(request, model.vendor.name, with_usage=asked.with_usage)
        fault = self.faults.next(model.vendor.name, model.name, asked.prompt, request.headers.get("x-moa-fault"))
        if model.name in self.asked or len(self.asked) < MOST_COUNTED:
            self.asked[model.name] += 1
        ttft, rate = self._latency.draw(model.name, asked.prompt)  # also for a fault: a retry is another request
        kind = fault.kind if fault else ""
        if fault and kind.isdigit():
            raise _failing(dialect, int(kind), KINDS[kind], fault.retry_after)
        if kind == "reset":
            _reset(request)
        if kind == "hang":
            await _for_ever()
        plan = await _plan(asked, kind, self._cache)
        await asyncio.sleep(ttft / self.speed)
        self._cache.keep(model, asked.prefixes or [])
        duration = max(tokens(len(choice.text)) for choice in plan.choices) / rate / self.speed
        return await _send(request, dialect, plan, duration, kind, stream=asked.stream)

    async def _item(self, job: Job, identity: str, body: Mapping[str, Any]) -> tuple[int, Any, str]:
        """What a request of a batch is answered: the HTTP status, the body, and the kind of the fault that hit it."""
        dialect, kind = job.dialect, ""
        try:
            asked = read(body, job.headers, job.owner.vendor, messages=dialect.name == "anthropic")
            if asked.stream:
                raise Refused(400, "stream: an answer in a batch is not streamed.", "stream")
            model = asked.model
            hits = self.faults.hits(["call", "item"], model.vendor.name, model.name, asked.prompt)
            kind = next((fault.kind for fault in hits), "")
            if kind.isdigit():
                raise _failing(dialect, int(kind), KINDS[kind])
            if "error_file_only" in job.faults or kind in ("reset", "hang", "item_400", *CUT):
                raise _failing(dialect, 400 if kind == "item_400" else 500, FAILED)
        except Refused as refused:
            return refused.status, dialect.error(refused.status, refused.message, refused.param, refused.code), kind
        plan = await _plan(asked, kind, self._cache)
        self._cache.keep(model, asked.prefixes or [])
        job.counts.update({name: vars(plan)[name] or 0 for name in TOKENS})
        if len(self.batched) < MOST_BATCHED:
            self.batched[identity] += 1
        return 200, dialect.body(plan), kind


class Server:
    """The offline vendors in a thread of their own, on a port of this machine; ``url`` says where."""

    def __init__(self, vendors: OfflineVendors, port: int = 0) -> None:
        self.vendors = vendors
        self._runner = web.AppRunner(
            vendors.application(),
            access_log=None,
            auto_decompress=False,  # a small body may become a huge one
            handler_cancellation=True,  # as soon as the client has gone
            shutdown_timeout=0.1,
        )
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
        """Close the port, break off what is under way, and end the thread."""
        self._run(self._runner.cleanup())
        self._run(asyncio.sleep(0))  # in which the connections that were broken off are closed
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _plan(asked: Asked, kind: str, cache: PromptCache) -> Plan:
    choices = []
    for number in range(asked.choices):
        await asyncio.sleep(0)  # so that others are not held up
        choices.append(_choice(asked, asked.sample + number, kind))
    written = sum(tokens(len(choice.text)) for choice in choices)
    identity = f"offline-{uuid.uuid4().hex[:12]}"
    cached = None if asked.prefixes is None else cache.read(asked.model, asked.prefixes)
    kept = max((one.tokens for one in asked.prefixes or [] if one.kept), default=0)
    counts = (asked.input_tokens, written, cached, max(0, kept - (cached or 0)))
    return Plan(identity, asked.model.id, int(time.time()), tuple(choices), *counts)


def _choice(asked: Asked, sample: int, kind: str) -> Choice:
    lies = {"lie": kind == "liar", "inject": kind == "injector"}
    text = standins.answer(asked.model, asked.system, asked.prompt, sample, **lies)
    if kind in ("empty", "content_filter"):
        return Choice("", "stop" if kind == "empty" else kind)
    end, stop = min(((text.find(stop), stop) for stop in asked.stops if stop in text), default=(len(text), None))
    limit = len(text) // 2 if kind == "length" else 4 * (asked.limit or len(text))
    return Choice(text[:limit], "length") if end > limit else Choice(text[:end], "stop", stop)


async def _send(
    request: web.Request, dialect: Dialect, plan: Plan, duration: float, kind: str, *, stream: bool
) -> web.StreamResponse:
    """Send an answer, whole at the end of its duration or bit by bit, with the fault of that kind, if any."""
    loop = asyncio.get_running_loop()
    began, parts = loop.time(), 2 if kind in CUT else 1  # of which the first is sent
    response = web.StreamResponse(headers={"content-type": "text/event-stream" if stream else "application/json"})
    if stream:
        response.headers["cache-control"] = "no-cache"
        ticks, opening, closing = _ticks(dialect, plan, duration, parts), dialect.opening(plan), dialect.closing(plan)
    else:
        await asyncio.sleep(duration)
        if kind == "error_event":
            raise _failing(dialect, 500, FAILED)
        body = json.dumps(dialect.body(plan)).encode()
        ticks, opening, closing = [body[: len(body) // parts]], b"", b""
        response.content_length = len(body) if kind != "malformed_json" else len(body) // parts
    await response.prepare(request)
    await response.write(opening)
    for turn, events in enumerate(ticks):
        await asyncio.sleep(began + duration / parts * turn / len(ticks) - loop.time())
        await (_trickle(events, response) if kind == "slow_body" else response.write(events))
    if kind == "stalled_stream":
        await _for_ever()
    if kind == "truncated_body" or (kind == "truncated_stream" and not stream):
        _reset(request)
    if stream:
        ends = {"truncated_stream": b"", "malformed_json": NO_JSON}
        ends["error_event"] = dialect.error_event(f"{FAILED} {ON_DEMAND}")
        await response.write(ends.get(kind, closing))
    await response.write_eof()
    return response


def _ticks(dialect: Dialect, plan: Plan, duration: float, parts: int) -> list[bytes]:
    """The events with all texts, or with the first of two parts of each, by the tick in which they are sent."""
    pieces = []
    for choice in plan.choices:
        count = max(1, min(tokens(len(choice.text)), round(duration / parts / TICK)))
        text = choice.text[: len(choice.text) // parts]
        size = -(-len(text) // count) or 1
        pieces.append([text[place : place + size] for place in range(0, len(text), size)] or [""])
    return [
        b"".join(dialect.piece(plan, piece, number) for number, piece in enumerate(tick) if piece is not None)
        for tick in zip_longest(*pieces)
    ]


def _failing(dialect: Dialect, status: int, words: str, retry_after: float | None = None) -> Refused:
    refused = Refused(status, f"{words} {ON_DEMAND}")
    refused.vendor = dialect.name
    if retry_after is not None:
        refused.headers["retry-after"] = f"{retry_after:f}".rstrip("0").rstrip(".")
    return refused


def _reset(request: web.Request) -> NoReturn:
    """Break the connection so that the client sees a reset, not an end."""
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    raise ConnectionResetError


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()  # until the client has gone, which cancels this


async def _trickle(data: bytes, response: web.StreamResponse) -> None:
    for byte in data:
        await response.write(bytes([byte]))
        await asyncio.sleep(0.2)
