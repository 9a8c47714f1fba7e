"""Mistral's SDK; its chat has the shape of OpenAI's."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.openai import Reader as Reader
from moa_helpers.vendors.reading import events
from moa_helpers.vendors.requests import Chunk, Request, about_rates
from moa_helpers.vendors.transport import http_clients

METHOD = "chat.stream_async"  # of the SDK's client
PATH = "v1/chat/completions"
OURS = "model messages stream max_tokens temperature reasoning_effort n retries server_url timeout_ms"


def new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    """A client that connects as ``how`` says; this SDK has no retries and no time-out unless told to."""
    from mistralai.client import Mistral

    http = http_clients("mistral", how["server_url"])
    http["async_client"].event_hooks["response"].append(_note)
    mistral = Mistral(**how, **http)
    mistral.sdk_configuration.async_client_supplied = False  # so it is closed with the SDK's client
    return mistral


_begun: ContextVar[list[Any]] = ContextVar("_begun")  # the responses that have begun, of the request that is read


async def _note(response: Any) -> None:
    begun = _begun.get(None)  # None for what is no stream, such as a file
    if begun is not None:
        begun.append(response)
    if begun is not None and response.status_code == 200:
        response.headers["content-type"] = "text/event-stream"  # of anything else the SDK would read the whole
    elif response.status_code != 200:
        await response.aread()  # the SDK stumbles over an error without a body, unless it was read


def door(client: Any) -> tuple[str, dict[str, Any]]:
    """The address of the SDK's client, and the headers that it sends."""
    at = client.sdk_configuration
    headers = {"authorization": f"Bearer {at.security.api_key}"}
    headers["user-agent"] = f"mistral-client-python/{at.sdk_version}"
    return at.get_server_details()[0], headers | dict.fromkeys(("accept", "content-type"), "application/json")


def arguments(request: Request) -> dict[str, Any]:
    """What the SDK's method is told, whether the answer is streamed or not."""
    extra = {**request.extra}
    told: dict[str, Any] = {"model": request.model.id, "messages": request.messages, "max_tokens": request.max_tokens}
    return told | request.sampling | extra | {"http_headers": request.headers | extra.get("http_headers", {})}


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield the answer as it arrives.

    Once an answer has begun, this SDK hands it from thread to thread; if it is cancelled meanwhile, it forgets to close
    the connection, and the vendor goes on writing. So it is closed here.
    """
    begun: list[Any] = []
    _begun.set(begun)
    try:
        answer = await request.sdk.chat.stream_async(**arguments(request))
        async with answer, aclosing(events(answer.response)) as happened:
            yield Chunk(headers=about_rates(answer.response.headers))
            reader = Reader()
            async for event in happened:
                yield reader.read(event)
            yield Chunk(ended=reader.ended)
    finally:
        for response in begun:
            await response.aclose()
