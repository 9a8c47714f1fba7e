"""Packages that take seconds to import, imported in a thread, so that an event loop goes on meanwhile."""

import asyncio
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

from moa_helpers.catalogue import Api

SDKS: dict[Api, str] = {"openai": "openai", "anthropic": "anthropic", "mistral": "mistralai.client"}
PICTURES = ("pandas", "matplotlib.figure", "PIL.Image")  # which every notebook needs
_done: set[str] = set()
_lock = threading.RLock()  # one import at a time: two that need each other could see half a module
getattr(os, "register_at_fork", dict)(  # a fork waits for it, or the lock of a module would stay locked in the child
    before=_lock.acquire, after_in_child=_lock.release, after_in_parent=_lock.release
)


def warm(apis: Iterable[Api]) -> None:
    """Begin to import what a notebook is going to need: the SDKs of these formats, then pictures and tables."""
    missing = [name for name in (*(SDKS[api] for api in apis if api in SDKS), *PICTURES) if name not in _done]
    if missing:
        threading.Thread(target=lambda: [*map(_load, missing)], name="moa.setup imports").start()


async def imported(apis: Iterable[Api]) -> None:
    """Wait until the SDKs of these formats are imported, in a thread. One that is missing says so where it is used."""
    for name in dict.fromkeys(SDKS[api] for api in apis if api in SDKS):
        if name not in _done:
            await asyncio.to_thread(_load, name)


def _load(name: str) -> None:
    with _lock, suppress(Exception):  # whoever uses it imports it again, and raises the same
        import_module(name)
        _done.add(name)
