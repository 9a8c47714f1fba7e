"""Whether a failed attempt is followed by another one, and after how long."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from moa_helpers.events import Retry
from moa_helpers.limits.scope import Scope
from moa_helpers.results import Attempt, Failure, Reply
from moa_helpers.vendors.errors import RETRIED, on_this_machine
from moa_helpers.vendors.requests import Request

BACKOFF_BASE, BACKOFF_CAP = 0.5, 8.0  # seconds
LOADING_CAP = 4.0  # seconds between two looks at a server that is loading its model
SHORTEST_WAIT = 0.1  # seconds; a vendor that asks for less gets our own backoff, and this at least
LONGEST_WAIT = 60.0  # seconds; a vendor that asks for more is not waited for


def after(failure: Failure, attempts: Sequence[Attempt], request: Request, scope: Scope) -> Retry | Failure:
    """The retry that follows the failure, set aside in the purse; or the failure, with the reason why none does.

    The pause is what the vendor asked for with Retry-After. Without that it is exponential backoff with full jitter:
    uniform between 0 and 0.5 s, 1 s, 2 s ... (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
    2015). A server that is loading its model is asked again after 0.5 s, 1 s, 2 s, 4 s, 4 s ... for as long as one
    attempt may take. These attempts are not counted as retries. The scope's limits, deadline and purse decide.
    """
    scope.learn(request, None, failure.retry_after)
    if request.here:
        failure = on_this_machine(failure)
    loads = [attempt for attempt in attempts if attempt.failure and attempt.failure.kind == "loading"]
    loading = failure.kind == "loading" and bool(loads)
    tries = len(attempts) - len(loads)
    if failure.final or failure.kind not in RETRIED or (not loading and tries > scope.limits.retries):
        return failure
    wait = _pause(failure, len(loads) if loading else tries)
    waited = attempts[-1].started + attempts[-1].elapsed - loads[0].started if loading else 0.0
    if loading and waited + wait > scope.limits.timeout:
        reason = f"it was still loading after {waited:.1f} s"
    elif scope.until is not None and time.perf_counter() + wait >= scope.until:
        reason = f"the next attempt was due only after {wait:.1f} s, and the deadline comes first"
    elif wait > LONGEST_WAIT:
        reason = f"the next attempt was due only after {wait:.1f} s, and no call waits longer than {LONGEST_WAIT:.0f} s"
    elif not scope.purse.grants(request):
        reason = "max_calls or budget_usd leaves no call"
    else:
        return Retry(failure, wait)
    return replace(failure, message=f"{failure.message} Not tried again: {reason}.")


def without_fallback(reply: Reply, following: Request, scope: Scope) -> Reply | None:
    """The failed reply with the reason why no other model is asked instead; None if one is, set aside in the purse."""
    if scope.until is not None and time.perf_counter() >= scope.until:
        reason = "the deadline has passed"
    elif not scope.purse.grants(following):
        reason = "max_calls or budget_usd leaves no call"
    else:
        return None
    return replace(reply, warnings=(*reply.warnings, f"{following.model.name} was not asked instead: {reason}."))


def _pause(failure: Failure, times: int) -> float:
    """Seconds until the next attempt, after so many of this kind."""
    asked = failure.retry_after
    if failure.kind == "loading":
        return max(asked or 0.0, min(LOADING_CAP, BACKOFF_BASE * 2.0 ** min(times - 1, 9)))
    own = random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(times - 1, 9)))
    if asked is None:
        return own
    return asked if asked >= SHORTEST_WAIT else max(own, SHORTEST_WAIT)
