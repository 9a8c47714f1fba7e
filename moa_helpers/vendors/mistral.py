"""Mistral's SDK; its chat has the shape of OpenAI's."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.openai import chat_chunk
from moa_helpers.vendors.requests import Chunk, Request


def new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    """A client that connects as ``how`` says; this SDK has no retries and no time-out unless told to."""
    from mistralai.client import Mistral

    return Mistral(**how)


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield the answer as it arrives."""
    answer = await request.sdk.chat.stream_async(
        model=request.model.id,
        messages=request.messages,
        max_tokens=request.max_tokens,
        http_headers=request.headers,
        **request.sampling,
    )
    async with answer:
        async for event in answer:
            yield chat_chunk(event.data)
