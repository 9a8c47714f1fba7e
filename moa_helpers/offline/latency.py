"""How long the stand-ins take: medians from published measurements, a lognormal body, and rare spikes."""

from __future__ import annotations

import csv
import math
import random
from collections import Counter
from functools import cache
from pathlib import Path

SIGMA = 0.30  # of the lognormal body
SPIKE_CHANCE, SPIKE_FACTOR = 0.03, 6.0

# The start of a model's name -> (row for its TTFT, row for its tokens per second) in data/latency_published.csv,
# written "model @ endpoint". Where a model was not measured, its nearest relative is named; the first match counts.
MEASURED_AS = {
    "openai:gpt-6-luna": ("gpt-6-luna (non-reasoning) @ OpenAI", "gpt-6-luna (non-reasoning) @ OpenAI"),
    "openai:gpt-4o-mini": ("gpt-4o-mini @ OpenAI", "gpt-4o-mini @ OpenRouter"),
    "openai:gpt-4o": ("gpt-4o @ OpenAI", "gpt-4o-mini @ OpenRouter"),
    "openai:": ("gpt-6-sol (non-reasoning) @ OpenAI", "gpt-6-sol (non-reasoning) @ OpenAI"),
    "anthropic:claude-haiku": ("claude-haiku-4-5 @ Anthropic", "claude-3-5-haiku @ OpenRouter"),
    "anthropic:claude-sonnet": ("claude-sonnet-4-6 @ Anthropic", "claude-3-5-haiku @ OpenRouter"),
    "anthropic:": ("claude-opus-4-6 @ Anthropic", "claude-3-5-haiku @ OpenRouter"),
    "mistral:mistral-small": ("mistral-small @ OpenRouter", "mistral-small @ OpenRouter"),
    "mistral:ministral": ("mistral-small @ OpenRouter", "mistral-small @ OpenRouter"),
    "mistral:": ("mistral-medium-3-1 @ Mistral", "mistral-medium-3-1 @ Mistral"),
    "together:": ("llama-2-70b @ Together", "llama-2-70b @ Together"),
    "groq:": ("llama-2-70b @ Groq", "llama-2-70b @ Groq"),
    "cerebras:": ("llama-2-70b @ Groq", "llama-2-70b @ Groq"),
    "openrouter:": ("llama-3.3-70b @ OpenRouter", "llama-3.3-70b @ OpenRouter"),
    "": ("llama-2-70b @ Fireworks", "llama-2-70b @ Fireworks"),
}


def median(model_name: str) -> tuple[float, float]:
    """Median TTFT in seconds and median tokens per second of the stand-in for a model."""
    ttft_row, rate_row = next(rows for start, rows in MEASURED_AS.items() if model_name.startswith(start))
    return float(_published()[ttft_row]["ttft_p50_s"]), float(_published()[rate_row]["tok_per_s_p50"])


class Latency:
    """Draws times for requests. They depend on the seed, the model, the prompt and how often it was asked that prompt.

    So they repeat, whatever other questions are under way at the same time.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn: Counter[tuple[str, str]] = Counter()

    def draw(self, model_name: str, prompt: str = "") -> tuple[float, float]:
        """TTFT in seconds and tokens per second of the next request of a prompt to a model.

        TTFT is the median times exp(SIGMA * N(0, 1)), and with SPIKE_CHANCE the median times SPIKE_FACTOR.
        """
        ttft, rate = median(model_name)
        dice = random.Random(f"{self._seed}/{model_name}/{self._drawn[model_name, prompt]}/{prompt}")
        self._drawn[model_name, prompt] += 1
        if dice.random() < SPIKE_CHANCE:
            return ttft * SPIKE_FACTOR, rate
        return ttft * math.exp(SIGMA * dice.gauss(0, 1)), rate


@cache
def _published() -> dict[str, dict[str, str]]:
    path = Path(__file__).parents[1] / "data" / "latency_published.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return {f"{row['model']} @ {row['endpoint']}": row for row in csv.DictReader(lines)}
