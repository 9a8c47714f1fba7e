"""One call, whoever the vendor is: a ``Request`` goes in, ``Chunk``s come out, as they arrive or all at once.

Each SDK is imported when its vendor is first used. Its own retries and time-outs are off: ``calls`` tries again, and
limits the whole attempt. Only those of ``google.colab.ai`` cannot be switched off: there an attempt may be three.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from importlib import import_module
from inspect import signature
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from moa_helpers.catalogue import Model, Vendor
from moa_helpers.vendors import colab, whole
from moa_helpers.vendors.importing import SDKS
from moa_helpers.vendors.requests import Chunk, Request
from moa_helpers.vendors.secrets import hide_used, redact
from moa_helpers.vendors.settings import Connection, current, lock, reach
from moa_helpers.vendors.transport import BrokenVariable
from moa_helpers.vendors.whole import HEADERS, sdk_of

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[object, ...], Any]] = WeakKeyDictionary()


async def stream(request: Request) -> AsyncIterator[Chunk]:
    """Send a request to its vendor and yield the answer as it arrives; raises whatever the SDK raises."""
    way = sdk_of(request.model.vendor, offline=request.offline).stream if request.streamed else whole.ask
    names: dict[str, str] = {}  # of models, without a key that a server may put there
    async with aclosing(way(request)) as chunks:
        async for chunk in chunks:
            if chunk.answered_by and chunk.answered_by not in names:
                names[chunk.answered_by] = hide_used(chunk.answered_by)
            yield replace(chunk, answered_by=names[chunk.answered_by]) if chunk.answered_by else chunk


def client(model: Model) -> Any:
    """The SDK's client for a model's address: one for each event loop, made on first use. Raises as ``reach`` does."""
    vendor, how = model.vendor, reach(model.name)
    if not how:
        return colab.ai()  # a module: it needs no key and no address, and has nothing to close
    with lock:
        for ended in [loop for loop in _clients if loop.is_closed()]:
            del _clients[ended]  # its clients hold on to it, so nothing else would free them
        clients = _clients.setdefault(asyncio.get_running_loop(), {})
        identity = os.getpid(), vendor.name, hash(tuple(how.values()))
        if identity not in clients:
            clients[identity] = _new_client(vendor, how)
        return clients[identity]


def checked(request: Request) -> Request:
    """The request, bound to its client; raises ValueError where a Member adds what the lesson sets or no SDK takes."""
    name, vendor, extra = request.model.name, request.model.vendor, request.extra
    if vendor.api == "colab" and (extra or request.effort):
        raise ValueError(f"{name} takes neither effort nor extra: Colab's models are sent a text and nothing else.")
    if not extra or request.sdk is None:
        return request
    sdk = sdk_of(vendor, offline=False)
    for part in ("extra_body", "extra_query", "output_config", *HEADERS):
        inner, kind = extra.get(part, {}), "a mapping" + " of texts" * (part in HEADERS)
        fits = isinstance(inner, dict) and (part not in HEADERS or {*map(type, inner.values())} <= {str})
        if not fits:
            raise ValueError(f"{name}: extra's {part!r} must be {kind}, not {inner!r}.")
    takes = signature(attrgetter(sdk.METHOD)(request.sdk)).parameters
    for given in (*extra, *extra.get("extra_body", {})):
        if given in sdk.OURS.split():
            raise ValueError(
                f"{name}: extra holds {given!r}, which the lesson sets itself. Leave it out; system, temperature, "
                "max_tokens and effort are arguments of moa.Member."
            )
        if given in extra and given not in takes:
            other = f'write extra={{"extra_body": {{"{given}": …}}}}' if "extra_body" in takes else "leave it out"
            raise ValueError(f"{name}: its SDK takes no argument {given!r}: {other}, or install a newer SDK.")
    return request


async def close() -> None:
    """Close the clients of the running event loop and their connections."""
    with lock:
        clients = _clients.pop(asyncio.get_running_loop(), {})
    async with AsyncExitStack() as all_clients:  # which closes the others as well if one fails to close
        for sdk_client in clients.values():
            all_clients.push_async_exit(sdk_client.__aexit__)
            all_clients.push_async_callback(whole.close, sdk_client)


def _new_client(vendor: Vendor, how: Connection) -> Any:
    if vendor.api in SDKS:  # one that is broken raises its own error, which has nothing to do with the address
        import_module(SDKS[vendor.api])
    try:
        return sdk_of(vendor, offline=current().mode == "offline").new_client(vendor, how)
    except (BrokenVariable, ImportError):
        raise
    except Exception as error:
        problem = redact(str(error)).rstrip(".")
    # Out here no frame of the SDK is left, whose local variables hold the key.
    raise ValueError(f"No client for {vendor.name}: {problem}. Correct the address in {vendor.url_variable}.")
