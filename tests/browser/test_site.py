"""The documentation site, as `make site` builds it: narrow and wide, light and dark, and without another machine."""

import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag

import pytest

from tests.browser.chromium import absent
from tests.browser.looks import LEAST, contrasts

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
SITE = ROOT / "site/_build/html"
SHOTS = [
    "index",
    "notebooks/01-one-question-three-vendors",
    "notebooks/09-does-it-help",
    "docs/reference",
    "docs/glossary",
]
UNFOLD = "document.querySelectorAll('details').forEach(each => each.open = true)"
BROAD = """[document.documentElement, ...document.querySelectorAll('.content')]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => `${e.scrollWidth} pixels wide in ${e.clientWidth}`)"""
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href)"
IDS = "[...document.querySelectorAll('[id]')].map(e => e.id)"
SILENT = "[...document.querySelectorAll('img')].filter(i => !i.alt.trim()).map(i => i.src.slice(0, 80))"

# Text that lies outside of the window, or of a box that hides what is too large, and that no scrolling brings in.
CLIPPED = """() => {
    const found = [], walker = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode, range = document.createRange();
        if (!text.data.trim() || !text.parentElement.checkVisibility()) continue;
        range.selectNodeContents(text);
        const right = Math.max(...[...range.getClientRects()].map(box => box.right));
        let limit = innerWidth;
        for (let e = text.parentElement; e && !e.matches('.content'); e = e.parentElement) {
            const overflow = getComputedStyle(e).overflowX;
            if (overflow !== 'visible') {
                limit = overflow === 'hidden' || overflow === 'clip' ? e.getBoundingClientRect().right : Infinity;
                break;
            }
        }
        if (right > limit + 1) found.push(text.data.trim().slice(0, 60));
    }
    return found;
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *ignored):
        pass


@pytest.fixture(scope="session")
def address():
    """Where the site is served, built from the files as they are now."""
    if not shutil.which("make"):
        absent("There is no make to build the site with.")
    built = subprocess.run(["make", "site"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=SITE)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def pages():
    """The name of each page that was written from a file of the project."""
    made_by_sphinx = {"search", "genindex", "README"}  # README is index
    found = {path.relative_to(SITE).with_suffix("").as_posix() for path in SITE.rglob("*.html")}
    return sorted(found - made_by_sphinx)


@pytest.fixture
def open_site(chromium, address):
    """A function that opens a page, all unfolded; what asks another machine, or warns, is collected in ``.strange``."""
    contexts = []

    def window(*, theme="light", width=1280):
        contexts.append(chromium.new_context(color_scheme=theme, viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.strange = []
        page.on("request", lambda asked: asked.url.startswith((address, "data:")) or page.strange.append(asked.url))
        page.on("pageerror", lambda error: page.strange.append(str(error)))

        def see(name):
            page.goto(f"{address}{name}.html")
            page.evaluate(UNFOLD)
            return page

        return see

    yield window
    for context in contexts:
        context.close()


def looked_at(page):
    """What is wrong with a page: faint, clipped or wide text, pictures without words, requests to other machines."""
    faint = [f"faint: {words}" for contrast, words in contrasts(page, "article") if contrast < LEAST]
    clipped = [f"clipped: {words}" for words in page.evaluate(CLIPPED)]
    silent = [f"no alt text: {picture}" for picture in page.evaluate(SILENT)]
    return [*faint, *clipped, *silent, *page.evaluate(BROAD), *page.strange]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 400)])
def test_every_page_can_be_read(open_site, artefacts, theme, width):
    see, problems = open_site(theme=theme, width=width), {}
    assert len(pages()) > 20
    for name in pages():
        page = see(name)
        problems |= {name: found} if (found := looked_at(page)) else {}
        page.strange.clear()
        if name in SHOTS:
            page.screenshot(path=artefacts / f"site {name.replace('/', ' ')} {theme} {width}.png", full_page=True)
    assert problems == {}
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (shown == "rgb(255, 255, 255)") is (theme == "light")


def test_what_cannot_be_read_is_found(open_site):
    page = open_site(theme="dark", width=400)("docs/glossary")
    assert looked_at(page) == []
    page.evaluate("""document.querySelector('article').insertAdjacentHTML('beforeend', `<p style="color: #555">grey</p>
        <p style="width: 50px; overflow: hidden; white-space: nowrap">longer than that</p>
        <p style="width: 900px">broad <img src="data:,"></p>`)""")
    found = [words.partition(" pixels")[0].lstrip("0123456789") for words in looked_at(page)]
    assert found == ["faint: grey", "clipped: longer than that", "no alt text: data:,", ""]


def test_no_link_leads_nowhere(open_site, address):
    see = open_site()
    links, ids = {}, {}
    for name in [*pages(), "README", "search"]:
        page = see(name)
        ids[f"{name}.html"] = {*page.evaluate(IDS), ""}
        links[name] = [link for link in page.evaluate(LINKS) if link.startswith(address)]
    dead = []
    for name, found in links.items():
        for link in found:
            path, anchor = urldefrag(link.removeprefix(address))
            path = unquote(path.partition("?")[0]) or "index.html"
            if not (SITE / path).is_file() or (path in ids and unquote(anchor) not in ids[path]):
                dead.append((name, link))
    assert sum(map(len, links.values())) > 1000
    assert dead == []


@pytest.mark.parametrize("served", [True, False], ids=["served", "from the disk"])
def test_the_search_finds_quorum(chromium, address, served):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{address if served else SITE.as_uri() + '/'}search.html?q=quorum")
    for title in ("5. Cutting the tail", "Reference", "Glossary"):
        page.locator("#search-results a", has_text=title).first.wait_for()
    context.close()
