"""Watch calls while they run: a live panel in a notebook, a progress bar elsewhere.

The panel reads the calls a few times a second and never makes one. What a model wrote is escaped.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from moa_helpers.calls import Call
from moa_helpers.limits.purse import tokens
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import results, stop
from moa_helpers.results import Replies, Reply
from moa_helpers.ui.cards import count, dollars, seconds
from moa_helpers.ui.html import STYLED, WRAP, escaped, rendered
from moa_helpers.ui.phases import PHASES, phases

if TYPE_CHECKING:
    from moa_helpers.ui.controls import Playground

T = TypeVar("T")
REFRESH = 0.1  # seconds between two looks at the calls
TAIL = 1500  # characters of a text that is still being written
MOST = 24  # calls that are shown one by one
SHADES = {  # a pattern of PHASES as CSS, over its colour
    "": "none",
    "..": "radial-gradient(#0008 20%, transparent 25%) 0 0/5px 5px",
    "xx": "repeating-linear-gradient(45deg,#0008 0 1px,transparent 1px 5px),"
    "repeating-linear-gradient(-45deg,#0008 0 1px,transparent 1px 5px)",
    "--": "repeating-linear-gradient(0deg,#0008 0 1px,transparent 1px 4px)",
    "//": "repeating-linear-gradient(-45deg,#0008 0 1px,transparent 1px 5px)",
}
COLUMNS, GAP = "repeat(auto-fit,minmax(min(18em,100%),1fr))", "0.5em"  # of the calls
LINE = "1px solid color-mix(in srgb, currentColor 45%, transparent)"


class Live:
    """The calls that are watched, as HTML and as one line of text; those of a scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def calls(self) -> list[Call]:
        """The calls of all requests that were sent, or wait to be."""
        return [call for made in self._scope.calls for call in made.sent]

    @property
    def replies(self) -> Replies:
        """What has arrived so far, of every call."""
        return Replies(call.reply() for call in self.calls)

    @property
    def total(self) -> int:
        """How many calls there are."""
        return len(self.calls)

    @property
    def ended(self) -> int:
        """How many calls have ended."""
        return sum(call.state == "done" for call in self.calls)

    @property
    def answered(self) -> tuple[int, int]:
        """How many calls have an answer, and how many there are; a second request is no call of its own."""
        made = self._scope.calls
        return sum(call.ok for call in made), len(made)

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

    def html(self, *, whole: bool = False) -> str:
        """All ``parts`` in one."""
        head, sections, more = self.parts(whole=whole)
        return framed(f"{head}{_grid(section for section, _ in sections)}{more}")

    def parts(self, *, whole: bool = False, bars: bool = True) -> tuple[str, list[tuple[str, bool]], str]:
        """The bars on a common clock; what each call has written, and whether it takes a line of its own; and the rest.

        Of many calls it shows those that are not done, and with ``whole`` all of them, the later ones folded.

        Args:
            whole: show all calls, and all of a long text, not just its end.
            bars: show the bars.
        """
        named = self._named()
        total = len(named)
        if total > MOST and not whole:
            named = [(name, call) for name, call in named if call.state != "done"]
        looked = [(name, call, call.reply()) for name, call in named]
        shown, folded = looked[:MOST], looked[MOST:] if whole else []
        head = f'<progress max="{total or 1}" value="{self.ended}" aria-label="calls ended"></progress> '
        head += f"{escape(self.line())}{_bars(shown) if bars else ''}"
        hidden = total - len(shown)
        more = f"<p>{hidden} more calls are not shown one by one.</p>" if hidden else ""
        if folded:
            inside = _grid(_section(*each, whole) for each in folded)
            more = f"<details><summary>{hidden} more calls</summary>{inside}</details>"
        return head, [(_section(*each, whole), _is_wide(each[1])) for each in shown], more

    def _named(self) -> list[tuple[str, Call]]:
        """The calls with their names: number, role and model. A second request has the number of the first."""
        named = []
        for number, made in enumerate(self._scope.calls, 1):
            for call in made.sent:
                role = call.request.role
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

    The panel is replaced as a whole each time, so nothing in it can be scrolled or selected before the end. In the
    playground each call stands for itself, and what has ended stays as it is.

    Args:
        coroutines: such as ``moa.mixture_of_agents(...)``, not yet awaited.

    Returns:
        The result, as awaiting it would give; of several coroutines, the list of their results.

    Raises:
        TypeError: there is none, or it is no coroutine; no call was made.
        BaseException: what a coroutine raised. The others are cancelled; its ``replies`` hold what has arrived.
    """
    try:
        if not coroutines or not all(asyncio.iscoroutine(each) for each in coroutines):
            raise TypeError("Give watch() calls that are not yet awaited: await moa.watch(moa.ask(...)).")
        view = progress_view()
    except BaseException:
        for each in coroutines:
            if asyncio.iscoroutine(each):
                each.close()
        raise
    scope = Scope()
    live = Live(scope)
    try:
        with scope.open():
            tasks = [asyncio.create_task(each) for each in coroutines]
            await follow(tasks, lambda last: view.update(live, last))
            found = results(tasks)
    finally:
        view.close()
    return found if len(found) > 1 else found[0]


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
        options: what is set at first: limits, ``layers``, ``robust``, ``stop_at`` and ``pick``, by the names of
            ``mixture_of_agents``.

    Returns:
        The playground. As the last line of a cell it shows itself; ``await play.run()`` runs it from code, and
        ``play.runs`` keeps the runs.

    Raises:
        TypeError, ValueError: the input is wrong.
        RuntimeError: this is no notebook.
    """
    from moa_helpers.ui.controls import Playground  # ipywidgets is not loaded before it is needed

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


class _Progress(Protocol):
    """What a view shows: how much of how much has ended, in a line of text and as HTML."""

    @property
    def ended(self) -> int: ...

    @property
    def total(self) -> int: ...

    def line(self) -> str: ...

    def html(self, *, whole: bool = False) -> str: ...


class _View(Protocol):
    """Where progress is shown."""

    def update(self, progress: _Progress, last: bool) -> None: ...

    def close(self) -> None: ...


class _Output:
    """The panel as an output of the cell, replaced in place."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._handle: Any = None

    def update(self, progress: _Progress, last: bool) -> None:
        from IPython.display import display

        bundle = {"text/html": progress.html(whole=last), "text/plain": progress.line()}
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

        self._bar = tqdm(total=0, bar_format="{bar:20} {desc}")

    def update(self, progress: _Progress, last: bool) -> None:
        self._bar.total, self._bar.n = progress.total, progress.ended
        self._bar.set_description_str(progress.line())

    def close(self) -> None:
        self._bar.close()


def progress_view() -> _View:
    """An output of the notebook's cell, or a progress bar on stderr."""
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython

        if hasattr(get_ipython(), "kernel"):
            return _Output()
    return _Bar()


def framed(inner: str) -> str:
    """A part of the panel for a place of its own."""
    return f'<div class="moa-live {STYLED}" style="padding:0">{inner}</div>'


def _grid(sections: Iterable[str]) -> str:
    return f'<div style="display:grid;grid-template-columns:{COLUMNS};gap:{GAP}">{"".join(sections)}</div>'


def _is_wide(call: Call) -> bool:
    return call.request.role == "aggregator"


def _bars(looked: Sequence[tuple[str, Call, Reply]]) -> str:
    if not looked:
        return ""
    zero = min(reply.started for _, _, reply in looked)
    whole = max(reply.ended for _, _, reply in looked) - zero or 1.0
    rows, shown = [], set()
    for name, call, reply in looked:
        pieces = []
        for kind, start, width in phases(reply):
            left, share = 100 * (reply.started - zero + start) / whole, 100 * width / whole
            place = f"position:absolute;left:{left:.2f}%;width:{share:.2f}%;min-width:2px;height:100%"
            pieces.append(f'<span style="{place};{_look(kind)}"></span>')
            shown.add(kind)
        rows.append(
            f'<span>{escape(name)}</span><span role="img" aria-label="{escape(f"{name}: {_words(call, reply)}")}" '
            f'style="position:relative;height:1em">{"".join(pieces)}</span><span>{seconds(reply.elapsed)}</span>'
        )
    swatch = "display:inline-block;width:1.5em;height:0.8em;margin:0 0.3em 0 1em"
    legend = "".join(f'<span style="{swatch};{_look(kind)}"></span>{kind}' for kind in PHASES if kind in shown)
    columns = "minmax(8em,max-content) minmax(8em,1fr) max-content"
    return (
        f'<div class="moa-bars" style="display:grid;grid-template-columns:{columns};gap:0.2em 0.8em;'
        f'margin:0.5em 0;overflow-wrap:anywhere">{"".join(rows)}</div><p style="margin:0 0 0.5em">{legend}</p>'
    )


def _look(kind: str) -> str:
    colour, pattern = PHASES[kind]
    return f"background:{SHADES[pattern]},{colour};box-sizing:border-box;border:1px solid #444".replace("none,", "")


def _section(name: str, call: Call, reply: Reply, whole: bool) -> str:
    usd, exact = _cost(call, reply)
    done = call.state == "done"
    many = count(reply.output_tokens) if done else f"about {tokens(reply.text):,}"
    cost = dollars(usd, reply.least_usd) if exact or usd is None else f"about {dollars(usd)}"
    cost = "cost unknown" if cost == "unknown" else cost
    facts = f"{_words(call, reply)} · {many} tokens · {cost}"
    box = "height:12em;overflow:auto;margin-top:0.4em"
    if done and (whole or len(reply.text) <= TAIL):
        text = rendered(reply.text) if reply.text else ""
    else:  # the end of the text stays in sight
        box += ";display:flex;flex-direction:column-reverse"
        cut = "… " if len(reply.text) > TAIL else ""
        text = f'<div dir="auto" style="unicode-bidi:isolate;{WRAP}">{escaped(cut + reply.text[-TAIL:])}</div>'
    problem = f"<p>{escaped(reply.failure.message)}</p>" if done and reply.failure else ""
    wide = "grid-column:1/-1;" if _is_wide(call) else ""
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
    between = call.state in ("queued", "pausing")
    before = sum(attempt.cost_usd or 0.0 for attempt in (reply.attempts if between else reply.attempts[:-1]))
    request = call.request
    now = request.model.cost(tokens((request.system or "") + request.prompt), tokens(reply.text))
    return (before if between else None if now is None else before + now), False
