"""What a reader does with a mouse and a keyboard, in a real JupyterLab in a real browser.

The screenshots of each step go to MOA_BROWSER_ARTEFACTS (default: moa-browser in the system's temporary folder).
"""

import re
import time

import pytest

pytestmark = pytest.mark.browser
FIRST = "notebooks/01-one-question-three-vendors.ipynb"
THIRD = "notebooks/03-one-answer-out-of-many.ipynb"
TEXTS = "[...document.querySelectorAll('.moa-playground .moa-text')].map(e => e.textContent)"

WRITING = (
    "[...document.querySelectorAll('.moa-playground .moa-state')].filter(e => /^writing/.test(e.textContent)).length"
)

STILL_RUNNING = """\
import asyncio
print([task for task in asyncio.all_tasks() if "moa_helpers" in task.get_coro().cr_code.co_filename])
while offline.start().vendors.under_way:  # the server sees that a client has gone when it writes to it
    await asyncio.sleep(0.05)
print(offline.start().vendors.under_way)
"""


def test_from_make_lab_to_a_new_answer(open_notebook, lab):
    """One edited line and Run All."""
    cells = lab.cells(FIRST)
    models = next(i for i, cell in enumerate(cells) if "models" in cell["metadata"].get("tags", []))

    started = time.perf_counter()
    notebook = open_notebook()
    page = notebook.page
    assert FIRST in page.url
    shown = notebook.cells.nth(models)
    output = shown.locator(".jp-OutputArea-output")
    notebook.screenshot("opened")
    assert "Alcatraz" in output.text_content()
    assert "gpt-6-sol" not in output.text_content()
    assert page.locator(".Toastify__toast").count() == 0, "no question about news covers the first cell"
    shown.locator(".cm-line", has_text="openai:gpt-6-luna").first.click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.insert_text('"openai:gpt-6-sol",')
    notebook.run_all()
    output.filter(has_text=re.compile(r"layer 1\s*openai:gpt-6-sol")).wait_for(state="attached")
    took = time.perf_counter() - started
    output.scroll_into_view_if_needed()
    notebook.screenshot("a new answer")
    print(f"From the address that `make lab` opens to a new answer, with one edited line: {took:.1f} s")
    assert "Alcatraz" in output.text_content()
    assert took < 180  # a quiet machine takes 15 s


def test_notebook_3(open_notebook, lab):
    """Run All; other models in the playground; run; stop; the code that does the same."""
    notebook = open_notebook(THIRD)
    page, cells = notebook.page, lab.cells(THIRD)
    started = time.perf_counter()
    notebook.run_all()
    notebook.wait_for_all()
    print(f"Notebook 3, Run All: {time.perf_counter() - started:.1f} s")
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            shown = notebook.cells.nth(number)
            assert shown.locator(".jp-InputPrompt").first.text_content().strip("[]: ").isdecimal(), number
            if "raises-exception" not in cell["metadata"].get("tags", []):
                assert shown.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0, number

    playground = notebook.playground
    playground.scroll_into_view_if_needed()
    notebook.screenshot("ran")
    boxes = playground.locator(".moa-models input[type=checkbox]")
    assert [box.is_checked() for box in boxes.all()] == [True, True, True]
    boxes.nth(1).uncheck()
    playground.get_by_label("Add a model").fill("groq:openai/gpt-oss-120b")
    playground.get_by_role("button", name="Add", exact=True).click()
    boxes.nth(3).wait_for()
    assert [box.is_checked() for box in boxes.all()] == [True, False, True, True]
    playground.get_by_label("Samples of each").fill("2")
    page.keyboard.press("Enter")
    playground.locator(".moa-estimate", has_text="7 calls").wait_for()
    notebook.screenshot("chosen")

    status = playground.locator(".moa-status")
    run, stop = (playground.get_by_role("button", name=name, exact=True) for name in ("Run", "Stop"))
    assert "mod-primary" in run.get_attribute("class")
    run.click()
    page.wait_for_function(
        f"""() => {{
            const now = {TEXTS};
            if ({WRITING} >= 2) window.before ??= now;
            const grew = (text, i) => window.before[i] && text.length > window.before[i].length;
            return window.before && now.filter(grew).length >= 2;
        }}"""
    )
    assert "mod-warning" in stop.get_attribute("class")
    assert status.text_content() == "running…"
    stop.scroll_into_view_if_needed()
    notebook.screenshot("writing")
    playground.locator(".moa-answer").wait_for()
    outcome = status.text_content()
    assert "running" not in outcome
    assert "6" in outcome
    status.scroll_into_view_if_needed()
    notebook.screenshot("answered")
    answer = playground.locator(".moa-answer").text_content()

    page.evaluate(
        """() => {
            const status = document.querySelector('.moa-playground .moa-status').closest('.moa-said, .widget-html');
            const look = () => { if (status.textContent.includes('stopped')) window.stopped ??= performance.now() };
            new MutationObserver(look).observe(status, {subtree: true, childList: true, characterData: true});
            document.addEventListener('click', () => { window.clicked = performance.now() }, true);
        }"""
    )
    run.click()
    page.wait_for_function(f"() => {WRITING} >= 2")
    stop.click()
    page.wait_for_function("() => window.stopped !== undefined")
    stopped_after = page.evaluate("() => window.stopped - window.clicked") / 1000
    print(f"Stop took {stopped_after:.2f} s")
    assert stopped_after < 10, "in vain it would be never"
    assert status.text_content().startswith("stopped")
    playground.locator(".mod-primary", has_text="Run").wait_for()
    arrived = page.evaluate(TEXTS)
    assert sum(map(bool, arrived)) >= 2
    status.scroll_into_view_if_needed()
    notebook.screenshot("stopped")

    cell = notebook.add_cell(STILL_RUNNING)
    assert cell.locator(".jp-OutputArea-output").text_content().split() == ["[]", "0"]
    assert page.evaluate(TEXTS) == arrived

    playground.get_by_label("Show a run again").select_option(label=f"run 1: {outcome}")
    status.filter(has_text=f"run 1 again: {outcome}").wait_for()
    assert playground.locator(".moa-answer").text_content() == answer
    playground.get_by_role("button", name="Copy the code").click()
    notebook.screenshot("code")
    cell = notebook.add_cell()
    cell.scroll_into_view_if_needed()
    notebook.screenshot("the same by code")
    shown = cell.locator(".jp-OutputArea").text_content()
    assert outcome in shown
    assert answer in shown
