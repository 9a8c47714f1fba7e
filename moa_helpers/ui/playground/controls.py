"""The playground's controls. They use only what versions 7.7 (Google Colab) and 8 of ipywidgets have in common."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ipywidgets as widgets

from moa_helpers import offline
from moa_helpers.ui.html import render
from moa_helpers.ui.playground.choice import LIMITS, MOST, NO_AGGREGATOR, OF_MIXTURES, SWITCHES, Choice
from moa_helpers.ui.playground.outputs import close_all

Action = Callable[[], None]


class Controls:
    """The controls, each with a label; ``parts`` has them in the order in which Tab reaches them.

    All actions are run through ``later``, on the event loop of the notebook.
    """

    def __init__(
        self, later: Callable[[Action], object], changed: Action, *, run: Action, stop: Action, reset: Action
    ) -> None:
        self._later, self._tell = later, changed
        full = widgets.Layout(width="auto", min_width="0")  # of what is always shown
        own = widgets.Layout(width="auto", min_width="0")  # of what is not
        tall = widgets.Layout(width="auto", height="5em")
        frame = {"max_height": "15em", "overflow": "auto", "border": "1px solid #8888", "flex_flow": "column nowrap"}
        self._list = widgets.VBox(layout=widgets.Layout(**frame)).add_class("moa-models")
        self._models: dict[str, widgets.Checkbox] = {}
        self._filled = Choice()
        label = {"style": {"description_width": "initial"}}  # as wide as its text
        samples = widgets.Dropdown(description="Samples of each", options=[*range(1, MOST["samples"] + 1)], **label)
        aggregator = widgets.Dropdown(description="Aggregator", options=[NO_AGGREGATOR], layout=full, **label)
        layers = widgets.Dropdown(description="Layers", options=[*range(2, MOST["layers"] + 1)], **label)
        prompt = widgets.Textarea(description="Prompt", layout=tall, **label)
        self._prepared = widgets.Dropdown(description="Prepared question", options=[""], layout=own, **label)
        look = {"style": {"description_width": "9em"}, "layout": full}
        limits = {name: widgets.Text(description=name, placeholder=hint, **look) for name, hint in LIMITS.items()}
        switches = {
            name: widgets.Checkbox(description=f"{name}: {what}", indent=False) for name, what in SWITCHES.items()
        }
        self._options: dict[str, Any] = limits | switches  # by the fields of ``Choice``, as are these:
        self._choices = {"samples": samples, "aggregator": aggregator, "layers": layers, "prompt": prompt}
        self._unfold = widgets.Checkbox(description="Limits", indent=False)
        grid = {"grid_template_columns": "repeat(auto-fit, minmax(min(22em, 100%), 1fr))", "grid_gap": "0 1em"}
        self._folded = widgets.GridBox([*self._options.values()], layout=widgets.Layout(display="none", **grid))
        self.estimate = widgets.HTML(layout=full).add_class("moa-estimate")
        self._run = self._button("Run", "Ask the chosen models", run, button_style="primary")
        self._stop = self._button("Stop", "Cancel the calls; what has arrived stays", stop)
        self._reset = self._button("Reset", "Back to what was chosen at first; the table of runs stays", reset)
        self._listen(self._changed, *self._choices.values(), self._prepared, *self._options.values())
        self._listen(self._take_prepared, self._prepared)
        self._listen(self._leave_prepared, prompt)
        self._listen(self._fold, self._unfold)
        title = widgets.HTML(render("play_text.html", text="Reference models", strong=True))
        left = widgets.VBox([title, self._list, samples])
        right = widgets.VBox([aggregator, layers, self._prepared, prompt, self._unfold])
        chosen = widgets.GridBox([left, right], layout=widgets.Layout(**grid))
        buttons = widgets.HBox([self._run, self._stop, self._reset], layout=widgets.Layout(flex_flow="row wrap"))
        self.parts = [chosen, self._folded, self.estimate, buttons]

    def _button(self, label: str, tip: str, pressed: Action, **look: str) -> widgets.Button:
        button = widgets.Button(description=label, tooltip=tip, **look)
        button.on_click(lambda button: self._later(pressed))
        return button

    def _listen(self, action: Action, *controls: Any) -> None:
        for control in controls:
            control.observe(lambda change: self._later(action), "value")

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        models = tuple(name for name, box in self._models.items() if box.value)
        options = {name: control.value for name, control in self._options.items()}
        chosen: dict[str, Any] = {name: each.value for name, each in self._choices.items()}
        return replace(self._filled, models=models, options=options, **chosen)

    @property
    def can_choose(self) -> bool:
        """Whether any model can be asked."""
        return not all(box.disabled for box in self._models.values())

    def fill(self, choice: Choice, models: Mapping[str, str], *, prepared: bool) -> None:
        """Put the controls to a choice. Its models come first, in its order: that can matter to the aggregator.

        ``models`` has all models, each with why it cannot be asked, or "".
        """
        self._filled = choice
        place = {name: number for number, name in enumerate(choice.models)}
        order = sorted(models, key=lambda name: (models[name] != "", place.get(name, len(place))))
        before = [*self._models.values()]
        self._models = {
            name: widgets.Checkbox(
                description=f"{name} ({models[name]})" if models[name] else name,
                value=name in place and not models[name],
                disabled=bool(models[name]),
                indent=False,
                layout=widgets.Layout(width="auto"),
            )
            for name in order
            if not isinstance(choice.meant.get(name), list)  # aggregators, one after the other
        }
        self._listen(self._changed, *self._models.values())
        self._list.children = tuple(self._models.values())
        close_all(before)
        self._choices["aggregator"].options = [*(name for name, why in models.items() if not why), NO_AGGREGATOR]
        questions = [question.prompt for question in offline.questions()]
        self._prepared.options = [("choose one", ""), *zip(questions, questions, strict=True)]
        self._prepared.layout.display = None if prepared else "none"
        for name, control in self._choices.items():
            control.value = getattr(choice, name)
        for name, control in self._options.items():
            control.value = choice.options.get(name, False if name in SWITCHES else "")
        self._unfold.value = bool(choice.options)
        self._fold()
        self._changed()

    def enable(self, *, running: bool) -> None:
        """Enable Run and Reset, or while a run is under way, Stop."""
        self._run.disabled = self._reset.disabled = running
        self._stop.disabled = not running

    def _changed(self) -> None:
        alone = self.choice.alone
        for name, control in (self._choices | self._options).items():
            control.disabled = alone and name in OF_MIXTURES
        self._tell()

    def _fold(self) -> None:
        self._folded.layout.display = "grid" if self._unfold.value else "none"

    def _take_prepared(self) -> None:
        if self._prepared.value:
            self._choices["prompt"].value = self._prepared.value

    def _leave_prepared(self) -> None:
        if self._choices["prompt"].value != self._prepared.value:
            self._prepared.value = ""  # so that it can be chosen again
