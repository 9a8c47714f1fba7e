"""Whether a failed attempt is followed by another one, and after how long."""

import random
import time
from dataclasses import replace

from moa_helpers.events import Retry
from moa_helpers.limits.scope import Scope
from moa_helpers.results import Failure
from moa_helpers.vendors.errors import RETRIED
from moa_helpers.vendors.requests import Request

BACKOFF_BASE, BACKOFF_CAP = 0.5, 8.0  # seconds
LONGEST_WAIT = 60.0  # seconds; a vendor that asks for more is not waited for


def after(failure: Failure, attempts: int, request: Request, scope: Scope) -> Retry | Failure:
    """The retry that follows the failure, set aside in the purse; or the failure, with the reason why none does.

    The pause is what the vendor asked for with Retry-After, else exponential backoff with full jitter: uniform between
    0 and 0.5 s, 1 s, 2 s ... (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        failure: of the last attempt.
        attempts: how many there were.
        request: what would be sent again.
        scope: its limits, its deadline and its purse decide.
    """
    if failure.kind not in RETRIED or attempts > scope.limits.retries:
        return failure
    wait = failure.retry_after
    if wait is None:
        wait = random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (attempts - 1)))
    if wait > LONGEST_WAIT or (scope.until is not None and time.perf_counter() + wait >= scope.until):
        reason = f"the next attempt was due only after {wait:.1f} s"
    elif not scope.purse.grants(request):
        reason = "max_calls or budget_usd leaves none"
    else:
        return Retry(failure, wait)
    return replace(failure, message=f"{failure.message} Not tried again: {reason}.")
