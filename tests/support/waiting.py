"""How to wait for what must happen, in real time: never for a moment, and never for ever."""

import time


def wait_until(holds, seconds=20):
    """Wait until it holds, but not for ever."""
    until = time.perf_counter() + seconds
    while not holds() and time.perf_counter() < until:
        time.sleep(0.01)
