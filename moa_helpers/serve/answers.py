"""What is told of an answer beside its text: the field ``moa``, headers, token counts, and why there is none."""

import math
from collections.abc import Sequence
from typing import Any

from moa_helpers.offline.asked import Refused
from moa_helpers.results import Answer, Reply

LATE = {"timeout", "deadline"}


class NoAnswer(Refused):
    """A mixture that gave no answer; ``moa`` has its facts."""

    def __init__(self, status: int, answer: Answer, ignored: Sequence[str], code: str | None = None) -> None:
        super().__init__(status, f"{answer.heading}.", code=code)
        self.moa = facts(answer, ignored)
        self.headers |= headers(self.moa)


def facts(answer: Answer, ignored: Sequence[str]) -> dict[str, Any]:
    """What an application may want to know or log; costs in US dollars, None where one is unknown."""
    return {
        "outcome": answer.outcome,
        "heading": answer.heading,
        "cost_usd": answer.cost_usd,
        "calls": len(answer.replies),
        "seconds": round(answer.elapsed, 3),
        "members": [_member(reply) for reply in answer.replies],
        "offline": any(reply.offline for reply in answer.replies),
        "kept": sum(getattr(reply, "kept", False) for reply in answer.replies),
        "ignored": list(ignored),
    }


def headers(moa: dict[str, Any]) -> dict[str, str]:
    """The same as headers of an answer that is not streamed."""
    told = {name: moa[name] for name in ("outcome", "heading", "calls", "seconds", "kept")}
    told["cost-usd"] = "unknown" if moa["cost_usd"] is None else f"{moa['cost_usd']:.6f}"
    told["members"] = ", ".join(member["model"] for member in moa["members"])
    told |= {"offline": 1} if moa["offline"] else {}
    return {f"x-moa-{name}": str(value).encode("ascii", "replace").decode() for name, value in told.items()}


def tokens(answer: Answer) -> dict[str, int]:
    """Tokens of all calls, as far as the vendors told them."""
    sent = [one for reply in answer.replies for one in (reply.hedged or (reply,))]
    read, written = sum(one.input_tokens or 0 for one in sent), sum(one.output_tokens or 0 for one in sent)
    cached = sum(getattr(one, "cached_tokens", None) or 0 for one in sent)
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written, "cached_tokens": cached}


def finish(answer: Answer) -> str:
    """Why the text ends: "stop" or "length"."""
    written = answer.picked or answer.aggregator
    return "length" if written and written.truncated else "stop"


def refused(answer: Answer, ignored: Sequence[str]) -> NoAnswer:
    """Why there is no answer: 429 where all were rate limits, 504 where all were too late, else 502."""
    last = [answer.aggregator] if answer.outcome == "aggregator_failed" else answer.layers[-1]
    failures = [reply.failure for reply in last if reply and reply.failure and not reply.abandoned]
    kinds = {failure.kind for failure in failures}
    if kinds == {"rate_limit"}:
        error = NoAnswer(429, answer, ignored)
        error.headers["retry-after"] = str(math.ceil(max(failure.retry_after or 1 for failure in failures)))
    else:
        error = NoAnswer(504 if kinds and kinds <= LATE else 502, answer, ignored, answer.outcome)
        error.headers["x-should-retry"] = "false"  # the mixture has tried again already
    return error


def _member(reply: Reply) -> dict[str, Any]:
    return {
        "model": reply.model,
        "settings": getattr(reply, "settings", ""),
        "failure": reply.failure and reply.failure.kind,
        "seconds": round(reply.elapsed, 3),
        "cost_usd": reply.cost_usd,
    }
