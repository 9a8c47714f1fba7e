"""What a run of the playground gave: the code that does the same, its result as HTML, and a table of several."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moa_helpers import offline
from moa_helpers.limits.purse import Estimate
from moa_helpers.results import Answer, Replies
from moa_helpers.ui.cards import dollars, seconds
from moa_helpers.ui.html import STYLED, escaped, rendered

KEPT = 8  # runs that stay in the table
SHORT = 60  # characters of a prompt there
_SCROLLED = (
    'style="contain:inline-size;overflow-x:auto" tabindex="0" role="region"'  # a wide table, by keyboard as well
)


@dataclass(frozen=True)
class Run:
    """One run of the playground. ``answer`` is None where none came, because it was stopped or failed.

    ``replies`` has second requests, too; ``answered`` says of how many calls there is an answer, without them.
    """

    code: str
    arguments: dict[str, Any]
    estimate: Estimate
    answer: Answer | Replies | None
    replies: Replies
    answered: tuple[int, int]
    problem: str = ""

    @property
    def heading(self) -> str:
        """What came of it."""
        if isinstance(self.answer, Answer):
            return self.answer.heading
        answered = "{} of {}".format(*self.answered)
        if self.answer is not None:
            return f"{answered} answered"
        return f"failed: {self.problem}" if self.problem else f"stopped; {answered} calls have answered"


def code_for(arguments: dict[str, Any], samples: int) -> str:
    """The call that a run makes, as Python."""

    def literal(value: Any) -> str:  # JSON text is Python text, once no character in it can end a line or is half a one
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | dict) else repr(value)
        return re.sub(r"[\x85\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)

    models = arguments["reference_models"]
    names = "".join(f"        {literal(name)},\n" for name in models[: len(models) // samples])
    listed = f"    [\n{names}    ]" + f" * {samples}" * (samples > 1)
    prompt = f"    {literal(arguments['prompt'])}"
    name, function = ("answer", "mixture_of_agents") if "aggregator" in arguments else ("replies", "fan_out")
    first = [prompt, listed] if name == "answer" else [listed, prompt]
    rest = [f"    {k}={literal(v)}" for k, v in arguments.items() if k not in ("prompt", "reference_models")]
    return f"{name} = await moa.{function}(\n" + "".join(f"{line},\n" for line in first + rest) + f")\n{name}"


def estimated(planned: Estimate) -> str:
    """What a run will cost, in a sentence."""
    unknown = f"; no price is known for {', '.join(planned.unpriced)}" if planned.unpriced else ""
    plural = "s" * (planned.calls != 1)
    return (
        f"{planned.calls} call{plural}, about {dollars(planned.usd)} at {planned.answer_tokens} tokens an answer, "
        f"at most {dollars(planned.most_usd)} if nothing is retried or sent a second time{unknown}."
    )


def result_html(run: Run) -> str:
    """All that an answer shows: its text, what it cost, its table, its timeline, and who contributed what."""
    from moa_helpers.ui import figures

    answer = run.answer
    if answer is None:
        return ""
    card, requests = answer._card(), sum(len(reply.attempts) for reply in run.replies)
    spent = f"{requests} request{'s' * (requests != 1)}, {dollars(answer.cost_usd, answer.least_usd)}"
    table = answer.table().round({"started_s": 2, "ttft_s": 2, "elapsed_s": 2, "cost_usd": 6})
    unused = [name for name in ("second_request", "left_out") if name in table and not table[name].any()]
    table = table.drop(columns=unused).astype(object).where(table.notna(), "unknown")
    parts = [
        f"<p><strong>{escaped(card.heading)}</strong></p>",
        f'<div class="moa-answer">{rendered(card.text)}</div>' if card.text else "",
        f"<p>Estimated: {escaped(estimated(run.estimate))} Actual: {escaped(spent)}.</p>",
        f'<div {_SCROLLED} aria-label="the calls">{table.to_html(border=0, float_format=_short)}</div>',
        _image(answer.timeline()),
    ]
    if isinstance(answer, Answer) and answer.text:
        shares = figures.provenance(answer.text, answer.layers[-1])
        if not shares.empty:
            parts.append("<p>Which sentence of the answer is found in which reference (share of its words):</p>")
            parts.append(_image(figures.picture_of_shares(shares)))
    return f'<div class="{STYLED}" style="contain:inline-size">{"".join(parts)}</div>'  # a wide table scrolls in it


def _short(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _image(picture: Any) -> str:
    return str(picture._repr_mimebundle_()["text/html"])


def comparison_html(runs: Sequence[Run]) -> str:
    """The last runs, a row each."""
    header = ["run", "prompt", "models", "aggregator", "settings", "outcome", "seconds", "cost"]
    header += ["points right / wrong", "answer"]
    left = ' style="text-align:left;vertical-align:top"'
    rows = []
    for number, run in list(enumerate(runs, 1))[-KEPT:]:
        chosen = run.arguments
        models = ", ".join(
            f"{name} × {often}" if often > 1 else name for name, often in Counter(chosen["reference_models"]).items()
        )
        prompt, stand_ins = " ".join(chosen["prompt"].split()), any(reply.offline for reply in run.replies)
        others = {k: v for k, v in chosen.items() if k not in ("prompt", "reference_models", "aggregator")}
        cells = [
            str(number),
            prompt if len(prompt) <= SHORT else prompt[: SHORT - 1].rstrip() + "…",
            models,
            chosen.get("aggregator", "none"),
            ", ".join(f"{name}={value}" for name, value in others.items()),
            run.heading,
            seconds(max(r.ended for r in run.replies) - min(r.started for r in run.replies)) if run.replies else "",
            dollars(run.replies.cost_usd, run.replies.least_usd) + " · offline stand-ins" * stand_ins,
            _points(run),
        ]
        text = run.answer.text if isinstance(run.answer, Answer) else ""
        label = f'tabindex="0" role="region" aria-label="answer of run {number}"'
        opened = f'<div {label} style="width:32em;max-height:24em;overflow:auto">{rendered(text)}</div>'
        answer = f"<details><summary>show</summary>{opened}</details>" if text else ""
        rows.append("".join(f"<td{left}>{cell}</td>" for cell in [*map(escaped, cells), answer]))
    head = "".join(f'<th scope="col"{left}>{html.escape(name)}</th>' for name in header)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="{STYLED}" {_SCROLLED} aria-label="the last runs"><table><caption>The last runs</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _points(run: Run) -> str:
    """Offline, how many points of a prepared question the answer has right and wrong."""
    answer = run.answer
    if not isinstance(answer, Answer) or not answer.text or not all(reply.offline for reply in answer.replies):
        return ""
    try:
        score = offline.score(answer.prompt, answer.text)
    except ValueError:  # not a prepared question
        return ""
    return f"{score.covered} of {score.possible} / {score.wrong}"
