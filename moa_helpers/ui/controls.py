"""The playground's controls. They use only those ipywidgets that versions 7.7 (Google Colab) and 8 have in common.

All that happens on a click happens on the event loop of the notebook, also where the front end's messages arrive in a
thread of their own, as with JupyterLab's subshells.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import date
from typing import Any, ClassVar
from weakref import WeakSet

import ipywidgets as widgets

from moa_helpers import catalogue, offline
from moa_helpers.fanout import fan_out
from moa_helpers.limits.inputs import check_manner, check_number, requests
from moa_helpers.limits.purse import Estimate
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.values import Limits
from moa_helpers.mixture import mixture_of_agents
from moa_helpers.plan import plan_fan_out, plan_mixture
from moa_helpers.results import Answer, Replies
from moa_helpers.ui.html import STYLED, escaped
from moa_helpers.ui.interrupts import interrupts
from moa_helpers.ui.panel import Live, follow
from moa_helpers.ui.runs import Run, code_for, comparison_html, estimated, result_html
from moa_helpers.ui.watched import Watched
from moa_helpers.vendors import environment
from moa_helpers.vendors.settings import Settings, current

NO_AGGREGATOR = "none: only the proposers"
MOST_SAMPLES, MOST_LAYERS = 6, 6
LIMITS = {  # the optional arguments -> what an empty field means, and the unit
    "timeout": "60 seconds",
    "retries": "2 times",
    "deadline": "off; seconds",
    "quorum": "off; how many answers",
    "grace": "0 seconds",
    "hedge_after": "off; seconds",
    "hedge_with": "the same model",
    "max_concurrency": "off; 8, or mistral=2, all=8",
    "max_calls": "off; how many",
    "budget_usd": "off; US dollars",
    "max_tokens": "2048 tokens",
    "stop_at": "off; a share of sentences, up to 1",
}
SWITCHES = {"robust": "leave out what agrees too little", "pick": "name the best answer, write none"}
OF_MIXTURES = {"layers", "stop_at", *SWITCHES}  # what the proposers alone have no use for
_NAME = re.compile(r"[\w.:/@+-]+")  # what a model may be called here: ipywidgets 7 takes a label for HTML
_WIDE = {"description_width": "initial"}


class Playground(widgets.VBox):  # type: ignore[misc]
    """Controls for a mixture, and what comes of it; ``moa.playground()`` makes one, a cell shows it.

    ``runs`` keeps every ``Run``, the newest last.
    """

    _made: ClassVar[WeakSet[Playground]] = WeakSet()

    def __init__(
        self,
        prompt: str | None,
        reference_models: Sequence[str] | None,
        aggregator: str | None,
        options: dict[str, Any],
    ) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "moa.playground() needs a notebook. Elsewhere, use moa.run(moa.watch(moa.mixture_of_agents(...)))."
            ) from None
        _check_given(prompt, reference_models, aggregator, options)
        counts = Counter(reference_models or ())
        self.runs: list[Run] = []
        self._work: asyncio.Task[Any] | None = None  # the calls
        self._started: asyncio.Task[Run] | None = None  # what the button Run began: it makes them
        samples = min(max(counts.values(), default=1), MOST_SAMPLES)
        given = {name: value for name, value in options.items() if value is not None}
        self._given = prompt, list(counts), samples, aggregator, given
        self._ready = "ready"
        if any(often != samples for often in counts.values()):
            self._ready += f"; your list differs: here each model is asked equally often, {samples} × at first"
        for other in Playground._made:
            other.stop()
        super().__init__(self._build())
        Playground._made.add(self)
        self.add_class("moa-playground")
        self._reset()

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
        live = Live(scope)
        try:
            return await self._run_and_show(live, scope)
        except Exception as error:
            self._say(f"{'Failed' if live.calls else 'Not run'}. {str(error) or type(error).__name__}", alert=True)
            raise

    async def _run_and_show(self, live: Live, scope: Scope) -> Run:
        arguments, code, planned, coroutine = self._prepare()
        work = self._work = asyncio.create_task(coroutine, context=scope.context())
        self._begin(code)
        try:
            with interrupts(self.stop) as keep:

                def show(last: bool) -> None:
                    keep()
                    self._live.show(live, whole=last)

                await follow([work], show)
        finally:
            self._work = None
            self._enable(running=False)
            problem = None if work.cancelled() else work.exception()
            answer = None if work.cancelled() or problem else work.result()
            why = "" if problem is None else str(problem) or type(problem).__name__
            run = Run(code, arguments, planned, answer, live.replies, live.answered, why)
            if live.calls:
                self.runs.append(run)
                self._finish(run, live)
        if problem:
            raise problem
        return run

    def stop(self) -> None:
        """Cancel the run that is under way, if there is one; what has arrived stays."""
        if work := self._work or self._started:  # of which the second may not have come to make the first
            work.cancel()

    def _build(self) -> list[Any]:
        """Make the controls, each with a label, in the order in which Tab reaches them."""
        wide = {"width": "auto", "min_width": "0"}
        full = widgets.Layout(**wide)  # of all that is always shown
        self._models = widgets.VBox(
            layout=widgets.Layout(
                max_height="15em", overflow="auto", border="1px solid #8888", flex_flow="column nowrap"
            )
        )
        self._models.add_class("moa-models")
        self._boxes: dict[str, Any] = {}
        self._samples = widgets.Dropdown(
            description="Samples of each", options=list(range(1, MOST_SAMPLES + 1)), style=_WIDE
        )
        self._aggregator = widgets.Dropdown(description="Aggregator", options=[NO_AGGREGATOR], style=_WIDE, layout=full)
        self._layers = widgets.Dropdown(description="Layers", options=list(range(2, MOST_LAYERS + 1)), style=_WIDE)
        self._prepared = widgets.Dropdown(
            description="Prepared question", options=[""], style=_WIDE, layout=widgets.Layout(**wide)
        )
        self._prompt = widgets.Textarea(
            description="Prompt", style=_WIDE, layout=widgets.Layout(width="auto", height="5em")
        )
        self._unfold = widgets.Checkbox(description="Limits", indent=False, value=False)
        self._limits = {
            name: widgets.Text(description=name, placeholder=hint, style={"description_width": "9em"}, layout=full)
            for name, hint in LIMITS.items()
        }
        self._switches = {
            name: widgets.Checkbox(description=f"{name}: {meaning}", indent=False) for name, meaning in SWITCHES.items()
        }
        columns = "repeat(auto-fit, minmax(min(22em, 100%), 1fr))"
        self._folded = widgets.GridBox(
            [*self._limits.values(), *self._switches.values()],
            layout=widgets.Layout(display="none", grid_template_columns=columns, grid_gap="0 1em"),
        )
        self._run, self._stop, self._clear = (
            widgets.Button(description=name, tooltip=tip, button_style=style)
            for name, tip, style in (
                ("Run", "Ask the chosen models", "primary"),
                ("Stop", "Cancel the calls; what has arrived stays", ""),
                ("Reset", "Back to what was chosen at first; the table of runs stays", ""),
            )
        )
        self._live = Watched()
        self._expected, self._status, self._result, self._table = (
            widgets.HTML(layout=full).add_class(name) for name in ("moa-estimate", "moa-said", "moa-result", "moa-runs")
        )
        self._code = widgets.Textarea(
            description="Code that does the same",
            style=_WIDE,
            layout=widgets.Layout(width="auto", height="11em", display="none"),
        ).add_class("moa-code")
        choices = [self._samples, self._aggregator, self._layers, self._prepared, self._prompt]
        for control in (*choices, *self._limits.values(), *self._switches.values()):
            control.observe(lambda change: self._on_loop(self._changed), "value")
        self._prepared.observe(lambda change: self._on_loop(self._take_prepared), "value")
        self._prompt.observe(lambda change: self._on_loop(self._leave_prepared), "value")
        self._unfold.observe(lambda change: self._on_loop(self._fold), "value")
        self._run.on_click(lambda button: self._on_loop(self._start))
        self._stop.on_click(lambda button: self._on_loop(self.stop))
        self._clear.on_click(lambda button: self._on_loop(self._reset))
        title = widgets.HTML("<strong>Reference models</strong>")
        left = widgets.VBox([title, self._models, self._samples])
        right = widgets.VBox([self._aggregator, self._layers, self._prepared, self._prompt, self._unfold])
        chosen = widgets.GridBox([left, right], layout=widgets.Layout(grid_template_columns=columns, grid_gap="0 1em"))
        buttons = widgets.HBox([self._run, self._stop, self._clear], layout=widgets.Layout(flex_flow="row wrap"))
        shown = [self._status, self._live, self._result, self._code, self._table]
        return [chosen, self._folded, self._expected, buttons, *shown]

    def _on_loop(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _reset(self) -> None:
        """Put the controls to what was given, and to which models can run now; during a run it does nothing."""
        if self._busy:
            return  # a click that was waiting in a busy kernel
        prompt, names, samples, aggregator, options = self._given
        settings = self._settings = current()
        models = {model.name: model for model in map(catalogue.find, _offered(settings))}
        models |= {name: catalogue.find(name) for name in [*names, *([aggregator] if aggregator else [])]}
        obstacles = {name: _obstacle(model, settings) for name, model in models.items()}
        can = [name for name in models if obstacles[name] is None]
        small = {models[name].vendor.name: name for name in reversed(can) if models[name].tier == "small"}
        chosen = names or list(reversed(small.values())) or can[:3]
        place = {name: number for number, name in enumerate(chosen)}  # the order can matter to the aggregator
        self._boxes = {
            name: widgets.Checkbox(
                description=f"{name} ({why})" if why else name,
                value=why is None and name in chosen,
                disabled=why is not None,
                indent=False,
                layout=widgets.Layout(width="auto"),
            )
            for name, why in sorted(
                obstacles.items(), key=lambda item: (item[1] is not None, place.get(item[0], len(place)))
            )
        }
        for box in self._boxes.values():
            box.observe(lambda change: self._on_loop(self._changed), "value")
        self._models.children = tuple(self._boxes.values())
        self._samples.value = samples
        self._aggregator.options = [*can, NO_AGGREGATOR]
        self._aggregator.value = next(
            name for name in (aggregator, *chosen, NO_AGGREGATOR) if name in [*can, NO_AGGREGATOR]
        )
        self._layers.value = options.get("layers", 2)
        prepared = [question.prompt for question in offline.questions()]
        self._prepared.options = [("choose one", ""), *((text, text) for text in prepared)]
        self._prepared.layout.display = None if settings.mode == "offline" else "none"
        self._prompt.value = prompt or prepared[0]
        for name, field in self._limits.items():
            value = options.get(name, "")
            field.value = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        for name, box in self._switches.items():
            box.value = options.get(name, False)
        self._unfold.value = bool(options.keys() - {"layers"})
        self._live.show(None)
        self._result.value = self._code.value = ""
        self._code.layout.display = "none"
        instead = f"; {aggregator} cannot be asked now, so the aggregator is {self._aggregator.value}"
        self._say(self._ready + instead * (aggregator not in (None, self._aggregator.value)))
        self._enable(running=False)
        self._fold()
        self._changed()

    def _fold(self) -> None:
        self._folded.layout.display = "grid" if self._unfold.value else "none"

    def _take_prepared(self) -> None:
        if self._prepared.value:
            self._prompt.value = self._prepared.value

    def _is_prepared(self) -> bool:
        try:
            offline.score(self._prompt.value, "")
        except ValueError:
            return False
        return True

    def _leave_prepared(self) -> None:
        """So that a prepared question can be chosen again once the prompt is another."""
        if self._prompt.value != self._prepared.value:
            self._prepared.value = ""

    def _changed(self) -> None:
        """Say what a run of what is chosen would cost, or why it cannot be run."""
        for name, control in {"layers": self._layers, **self._limits, **self._switches}.items():
            control.disabled = self._alone and name in OF_MIXTURES
        try:
            text = estimated(self._estimate(self._arguments()))
            if current().mode == "offline":
                unknown = " The stand-ins know the prepared questions alone." if not self._is_prepared() else ""
                text += f" Offline nothing is charged.{unknown}"
        except (TypeError, ValueError) as error:
            text = str(error)
        if all(box.disabled for box in self._boxes.values()):
            text = "No model can be asked now: the list says why. Without keys, moa.setup('offline') and Reset help."
        self._expected.value = f'<div class="{STYLED}">{escaped(text)}</div>'

    @property
    def _alone(self) -> bool:
        """Whether the proposers are asked without an aggregator."""
        return bool(self._aggregator.value == NO_AGGREGATOR)

    def _arguments(self) -> dict[str, Any]:
        """What is chosen, by the names of the arguments; those that are left at their defaults are left out."""
        now = current()  # setup() may have been run in another cell
        if (now.mode, now.key_sources) != (self._settings.mode, self._settings.key_sources):
            raise ValueError("The settings have changed: press Reset.")
        models = [name for name, box in self._boxes.items() if box.value]
        chosen: dict[str, Any] = {"prompt": self._prompt.value, "reference_models": models * self._samples.value}
        if not self._alone:
            chosen["aggregator"] = self._aggregator.value
            chosen |= {"layers": self._layers.value} if self._layers.value != 2 else {}
            chosen |= {name: True for name, box in self._switches.items() if box.value}
        fields = {name: field.value.strip() for name, field in self._limits.items()}
        unused = OF_MIXTURES if self._alone else ()
        return chosen | {name: _read(name, text) for name, text in fields.items() if text and name not in unused}

    def _estimate(self, arguments: dict[str, Any]) -> Estimate:
        """The price of what is chosen; raises ValueError for limits that make no sense, or are below the plan."""
        if not arguments["reference_models"]:
            raise ValueError("No reference model is ticked: tick at least one.")
        if "aggregator" in arguments:
            return plan_mixture(**arguments).estimate
        rest = {name: value for name, value in arguments.items() if name != "reference_models"}
        return plan_fan_out(arguments["reference_models"], **rest).estimate

    def _prepare(self) -> tuple[dict[str, Any], str, Estimate, Coroutine[Any, Any, Answer | Replies]]:
        arguments = self._arguments()
        planned = self._estimate(arguments)
        code = code_for(arguments, self._samples.value)
        if "aggregator" in arguments:
            return arguments, code, planned, mixture_of_agents(**arguments)
        rest = {name: value for name, value in arguments.items() if name not in ("prompt", "reference_models")}
        return arguments, code, planned, fan_out(arguments["reference_models"], arguments["prompt"], **rest)

    def _start(self) -> None:
        if not self._busy:
            self._started = self._loop.create_task(self.run())
            # What it raises is on the screen already.
            self._started.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def _busy(self) -> bool:
        return self._work is not None or not (self._started is None or self._started.done())

    def _begin(self, code: str) -> None:
        self._enable(running=True)
        self._say("running…")
        self._result.value = ""
        self._code.value, self._code.layout.display = code, None

    def _enable(self, *, running: bool) -> None:
        self._run.disabled = self._clear.disabled = running
        self._stop.disabled = not running

    def _say(self, text: str, *, alert: bool = False) -> None:
        role = "alert" if alert else "status"
        self._status.value = (
            f'<div class="moa-status mathjax_ignore" role="{role}"><strong>{escaped(text)}</strong></div>'
        )

    def _finish(self, run: Run, live: Live) -> None:
        self._say(run.heading)
        self._table.value = comparison_html(self.runs)
        if run.answer is not None:
            self._live.show(live, whole=True, bars=False)  # the timeline shows them
            self._result.value = result_html(run)


def _check_given(
    prompt: str | None, reference_models: Sequence[str] | None, aggregator: str | None, options: dict[str, Any]
) -> None:
    """Raise TypeError or ValueError unless all of it is what ``mixture_of_agents`` takes, and has a control here."""
    unknown = sorted(options.keys() - {*LIMITS, *OF_MIXTURES})
    if unknown:
        known = ", ".join(["layers", *SWITCHES, *LIMITS])
        raise TypeError(f"playground() takes no {', '.join(unknown)}; it takes {known}.")
    names = [] if reference_models is None else [*requests(reference_models, "?")]
    for name in (aggregator, options.get("hedge_with")):
        names += [] if name is None else requests([name], "?")
    if wrong := [one.model.name for one in names if not _NAME.fullmatch(one.model.name)]:
        raise ValueError(f"{wrong[0]!r} cannot stand in the list: write 'vendor:model-id', without spaces and signs.")
    if prompt is not None or "max_tokens" in options:
        requests(["openai:any"], "?" if prompt is None else prompt, max_tokens=options.get("max_tokens", 1))
    _limits(options)
    layers = options.get("layers", 2)
    check_number("layers", layers, least=2, whole=True)
    if layers > MOST_LAYERS:
        raise ValueError(f"layers is {layers}; the playground goes up to {MOST_LAYERS}.")
    manner = {"robust": False, "stop_at": None, "pick": False, **options}
    check_manner(**{name: manner[name] for name in ("robust", "stop_at", "pick")}, shuffle_seed=None)


def _limits(arguments: dict[str, Any]) -> Limits:
    """The limits among some arguments; raises TypeError or ValueError for those that make no sense."""
    return Limits.of({name: value for name, value in arguments.items() if name in Limits.__dataclass_fields__})


def _offered(settings: Settings) -> list[str]:
    """The names of the catalogue, and of what runs on this machine or is free on Colab."""
    return [*catalogue.listed(), *filter(_NAME.fullmatch, settings.free_models)]


def _obstacle(model: catalogue.Model, settings: Settings) -> str | None:
    """Why a model cannot be asked now, in a few words; None if it can."""
    if model.shutdown_date is not None and model.shutdown_date <= date.today():
        return f"shut down on {model.shutdown_date}"
    if settings.mode == "offline":
        return "real and free: after moa.setup('live')" if model.name in settings.free_models else None
    if model.vendor.api == "colab" and environment.colab.ai() is None:
        return "only on Google Colab"
    key = model.vendor.key_variable
    return f"no key: set {key}" if key and not settings.value(key) else None


def _read(name: str, text: str) -> Any:
    """What a field says: a name, a number, or numbers by vendor."""
    if name == "hedge_with":
        return text.strip()
    if "=" in text:
        pairs = [part.partition("=") for part in text.split(",")]
        return {vendor.strip(): _number(name, number) for vendor, _, number in pairs}
    return _number(name, text)


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text.strip()!r}: write a number, or leave the field empty.") from None
