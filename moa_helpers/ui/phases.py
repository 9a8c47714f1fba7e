"""What a call did, and when: the phases of its bar in a timeline, and how each of them looks."""

from collections.abc import Iterator

from moa_helpers.results import Reply

PHASES = {  # what a call did -> colour and pattern
    "waiting for the first token": ("#56B4E9", ".."),
    "writing": ("#009E73", ""),
    "failed attempt": ("#D55E00", "xx"),
    "pause before a retry": ("#FFFFFF", "--"),
    "abandoned": ("#CCCCCC", "//"),
}


def phases(reply: Reply) -> Iterator[tuple[str, float, float]]:
    """What a call did: a key of ``PHASES``, since when, and how long, in seconds from its start."""
    now = 0.0
    for number, attempt in enumerate(reply.attempts, 1):
        if number > 1:
            yield "pause before a retry", now, attempt.started - now
        now = attempt.started + attempt.elapsed
        if attempt.failure is None:  # it ended well, or is under way
            first = now if reply.ttft is None else reply.ttft
            yield "waiting for the first token", attempt.started, first - attempt.started
            yield "writing", first, now - first
        else:
            kind = "abandoned" if attempt.failure.kind == "cancelled" else "failed attempt"
            yield kind, attempt.started, attempt.elapsed
    if reply.abandoned and reply.elapsed > now + 0.01:  # else it was no pause
        yield "pause before a retry", now, reply.elapsed - now
