"""Results made by hand, for what shows them."""

import moa_helpers as moa
from tests.support.pages import MARKUP

A, B, C = MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]
GREEN = "Plants are green because chlorophyll reflects green light."
TIDES = "The moon pulls the ocean and raises two tides daily."


def reply(text="", model=A, failure=None, **rest):
    """A reply of one attempt of a second; what it failed with says things that look like markup."""
    problem = moa.Failure(failure, f"{model}: {failure}. {MARKUP}") if failure else None
    tries = (moa.Attempt(0.0, 1.0, problem, None),)
    return moa.Reply(model, text, elapsed=1.0, attempts=tries, failure=problem, started=100.0, **rest)


def answer(text, texts, **rest):
    """A mixture's answer out of a layer with these texts; ``rest`` is the aggregator's."""
    layer = moa.Replies([reply(each, finish_reason="stop", ttft=0.2) for each in texts])
    final = reply(text, C, ttft=0.3, finish_reason="stop", **rest)
    return moa.Answer("Why?", text, "complete", (layer,), final, started=100.0, elapsed=2.5)
