"""The report of a comparison, opened from a disk: readable in both themes, wide and narrow, and harmless."""

import pytest

from tests.browser.looks import LEAST, NAMED, Heard, contrasts
from tests.support import reported
from tests.support.hostile import HOSTILE

pytestmark = pytest.mark.browser
UNFOLD = "document.querySelectorAll('details').forEach(each => each.open = true)"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture
def open_report(chromium, artefacts, tmp_path):
    """Open a comparison's report; what it asks for, says or warns of is collected in ``.strange``."""
    contexts = []

    def open_(comparison, *, theme="light", width=1280):
        address = comparison.report(tmp_path / "report.html").as_uri()
        harmless = (address, "data:image/png;base64,")
        contexts.append(chromium.new_context(color_scheme=theme, viewport={"width": width, "height": 1000}))
        page = contexts[-1].new_page()
        page.strange = []
        page.on("request", lambda request: request.url.startswith(harmless) or page.strange.append(request.url[:80]))
        page.on("console", lambda message: page.strange.append(message.text))
        page.on("dialog", lambda dialog: (page.strange.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        page.shoot = lambda name: page.screenshot(path=artefacts / f"report {name}.png", full_page=True)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_can_be_read(open_report, theme, width):
    page = open_report(reported.ordinary(), theme=theme, width=width)
    page.evaluate(UNFOLD)
    page.shoot(f"{theme} {width}")
    found = contrasts(page, "body")
    assert len(found) > 300
    assert [(words, contrast) for contrast, words in found if contrast < LEAST] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is (theme == "light")
    inner, outer = page.evaluate(WIDTHS)
    assert inner <= outer
    assert page.strange == []


def test_it_can_be_heard(open_report):
    page = open_report(reported.ordinary())
    page.evaluate(UNFOLD)
    found = Heard(page, "html").all()
    assert [(role, name) for role, name in found if role in {*NAMED, "link"} and not name.strip()] == []
    roles = [role for role, _ in found]
    assert [roles.count(role) for role in ("banner", "navigation", "main")] == [1, 1, 1]
    assert roles.count("rowheader") > 40
    assert {name for role, name in found if role == "region"} >= {"Result", "the strategies", "What it does not show"}


def test_a_link_unfolds_its_question(open_report):
    page = open_report(reported.ordinary())
    assert page.locator("#q3").is_hidden()
    page.get_by_text("cases").click()
    page.locator("#disagreements ~ details").get_by_role("link", name="q2").first.click()
    page.locator("#q3").wait_for()
    assert page.locator("#q5").is_hidden()
    page.emulate_media(media="print")
    assert page.locator("#q5").is_visible(), "on paper nothing is folded"


def test_hostile_texts_stay_texts(open_report):
    page = open_report(reported.hostile([*HOSTILE.values(), "</style></title></details>", "w" * 1_000_000]), width=800)
    page.evaluate(UNFOLD)
    assert page.title() == "Strategies: 2, questions: 14"
    assert page.locator("script, iframe, base, form, [onerror], [onmouseover], a:not([href^='#'])").count() == 0
    assert page.locator("img").count() == page.locator("figure img").count() > 0
    inner, outer = page.evaluate(WIDTHS)
    assert inner <= outer
    assert page.strange == []
