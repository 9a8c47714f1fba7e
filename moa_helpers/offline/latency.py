"""How long the stand-ins take: medians from published measurements, a lognormal body, and rare spikes."""

import math
from functools import cache
from pathlib import Path

from moa_helpers.catalogue import rows
from moa_helpers.offline.turns import Turns, dice

SIGMA = 0.30  # of the lognormal body
SPIKE_CHANCE, SPIKE_FACTOR = 0.03, 6.0


def median(model_name: str) -> tuple[float, float]:
    """Median TTFT (seconds) and tokens per second of a stand-in, by the first row of ``measured_as.csv`` that fits."""
    relatives, published = _read()
    row = next(row for row in relatives if model_name.startswith(row["name_begins_with"]))
    return float(published[row["ttft_of"]]["ttft_p50_s"]), float(published[row["rate_of"]]["tok_per_s_p50"])


class Latency:
    """Draws times for requests. They depend on the seed, the model, the prompt and how often it was asked that."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._turns = Turns()

    def draw(self, model_name: str, prompt: str = "") -> tuple[float, float]:
        """TTFT in seconds and tokens per second of the next request of a prompt to a model.

        TTFT is the median times exp(SIGMA * N(0, 1)), and with SPIKE_CHANCE the median times SPIKE_FACTOR.
        """
        ttft, rate = median(model_name)
        drawn = dice(self._seed, model_name, self._turns.next(model_name, prompt), prompt=prompt)
        if drawn.random() < SPIKE_CHANCE:
            return ttft * SPIKE_FACTOR, rate
        return ttft * math.exp(SIGMA * drawn.gauss(0, 1)), rate


@cache
def _read() -> tuple[list[dict[str, str]], dict[str, dict[str, str]]]:
    measured = rows(Path(__file__).parents[1] / "data" / "latency_published.csv")
    relatives = rows(Path(__file__).with_name("measured_as.csv"))
    return relatives, {f"{row['model']} @ {row['endpoint']}": row for row in measured}
