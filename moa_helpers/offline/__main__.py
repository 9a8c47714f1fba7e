"""``python -m moa_helpers.offline``: the stand-ins as a server of its own, for any client."""

import argparse
import os
import signal
import sys
import threading
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values, find_dotenv

from moa_helpers.catalogue import listed
from moa_helpers.offline import vendors
from moa_helpers.offline.bank import questions
from moa_helpers.offline.faults import BATCH_KINDS, KINDS
from moa_helpers.offline.server import OfflineVendors, Server
from moa_helpers.texts import decoded


def main() -> None:
    """Read the command line and serve until interrupted."""
    faults = "\n".join(
        line
        for title, kinds in (("faults:", KINDS), ("faults of batches alone:", BATCH_KINDS))
        for line in (title, *(f"  {kind:19}{meaning}" for kind, meaning in kinds.items()))
    )
    examples = Path(__file__).with_name("examples.txt").read_text(encoding="utf-8").rstrip()
    for vendor in ("openai", "anthropic"):
        small = next(m.id for m in listed().values() if m.vendor.name == vendor and m.tier == "small")
        examples = examples.replace(f"{vendor.upper()}_MODEL", small)
    prepared = "prepared questions:\n" + "\n".join(f"  {question.prompt}" for question in questions())
    parser = argparse.ArgumentParser(
        prog="python -m moa_helpers.offline",
        description="Serve offline stand-ins for the vendors on this machine.",
        epilog="\n\n".join([examples, faults, prepared]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=port, default=8000, help="port on 127.0.0.1; 0: a free one (default 8000)")
    parser.add_argument("--seed", type=int, help="seed of the delays and of random faults (default 0)")
    parser.add_argument("--speed", type=float, help="20 is twenty times as fast as the vendors (default 1)")
    parser.add_argument("--faults", help="such as '*=any,chance=0.1'; see below")
    given = parser.parse_args()
    options = {"seed": given.seed, "speed": given.speed, "faults": given.faults}
    set_ = {f"MOA_OFFLINE_{name.upper()}": str(value) for name, value in options.items() if value is not None}
    try:
        OfflineVendors(**{name: value for name, value in options.items() if value is not None})
        serving = vendors(_variables() | set_)
    except ValueError as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *received: stop.set())
    try:
        server = Server(serving, given.port)
    except OSError as error:
        parser.error(f"cannot serve on port {given.port} ({error.strerror}); try another with --port")
    print(f"Running on {server.url} (Ctrl-C ends it)", flush=True)  # noqa: T201
    while not stop.wait(0.2):
        pass
    server.stop()


def _variables() -> dict[str, str]:
    """What the environment says, and for what it does not say the file .env of this folder or one above it."""
    path = find_dotenv(usecwd=True)
    try:
        file = dotenv_values(stream=StringIO(decoded(Path(path).read_bytes()))) if path else {}
    except (OSError, ValueError) as error:
        print(f"{path} cannot be read ({type(error).__name__}), so its settings are left out.", file=sys.stderr)  # noqa: T201
        file = {}
    return {name: value for name, value in file.items() if value} | dict(os.environ)


def port(text: str) -> int:
    """A port, as it is written on the command line."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port; a port is from 0 to 65535")
    return number


if __name__ == "__main__":
    main()
