"""``python -m moa_helpers.offline``: the stand-ins as a server of its own, for any client."""

import argparse
from pathlib import Path

from aiohttp import web

from moa_helpers.catalogue import listed
from moa_helpers.offline.bank import questions
from moa_helpers.offline.faults import KINDS
from moa_helpers.offline.server import OfflineVendors


def main() -> None:
    """Read the command line and serve until interrupted."""
    faults = "faults:\n" + "\n".join(f"  {kind:17}{meaning}" for kind, meaning in KINDS.items())
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
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default 8000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the delays and of random faults (default 0)")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="20 is twenty times as fast as the vendors (default 1)"
    )
    parser.add_argument("--faults", default="", help="such as '*=any,chance=0.1'; see below")
    given = parser.parse_args()
    try:
        vendors = OfflineVendors(seed=given.seed, speed=given.speed, faults=given.faults)
    except ValueError as error:
        parser.error(str(error))
    try:
        web.run_app(vendors.application(), host="127.0.0.1", port=given.port, access_log=None)
    except OSError as error:
        parser.error(f"cannot serve on port {given.port} ({error.strerror}); try another with --port")


if __name__ == "__main__":
    main()
