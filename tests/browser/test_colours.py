"""What can be read in JupyterLab's light and dark themes, in a wide and in a narrow window."""

import pytest

pytestmark = pytest.mark.browser
LEAST = 4.5  # WCAG 2, level AA, for text of normal size
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
# The contrast of every visible piece of text with what is behind it; of several half-transparent layers, their mixture.
CONTRASTS = """() => {
    const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const read = colour => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
    const luminance = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => {
        const layers = [];
        for (; e; e = e.parentElement) layers.push(read(getComputedStyle(e).backgroundColor));
        return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
    };
    const opacity = e => e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1;
    const contrast = (e, colour) => {
        const under = behind(e), [r, g, b, a] = read(colour);
        const [low, high] = [luminance(over([r, g, b, a * opacity(e)], under)), luminance(under)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const found = [];
    for (const root of document.querySelectorAll('.moa-playground, .moa-live')) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode, e = text.parentElement;
            const disabled = e.closest('button:disabled, select:disabled') || e.closest('label')?.control?.disabled;
            if (!text.data.trim() || disabled || !e.checkVisibility({visibilityProperty: true})) continue;
            if (e.localName !== 'option') found.push([contrast(e, getComputedStyle(e).color), text.data.trim()]);
        }
        for (const e of root.querySelectorAll('input[type=text], textarea, select')) {
            if (e.disabled || !e.checkVisibility()) continue;
            const empty = !e.value && e.placeholder;
            const style = getComputedStyle(e, empty ? '::placeholder' : null);
            found.push([contrast(e, style.color), e.value || e.placeholder]);
        }
    }
    return found;
}"""


def look(notebook, step):
    """Check the contrasts and take pictures, in a wide and in a narrow window."""
    found = sorted(notebook.page.evaluate(CONTRASTS))
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
    playground.get_by_label("Limits", exact=True).check()
    for number in range(2):
        playground.get_by_role("button", name="Run", exact=True).click()
        playground.locator(".moa-runs tbody tr").nth(number).wait_for()
        playground.locator(".moa-answer").wait_for()
    for row in playground.locator("summary").all():
        row.click()
    faint = {}
    for theme in ("Light", "Dark"):
        notebook.menu("Settings", "Theme", f"JupyterLab {theme}")
        notebook.page.locator(f'body[data-jp-theme-light="{str(theme == "Light").lower()}"]').wait_for(state="attached")
        faint[theme] = look(notebook, theme.lower())
    notebook.page.set_viewport_size({"width": 1280, "height": 1000})
    notebook.menu("Settings", "Theme", "JupyterLab Light")
    assert faint == {"Light": {}, "Dark": {}}
