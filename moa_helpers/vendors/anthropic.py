"""Anthropic's SDK and its messages."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.reading import events, is_end, mapping
from moa_helpers.vendors.requests import Chunk, Request, about_rates, count
from moa_helpers.vendors.thinking import told_apart
from moa_helpers.vendors.transport import http_clients

METHOD = "messages.create"  # of the SDK's client
PATH = "v1/messages"
_SENT_AS_HEADERS = {name: f"anthropic-{name.replace('_', '-')}" for name in ("user_profile_id", "workspace_id")}
OURS = "model messages system max_tokens stream timeout"


def new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    """A client that connects as ``how`` says, without retries and time-outs of its own."""
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(**how, **http_clients("anthropic", how["base_url"]), max_retries=0, timeout=None)


def door(client: Any) -> tuple[str, dict[str, Any]]:
    """The address of the SDK's client, and the headers that it sends."""
    return str(client.base_url).rstrip("/"), {**client.default_headers}


def arguments(request: Request) -> dict[str, Any]:
    """What the SDK's method is told, whether the answer is streamed or not."""
    extra, turns = {**request.extra}, request.turns
    if request.effort:
        extra["output_config"] = {**extra.get("output_config", {}), "effort": request.effort}
    if request.after and "cache_control" in extra:
        turns = request.marked({"cache_control": extra.pop("cache_control")})
    if request.system:
        extra["system"] = request.system
    as_headers = {sent: extra.pop(name) for name, sent in _SENT_AS_HEADERS.items() if name in extra}
    headers = request.headers | as_headers | extra.get("extra_headers", {})
    told: dict[str, Any] = {"model": request.model.id, "messages": turns, "max_tokens": request.max_tokens}
    return told | extra | {"extra_headers": headers}


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield the answer as it arrives."""
    answer = await request.sdk.messages.create(**arguments(request), stream=True)
    async with answer, aclosing(events(answer.response)) as happened:
        yield Chunk(headers=about_rates(answer.response.headers))
        async for event in happened:
            yield message_chunk(event)


def message_chunk(event: Mapping[str, Any]) -> Chunk:
    """What an event of Anthropic's brought, or a message that was sent whole.

    Their input tokens leave out what is read from, or written to, a cache; here they are all of the prompt.
    """
    message = mapping(event if event.get("type") == "message" else event.get("message"))
    delta, usage = mapping(event.get("delta")), mapping(event.get("usage") or message.get("usage"))
    text, thinking = told_apart([message.get("content"), event.get("content_block")])
    cached = [usage.get(f"cache_{how}_input_tokens") for how in ("read", "creation")]
    tokens = [count(number) for number in (usage.get("input_tokens"), *cached)]
    begins = event.get("type") == "message_start"  # its number of output tokens is a guess
    return Chunk(
        text=text + told_apart(delta.get("text"))[0],
        finish_reason=delta.get("stop_reason") or message.get("stop_reason") or None,
        answered_by=message.get("model") or None,
        input_tokens=None if tokens[0] is None else sum(number or 0 for number in tokens),
        output_tokens=None if begins else usage.get("output_tokens"),
        thinking=thinking + told_apart(delta.get("thinking"))[0],
        thinking_tokens=mapping(usage.get("output_tokens_details")).get("thinking_tokens"),
        cached_tokens=count(cached[0]),
        ended=is_end(event),
    )


class Reader:
    """As that of OpenAI's."""

    ended, read = False, staticmethod(message_chunk)
