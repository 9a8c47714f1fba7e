"""Anthropic's SDK and its messages."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.requests import Chunk, Request
from moa_helpers.vendors.transport import http_clients


def new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    """A client that connects as ``how`` says, without retries and time-outs of its own."""
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(**how, **http_clients("anthropic", how["base_url"]), max_retries=0, timeout=None)


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield the answer as it arrives."""
    system = {"system": request.system} if request.system else {}
    answer = await request.sdk.messages.create(
        model=request.model.id,
        messages=[{"role": "user", "content": request.prompt}],
        max_tokens=request.max_tokens,
        stream=True,
        extra_headers=request.headers,
        **system,
    )
    async with answer:
        async for event in answer:
            if event.type == "message_start":
                yield Chunk(answered_by=event.message.model, input_tokens=event.message.usage.input_tokens)
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                yield Chunk(text=event.delta.text)
            elif event.type == "message_delta":
                yield Chunk(finish_reason=event.delta.stop_reason, output_tokens=event.usage.output_tokens)
