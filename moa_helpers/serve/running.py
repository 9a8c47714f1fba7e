"""A server that runs: it begins with a checked configuration, and ends once what is under way has ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from moa_helpers.serve.config import Config, read_config
from moa_helpers.serve.gate import Gate
from moa_helpers.serve.service import Service
from moa_helpers.store import keeping
from moa_helpers.store.answers import Answers


@dataclass(frozen=True)
class Server:
    """A server that runs at ``url``; ``gate.under_way`` is how many requests it is working on."""

    config: Config
    url: str
    gate: Gate


@asynccontextmanager
async def serve(config: str | Path | Mapping[str, Any], **settings: Any) -> AsyncIterator[Server]:
    """Serve mixtures as models, for any client that speaks OpenAI's or Anthropic's format, until the block ends.

    ``async with moa.serve("mixture.toml", port=0) as server:`` gives ``server.url``. Anthropic's clients take it as it
    is, those of OpenAI with ``/v1`` after it. The client's ``model`` is the name of the mixture.

    Args:
        config: a file in TOML, or a mapping: tables ``mixtures`` (each has the arguments of ``mixture_of_agents``) and
            ``server``. See docs/serve.md. Without a ``store`` it keeps answers where the code around it does.
        settings: of the table ``server``; they win: ``port`` (0: a free one), ``host``, ``token``, ``store``,
            ``max_requests`` (at once), ``daily_budget_usd``, ``origins``, ``progress``, ``drain_seconds``.

    Raises:
        ValueError: the configuration is wrong, in one line.
        OSError: it cannot listen there, or cannot open its store.
    """
    found = read_config(config, **settings)
    with closing(Answers(found.store)) if found.store else nullcontext(keeping.current()) as store:
        gate = Gate(found.max_requests, found.daily_budget_usd, store.spent_since if store else None)
        runner = web.AppRunner(
            Service(found, gate, store).application(),
            access_log=None,
            auto_decompress=False,  # a small body may become a huge one
            handler_cancellation=True,  # as soon as the client has gone
            shutdown_timeout=1.0,  # seconds in which the last answers are sent
        )
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, found.host, found.port, backlog=1024).start()
            except OSError as error:
                words = f"Cannot listen at {found.host}, port {found.port}: {error.strerror or error}."
                raise OSError(words) from None
            place = f"[{found.host}]" if ":" in found.host else found.host
            yield Server(found, f"http://{place}:{runner.addresses[0][1]}", gate)
            gate.draining = True
            with suppress(TimeoutError):  # what is under way even then is broken off
                async with asyncio.timeout(found.drain_seconds):
                    await gate.empty.wait()
        finally:
            gate.draining = True
            await runner.cleanup()
