"""A playground as a reader finds it, without a kernel and on a virtual clock: controls by labels, outputs by class."""

import ast
import asyncio
import re
import warnings

import moa_helpers as moa
from moa_helpers.ui.playground.choice import LIMITS, SWITCHES
from tests.support.pages import read

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of the Jupyter packages while they are loaded
    import ipywidgets  # noqa: F401


class Reading:
    """The playground of these arguments, as a reader uses it."""

    def __init__(self, *arguments, **options):
        self.play = moa.playground(*arguments, **options)

    def widgets(self, name=None):
        """All widgets in the order of the page, or those of the output of this class, itself the first."""
        found = [*within(self.play)]
        if name is None:
            return found
        (output,) = (widget for widget in found if name in widget._dom_classes)
        return [*within(output)]

    def __getitem__(self, label):
        """The control with this label; an argument's name stands for its label, "Limits" for the button of that."""
        if label == "Limits":
            return next(widget for widget in self.widgets() if words_of(widget).endswith("set)"))
        label = f"{SWITCHES[label][0]} ({label})" if label in SWITCHES else LIMITS.get(label, [label])[0]
        return next(widget for widget in self.widgets() if words_of(widget) == label)

    @property
    def models(self):
        """The checkboxes of models by the name that each begins with."""
        return {box.description.split(" (")[0]: box for box in self.widgets("moa-models")[1:]}

    @property
    def chosen(self):
        """The models that are ticked."""
        return [name for name, box in self.models.items() if box.value]

    @property
    def switches(self):
        """The two checkboxes of how a mixture works, by their names."""
        return {name: self[name] for name in SWITCHES}

    @property
    def hidden(self):
        """The labels of all that is not displayed; the box of the limits has none."""
        return [words_of(each) for each in self.widgets() if each.layout.display == "none"]

    @property
    def buttons(self):
        """Which of Run, Stop and Reset are of use now."""
        return ["Stop"] if self["Stop"].button_style else ["Run", "Reset"]

    def html(self, name):
        """The HTML of an output."""
        return "".join(widget.value for widget in self.widgets(name) if hasattr(widget, "value"))

    def page(self, name):
        """The HTML of an output, read."""
        return read(self.html(name))

    def says(self, name="moa-said"):
        """The text of an output."""
        return self.page(name).text.strip()

    async def choose(self, models=None, **values):
        """Set controls, by their labels with "__" for a space; ``models`` is the list of those that are ticked."""
        for name in models or ():
            if name not in self.models:
                self["Add a model"].value = name
                await self.click("Add")
        for name, box in self.models.items() if models is not None else ():
            box.value = name in models
        for label, value in values.items():
            self[label.replace("__", " ")].value = value
        await asyncio.sleep(0.01)  # what a control changes happens at the next turn of the loop

    async def click(self, label):
        """Press a button."""
        self[label].click()
        await asyncio.sleep(0.01)

    async def until(self, words, name="moa-watched"):
        """Wait until an output says it."""
        async with asyncio.timeout(100):
            while words not in self.says(name):
                await asyncio.sleep(0.01)

    async def ended(self):
        """Wait until no run is under way."""
        async with asyncio.timeout(100):
            while self.buttons != ["Run", "Reset"]:
                await asyncio.sleep(0.01)


def words_of(widget):
    """The label of a control, without its tooltip."""
    return re.sub("<[^>]+>", "", getattr(widget, "description", ""))


def within(widget):
    """A widget and all that it contains."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from within(child)


def reader(run):
    """``reading(go, …)`` runs ``async def go(reading)`` with a new playground of the arguments; nothing runs on."""

    def reading(go, *arguments, **options):
        async def whole():
            found = Reading(*arguments, **options)
            await asyncio.sleep(0.01)
            try:
                return await go(found)
            finally:
                found.play.stop()
                await found.ended()

        return run(whole())

    return reading


def draw_nothing(monkeypatch):
    """Have pictures hold no image, and no timeline be made: that takes a tenth of a second each."""
    image = '<img alt="picture" src="data:image/png;base64,AAAA">'
    monkeypatch.setattr(moa.figures, "timeline", lambda *arguments, **options: moa.figures.Picture())
    monkeypatch.setattr(moa.figures.Picture, "_repr_mimebundle_", lambda *arguments: {"text/html": image})


def call_in(code):
    """The call that some code makes: the function's name, and its arguments by name or place."""
    (call,) = [each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Call)]
    arguments = {number: evaluated(each) for number, each in enumerate(call.args)}
    return call.func.attr, arguments | {each.arg: evaluated(each.value) for each in call.keywords}


def evaluated(node):
    """The value of a literal, or of a list times a number."""
    return eval(compile(ast.Expression(node), "code", "eval"), {"__builtins__": {}})
