"""OpenAI's SDK, for OpenAI itself and for every host that speaks its chat completions."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.reading import events, is_end, mapping
from moa_helpers.vendors.requests import Chunk, Malformed, Request, about_rates, count
from moa_helpers.vendors.thinking import told_apart
from moa_helpers.vendors.transport import http_clients

# Where hosts put what a model thinks aloud; some send the same in two of them.
ALOUD = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "reasoning_details")
CACHED = ("prompt_cache_hit_tokens", "cached_tokens")  # DeepSeek's word, and Together's and Moonshot's
METHOD = "chat.completions.create"  # of the SDK's client
PATH = "chat/completions"
OURS = "model messages stream stream_options max_tokens max_completion_tokens temperature reasoning_effort n timeout"


def new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    """A client that connects as ``how`` says, without retries and time-outs of its own."""
    from openai import AsyncOpenAI

    headers = {} if vendor.name == "openai" else _without_private_headers(how["api_key"])
    http = http_clients("openai", how["base_url"])
    return AsyncOpenAI(**how, **http, max_retries=0, timeout=None, default_headers=headers)


def door(client: Any) -> tuple[str, dict[str, Any]]:
    """The address of the SDK's client, and the headers that it sends."""
    return str(client.base_url).rstrip("/"), {**client.auth_headers, **client.default_headers}


def arguments(request: Request) -> dict[str, Any]:
    """What the SDK's method is told, whether the answer is streamed or not."""
    extra, messages = {**request.extra}, request.messages
    if request.after and "prompt_cache_options" in {*extra, *extra.get("extra_body", {})}:
        messages[-1] = request.marked({"prompt_cache_breakpoint": {"mode": "explicit"}})[-1]
    limit = {request.model.token_parameter: request.max_tokens}
    told: dict[str, Any] = {"model": request.model.id, "messages": messages} | limit | request.sampling
    return told | extra | {"extra_headers": request.headers | extra.get("extra_headers", {})}


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a request and yield the answer as it arrives."""
    options = {"stream_options": {"include_usage": True}} if request.model.vendor.stream_options else {}
    answer = await request.sdk.chat.completions.create(**arguments(request), stream=True, **options)
    async with answer, aclosing(events(answer.response)) as happened:
        yield Chunk(headers=about_rates(answer.response.headers))
        reader = Reader()
        async for event in happened:
            yield reader.read(event)
        yield Chunk(ended=reader.ended)


class Reader:
    """The events of an answer of OpenAI's or Mistral's, which have the same shape, read one after the other.

    What a model writes to refuse is text, too. A stream that came to its end mark is complete, even where its host
    gives no reason, or an empty one.
    """

    def __init__(self) -> None:
        self._refused = self._wrote = self.ended = False

    def read(self, event: Mapping[str, Any]) -> Chunk:
        """What an event brought."""
        choice = _choice(event)
        delta = _delta(choice, may_be_whole=not self._wrote)
        chunk = _chunk(event, choice, delta)
        self._refused = self._refused or bool(delta.get("refusal"))
        self.ended = choice.get("finish_reason") == "" or (self.ended and not choice)
        self._wrote = self._wrote or bool(chunk.text)
        over = self._refused and (chunk.finish_reason or chunk.ended)
        return replace(chunk, finish_reason="refusal") if over else chunk


def _chunk(event: Mapping[str, Any], choice: Mapping[str, Any], delta: Mapping[str, Any]) -> Chunk:
    """What an event brought, or an answer that was sent whole."""
    usage = mapping(event.get("usage") or choice.get("usage") or mapping(event.get("x_groq")).get("usage"))
    read, written, both = (count(usage.get(f"{which}_tokens")) for which in ("prompt", "completion", "total"))
    if read and both and both - read > (written or 0):
        written = both - read  # Gemini and xAI count what was thought in the total alone
    details = mapping(usage.get("completion_tokens_details"))
    cached = [mapping(usage.get("prompt_tokens_details")).get("cached_tokens"), *map(usage.get, CACHED)]
    text, thinking = told_apart(delta.get("content"))
    aloud = next((delta[name] for name in ALOUD if delta.get(name)), None)
    with suppress(Malformed):  # a thought that cannot be read harms no answer
        thinking += "".join(told_apart(aloud))
    return Chunk(
        text=text + told_apart(delta.get("refusal"))[0],
        finish_reason=choice.get("finish_reason") or None,
        answered_by=event.get("model") or None,
        input_tokens=read,
        output_tokens=written,
        thinking=thinking,
        thinking_tokens=details.get("reasoning_tokens", usage.get("reasoning_tokens")),
        cached_tokens=next((number for number in cached if number is not None), None),
        ended=is_end(event),
    )


def _choice(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice of an event; empty if there is none, as in the event with the token counts."""
    choices = event.get("choices") or []
    if not isinstance(choices, list):
        raise Malformed(f"The answer's choices are no list, but {str(choices)[:100]!r}.")
    return mapping(choices[0]) if choices else {}


def _delta(choice: Mapping[str, Any], *, may_be_whole: bool) -> Mapping[str, Any]:
    """What a choice adds. After pieces, a message would repeat them."""
    delta = choice.get("delta", choice.get("text"))
    if delta is None and may_be_whole:
        delta = choice.get("message")
    return delta if isinstance(delta, dict) else {"content": delta}


def _without_private_headers(key: str) -> dict[str, Any]:
    """Leave out what the SDK takes from the environment and sends to any host, though it is meant for OpenAI alone."""
    from openai import Omit

    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    left_out: dict[str, Any] = dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", *names], Omit())
    as_always = {"authorization": f"Bearer {key}", "content-type": "application/json", "accept": "application/json"}
    return left_out | {name: as_always[name.lower()] for name in ("Authorization", *names) if name.lower() in as_always}
