"""The playground without a mouse, and for a reader who hears it."""

import itertools

import pytest

from moa_helpers.ui.playground import choice
from tests.browser.looks import NAMED, Heard

pytestmark = pytest.mark.browser
SETUP = "import moa_helpers as moa\nmoa.setup()\nplay = moa.playground(layers=2)\nplay"
CONTROLS = ["Add a model", "Add", "Samples of each", "Aggregator", "Layers", "Prepared question", "Prompt"]
FOLD, FOLDED = "Show limits (none set)", "Hide limits (none set)"
LIMITS = [label for label, *_ in choice.LIMITS.values()]
LIMITS += [f"{label} ({name})" for name, (label,) in choice.SWITCHES.items()]

PLACE = """() => {
    const place = document.activeElement.getBoundingClientRect(), top = document.querySelector('.moa-playground')
        .getBoundingClientRect().top;
    return {top: place.top - top, bottom: place.bottom - top, left: place.left, right: place.right};
}"""


def test_keyboard_alone(open_notebook, lab):
    """Tab reaches every control in the order shown, Space ticks, Enter and Space run and stop, and the focus stays."""
    endless = "from moa_helpers import offline\noffline.fault('mistral', 'stalled_stream').__enter__()\n"
    notebook = open_notebook(lab.write("notebooks/keyboard.ipynb", endless + SETUP))
    page, keyboard = notebook.page, notebook.page.keyboard
    notebook.run_all()
    notebook.wait_for_all()
    playground, heard = notebook.playground, Heard(page)
    status = playground.get_by_role("status")
    boxes = playground.locator(".moa-models input")
    models = [name for role, name in heard.all() if role == "checkbox" and name not in LIMITS]
    assert len(models) == boxes.count() == 3, "one more stop, not thirty, leads to all others"

    boxes.first.focus()
    keyboard.press("Space")
    assert not boxes.first.is_checked()
    keyboard.press("Space")
    assert boxes.first.is_checked()
    reached, places = [heard.focused()[1]], []
    while reached[-1] != FOLD:
        keyboard.press("Tab")
        reached.append(heard.focused()[1])
        places.append(page.evaluate(PLACE))
        assert len(reached) < 100
    assert reached == [*models, *CONTROLS, FOLD]
    keyboard.press("Space")
    playground.get_by_label(LIMITS[0], exact=True).wait_for()
    while reached[-1] != "Reset":
        keyboard.press("Tab")
        reached.append(heard.focused()[1])
        places.append(page.evaluate(PLACE))
        assert len(reached) < 100
    assert reached == [*models, *CONTROLS, FOLD, *LIMITS, "Run", "Stop", "Reset"]
    for before, after in itertools.pairwise(places[len(models) - 1 :]):
        assert after["top"] >= before["bottom"] - 1 or after["left"] >= before["right"] - 1, (before, after)

    for run, stop in (("Enter", "Space"), ("Space", "Enter")):
        playground.get_by_role("button", name="Run", exact=True).focus()
        keyboard.press(run)
        status.filter(has_text="running").wait_for()
        assert heard.focused() == ("button", "Run")
        playground.locator(".moa-call").first.wait_for()
        keyboard.press("Tab")
        assert heard.focused() == ("button", "Stop")
        notebook.screenshot(f"{run} runs")
        keyboard.press(stop)
        status.filter(has_text="stopped").wait_for()
        playground.locator(".mod-primary", has_text="Run").wait_for()
        assert heard.focused() == ("button", "Stop")
    assert playground.locator(".moa-runs tbody tr").count() == 2

    cells, add = notebook.cells.count(), playground.get_by_label("Add a model")
    add.focus()
    keyboard.type("claude-haiku-4-5")
    keyboard.press("Enter")
    playground.locator(".moa-status", has_text="Not added. 'claude-haiku-4-5' names no model").wait_for()
    keyboard.press("Home")
    keyboard.type("anthropic:")
    keyboard.press("Enter")
    status.filter(has_text="in the list: anthropic:claude-haiku-4-5").wait_for()
    assert (boxes.count(), add.input_value()) == (4, "")
    playground.get_by_label("Samples of each").focus()
    keyboard.press("ArrowUp")
    playground.locator(".moa-estimate", has_text="9 calls").wait_for()
    assert heard.focused()[1] == "Samples of each"
    assert notebook.cells.count() == cells, "no letter was a command to JupyterLab"


def test_names(open_notebook, lab):
    """Whatever can be used or looked at has a name, before, during and after a run."""
    notebook = open_notebook(lab.write("notebooks/names.ipynb", SETUP))
    notebook.run_all()
    notebook.wait_for_all()
    playground, heard = notebook.playground, Heard(notebook.page)
    playground.get_by_role("button", name=FOLD).click()
    playground.get_by_label(LIMITS[0], exact=True).wait_for()

    def look():
        found = heard.all()
        assert [(role, name) for role, name in found if role in NAMED and not name.strip()] == []
        assert [role for role, _ in found].count("status") == 1
        return found

    controls = look()
    for name in (*CONTROLS, FOLDED, *LIMITS, "Run", "Stop", "Reset"):
        assert [each for _, each in controls].count(name) >= 1, name
    playground.get_by_role("button", name="Run", exact=True).click()
    playground.locator(".moa-call").nth(2).wait_for()
    writing = look()
    assert ("progressbar", "calls ended") in writing
    assert len([name for role, name in writing if role == "image"]) >= 3  # a bar is an image
    playground.locator(".moa-answer").wait_for()
    done = look()
    assert [name[:8] for role, name in done if role == "image"] == ["Timeline", "Share of"]
    for name in ("the calls", "the last runs", "text of 1. layer 1 · openai:gpt-6-luna"):
        assert ("region", name) in done
    for control in (
        ("textbox", "Code that does the same"),
        ("button", "Copy the code"),
        ("combobox", "Show a run again"),
    ):
        assert control in done
    tips = playground.locator("label span[title], button[title]").evaluate_all("all => all.map(each => each.title)")
    assert len([tip for tip in tips if tip]) >= len(CONTROLS) + len(choice.LIMITS) + 3
