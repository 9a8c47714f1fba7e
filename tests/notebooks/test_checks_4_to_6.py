"""What the checks of notebooks 4 to 6 say to wrong answers of every type: words that help, and never a traceback."""

import contextlib
import io
import re

import pandas as pd
import pytest

import moa_helpers as moa
from tests.notebooks.cells import PATHS, read
from tests.support.replies import reply

MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]
REPLIES = moa.Replies(moa.Reply(name, elapsed=seconds) for name, seconds in zip(MODELS, (1.0, 2.0, 4.0), strict=True))
FIRST = pd.DataFrame({0: [9.0] * 9 + [1.0] * 91, 1: [1.0] * 100})  # 4.5 % of the calls are slow
ELSEWHERE = FIRST * 0 + 0.8


def told(notebook, begins, **names):
    """What the check of the exercise says whose cell begins so, with these names in place of the reader's own code."""
    (source,) = [cell.source for cell in read(PATHS[notebook - 1]).code if cell.source.startswith(begins)]
    check = re.search(r"(?s)\n\n(?:if |# The check).*", source)
    return run(check[0], **names)


def run(check, **names):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(check, {"moa": moa, "display": lambda shown: None, **names})
    return out.getvalue()


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (None, "Not tried yet: "),
        (5, "Right: 9.6%"),
        (6, "Not yet: 11.4%"),
        (4, "Not yet: one model more"),
        *[(wrong, "Not yet: `most` should be a whole number") for wrong in (5.0, "5", [5], len)],
    ],
)
def test_how_many_models_you_can_afford(most, words):
    assert told(4, "most =", most=most).startswith(words)


FASTER = [*MODELS[:2], "groq:openai/gpt-oss-20b"]


@pytest.mark.parametrize(
    ("faster", "prediction", "words"),
    [
        (MODELS, 2.0, "Not tried yet: "),
        (FASTER, None, "Not tried yet: "),
        (FASTER, 2.1, "Right: "),
        (FASTER, 4.5, "Not yet: the two slowest took 2.0 s and 4.0 s."),
        (FASTER[2:] + MODELS[1:], 2.1, "Not yet: the slowest, mistral:mistral-small-2603, is still in the list."),
        *[(FASTER, wrong, "Not yet: ") for wrong in ("2", [2.0], len)],
        *[(wrong, 2.1, "Not yet: ") for wrong in ("groq", None, 3)],
    ],
)
def test_replacing_the_bottleneck(faster, prediction, words):
    names = {"faster": faster, "prediction": prediction, "reference_models": MODELS, "replies": REPLIES}
    assert told(4, "faster =", **names).startswith(words)


@pytest.mark.parametrize(
    ("my_after", "words"),
    [
        (None, "Not tried yet: "),
        (5.1, "Right: 2.50%"),
        (4.0, "Not yet: "),
        (9.0, "Not yet: a tenth of a second less"),
        *[(wrong, "Not yet: `my_after` should be one number") for wrong in ("6", [6.0], len)],
    ],
)
def test_when_to_send_the_second_request(my_after, words):
    first = pd.DataFrame({0: [1.0] * 95 + [9.0] * 5, 1: [5.05] * 20 + [1.0] * 80})
    assert told(5, "my_after =", my_after=my_after, first=first).startswith(words)


@pytest.mark.parametrize(
    ("my_hedge", "my_deadline", "words"),
    [
        (None, None, "Not tried yet: "),
        (5.0, None, "Not tried yet: "),
        (5.0, 6.5, "Right: {'p99, s': 5.8, 'deadline, s': 6.5, 'extra calls, %': 4.5, 'answers lost, %': 0.0}"),
        (5.0, 7.0, "Not yet, too high: {'deadline, s': 7.0}"),
        (0.5, 6.5, "Not yet, too high: {'extra calls, %': 100.0}"),
        (9.0, 6.5, "Not yet, too high: {'p99, s': 6.5, 'answers lost, %': 4.5}"),
        *[(wrong, 6.5, "Not yet: write a number") for wrong in ("5", [5.0], len)],
    ],
)
def test_keeping_a_promise(my_hedge, my_deadline, words):
    names = {"my_hedge": my_hedge, "my_deadline": my_deadline, "first": FIRST, "elsewhere": ELSEWHERE}
    (source,) = [cell.source for cell in read(PATHS[4]).code if "my_hedge + elsewhere" in cell.source]
    assert run(source, pd=pd, **names).startswith(words)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (None, "Not tried yet: "),
        (moa.Replies([reply(), moa.Reply(MODELS[0], failure=moa.Failure("cancelled", "stopped"))]), "Right: "),
        (moa.Replies([reply(), reply()]), "Not yet: all calls ended well"),
        *[(wrong, "Not yet: `kept` should be replies") for wrong in (TimeoutError(), [], "replies", 3)],
    ],
)
def test_giving_up_and_keeping_what_came(kept, words):
    assert told(6, "vendors.speed = 8  # slow", kept=kept).startswith(words)


def by_length(texts):
    return "\n".join(f"<{len(text)}>\n{text}\n</{len(text)}>" for text in texts)


def of_its_own(texts):
    return "\n".join(f"<{hash(text)}>\n{text}\n</{hash(text)}>" for text in texts)


def fails(texts):
    return texsts  # noqa: F821


@pytest.mark.parametrize(
    ("fenced", "words"),
    [
        (lambda texts: "\n".join(f"<answer>\n{text}\n</answer>" for text in texts), "Not tried yet: "),
        (of_its_own, "Right: "),
        (by_length, "Not yet: it can be copied."),
        ("\n".join, "Not yet: it can be copied."),
        (lambda texts: of_its_own(["changed"]), "Not yet: it can be copied."),
        (lambda texts: None, "Not yet: your function raised AttributeError"),
        (fails, "Not yet: your function raised NameError"),
    ],
)
def test_a_fence_of_your_own(fenced, words):
    assert told(6, "def fenced", fenced=fenced).startswith(words)
