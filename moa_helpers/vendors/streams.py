"""One streaming call per vendor SDK, behind one seam: a ``Request`` goes in, ``Chunk``s come out.

The SDKs are imported when their vendor is first used. Their own retries are off: ``calls`` retries, in one place. Only
``google.colab.ai`` keeps its own, which cannot be switched off: one attempt may be three requests there.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, closing, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors import environment
from moa_helpers.vendors.requests import Chunk, Request
from moa_helpers.vendors.settings import connection

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[object, ...], Any]] = WeakKeyDictionary()


async def stream(request: Request) -> AsyncIterator[Chunk]:
    """Send a request to its vendor and yield the answer as it arrives; raises whatever the SDK raises."""
    colab = _openai if request.offline else _colab  # its stand-in speaks OpenAI's format
    adapters = {"openai": _openai, "anthropic": _anthropic, "mistral": _mistral, "colab": colab}
    adapter = adapters[request.model.vendor.api]
    async with aclosing(adapter(request)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            yield chunk


def client(vendor: Vendor) -> Any:
    """The SDK's client for a vendor: one for each event loop, made on first use.

    Raises:
        MissingKey: live, and the vendor's key is not set.
        ImportError: the vendor's SDK is not installed.
    """
    how = connection(vendor.name)
    if not how:
        return environment.colab.ai()
    for ended in [loop for loop in _clients if loop.is_closed()]:
        del _clients[ended]  # its clients hold on to it, so nothing else would free them
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    identity = (vendor.name, *how.values())
    if identity not in clients:
        clients[identity] = _new_client(vendor, how)
    return clients[identity]


async def close() -> None:
    """Close the clients of the running event loop and their connections."""
    async with AsyncExitStack() as all_clients:  # which closes the others as well if one fails to close
        for sdk_client in _clients.pop(asyncio.get_running_loop(), {}).values():
            all_clients.push_async_exit(sdk_client.__aexit__)


def _new_client(vendor: Vendor, how: Mapping[str, Any]) -> Any:
    # timeout=None: the SDKs' time-outs are per read; ``calls`` bounds the whole attempt instead.
    if vendor.api in ("openai", "colab"):
        from openai import AsyncOpenAI

        # The SDK sends these to whatever host it talks to; they are meant for OpenAI alone.
        private = () if vendor.name == "openai" else ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
        hidden = {name: os.environ.pop(name) for name in private if name in os.environ}
        try:
            return AsyncOpenAI(**how, max_retries=0, timeout=None)
        finally:
            os.environ.update(hidden)
    if vendor.api == "anthropic":
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(**how, max_retries=0, timeout=None)
    from mistralai.client import Mistral

    return Mistral(**how)


def _extra_headers(request: Request) -> dict[str, str] | None:
    """Offline only: equal requests get equal answers, so a second sample has to say that it is one."""
    if request.offline and request.sample:
        return {"x-moa-sample": str(request.sample)}
    return None


def _messages(request: Request) -> list[dict[str, str]]:
    system = [{"role": "system", "content": request.system}] if request.system else []
    return [*system, {"role": "user", "content": request.prompt}]


def _temperature(request: Request) -> dict[str, float]:
    return {} if request.temperature is None else {"temperature": request.temperature}


async def _openai(request: Request) -> AsyncIterator[Chunk]:
    answer = await request.sdk.chat.completions.create(
        model=request.model.id,
        messages=_messages(request),
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=_extra_headers(request),
        **{request.model.token_parameter: request.max_tokens},
        **_temperature(request),
    )
    refused = False
    async with answer:
        async for event in answer:
            chunk = _chat_chunk(event)
            if event.choices and (refusal := getattr(event.choices[0].delta, "refusal", None)):
                refused, chunk = True, replace(chunk, text=chunk.text + refusal)
            yield replace(chunk, finish_reason="refusal") if refused and chunk.finish_reason else chunk


async def _anthropic(request: Request) -> AsyncIterator[Chunk]:
    system = {"system": request.system} if request.system else {}
    answer = await request.sdk.messages.create(
        model=request.model.id,
        messages=[{"role": "user", "content": request.prompt}],
        max_tokens=request.max_tokens,
        stream=True,
        extra_headers=_extra_headers(request),
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


async def _mistral(request: Request) -> AsyncIterator[Chunk]:
    answer = await request.sdk.chat.stream_async(
        model=request.model.id,
        messages=_messages(request),
        max_tokens=request.max_tokens,
        http_headers=_extra_headers(request),
        **_temperature(request),
    )
    async with answer:
        async for event in answer:
            yield _chat_chunk(event.data)


async def _colab(request: Request) -> AsyncIterator[Chunk]:
    """Google Colab's free models. Its function blocks, so a thread reads; it takes a prompt and nothing else.

    So ``max_tokens`` is not kept, no tokens are reported, and an answer that was cut off ends with ``stop`` like any
    other. A stopped call ends at once here, and in its thread with
    the next piece.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[str | Exception | None] = asyncio.Queue()  # None at the end
    stopped = threading.Event()
    prompt = request.prompt
    if request.system:
        prompt = f"# Instructions\n\n{request.system}\n\n# The message to answer\n\n{prompt}"

    def hand_over(what: str | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(arrived.put_nowait, what)

    def read() -> None:
        try:
            with closing(request.sdk.generate_text(prompt, model_name=request.model.id, stream=True)) as pieces:
                for piece in pieces:
                    if stopped.is_set():
                        return
                    hand_over(piece or "")
            hand_over(None)
        except Exception as error:  # handed over, and raised there
            hand_over(error)

    threading.Thread(target=read, name="google.colab.ai", daemon=True).start()
    try:
        while (what := await arrived.get()) is not None:
            if isinstance(what, Exception):
                raise what
            yield Chunk(text=what)
        yield Chunk(finish_reason="stop")
    finally:
        stopped.set()


def _chat_chunk(event: Any) -> Chunk:
    """A chunk of OpenAI's or Mistral's, which have the same shape.

    Mistral's content may be a list of pieces, of which those that reason are not part of the answer.
    """
    choice = event.choices[0] if event.choices else None
    content = (choice.delta.content or "") if choice else ""
    if not isinstance(content, str):
        content = "".join(piece.text for piece in content if getattr(piece, "type", None) == "text")
    return Chunk(
        text=content,
        finish_reason=(choice.finish_reason or None) if choice else None,
        answered_by=event.model or None,
        input_tokens=event.usage.prompt_tokens if event.usage else None,
        output_tokens=event.usage.completion_tokens if event.usage else None,
    )
