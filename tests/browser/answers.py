"""What a model server writes, in OpenAI's format: any text whole, or a thousand pieces a second."""

import asyncio
import json
import time

from aiohttp import web

from tests.support.hostile import HOSTILE

STREAM = {"content-type": "text/event-stream"}
TEXTS = {name.replace(" ", "-"): text for name, text in HOSTILE.items()}
TEXTS |= {
    "all-short": "\n\n".join(text for text in HOSTILE.values() if len(text) < 1000),
    "all": "\n\n".join(HOSTILE.values()),
}


def event(text="", finish=None):
    """One event of the stream."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(data)}\n\n".encode()


def gone(request):
    """Whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


class Held:
    """Answers with the text that the model is called after; those in ``roles`` do not end before they are let go."""

    def __init__(self):
        self.roles = set()

    async def __call__(self, request, body):
        role = "aggregator" if body["messages"][0]["role"] == "system" else "proposers"
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        await response.write(event(TEXTS[body["model"]]))
        while role in self.roles and not gone(request):
            await asyncio.sleep(0.02)
        if not gone(request):
            await response.write(event(finish="stop"))
        return response


def fast(pieces):
    """Answers with so many pieces, a thousand a second; with None until the client has gone."""

    async def answer(request, body):
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        began, sent = time.perf_counter(), 0
        while sent != pieces:
            if gone(request):
                return response
            due = int((time.perf_counter() - began) * 1000)
            due = due if pieces is None else min(due, pieces)
            await response.write(event("word ") * (due - sent))
            sent = due
            await asyncio.sleep(0.005)
        await response.write(event(finish="stop"))
        return response

    return answer
