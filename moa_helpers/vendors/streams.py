"""One streaming call, whoever the vendor is: a ``Request`` goes in, ``Chunk``s come out.

Each SDK is imported when its vendor is first used. Its own retries and time-outs are off: ``calls`` tries again, and
limits the whole attempt. Only those of ``google.colab.ai`` cannot be switched off: there an attempt may be three.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from moa_helpers.catalogue import Api, Model, Vendor
from moa_helpers.vendors import anthropic, colab, mistral, openai
from moa_helpers.vendors.requests import Chunk, Request
from moa_helpers.vendors.settings import connection, current

_SDKS: dict[Api, ModuleType] = {"openai": openai, "anthropic": anthropic, "mistral": mistral, "colab": colab}
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[object, ...], Any]] = WeakKeyDictionary()


async def stream(request: Request) -> AsyncIterator[Chunk]:
    """Send a request to its vendor and yield the answer as it arrives; raises whatever the SDK raises."""
    sdk = _sdk(request.model.vendor, offline=request.offline)
    async with aclosing(sdk.stream(request)) as chunks:
        async for chunk in chunks:
            yield chunk


def client(model: Model) -> Any:
    """The SDK's client for a model's address: one for each event loop, made on first use.

    Raises:
        MissingKey: live, and the vendor's key is not set.
        UnknownModel: live, and no server lists that model of ``local:``.
        ImportError: the vendor's SDK is not installed.
    """
    vendor, how = model.vendor, connection(model.name)
    if not how:
        return colab.ai()  # a module: it needs no key and no address, and has nothing to close
    for ended in [loop for loop in _clients if loop.is_closed()]:
        del _clients[ended]  # its clients hold on to it, so nothing else would free them
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    identity = (vendor.name, *how.values())
    if identity not in clients:
        clients[identity] = _sdk(vendor, offline=current().mode == "offline").new_client(vendor, how)
    return clients[identity]


async def close() -> None:
    """Close the clients of the running event loop and their connections."""
    async with AsyncExitStack() as all_clients:  # which closes the others as well if one fails to close
        for sdk_client in _clients.pop(asyncio.get_running_loop(), {}).values():
            all_clients.push_async_exit(sdk_client.__aexit__)


def _sdk(vendor: Vendor, *, offline: bool) -> ModuleType:
    """The file for a vendor's SDK. Offline, the stand-in for Colab's models speaks OpenAI's format."""
    return openai if offline and vendor.api == "colab" else _SDKS[vendor.api]
