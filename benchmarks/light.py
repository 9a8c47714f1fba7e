"""A vendor that costs next to nothing: one prepared answer for each format, after a delay. For what clients cost.

``python benchmarks/light.py --delay 0.1`` prints its address and serves until its standard input closes. ``GET`` gives
the seconds that the slowest answer took since the last time that this was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys

TEXT = ("Air scatters the short waves of sunlight more than the long ones, so the sky is blue. " * 7)[:572]
USAGE = {"prompt_tokens": 30, "completion_tokens": 140, "total_tokens": 170}
CHAT = {
    "id": "chat-1",
    "object": "chat.completion",
    "created": 1,
    "model": "served",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}
MESSAGE = {
    "id": "msg-1",
    "type": "message",
    "role": "assistant",
    "model": "served",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 30, "output_tokens": 140},
}


def http(body: object) -> bytes:
    """A body as an answer in HTTP."""
    sent = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(sent) + sent


class Vendor(asyncio.Protocol):
    """One connection."""

    def __init__(self, delays: random.Random, delay: float, spread: float, slowest: list[float]) -> None:
        self.delays, self.delay, self.spread, self.slowest = delays, delay, spread, slowest
        self.arrived = b""
        self.answers = {b"/messages": http(MESSAGE), b"/chat/completions": http(CHAT)}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is there whole."""
        self.arrived += data
        while b"\r\n\r\n" in self.arrived:
            head, _, rest = self.arrived.partition(b"\r\n\r\n")
            line, *fields = head.lower().split(b"\r\n")
            length = next((int(field[15:]) for field in fields if field.startswith(b"content-length:")), 0)
            if len(rest) < length:
                return
            self.arrived = rest[length:]
            if line.startswith(b"get"):
                self.send(http(max(self.slowest, default=0.0)))
                self.slowest.clear()
                return
            answer = next(answer for path, answer in self.answers.items() if path in line)
            loop = asyncio.get_running_loop()
            wait = self.delay * self.delays.lognormvariate(0, self.spread)
            loop.call_later(wait, self.send, answer, loop.time())

    def send(self, answer: bytes, since: float | None = None) -> None:
        """Send an answer, and note how long it took."""
        if since is not None:
            self.slowest.append(asyncio.get_running_loop().time() - since)
        if not self.transport.is_closing():
            self.transport.write(answer)


async def serve(delay: float, spread: float) -> None:
    """Print the address and serve."""
    given = random.Random(1), delay, spread, list[float]()
    server = await asyncio.get_running_loop().create_server(lambda: Vendor(*given), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds, the median")
    parser.add_argument("--spread", type=float, default=0.0, help="sigma of the logarithm of the delays")
    given = parser.parse_args()
    asyncio.run(serve(given.delay, given.spread))
