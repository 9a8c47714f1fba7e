"""Take the README's picture: the playground in the middle of a run, in a real JupyterLab, offline. Needs a Chromium.

``python tools/picture.py notebooks/images/playground.png`` writes it anew.
"""

import io
import os
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.browser.chromium import launch  # noqa: E402
from tests.browser.lab import Notebook  # noqa: E402
from tests.browser.server import jupyter_lab  # noqa: E402

MOST_BYTES = 150_000
PLAY = "import moa_helpers as moa\nmoa.setup('offline')\nmoa.playground()"
SIZE = {"width": 1280, "height": 1600}  # pixels; the playground gets what JupyterLab leaves of it

LAST_CARD = """() => {  // where it ends, and what it says; in one step, as it is drawn anew ten times a second
    const whole = document.querySelector('.moa-playground'), last = [...whole.querySelectorAll('.moa-call')].at(-1);
    return [last.getBoundingClientRect().bottom - whole.getBoundingClientRect().top, last.innerText];
}"""


def main(path: str) -> int | str:
    """Take it; what is wrong with it, or 0."""
    with tempfile.TemporaryDirectory() as folder, jupyter_lab(Path(folder)) as lab, sync_playwright() as playwright:
        browser = launch(playwright.chromium, Error)
        context = browser.new_context(viewport=SIZE)
        notebook = Notebook(context, lab, Path(folder), "picture")
        notebook.open(lab.write("notebooks/picture.ipynb", PLAY))
        notebook.run_all()
        notebook.wait_for_all()
        playground = notebook.playground
        playground.get_by_role("button", name="Run", exact=True).click()
        aggregator = playground.locator(".moa-call", has_text="aggregator").last
        aggregator.locator(".moa-text", has_text=re.compile(r"\w+ \w+ \w+ \w+ \w+")).wait_for()
        before, now = None, notebook.page.evaluate(LAST_CARD)
        while before is None or before[0] != now[0]:  # the card has grown by a line meanwhile
            picture = Image.open(io.BytesIO(playground.screenshot(animations="disabled")))
            before, now = now, notebook.page.evaluate(LAST_CARD)
        browser.close()
    height, said = now
    if "writing" not in said:
        return "The run ended before the picture was taken: try again on a quieter machine."
    taken = picture.crop((0, 0, picture.width, round(height) + 2))
    taken.convert("RGB").quantize(128).save(path, optimize=True)
    print(f"{path}: {taken.width} x {taken.height}, {os.path.getsize(path):,} bytes")
    return 0 if os.path.getsize(path) <= MOST_BYTES else f"more than {MOST_BYTES:,} bytes"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
