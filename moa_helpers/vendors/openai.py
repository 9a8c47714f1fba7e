"""OpenAI's SDK, for OpenAI itself and for every host that speaks its chat completions."""

import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.requests import Chunk, Request
from moa_helpers.vendors.transport import http_clients


def new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    """A client that connects as ``how`` says, without retries and time-outs of its own."""
    from openai import AsyncOpenAI

    headers = {} if vendor.name == "openai" else _without_private_headers(how["api_key"])
    http = http_clients("openai", how["base_url"])
    return AsyncOpenAI(**how, **http, max_retries=0, timeout=None, default_headers=headers)


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield the answer as it arrives. What a model writes to refuse is text, too."""
    answer = await request.sdk.chat.completions.create(
        model=request.model.id,
        messages=request.messages,
        stream=True,
        **({"stream_options": {"include_usage": True}} if request.model.vendor.stream_options else {}),
        extra_headers=request.headers,
        **{request.model.token_parameter: request.max_tokens},
        **request.sampling,
    )
    refused = False
    async with answer:
        async for event in answer:
            chunk = chat_chunk(event)
            if event.choices and (refusal := getattr(event.choices[0].delta, "refusal", None)):
                refused, chunk = True, replace(chunk, text=chunk.text + refusal)
            yield replace(chunk, finish_reason="refusal") if refused and chunk.finish_reason else chunk


def chat_chunk(event: Any) -> Chunk:
    """What an event of OpenAI's or Mistral's stream brought; they have the same shape.

    Mistral's content may be a list of parts. Those that hold the model's reasoning are no part of the answer.
    """
    choice = event.choices[0] if event.choices else None
    content = choice.delta.content if choice else ""
    if content and not isinstance(content, str):
        content = "".join(part.text for part in content if getattr(part, "type", None) == "text")
    return Chunk(
        text=content or "",
        finish_reason=(choice and choice.finish_reason) or None,
        answered_by=event.model or None,
        input_tokens=event.usage.prompt_tokens if event.usage else None,
        output_tokens=event.usage.completion_tokens if event.usage else None,
    )


def _without_private_headers(key: str) -> dict[str, Any]:
    """Leave out what the SDK takes from the environment and sends to any host, though it is meant for OpenAI alone."""
    from openai import Omit

    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    left_out: dict[str, Any] = dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", *names], Omit())
    as_always = {"authorization": f"Bearer {key}", "content-type": "application/json", "accept": "application/json"}
    return left_out | {name: as_always[name.lower()] for name in ("Authorization", *names) if name.lower() in as_always}
