"""inspect_ai's batch mode runs a small task on the embedded vendors, in both dialects that it has of theirs."""

import json
import sys
import tempfile
import urllib.request
from contextlib import redirect_stdout

from asked import SEASONS, SKY, URL, tell
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import BatchConfig, GenerateConfig, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

SAMPLES = [
    Sample(input=SKY, target="scatter"),
    Sample(input=SEASONS, target="hemisphere"),
    Sample(input="Should I switch doors in the Monty Hall problem?", target="goat"),
]
BATCH = GenerateConfig(batch=BatchConfig(size=len(SAMPLES), send_delay=0.5, tick=0.1), max_tokens=900)
OPENAI = {"base_url": f"{URL}/openai/v1", "responses_api": False}  # its Responses API is not what a mixture speaks
MODELS = {
    "openai": get_model("openai/gpt-6-luna", api_key="any", config=BATCH, **OPENAI),
    "anthropic": get_model("anthropic/claude-haiku-5-5", base_url=f"{URL}/anthropic", api_key="any", config=BATCH),
}


def counts():
    """What the embedded vendors count."""
    with urllib.request.urlopen(f"{URL}/offline/counts", timeout=10) as answer:
        return json.load(answer)


with tempfile.TemporaryDirectory() as folder:
    for number, (name, model) in enumerate(MODELS.items(), 1):
        task = Task(SAMPLES, solver=[generate()], scorer=includes())
        with redirect_stdout(sys.stderr):  # it prints how its batches stand
            (log,) = eval(task, model=model, log_dir=folder, display="none", max_retries=0)
        assert log.status == "success", log.error
        accuracy = log.results.scores[0].metrics["accuracy"].value
        assert accuracy >= 2 / 3, accuracy
        assert not counts()["asked"], "it asked live"
        assert list(counts()["batched"].values()) == [1] * len(SAMPLES) * number, "something was paid for twice"
        tell(f"{name}: batch of {len(SAMPLES)}, {accuracy:.0%} right", log.samples[0].output.completion)
