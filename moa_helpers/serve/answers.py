"""What is told of an answer beside its text: the field ``moa``, headers, token counts, and why there is none."""

import math
import re
from collections.abc import Sequence
from typing import Any

from moa_helpers.offline.asked import Refused
from moa_helpers.results import Answer

HEADERS = ("outcome", "heading", "calls", "seconds", "cost_usd", "kept")  # of the facts that are also told as headers

LONGEST = 1000  # characters of a header


class NoAnswer(Refused):
    """No answer of a mixture, with its facts: 429 where all hit rate limits, 504 where all came too late, or 502."""

    def __init__(self, answer: Answer, moa: dict[str, Any]) -> None:
        tried = [*answer.failed_aggregators, answer.aggregator]
        last = tried if answer.outcome == "aggregator_failed" else answer.layers[-1]
        failures = [reply.failure for reply in last if reply and reply.failure and not reply.abandoned]
        kinds = {failure.kind for failure in failures}
        status = 429 if kinds == {"rate_limit"} else 504 if kinds and kinds <= {"timeout", "deadline"} else 502
        super().__init__(status, f"{answer.heading}.", code=None if status == 429 else answer.outcome)
        self.moa = moa
        self.headers |= headers(moa)
        if status == 429:
            self.headers["retry-after"] = str(math.ceil(max(failure.retry_after or 1 for failure in failures)))
        else:
            self.headers["x-should-retry"] = "false"  # says the SDKs: the mixture has tried again already


def facts(answer: Answer, ignored: Sequence[str]) -> dict[str, Any]:
    """The field ``moa``: what an application may want to know; costs in US dollars, None where one is unknown."""
    members = [
        {
            "model": reply.model,
            "settings": reply.settings,
            "failure": reply.failure and reply.failure.kind,
            "seconds": round(reply.elapsed, 3),
            "cost_usd": reply.cost_usd,
        }
        for reply in answer.replies
    ]
    return {
        "outcome": answer.outcome,
        "heading": answer.heading,
        "cost_usd": answer.cost_usd,
        "calls": len(members),
        "seconds": round(answer.elapsed, 3),
        "members": members,
        "offline": any(reply.offline for reply in answer.replies),
        "kept": sum(reply.kept for reply in answer.replies),
        "ignored": [*ignored],
    }


def headers(moa: dict[str, Any]) -> dict[str, str]:
    """The facts as headers: in ASCII, on one line, and not so long that a client refuses them."""
    told = {name: "unknown" if moa[name] is None else str(moa[name]) for name in HEADERS}
    told["members"] = ", ".join(member["model"] for member in moa["members"])
    plain = {name: re.sub(r"[^ -~]", "?", " ".join(text.split())[:LONGEST]) for name, text in told.items()}
    return {f"x-moa-{name.replace('_', '-')}": text for name, text in plain.items()}


def content(answer: Answer) -> dict[str, Any]:
    """The text, why it ends ("stop" or "length"), and the tokens of all calls, as far as the vendors told them."""
    written = answer.picked or answer.aggregator
    sent = [one for reply in answer.replies for one in (reply.hedged or (reply,))]
    read, wrote = sum(one.input_tokens or 0 for one in sent), sum(one.output_tokens or 0 for one in sent)
    return {
        "text": answer.text,
        "finish": "length" if written and written.truncated else "stop",
        "input_tokens": read,
        "output_tokens": wrote,
        "total_tokens": read + wrote,
        "cached_tokens": sum(one.cached_tokens or 0 for one in sent),
    }
