"""What each client asks, and how it tells what came of it: one line of JSON a case, which ``run.py`` reads."""

import json
import os
import time
import urllib.request

URL = os.environ["MIXTURES_URL"]
OPENAI = {"base_url": f"{URL}/v1", "api_key": "any", "max_retries": 0}
ANTHROPIC = {"base_url": URL, "api_key": "any", "max_retries": 0}
SKY = "Why is the sky blue?"
SEASONS = "What causes the seasons on Earth?"
BRIEF = "Be brief. 答えは短く。"
BEFORE = [{"role": "user", "content": SEASONS}, {"role": "assistant", "content": "The tilt of its axis."}]
ASKED = [{"role": "user", "content": SKY}]
TOLD = {"role": "system", "content": BRIEF}


def tell(case, text):
    """Say what a client showed. All cases but refusals ask why the sky is blue; ``run.py`` looks for an answer."""
    print(json.dumps({"case": case, "text": text}), flush=True)


def refusal(case, status, ask, **options):
    """Ask, and say how the client showed the refusal, which has this HTTP status."""
    try:
        answer = ask(**options)
    except Exception as error:
        if getattr(error, "status_code", None) != status:
            raise
        refused(case, f"{type(error).__name__}: {error}")
    else:
        raise AssertionError(f"it was not refused: {answer}")


def refused(case, words):
    """Say in which words a client showed a refusal; ``run.py`` looks for those of the server."""
    print(json.dumps({"case": case, "refused": words}), flush=True)


def arrived():
    """Wait until the server works on a request."""
    _wait(1)


def left(case):
    """Say that the client has left in the middle of an answer, and how soon after that the server's work for it ended.

    The model would be silent for a minute, so only who notices the client's end gets here in time.
    """
    print(json.dumps({"case": case, "left": _wait(0)}), flush=True)


def _wait(wanted):
    began = time.monotonic()
    while (found := under_way()) != wanted:
        assert time.monotonic() - began < 20, f"{found} requests are under way"
        time.sleep(0.01)
    return time.monotonic() - began


def under_way():
    """How many requests the server works on."""
    with urllib.request.urlopen(f"{URL}/health", timeout=10) as answer:
        return json.load(answer)["under_way"]
