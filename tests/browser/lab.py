"""What a reader does in JupyterLab, as a few verbs."""

import json
import re
import urllib.request
from urllib.parse import urlsplit

PATIENCE = 120_000  # milliseconds; a busy machine is slow
SETUP = """\
import os
import moa_helpers as moa
os.environ["VLLM_BASE_URL"] = "{url}/v1"
moa.setup("live")
"""


class Lab:
    """The server."""

    def __init__(self, url, token, folder):
        self.url, self.token, self.folder = url.rstrip("/"), token, folder

    def ask(self, method, path):
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read() or "null")

    def end_kernels(self):
        for session in self.ask("GET", "/api/sessions"):
            self.ask("DELETE", f"/api/sessions/{session['id']}")

    def shut_down(self):
        self.ask("POST", "/api/shutdown")

    def cells(self, path):
        return json.loads((self.folder / path).read_text(encoding="utf-8"))["cells"]

    def write(self, path, *sources):
        """A new notebook with these code cells."""
        shell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        cells = [shell | {"id": f"c{number}", "source": source} for number, source in enumerate(sources)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / path).write_text(json.dumps(notebook), encoding="utf-8")
        return path


class Notebook:
    """A browser's window with one notebook."""

    def __init__(self, context, lab, artefacts, name):
        self.page, self.lab, self._artefacts, self._name = context.new_page(), lab, artefacts, name
        self.strange = []
        self._shots = 0
        context.on("request", self._note_request)
        self.page.on("dialog", self._note_dialog)
        self.page.on("pageerror", lambda error: self.strange.append(f"an error in the page: {error}"))
        self.page.set_default_timeout(PATIENCE)

    def _note_request(self, request):
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc != urlsplit(self.lab.url).netloc:
            self.strange.append(f"a request to {request.url}")

    def _note_dialog(self, dialog):
        self.strange.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path=None):
        """Open a notebook, by default the one that `make lab` opens, and wait for its kernel."""
        tree = f"/lab/workspaces/{re.sub('[^a-z0-9]', '', self._name)}/tree/{path}" if path else "/"
        self.page.goto(f"{self.lab.url}{tree}?token={self.lab.token}")
        self.page.locator(".jp-NotebookPanel > .jp-Spinner").wait_for(state="detached")
        self.cells.first.wait_for()
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()

    def wait_idle(self):
        self.page.locator('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()

    @property
    def cells(self):
        return self.page.locator(".jp-Notebook .jp-Cell")

    @property
    def playground(self):
        return self.page.locator(".moa-playground").last

    def menu(self, *names):
        """Choose from the menu bar."""
        self.page.get_by_role("menuitem", name=names[0], exact=True).click()
        for name in names[1:]:
            self.page.locator(".lm-Menu").last.get_by_text(name, exact=True).click()

    def run_all(self):
        """Run all cells; does not wait for them."""
        self.menu("Run", "Run All Cells")
        self.page.locator(".jp-InputPrompt", has_text="[*]").first.wait_for(state="attached")

    def wait_for_all(self):
        self.page.wait_for_function(
            "() => ![...document.querySelectorAll('.jp-InputPrompt')].some(each => each.textContent.includes('*'))"
        )
        self.wait_idle()

    def add_cell(self, code=None):
        """Add a cell at the end and run it; without code, what is on the clipboard. Returns the cell, once it ended."""
        self.cells.last.locator(".jp-InputPrompt, .jp-MarkdownOutput").first.click()
        self.page.keyboard.press("Escape")
        number = self.cells.count()
        self.page.keyboard.press("b")
        cell = self.cells.nth(number)
        cell.wait_for()
        cell.locator(".cm-content").click()
        if code is None:
            self.page.keyboard.press("ControlOrMeta+v")
        else:
            self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Control+Enter")
        cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
        return cell

    def screenshot(self, step, at=None):
        """Of the window, with the first element that fits ``at`` in sight, also if it is often replaced."""
        if at:
            self.page.evaluate("at => document.querySelector(at).scrollIntoView({block: 'nearest'})", at)
        self._shots += 1
        self.page.screenshot(path=self._artefacts / f"{self._name}-{self._shots}-{step}.png")
