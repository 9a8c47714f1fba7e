"""A mixture behind ``moa.serve``, as any HTTP client sees it."""

import asyncio
import io
import json
import time
from contextlib import asynccontextmanager

import aiohttp

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL

PANEL = {"reference_models": [LUNA, HAIKU, SMALL], "aggregator": SOL, "retries": 0}
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


@asynccontextmanager
async def serving(mixture=PANEL, **settings):
    """A server with that mixture under the name "panel", and a plain client whose base is its address."""
    async with (
        moa.serve({"mixtures": {"panel": mixture}, "server": {"port": 0, **settings}}) as server,
        aiohttp.ClientSession(server.url) as client,
    ):
        yield server, client


def asking(path, prompt, **rest):
    """The body of a request, as that path takes it."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return {"model": "panel", ("input" if path.endswith("responses") else "messages"): messages, **rest}


async def post(client, path, body, **headers):
    """Status, headers, and the body as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with client.post(
        path, data=io.BytesIO(sent), headers={"content-type": "application/json"} | headers
    ) as answer:
        return answer.status, answer.headers, json.loads(await answer.text())


def message_of(body):
    """What an error says, and its type."""
    return body["error"]["message"], body["error"]["type"]


async def until(holds, seconds=20):
    """Wait until it holds, but not for ever."""
    end = time.perf_counter() + seconds
    while not holds() and time.perf_counter() < end:
        await asyncio.sleep(0.01)
    assert holds()
