"""inspect_ai runs a small task, with the mixture as its model, by both formats."""

import os
import tempfile

from asked import BRIEF, SEASONS, SKY, URL, refused, tell
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

os.environ |= {"MOA_BASE_URL": f"{URL}/v1", "MOA_API_KEY": "any"}
SAMPLES = [
    Sample(input=SKY, target="scatter"),
    Sample(input=SEASONS, target="hemisphere"),
    Sample(input="Should I switch doors in the Monty Hall problem?", target="goat"),
]
MODELS = {
    "openai": get_model("openai-api/moa/panel"),
    "anthropic": get_model("anthropic/panel", base_url=URL, api_key="any"),
    "all fail": get_model("openai-api/moa/broken", max_retries=0),
}
with tempfile.TemporaryDirectory() as folder:
    for name, model in MODELS.items():
        task = Task(SAMPLES, solver=[system_message(BRIEF), generate()], scorer=includes())
        (log,) = eval(task, model=model, log_dir=folder, display="none", max_retries=0)
        if name == "all fail":
            assert log.status == "error", log.status
            refused(name, next(line for line in log.error.traceback.splitlines() if "Error code: 502" in line))
            continue
        assert log.status == "success", log.error
        accuracy = log.results.scores[0].metrics["accuracy"].value
        assert accuracy >= 2 / 3, accuracy
        tell(f"{name}: task of {len(SAMPLES)}, {accuracy:.0%} right", log.samples[0].output.completion)
