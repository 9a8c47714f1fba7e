"""Watch calls while they run: a live panel in a notebook, a progress bar elsewhere.

The panel reads the calls a few times a second and never makes one. What a model wrote is escaped.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from moa_helpers.budget import tokens
from moa_helpers.calls import Call, Reply, stop, watched_by
from moa_helpers.display import STYLED, WRAP, count, dollars, escaped, rendered, seconds
from moa_helpers.fanout import SECOND, Replies
from moa_helpers.segments import MARKS, segments

if TYPE_CHECKING:
    from moa_helpers.controls import Playground

T = TypeVar("T")
REFRESH = 0.1  # seconds between two looks at the calls
TAIL = 1500  # characters of a text that is still being written
MOST = 24  # calls that are shown one by one
SHADES = {  # a pattern of MARKS as CSS, over its colour
    "": "none",
    "..": "radial-gradient(#0008 20%, transparent 25%) 0 0/5px 5px",
    "xx": "repeating-linear-gradient(45deg,#0008 0 1px,transparent 1px 5px),"
    "repeating-linear-gradient(-45deg,#0008 0 1px,transparent 1px 5px)",
    "--": "repeating-linear-gradient(0deg,#0008 0 1px,transparent 1px 4px)",
    "//": "repeating-linear-gradient(-45deg,#0008 0 1px,transparent 1px 5px)",
}
LINE = "1px solid color-mix(in srgb, currentColor 45%, transparent)"


class Live:
    """The calls that are watched, as HTML and as one line of text; itself the watcher that ``watched_by`` wants."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def __call__(self, call: Call) -> None:
        """Watch one more call."""
        self._calls.append(call)

    @property
    def calls(self) -> list[Call]:
        """All but those second requests that were not needed."""
        return [call for call in self._calls if call.request.role != SECOND or call.began.is_set()]

    @property
    def replies(self) -> Replies:
        """What has arrived so far, of every call."""
        return Replies(call.reply() for call in self.calls)

    @property
    def ended(self) -> int:
        """How many calls have ended."""
        return sum(call.state == "done" for call in self.calls)

    def line(self) -> str:
        """How many calls have ended, how many do what, the time since the first began, and the cost so far."""
        calls, replies = self.calls, self.replies
        parts = [f"{self.ended} of {len(calls)} calls ended"]
        states = Counter(call.state for call in calls if call.state != "done")
        parts += [f"{number} {state}" for state, number in states.items()]
        if replies:
            parts.append(seconds(max(reply.ended for reply in replies) - min(reply.started for reply in replies)))
        costs = [_cost(call, reply) for call, reply in zip(calls, replies, strict=True)]
        known = math.fsum(usd or reply.least_usd for (usd, _), reply in zip(costs, replies, strict=True))
        unknown = any(usd is None for usd, _ in costs)
        guessed = any(usd is not None and not exact for usd, exact in costs)
        if unknown:
            parts.append(dollars(None, known) if known else "cost unknown")
        else:
            parts.append("about " * guessed + dollars(known))
        if any(reply.offline for reply in replies):
            parts.append("offline stand-ins")
        return " · ".join(parts)

    def html(self, *, whole: bool = False, bars: bool = True) -> str:
        """The bars on a common clock, and what each call has written; of many calls, those that are not done.

        Args:
            whole: show all of a long text, and not just its end.
            bars: show the bars.
        """
        named = self._named()
        total = len(named)
        if total > MOST:
            named = [(name, call) for name, call in named if call.state != "done"][:MOST]
        looked = [(name, call, call.reply()) for name, call in named]
        hidden = total - len(looked)
        more = f"<p>{hidden} more calls are not shown one by one.</p>" if hidden else ""
        return (
            f'<div class="moa-live {STYLED}">'
            f'<progress max="{total or 1}" value="{self.ended}" aria-label="calls ended"></progress> '
            f"{escape(self.line())}{_bars(looked) if bars else ''}"
            '<div style="display:grid;grid-template-columns:repeat(auto-fit,minmax(min(18em,100%),1fr));gap:0.5em">'
            f"{''.join(_section(*each, whole) for each in looked)}</div>{more}</div>"
        )

    def _named(self) -> list[tuple[str, Call]]:
        """The calls with their names: number, role and model. A second request has the number of the first."""
        named, number, shown = [], 0, self.calls
        for call in self._calls:
            role = call.request.role
            number += role != SECOND
            if call in shown:
                named.append((f"{number}. {role + ' · ' if role else ''}{call.request.model.name}", call))
        return named


@overload
async def watch(coroutine: Coroutine[Any, Any, T], /) -> T: ...


@overload
async def watch(*coroutines: Coroutine[Any, Any, T]) -> list[T]: ...


async def watch(*coroutines: Coroutine[Any, Any, T]) -> T | list[T]:
    """Await one or more calls, fan-outs or mixtures, and show all their calls while they run.

    In a notebook it shows a panel: a timeline that grows, and for each call its state, seconds, tokens, dollars and
    text as it arrives, at most ten times a second. Elsewhere it shows a progress bar on stderr. Interrupting the cell
    cancels all calls; what has arrived stays on the screen.

    Args:
        coroutines: such as ``moa.mixture_of_agents(...)``, not yet awaited.

    Returns:
        The result, as awaiting it would give; of several coroutines, the list of their results.

    Raises:
        TypeError: there is none, or it is no coroutine; no call was made.
        BaseException: what a coroutine raised. The others are cancelled; its ``replies`` hold what has arrived.
    """
    if not coroutines or not all(asyncio.iscoroutine(each) for each in coroutines):
        for each in coroutines:
            if asyncio.iscoroutine(each):
                each.close()
        raise TypeError("Give watch() calls that are not yet awaited: await moa.watch(moa.ask(...)).")
    live = Live()
    context = watched_by(live)
    tasks = [asyncio.create_task(each, context=context) for each in coroutines]
    view = _view()
    try:
        await follow(tasks, lambda last: view.update(live, last))
        results = [task.result() for task in tasks]
    except BaseException as error:
        error.replies = live.replies  # type: ignore[attr-defined]
        raise
    finally:
        view.close()
    return results if len(results) > 1 else results[0]


def playground(
    prompt: str | None = None,
    reference_models: Sequence[str] | None = None,
    aggregator: str | None = None,
    **options: Any,
) -> Playground:
    """Controls for a mixture in a notebook: choose models, prompt and limits, run, watch, stop, compare the runs.

    A new playground stops what still runs in an older one. It makes no call until Run is pressed.

    Args:
        prompt, reference_models, aggregator: what is chosen at first. Default: a prepared question and a small model of
            each vendor that can be asked now.
        options: limits that are set at first, ``layers`` and ``robust``, by the names of ``mixture_of_agents``.

    Returns:
        The playground. As the last line of a cell it shows itself; ``await play.run()`` runs it from code, and
        ``play.runs`` keeps the runs.

    Raises:
        TypeError, ValueError: the input is wrong.
        RuntimeError: this is no notebook.
    """
    from moa_helpers.controls import Playground  # ipywidgets is not loaded before it is needed

    return Playground(prompt, reference_models, aggregator, options)


async def follow(tasks: Sequence[asyncio.Task[Any]], show: Callable[[bool], None]) -> None:
    """Call ``show(False)`` several times a second until all tasks have ended or one has failed, then ``show(True)``.

    Whatever ends it, no task runs on.
    """
    try:
        while True:
            show(False)
            done, pending = await asyncio.wait(tasks, timeout=REFRESH, return_when=asyncio.FIRST_EXCEPTION)
            if not pending or any(task.cancelled() or task.exception() for task in done):
                break
    finally:
        try:
            await stop(tasks)
        finally:
            show(True)


class _View(Protocol):
    def update(self, live: Live, last: bool) -> None: ...

    def close(self) -> None: ...


class _Output:
    """The panel as an output of the cell, replaced in place."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._handle: Any = None

    def update(self, live: Live, last: bool) -> None:
        from IPython.display import display

        bundle = {"text/html": live.html(whole=last), "text/plain": live.line()}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        elif bundle != self._shown:
            self._handle.update(bundle, raw=True)
        self._shown = bundle

    def close(self) -> None:
        """Leave the output as it is."""


class _Bar:
    """A progress bar on stderr."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=0, unit="call", bar_format="{bar:20} {desc}")

    def update(self, live: Live, last: bool) -> None:
        self._bar.total, self._bar.n = len(live.calls), live.ended
        self._bar.set_description_str(live.line())

    def close(self) -> None:
        self._bar.close()


def _view() -> _View:
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython

        if hasattr(get_ipython(), "kernel"):
            return _Output()
    return _Bar()


def _bars(looked: Sequence[tuple[str, Call, Reply]]) -> str:
    if not looked:
        return ""
    zero = min(reply.started for _, _, reply in looked)
    whole = max(reply.ended for _, _, reply in looked) - zero or 1.0
    rows, shown = [], set()
    for name, call, reply in looked:
        pieces = []
        for kind, start, width in segments(reply):
            left, share = 100 * (reply.started - zero + start) / whole, 100 * width / whole
            place = f"position:absolute;left:{left:.2f}%;width:{share:.2f}%;min-width:2px;height:100%"
            pieces.append(f'<span style="{place};{_look(kind)}"></span>')
            shown.add(kind)
        rows.append(
            f'<span>{escape(name)}</span><span role="img" aria-label="{escape(f"{name}: {_words(call, reply)}")}" '
            f'style="position:relative;height:1em">{"".join(pieces)}</span><span>{seconds(reply.elapsed)}</span>'
        )
    swatch = "display:inline-block;width:1.5em;height:0.8em;margin:0 0.3em 0 1em"
    legend = "".join(f'<span style="{swatch};{_look(kind)}"></span>{kind}' for kind in MARKS if kind in shown)
    columns = "minmax(8em,max-content) minmax(8em,1fr) max-content"
    return (
        f'<div class="moa-bars" style="display:grid;grid-template-columns:{columns};gap:0.2em 0.8em;'
        f'margin:0.5em 0;overflow-wrap:anywhere">{"".join(rows)}</div><p style="margin:0 0 0.5em">{legend}</p>'
    )


def _look(kind: str) -> str:
    colour, pattern = MARKS[kind]
    return f"background:{SHADES[pattern]},{colour};box-sizing:border-box;border:1px solid #444".replace("none,", "")


def _section(name: str, call: Call, reply: Reply, whole: bool) -> str:
    usd, exact = _cost(call, reply)
    done = call.state == "done"
    many = count(reply.output_tokens) if done else f"about {tokens(reply.text):,}"
    cost = dollars(usd, reply.least_usd) if exact or usd is None else f"about {dollars(usd)}"
    facts = f"{_words(call, reply)} · {many} tokens · {cost}"
    box = "height:12em;overflow:auto;margin-top:0.4em"
    if done and (whole or len(reply.text) <= TAIL):
        text = rendered(reply.text) if reply.text else ""
    else:  # the end of the text stays in sight
        box += ";display:flex;flex-direction:column-reverse"
        cut = "… " if len(reply.text) > TAIL else ""
        text = f'<div dir="auto" style="unicode-bidi:isolate;{WRAP}">{escaped(cut + reply.text[-TAIL:])}</div>'
    problem = f"<p>{escaped(reply.failure.message)}</p>" if done and reply.failure else ""
    wide = "grid-column:1/-1;" if call.request.role == "aggregator" else ""
    return (
        f'<section class="moa-call" aria-label="{escape(name)}" '
        f'style="{wide}border:{LINE};border-radius:4px;padding:0.4em 0.6em;min-width:0;overflow-wrap:anywhere">'
        f'<strong>{escape(name)}</strong><div class="moa-state">{escape(facts)}</div>{problem}'
        f'<div class="moa-text mathjax_ignore" tabindex="0" role="region" aria-label="text of {escape(name)}" '
        f'style="{box}">{text}</div></section>'
    )


def _words(call: Call, reply: Reply) -> str:
    """What a call does or has done, in words, and its seconds."""
    if call.state == "done":
        return reply.summary
    doing = {"queued": "waiting for a free place", "waiting": "waiting for the first token", "writing": "writing"}
    failure = reply.attempts[-1].failure if call.state == "pausing" else None
    words = f"pausing before a retry ({failure.kind})" if failure else doing.get(call.state, call.state)
    return f"{words} · {seconds(reply.elapsed)}"


def _cost(call: Call, reply: Reply) -> tuple[float | None, bool]:
    """US dollars so far, or None if unknown, and whether that is the vendor's count; else it is estimated."""
    if call.state == "done":
        return reply.cost_usd, reply.cost_usd is not None
    before = sum(attempt.cost_usd or 0.0 for attempt in reply.attempts)
    request = call.request
    now = request.model.cost(tokens((request.system or "") + request.prompt), tokens(reply.text))
    return (before if call.state in ("queued", "pausing") else None if now is None else before + now), False
