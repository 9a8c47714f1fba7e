"""Watch calls while they run: what each request does, has written and has cost so far.

A panel looks at the calls several times a second and makes none itself.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from moa_helpers.calls import Call
from moa_helpers.limits.purse import tokens
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import results
from moa_helpers.results import Reply
from moa_helpers.ui.cards import count, dollars, named, seconds, spent, with_kept
from moa_helpers.ui.html import render
from moa_helpers.ui.phases import PHASES, phases
from moa_helpers.ui.progress import follow, progress_view

T = TypeVar("T")
TAIL = 1500  # characters of a text that is still being written
MOST = 24  # requests that are shown one by one
GAP = "0.5em"  # between the requests in their grid


class Seen(NamedTuple):
    """A request at one moment: its name in the panel, the call that makes it, and what that has given so far."""

    name: str
    call: Call
    reply: Reply
    done: bool

    @property
    def state(self) -> str:
        """The state of its call, or that it is thinking, or that what was kept is given again."""
        if self.reply.kept and not self.done:
            return "given again"
        thinks = self.call.state in ("waiting", "writing") and self.reply.thinking and not self.reply.text
        return "thinking" if thinks else self.call.state

    @property
    def words(self) -> str:
        """What it does or has done, and its seconds."""
        if self.done:
            return self.reply.summary
        doing = {"queued": "waiting for a free place", "waiting": "waiting for the first token"}
        words = doing.get(self.state, self.state)
        if self.state == "pausing" and (failure := self.reply.attempts[-1].failure):
            words = f"pausing before a retry ({failure.kind})"
        return f"{words} · {seconds(self.reply.elapsed)}"

    @property
    def cost(self) -> tuple[float | None, bool]:
        """US dollars so far, or None if unknown, and whether the vendor counted its tokens or we did."""
        reply, request = self.reply, self.call.request
        if self.done or reply.kept:
            return reply.cost_usd, reply.cost_usd is not None
        between = self.call.state in ("queued", "pausing")
        before = sum(attempt.cost_usd or 0.0 for attempt in (reply.attempts if between else reply.attempts[:-1]))
        now = request.model.cost(tokens(request.text), tokens(reply.text))
        return (before if between else None if now is None else before + now), False

    @property
    def facts(self) -> str:
        """What it does, how many tokens it has written, and what it has cost."""
        usd, exact = self.cost
        many = count(self.reply.output_tokens) if self.done else f"about {tokens(self.reply.text):,}"
        cost = spent(self.reply) if exact or usd is None or self.reply.kept else f"about {dollars(usd)}"
        return f"{self.words} · {many} tokens · {'cost unknown' if cost == 'unknown' else cost}"

    def html(self, whole: bool, *, told: bool = False) -> str:
        """All of this as HTML; of a long text all, or just its end, or ``told``, nothing."""
        return render("panel_call.html", one=self, whole=whole, tail=TAIL, told=told)


class Live:
    """The requests of all calls in a scope, as HTML and as one line of text, always as they are now."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def calls(self) -> list[Call]:
        """One for each request; a second request counts once it was sent."""
        return [one for call in self._scope.calls for one in call.sent]

    @property
    def total(self) -> int:
        """How many requests there are, those that are planned included."""
        return len(self.calls) + self._scope.ahead

    @property
    def ended(self) -> int:
        """How many requests have ended."""
        return sum(call.state == "done" for call in self.calls)

    def line(self) -> str:
        """How many requests have ended, what the others do, the seconds since the first began, and the cost so far."""
        return self._line(self._look())

    def html(self, *, whole: bool = False) -> str:
        """All ``parts`` in one."""
        head, shown, folded, hidden = self.parts(whole=whole)
        requests, more = ([one.html(whole) for one in some] for some in (shown, folded))
        return str(framed(head, requests, more, hidden, columns(shown)))

    def parts(self, *, whole: bool = False, bars: bool = True) -> tuple[str, list[Seen], list[Seen], int]:
        """The panel in pieces: its head, the requests that it shows, those that it folds, and how many are not shown.

        Of many requests it shows those that have not ended, or, ``whole``, all, the later ones folded.
        """
        seen = self._look()
        one_by_one = seen if whole or len(seen) <= MOST else [one for one in seen if not one.done]
        shown, folded = one_by_one[:MOST], one_by_one[MOST:] if whole else []
        now = [one for one in shown if bars and not one.reply.kept]  # what was kept has a time of its own
        drawn = [(one, list(phases(one.reply))) for one in now]
        kinds = {kind for _, pieces in drawn for kind, _, _ in pieces}
        zero = min((one.reply.started for one, _ in drawn), default=0.0)
        head = render(
            "panel_head.html",
            total=self.total or 1,
            ended=self.ended,
            line=self._line(seen),
            bars=drawn,
            marks={kind: mark for kind, mark in PHASES.items() if kind in kinds},
            zero=zero,
            per_second=100 / (max((one.reply.ended for one, _ in drawn), default=0.0) - zero or 1.0),
        )
        return head, shown, folded, len(seen) - len(shown)

    def _line(self, seen: Sequence[Seen]) -> str:
        if not seen:
            return f"getting ready · {seconds(time.perf_counter() - self._scope.started)}"
        states = Counter(one.state for one in seen)
        over = states["done"] == len(seen) and all(plan.ended for plan in self._scope.plans)
        parts = [f"{states.pop('done', 0)} of {self.total} calls ended"]
        parts += [f"{number} {state}" for state, number in states.items()]
        parts += [f"{self._scope.ahead} not made"] * (over and self._scope.ahead > 0)
        if now := [one.reply for one in seen if not one.reply.kept]:
            whole = self._scope.plans if len(now) == len(seen) else []  # what was kept has a time of its own
            spans = [(one.started, one.ended) for one in now] + [(plan.started, plan.ended or 0.0) for plan in whole]
            starts, ends = zip(*spans, strict=True)
            parts.append(seconds(max(ends) - min(starts)))
        costs = [(*one.cost, one.reply.least_usd) for one in seen]
        known = math.fsum(usd or least for usd, _, least in costs)
        if any(usd is None for usd, _, _ in costs):
            cost = dollars(None, known) if known else "cost unknown"
        else:
            cost = "about " * (not all(exact for _, exact, _ in costs)) + dollars(known)
        parts.append(with_kept(cost, len(seen) - len(now), len(seen)))
        return " · ".join([*parts, *["offline stand-ins"] * any(one.reply.offline for one in seen)])

    def _look(self) -> list[Seen]:
        seen = []
        for number, call in enumerate(self._scope.calls, 1):
            for one in call.sent:
                role = f"{one.request.role} · " if one.request.role else ""
                reply = one.reply()
                seen.append(Seen(f"{number}. {role}{named(reply)}", one, reply, one.state == "done"))
        return seen


@overload
async def watch(coroutine: Coroutine[Any, Any, T], /) -> T: ...


@overload
async def watch(*coroutines: Coroutine[Any, Any, T]) -> list[T]: ...


async def watch(*coroutines: Coroutine[Any, Any, T]) -> T | list[T]:
    """Await one or more calls, fan-outs or mixtures, and show all their calls while they run.

    In a notebook it shows a panel, at most ten times a second: a timeline that grows, and for each call its state,
    seconds, tokens, dollars and text. Elsewhere it shows a progress bar on stderr. Interrupting the cell
    cancels all calls; what has arrived stays on the screen.

    Each time, the whole panel is replaced, so nothing in it can be scrolled or selected before the end. The playground
    replaces only what has changed.

    Args:
        coroutines: such as ``moa.mixture_of_agents(...)``, not yet awaited.

    Returns:
        The result, as awaiting it would give; of several coroutines, the list of their results.

    Raises:
        TypeError: there is none, or it is no coroutine; no call was made.
        BaseException: what a coroutine raised. The others are cancelled; its ``replies`` hold what has arrived.
    """
    try:
        if not coroutines or not all(map(asyncio.iscoroutine, coroutines)):
            raise TypeError("Give watch() calls that are not yet awaited: await moa.watch(moa.ask(...)).")
        view = progress_view()
    except BaseException:
        for each in filter(asyncio.iscoroutine, coroutines):
            each.close()
        raise
    scope = Scope()
    live = Live(scope)
    with scope.open():
        tasks = [asyncio.create_task(each) for each in coroutines]
        await follow(tasks, lambda last: view.update(live, last))
        found = results(tasks)
    return found if len(found) > 1 else found[0]


def columns(shown: Sequence[Seen]) -> str:
    """The columns of a grid of requests: as many as fit, and at most one for each model of a layer."""
    most = max(Counter(one.call.request.role for one in shown).values(), default=1)
    return f"repeat(auto-fit,minmax(min(max(18em,(100% - {most - 1}*{GAP})/{most}),100%),1fr))"


def framed(head: str, shown: Sequence[str] = (), folded: Sequence[str] = (), hidden: int = 0, grid: str = "") -> str:
    """Pieces of the panel for a place of their own."""
    return render("panel.html", head=head, shown=shown, folded=folded, hidden=hidden, columns=grid, gap=GAP)
