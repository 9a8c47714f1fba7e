"""A thousand pieces of text a second: the panel keeps its pace, the page answers, and Stop stops."""

import pytest

from tests.browser.answers import fast
from tests.browser.lab import SETUP

pytestmark = pytest.mark.browser
PIECES = 6000
MEASURE = """() => {
    const found = window.found = {updates: [], gap: 0};
    let last = performance.now();
    const beat = () => {
        const now = performance.now();
        found.gap = Math.max(found.gap, now - last);
        last = now;
        requestAnimationFrame(beat);
    };
    beat();
    const watched = document.querySelector('.moa-playground .moa-watched');
    const note = () => {  // what is redrawn at the same time, line and call, is one update
        const now = performance.now(), before = found.updates.at(-1);
        if (before === undefined || now > before + 30) found.updates.push(now);
    };
    new MutationObserver(note).observe(watched, {subtree: true, childList: true, characterData: true});
    document.addEventListener('click', () => { found.clicked = performance.now() }, true);
    const look = () => {
        const status = document.querySelector('.moa-status').textContent;
        if (status.startsWith('stopped')) found.stopped ??= performance.now();
    };
    new MutationObserver(look).observe(
        document.querySelector('.moa-playground .moa-said'), {subtree: true, childList: true, characterData: true}
    );
}"""


def test_a_thousand_pieces_a_second(open_notebook, lab, recorder):
    recorder.answer = fast(PIECES)
    notebook = open_notebook(
        lab.write("notebooks/fast.ipynb", SETUP.format(url=recorder.url), "moa.playground('Why?', ['vllm:fast'])")
    )
    page = notebook.page
    notebook.run_all()
    notebook.wait_for_all()
    playground = notebook.playground
    playground.get_by_label("Aggregator", exact=True).select_option("none: only the reference models")
    run, stop = (playground.get_by_role("button", name=name, exact=True) for name in ("Run", "Stop"))
    text = playground.locator(".moa-text")
    page.evaluate(MEASURE)
    run.click()
    playground.locator(".moa-runs tbody tr").wait_for()
    found = page.evaluate("() => window.found")
    updates, words = found["updates"], text.text_content().split().count("word")
    lasted = (updates[-1] - updates[0]) / 1000
    print(
        f"{words} pieces in {lasted:.1f} s: {len(updates) / lasted:.1f} updates a second; "
        f"the longest that the page did nothing: {found['gap']:.0f} ms"
    )
    assert words == PIECES
    assert 10 < len(updates) <= 11 * lasted  # on a busy machine fewer
    assert found["gap"] < 10_000

    recorder.answer = fast(None)
    run.click()
    page.wait_for_function("before => window.found.updates.length > before + 20", arg=len(updates))
    stop.click()
    page.wait_for_function("() => window.found.stopped !== undefined")
    found = page.evaluate("() => window.found")
    took = (found["stopped"] - found["clicked"]) / 1000
    print(f"Stop, in the middle of it: {took:.2f} s; the longest that the page did nothing: {found['gap']:.0f} ms")
    assert took < 10, "in vain it would be never"
    assert found["gap"] < 10_000
    assert text.text_content().split().count("word") > 10
