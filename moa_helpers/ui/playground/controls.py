"""The playground's controls. They use only what versions 7.7 (Google Colab) and 8 of ipywidgets have in common."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ipywidgets as widgets

from moa_helpers import offline
from moa_helpers.ui.html import render
from moa_helpers.ui.playground.choice import LIMITS, MOST, NO_AGGREGATOR, OF_MIXTURES, SWITCHES, Choice, obstacle
from moa_helpers.ui.playground.hinted import close_within, hinted

Action = Callable[[], None]


class Controls:
    """The controls, each with a label and a tooltip; ``parts`` has them in the order in which Tab reaches them.

    All actions are run through ``later``, on the event loop of the notebook. No button is ever disabled: one that is
    would lose the focus to the page. What one would type is no list: typed there, letters are commands to JupyterLab.
    """

    def __init__(
        self, later: Callable[[Action], object], changed: Action, say: Callable[..., object], **actions: Action
    ) -> None:
        self._later, self._tell, self._say = later, changed, say
        full = widgets.Layout(width="auto", min_width="0")
        tall, small = widgets.Layout(width="auto", height="5em"), widgets.Layout(width="12em")
        self._list = widgets.VBox().add_class("moa-models")
        self._models: dict[str, widgets.Checkbox] = {}  # those that are in the list, ticked or not
        self._why: dict[str, str] = {}  # every model, and why it cannot be asked
        self._filled = Choice()
        self._offered: dict[str, str] = {}  # the suggestions, and the model that each is
        # It gives its text on Enter, or when it is left: a message about Enter alone could come before the text.
        entry = {"continuous_update": False, "placeholder": "vendor:model-id"}
        self._add = hinted(widgets.Combobox, "add", layout=widgets.Layout(min_width="0", flex="1"), **entry)
        add = self._button("Add", "Put this model into the list", self._take_model, layout=widgets.Layout(width="4em"))
        samples = hinted(widgets.BoundedIntText, "samples", min=1, max=MOST["samples"], layout=small)
        aggregator = hinted(widgets.Dropdown, "aggregator", options=[NO_AGGREGATOR], layout=full)
        layers = hinted(widgets.BoundedIntText, "layers", min=2, max=MOST["layers"], layout=small)
        prompt = hinted(widgets.Textarea, "prompt", layout=tall)
        own = widgets.Layout(width="auto", min_width="0")  # of what is not always shown
        self._prepared = hinted(widgets.Dropdown, "prepared", options=[""], layout=own)
        look = {"style": {"description_width": "11em"}, "layout": full}
        limits = {name: hinted(widgets.Text, name, **look) for name in LIMITS}
        switches = {name: hinted(widgets.Checkbox, name, indent=False, layout=full) for name in SWITCHES}
        self._options: dict[str, Any] = limits | switches  # by the fields of ``Choice``, as are these:
        self._choices = {"samples": samples, "aggregator": aggregator, "layers": layers, "prompt": prompt}
        self._unfold = widgets.ToggleButton(
            layout=widgets.Layout(width="14em"), tooltip="Show or hide the limits. What is set counts, shown or hidden."
        )
        grid = {"grid_template_columns": "repeat(auto-fit, minmax(min(22em, 100%), 1fr))", "grid_gap": "0 1em"}
        self._folded = widgets.GridBox([*self._options.values()], layout=widgets.Layout(display="none", **grid))
        self.estimate = widgets.HTML(layout=full).add_class("moa-estimate")
        self._run = self._button("Run", "Ask the chosen models", actions["run"])
        self._stop = self._button("Stop", "Cancel the calls; what has arrived stays", actions["stop"])
        again = self._button("Reset", "Back to what was chosen at first; the table of runs stays", actions["reset"])
        self._listen(self._changed, *self._choices.values(), self._prepared, *self._options.values())
        self._listen(self._take_model, self._add)
        self._listen(self._take_prepared, self._prepared)
        self._listen(self._leave_prepared, prompt)
        self._listen(self._fold, self._unfold)
        title = widgets.HTML(render("play_text.html", text="Reference models", strong=True))
        left = widgets.VBox([title, self._list, widgets.HBox([self._add, add]), samples])
        right = widgets.VBox([aggregator, layers, self._prepared, prompt, self._unfold])
        chosen = widgets.GridBox([left, right], layout=widgets.Layout(**grid))
        buttons = widgets.HBox([self._run, self._stop, again], layout=widgets.Layout(flex_flow="row wrap"))
        self.parts = [chosen, self._folded, self.estimate, buttons]

    def _button(self, label: str, tip: str, pressed: Action, **look: Any) -> widgets.Button:
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
        return "" in self._why.values()

    def fill(self, choice: Choice, models: Mapping[str, str], *, prepared: bool) -> None:
        """Put the controls to a choice. ``models`` has all models, each with why it cannot be asked, or ""."""
        self._filled, self._why = choice, dict(models)
        close_within(self._models.values())
        self._models = {}
        for name in choice.models:
            self._tick(name)
        single = [name for name in models if not isinstance(choice.meant.get(name), list)]
        self._offered = {_labelled(name, models[name]): name for name in single}
        self._add.options, self._add.value = tuple(self._offered), ""
        self._choices["aggregator"].options = [*(name for name, why in models.items() if not why), NO_AGGREGATOR]
        questions = [question.prompt for question in offline.questions()]
        self._prepared.options = [("choose one", ""), *zip(questions, questions, strict=True)]
        self._prepared.layout.display = None if prepared else "none"
        for name, control in self._choices.items():
            control.value = getattr(choice, name)
        for name, control in self._options.items():
            control.value = choice.options.get(name, False if name in SWITCHES else "")
        self._unfold.value = any(choice.options.values())
        self._fold()

    def enable(self, *, running: bool) -> None:
        """Show which of Run and Stop is of use now."""
        self._run.button_style, self._stop.button_style = ("", "warning") if running else ("primary", "")

    def _tick(self, name: str) -> None:
        why = self._why[name]
        if name not in self._models:
            label, wide = _labelled(name, why), widgets.Layout(width="auto")
            box = widgets.Checkbox(description=label, disabled=bool(why), indent=False, layout=wide)
            self._models[name] = box
            self._listen(self._changed, box)
            self._list.children = tuple(self._models.values())
        self._models[name].value = not why

    def _take_model(self) -> None:
        typed = self._add.value.strip()
        if not (name := self._offered.get(typed, typed)):
            return
        try:
            self._why |= {} if name in self._why else {name: obstacle(name)}
        except ValueError as error:
            self._say(f"Not added. {error}", alert=True)
            return
        self._tick(name)
        last = self._choices["aggregator"]
        if not self._why[name] and name not in last.options:  # new options choose the first
            chosen, last.options = last.value, [*last.options[:-1], name, NO_AGGREGATOR]
            last.value = chosen
        self._add.value = ""
        self._say(f"in the list: {_labelled(name, self._why[name])}")
        self._changed()

    def _changed(self) -> None:
        alone = self.choice.alone
        for name, control in (self._choices | self._options).items():
            control.disabled = alone and name in OF_MIXTURES
        many = sum(bool(str(each.value or "").strip()) and not each.disabled for each in self._options.values())
        verb = "Hide" if self._unfold.value else "Show"
        self._unfold.description = f"{verb} limits ({many or 'none'} set)"
        self._tell()

    def _fold(self) -> None:
        self._folded.layout.display = "grid" if self._unfold.value else "none"
        self._changed()

    def _take_prepared(self) -> None:
        if self._prepared.value:
            self._choices["prompt"].value = self._prepared.value

    def _leave_prepared(self) -> None:
        if self._choices["prompt"].value != self._prepared.value:
            self._prepared.value = ""  # so that it can be chosen again


def _labelled(name: str, why: str) -> str:
    return f"{name} ({why})" if why else name
