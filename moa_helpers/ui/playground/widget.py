"""The playground itself: it puts controls, runs and outputs together.

A click takes effect on the event loop of the notebook, also where its message arrives in another thread, as with
JupyterLab's subshells.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import ipywidgets as widgets

from moa_helpers.fanout import fan_out
from moa_helpers.limits.members import Named
from moa_helpers.limits.purse import Estimate
from moa_helpers.limits.scope import Scope
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.offline.bank import points
from moa_helpers.results import Answer, Replies
from moa_helpers.ui.html import render
from moa_helpers.ui.panel import Live
from moa_helpers.ui.playground.choice import Choice, code_for, completed, in_labels, priced
from moa_helpers.ui.playground.controls import Controls
from moa_helpers.ui.playground.hinted import close_within
from moa_helpers.ui.playground.interrupts import interrupts
from moa_helpers.ui.playground.outputs import Outputs
from moa_helpers.ui.playground.runs import Run, estimated
from moa_helpers.ui.progress import follow
from moa_helpers.vendors.settings import current

MOST_OPEN = 8  # playgrounds; each is some two hundred widgets, in the kernel and on the page


class Playground(widgets.VBox):  # type: ignore[misc]
    """Controls for a mixture, and what comes of it; ``moa.playground()`` makes one, a cell shows it.

    ``runs`` keeps every ``Run``, the newest last. It is closed once ``MOST_OPEN`` newer ones are there; its runs stay.
    """

    _open: ClassVar[list["Playground"]] = []

    def __init__(self, asked: Choice, models: Sequence[Named] | None) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            instead = "moa.run(moa.watch(moa.mixture_of_agents(...)))"
            raise RuntimeError(f"moa.playground() needs a notebook. Elsewhere, use {instead}.") from None
        self._given = asked
        self._ready = "ready"
        if before := len(asked.before):
            self._ready += f"; the prompt is the last message of a conversation, after {before} others"
        if Counter(map(str, models or ())) != Counter(map(str, asked.listed)):
            self._ready += f"; your list differs: here each model is asked equally often, {asked.samples} × at first"
        self.runs: list[Run] = []
        self._work: asyncio.Task[Any] | None = None  # the calls
        self._started: asyncio.Task[Run] | None = None  # the run that the button Run began
        for other in self._open:
            other.stop()
        for other in self._open[: 1 - MOST_OPEN]:
            other.close()
        later = self._loop.call_soon_threadsafe
        self._outputs = Outputs(lambda: later(self._load))
        actions = {"run": self._run, "stop": self.stop, "reset": self._reset}
        self._controls = Controls(later, self._changed, self._outputs.say, **actions)
        super().__init__([*self._controls.parts, *self._outputs.parts])
        self._open.append(self)
        self.add_class("moa-playground")
        self._reset()

    def close(self) -> None:
        """Close it and all its widgets; ``runs`` stay."""
        if self in self._open:
            self._open.remove(self)
        close_within(self)
        super().close()

    def __repr__(self) -> str:
        return "The playground: run this cell to see its controls."

    async def run(self) -> Run:
        """Run what is chosen and show it while it happens, as the button does.

        Raises:
            TypeError, ValueError: what is chosen makes no sense; no call was made.
            RuntimeError: a run is under way.
        """
        if self._work is not None:
            raise RuntimeError("A run is under way: wait for its end, or stop it.")
        scope = Scope()
        try:
            return await self._run_in(scope)
        except Exception as error:
            with suppress(Exception):  # the page may be gone; that must hide nothing
                if not scope.calls:
                    self._outputs.clear()  # else an older run would look like this one
                said = f"Failed. {_words(error)}" if scope.calls else f"Not run. {in_labels(_words(error))}"
                self._outputs.say(said, alert=True)
            raise

    def stop(self) -> None:
        """Cancel the run that is under way, if there is one; what has arrived stays."""
        if work := self._work or self._started:  # the button's run may not have made its calls yet
            work.cancel()

    async def _run_in(self, scope: Scope) -> Run:
        choice, arguments, code, planned = self._planned()
        live = Live(scope)
        work = self._work = asyncio.create_task(_call(arguments), context=scope.context())
        try:
            with suppress(Exception):
                self._controls.enable(running=True)
                self._outputs.begin(code)
            with interrupts(self.stop) as keep:

                def show(last: bool) -> None:
                    keep()
                    self._outputs.calls.show(live, whole=last)

                await follow([work], show)
        finally:
            self._work = None
            problem = None if work.cancelled() else work.exception()
            answer = None if work.cancelled() or problem else work.result()
            why = _words(problem) if problem else ""
            answered = f"{sum(call.ok for call in scope.calls)} of {max(planned.calls, len(scope.calls))}"
            replies = Replies(call.reply() for call in live.calls)
            run = Run(code, arguments, planned, answer, replies, answered, choice, live, why)
            self.runs += [run] if scope.calls else []
            with suppress(Exception):
                self._controls.enable(running=False)
                if scope.calls:
                    self._finish()
                elif not problem:
                    self._outputs.clear()
                    self._outputs.say("stopped before the first call")
        if problem:
            raise problem
        return run

    def _finish(self) -> None:
        try:
            self._outputs.finish(self.runs)
        except Exception as error:
            self._outputs.say(f"What came is in runs[-1], but it cannot be drawn: {_words(error)}", alert=True)

    def _planned(self) -> tuple[Choice, dict[str, Any], str, Estimate]:
        now = current()  # setup() may have been run in another cell
        if (now.mode, now.key_sources) != (self._settings.mode, self._settings.key_sources):
            raise ValueError("The settings have changed: press Reset.")
        choice = self._controls.choice
        arguments = choice.arguments
        return choice, arguments, code_for(arguments, choice.samples), priced(arguments)

    def _changed(self) -> None:
        try:
            *_, planned = self._planned()
            text = estimated(planned)
            if self._settings.mode == "offline":
                text += " Offline nothing is charged."
                known = points(self._controls.choice.prompt, "")
                text += "" if known else " The stand-ins know only the prepared questions."
        except (TypeError, ValueError) as error:
            text = in_labels(str(error))
        if not self._controls.can_choose:
            instead = "Without a key, run moa.setup('offline') and press Reset."
            text = f"No model can be asked now: the list says why. {instead}"
        self._controls.estimate.value = render("play_text.html", text=text)

    def _reset(self) -> None:
        if self._busy:
            return  # a click that was waiting in a busy kernel
        self._settings = current()
        choice, models = completed(self._given, self._settings)
        self._outputs.clear()
        self._controls.enable(running=False)
        self._controls.fill(choice, models, prepared=self._settings.mode == "offline")
        wanted, instead = self._given.aggregator, choice.aggregator
        replaced = f"; {wanted} cannot be asked now, so the aggregator is {instead}"
        self._outputs.say(self._ready + replaced * (wanted not in ("", instead)))

    def _load(self) -> None:
        if self._outputs.wanted and not self._busy:
            run = self.runs[self._outputs.wanted - 1]
            choice, models = completed(run.choice, self._settings)
            self._controls.fill(choice, models, prepared=self._settings.mode == "offline")
            self._outputs.show(run)
            self._outputs.say(f"run {self._outputs.wanted} again: {run.heading}")

    def _run(self) -> None:
        if not self._busy:
            self._started = self._loop.create_task(self.run())
            # What it raises is on the screen already.
            self._started.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def _busy(self) -> bool:
        return self._work is not None or not (self._started is None or self._started.done())


def _call(arguments: Mapping[str, Any]) -> Coroutine[Any, Any, Answer | Replies]:
    if "aggregator" in arguments:
        return mixture_of_agents(**arguments)
    return fan_out(**{"models" if name == "reference_models" else name: value for name, value in arguments.items()})


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
