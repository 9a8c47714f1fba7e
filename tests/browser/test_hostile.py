"""What a model writes is shown as text: it runs nothing, fetches nothing and breaks no layout, in a real browser."""

import pytest

from tests.browser.answers import TEXTS, Held
from tests.browser.lab import SETUP
from tests.support.pages import PICTURED

pytestmark = pytest.mark.browser
LOUD = ("<script>alert('ran')</script>", "<img src=x onerror=", "javascript:alert(1)", "<iframe src=//example.com>")

ACTIVE = """() => [...document.querySelectorAll('.jp-OutputArea-output *')].filter(e =>
    /^(script|style|link|meta|base|a|iframe|object|embed|form|svg|math|video|audio)$/i.test(e.localName)
    || e.localName === 'img' && !/^data:image\\/png;base64,/.test(e.getAttribute('src'))
    || e.localName === 'img' && e.closest('.moa-text, .moa-answer, .moa-runs')
    || e.getAttributeNames().some(name => /^on|^(srcdoc|formaction)$/.test(name)) && !e.matches('.moa-copy button')
    || e.matches('.MathJax, mjx-container')).map(e => e.outerHTML.slice(0, 200))"""

TOO_WIDE = """() => [document.documentElement, ...document.querySelectorAll(
    '.jp-Notebook, .jp-WindowedPanel-outer, .jp-Cell, .jp-OutputArea-output, .moa-playground, .moa-live, .moa-call, '
    + '.moa-watched, .moa-result, .moa-runs'
)].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 2).map(e => `${e.className}: ${e.scrollWidth}`)"""

BACKWARDS = """() => [...document.querySelectorAll('.jp-OutputArea-output')].flatMap(root => {
    const found = [], range = document.createRange(), walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode;
        if (text.parentElement.closest('.moa-text, .moa-answer, td:last-child')) continue;
        let last = null;
        for (let i = 0; i < text.length; i++) {
            range.setStart(text, i);
            range.setEnd(text, i + 1);
            const place = range.getClientRects()[0];
            if (!place?.width) continue;
            if (last && Math.abs(place.top - last.top) < 2 && place.left < last.left) {
                found.push(text.data);
                break;
            }
            last = place;
        }
    }
    return found;
})"""


def check(notebook):
    """Nothing of a model's text acts, nothing is wider than its place, and the text around it reads from the left."""
    page = notebook.page
    assert page.evaluate(ACTIVE) == []
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(BACKWARDS) == []
    assert notebook.strange == []


def assert_there(place):
    """The loudest parts can be read, as soon as the page has been drawn."""
    from playwright.sync_api import expect  # not at the top: without playwright the tests are to be skipped

    for part in LOUD:
        expect(place).to_contain_text(part, use_inner_text=True, timeout=20_000)


def test_hostile_answers(open_notebook, lab, recorder):
    """In the output of a cell and in the playground, while they are written and afterwards, as Markdown or as it is."""
    recorder.answer = held = Held()

    def written(place, label):
        """Wait until the end of a text that is being written is shown, as it stands."""
        tail = TEXTS[label.rpartition(":")[2]][-1000:].translate(PICTURED)
        at = f'{place} .moa-text[aria-label$="{label}"]'
        page.wait_for_function("([at, tail]) => document.querySelector(at)?.textContent.endsWith(tail)", arg=[at, tail])

    setup = SETUP.format(url=recorder.url)
    play = f"models = {[f'vllm:{name}' for name in TEXTS]}\nmoa.playground('Why?', models, models[-2], timeout=600)"
    watch = "await moa.watch(moa.fan_out(models, 'Why?', timeout=600))"
    notebook = open_notebook(lab.write("notebooks/hostile.ipynb", setup, play, watch))
    page = notebook.page
    held.roles.add("proposers")
    notebook.run_all()
    output = page.locator(".moa-live")
    output.wait_for()
    for name in TEXTS:
        written(".moa-live", f"vllm:{name}")
    check(notebook)
    notebook.screenshot("cell, writing", ".moa-live")
    held.roles.clear()
    notebook.wait_for_all()
    check(notebook)
    assert_there(output)
    notebook.screenshot("cell")

    playground = notebook.playground
    answer = playground.locator(".moa-answer")
    for name, laid_out in {"all-short": True, "all": False}.items():
        playground.get_by_label("Aggregator", exact=True).select_option(f"vllm:{name}")
        held.roles |= {"proposers", "aggregator"}
        playground.get_by_role("button", name="Run", exact=True).click()
        for each in TEXTS:
            written(".moa-playground", f"layer 1 · vllm:{each}")
        check(notebook)
        held.roles.remove("proposers")
        written(".moa-playground", f"aggregator · vllm:{name}")
        check(notebook)
        held.roles.clear()
        answer.wait_for()
        assert bool(answer.locator("h1, em, table").count()) is laid_out
        assert_there(answer)
        check(notebook)
        assert LOUD[0] in playground.get_by_alt_text("Share of each sentence's words").get_attribute("alt")
        notebook.screenshot(f"{name} answer", ".moa-answer")
    for row in playground.locator(".moa-runs tbody tr").all():
        row.locator("summary").click()
        assert_there(row.locator("details > div"))
    check(notebook)
    notebook.screenshot("table", ".moa-runs")
