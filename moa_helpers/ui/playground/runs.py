"""A run of the playground: what it was, what came of it, and how one and several of them look."""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from moa_helpers.limits.conversations import read_prompt
from moa_helpers.limits.members import in_turn
from moa_helpers.limits.purse import Estimate
from moa_helpers.offline.bank import points
from moa_helpers.results import Answer, Replies
from moa_helpers.ui.cards import STAND_INS, dollars, fallbacks, lasted, spent, unprepared, unpriced
from moa_helpers.ui.html import render
from moa_helpers.ui.panel import Live
from moa_helpers.ui.playground.choice import Choice

KEPT = 8  # runs that stay in the table
SHORT = 60  # characters of a prompt there
HEADER = ("run", "prompt", "models", "aggregator", "settings", "outcome", "seconds", "cost", "points right / wrong")
# The columns of ``Answer.table()`` that tell nothing where all have this value, and what is written over the others.
USUAL = {"attempts": 1, "second_request": "", "left_out": False, "kept": False, "settings": ""}
SHORT_NAMES = {"started_s": "began, s", "ttft_s": "first token, s", "elapsed_s": "took, s", "cost_usd": "cost, $"}
SHORT_NAMES |= {"input_tokens": "tokens in", "output_tokens": "tokens out"}


@dataclass(frozen=True)
class Run:
    """One run of the playground. ``answer`` is None where none came, because it was stopped or failed.

    ``replies`` has a reply for each request, also for second requests. ``answered`` says how many of the planned calls
    have an answer. ``choice`` and ``live`` show it again.
    """

    code: str
    arguments: dict[str, Any]
    estimate: Estimate
    answer: Answer | Replies | None
    replies: Replies
    answered: str
    choice: Choice
    live: Live
    problem: str = ""

    @property
    def heading(self) -> str:
        """What came of it."""
        if isinstance(self.answer, Answer):
            return self.answer.heading
        if self.answer is not None:
            return f"{self.answered} answered{unprepared(self.answer.good)}"
        return f"failed: {self.problem}" if self.problem else f"stopped; {self.answered} calls have answered"


def estimated(planned: Estimate) -> str:
    """What a run will cost, in a sentence."""
    unknown = f"; no price is known for {unpriced(planned)}" if planned.unpriced else ""
    plural = "s" * (planned.calls != 1)
    return (
        f"{planned.calls} call{plural}, about {dollars(planned.usd)} at {planned.answer_tokens} tokens an answer, "
        f"at most {dollars(planned.most_usd)} if nothing is retried or sent a second time{fallbacks(planned)}{unknown}."
    )


def result_html(run: Run) -> str:
    """All that an answer shows: its text, what it cost, its table, its timeline, and who contributed what."""
    from moa_helpers.ui import figures

    answer = run.answer
    if answer is None:
        return ""
    requests = sum(len(reply.attempts) for reply in run.replies if not reply.kept)
    table = answer.table().round({"started_s": 2, "ttft_s": 2, "elapsed_s": 2, "cost_usd": 6})
    unused = [name for name, value in USUAL.items() if name in table and (table[name] == value).all()]
    table = table.drop(columns=unused).rename(columns=SHORT_NAMES)
    table = table.astype(object).where(table.notna(), "unknown")
    shares = None
    with suppress(ValueError):  # there is nothing to compare
        if isinstance(answer, Answer):
            shares = figures.provenance_picture(answer.text, answer.layers[-1])
    return render(
        "play_result.html",
        card=answer._card(),
        estimated=estimated(run.estimate),
        spent=f"{requests} request{'s' * (requests != 1)}, {spent(answer)}",
        table=table.to_html(border=0, index=False, float_format=lambda value: f"{value:.6f}".rstrip("0").rstrip(".")),
        timeline=answer.timeline(),
        shares=shares,
    )


def comparison_html(runs: Sequence[Run]) -> str:
    """The last runs, a row each."""
    shown = [(_cells(number, run), run.answer) for number, run in numbered(runs)]
    used = [place for place in range(len(HEADER)) if any(cells[place] for cells, _ in shown)]
    rows = [([cells[n] for n in used], answer.text if isinstance(answer, Answer) else "") for cells, answer in shown]
    return render("play_runs.html", header=[*(HEADER[place] for place in used), "answer"], rows=rows)


def numbered(runs: Sequence[Run]) -> list[tuple[int, Run]]:
    """The runs that are still shown, with their numbers."""
    return list(enumerate(runs, 1))[-KEPT:]


def _cells(number: int, run: Run) -> list[str]:
    often = Counter(run.arguments["reference_models"])
    prompt = " ".join(read_prompt(run.arguments["prompt"])[2].split())
    others = {k: v for k, v in run.arguments.items() if k not in ("prompt", "reference_models", "aggregator")}
    answer, score = run.answer, None
    if isinstance(answer, Answer) and answer.text and all(reply.offline for reply in answer.replies):
        score = points(answer.prompt, answer.text)
    took = max([0.0, *(r.ended for r in run.replies)]) - min([math.inf, *(r.started for r in run.replies)])
    return [
        str(number),
        prompt if len(prompt) <= SHORT else prompt[: SHORT - 1].rstrip() + "…",
        ", ".join(f"{name} × {times}" if times > 1 else str(name) for name, times in often.items()),
        ", else ".join(map(str, in_turn(run.arguments.get("aggregator", "none")))),
        ", ".join(f"{name}={value}" for name, value in others.items()),
        run.heading,
        lasted(answer.elapsed if isinstance(answer, Answer) else took, run.replies) if run.replies else "",
        spent(run.replies) + STAND_INS * any(reply.offline for reply in run.replies),
        f"{score.covered} of {score.possible} / {score.wrong}" if score else "",
    ]
