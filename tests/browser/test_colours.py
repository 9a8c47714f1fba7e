"""What can be read in JupyterLab's light and dark themes, in a wide and in a narrow window."""

import pytest

from tests.browser.looks import LEAST, contrasts

pytestmark = pytest.mark.browser
MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]
PLAY = "import moa_helpers as moa\nmoa.setup()\nmoa.offline.start().vendors.speed = 20\nmoa.playground()"
WATCH = f"models = {MODELS}\n"
WATCH += "with moa.offline.fault('mistral', 429, retry_after=0.01, times=1), moa.offline.fault('anthropic', 500):\n"
WATCH += "    _ = await moa.watch(moa.mixture_of_agents(moa.offline.questions()[0].prompt, models, models[0]))"

PARTS = {
    "controls": ".moa-models",
    "calls": ".moa-watched",
    "answer": ".moa-answer",
    "pictures": ".moa-result img:last-of-type",
    "runs": ".moa-runs",
    "watch": ".jp-RenderedHTML > .moa-live",
}


def look(notebook, step):
    """Check the contrasts and take pictures, in a wide and in a narrow window."""
    found = contrasts(notebook.page, ".moa-playground, .moa-live")
    print(f"{step}: {len(found)} pieces of text, the least contrast is {found[0][0]:.1f} ({found[0][1]!r})")
    assert len(found) > 100
    faint = {text: round(contrast, 2) for contrast, text in found if contrast < LEAST}
    for width, height in ((1280, 1000), (800, 1000)):
        notebook.page.set_viewport_size({"width": width, "height": height})
        for name, at in PARTS.items():
            notebook.screenshot(f"{step}, {width} wide, {name}", at)
    return faint


def test_contrast(open_notebook, lab):
    """The playground after two runs, with all that can be unfolded, and the output of ``moa.watch``."""
    notebook = open_notebook(lab.write("notebooks/colours.ipynb", PLAY, WATCH))
    notebook.run_all()
    notebook.wait_for_all()
    playground = notebook.playground
    playground.get_by_role("button", name="Show limits").click()
    for number in range(2):
        playground.get_by_role("button", name="Run", exact=True).click()
        playground.locator(".moa-runs tbody tr").nth(number).wait_for()
        playground.locator(".moa-answer").wait_for()
    for row in notebook.page.locator("summary").all():
        row.click()
    faint = {}
    for theme in ("Light", "Dark"):
        notebook.menu("Settings", "Theme", f"JupyterLab {theme}")
        notebook.page.locator(f'body[data-jp-theme-light="{str(theme == "Light").lower()}"]').wait_for(state="attached")
        faint[theme] = look(notebook, theme.lower())
    notebook.page.set_viewport_size({"width": 1280, "height": 1000})
    notebook.menu("Settings", "Theme", "JupyterLab Light")
    assert faint == {"Light": {}, "Dark": {}}
