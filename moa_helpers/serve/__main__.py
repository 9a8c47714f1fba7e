"""``python -m moa_helpers.serve mixture.toml``: a mixture as a model, for any client."""

import argparse
import asyncio
import logging
import signal
import sys

from moa_helpers.offline.__main__ import port
from moa_helpers.serve.running import serve
from moa_helpers.vendors.settings import current
from moa_helpers.vendors.streams import close


def main() -> None:
    """Read the command line and serve until told to end; what is under way may end first."""
    parser = argparse.ArgumentParser(
        prog="python -m moa_helpers.serve",
        description="Serve mixtures of models as models, in the formats of OpenAI and Anthropic.",
        epilog="The configuration and the endpoints are in docs/serve.md.",
    )
    parser.add_argument("config", help="a file such as mixture.toml, with tables [mixtures.NAME] and [server]")
    parser.add_argument("--port", type=port, help="wins over the file's; 0: a free one")
    parser.add_argument("--host", help="wins over the file's")
    given = parser.parse_args()
    settings = {name: value for name, value in (("port", given.port), ("host", given.host)) if value is not None}
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("moa_helpers.serve").setLevel(logging.INFO)
    try:
        asyncio.run(_serve(given.config, settings))
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


async def _serve(config: str, settings: dict[str, object]) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *received: loop.call_soon_threadsafe(told.set))
    try:
        async with serve(config, **settings) as server:
            mode = " (offline stand-ins)" if current().mode == "offline" else ""
            names = ", ".join(server.config.mixtures)
            print(f"Serving {names} at {server.url}{mode}; Ctrl-C ends it", flush=True)  # noqa: T201
            await told.wait()
            for number in (signal.SIGINT, signal.SIGTERM):  # a second one ends it at once
                signal.signal(number, signal.SIG_DFL)
    finally:
        await close()


if __name__ == "__main__":
    main()
