"""``python -m moa_helpers.offline``: the stand-ins as a server of its own, for any client."""

from __future__ import annotations

import argparse

from aiohttp import web

from moa_helpers.catalogue import listed
from moa_helpers.offline.bank import questions
from moa_helpers.offline.faults import KINDS
from moa_helpers.offline.server import OfflineVendors

EXAMPLES = """\
Try it from another terminal (any key will do):

  curl http://127.0.0.1:8000/v1/models

  curl http://127.0.0.1:8000/v1/chat/completions -H "Authorization: Bearer any" -d '{
    "model": "OPENAI_MODEL", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'

  curl -N http://127.0.0.1:8000/v1/messages -H "x-api-key: any" -d '{
    "model": "ANTHROPIC_MODEL", "max_tokens": 500, "stream": true,
    "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'

/v1/models lists the other ids; each model takes the parameters that its vendor's takes. /VENDOR/v1/... says which
vendor is meant where several serve a model.
Headers: x-moa-sample: 1 asks for another sample of the same answer; x-moa-fault: 429,retry_after=2 for a fault.
An SDK takes the address as its base URL: http://127.0.0.1:8000/v1 (OpenAI), http://127.0.0.1:8000 (the others).

--faults takes WHERE=KIND entries, separated by ";". WHERE is a vendor, vendor:model-id or * for all; after the KIND may
stand retry_after (seconds), times (how many requests it hits) and chance (the share of the requests that it hits, drawn
with the seed): --faults "mistral=429,retry_after=2,times=1; *=any,chance=0.1". The delays and what is left to chance
depend on seed, model, prompt and how often that model was asked that prompt, and not on what else is under way.
"""


def main() -> None:
    """Read the command line and serve until interrupted."""
    faults = "faults:\n" + "\n".join(f"  {kind:17}{meaning}" for kind, meaning in KINDS.items())
    examples = EXAMPLES.rstrip()
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
