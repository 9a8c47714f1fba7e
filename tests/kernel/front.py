"""A front end without a screen: it sends a kernel what JupyterLab sends, and keeps what the kernel publishes."""

import queue
import re
import time
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.manager import KernelManager

PATIENCE = 60.0  # seconds for whatever must happen, on a busy machine
BEGIN = f"""\
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import asyncio
import pytest
import moa_helpers as moa
from moa_helpers import offline
from tests.support import scripts, standins
from tests.support.replies import A, C, MODELS as models
patch, script = pytest.MonkeyPatch(), scripts.Script()
patch.setattr(scripts.STREAM, script)
patch.setattr(scripts.CLIENT, lambda model: None)
standins.enter(patch, script)
script[C] = scripts.hangs("Half an answer", after=0.1, per_piece=0.01)
moa.setup("offline")
question = offline.questions()[0].prompt
def left():
    "How many of the package's tasks there are, and requests under way."
    ours = [task for task in asyncio.all_tasks() if "moa_helpers" in task.get_coro().cr_code.co_filename]
    return len(ours), script.now["all"]"""


class Front:
    """It keeps the widgets' state and the outputs as the kernel's messages say, and sends messages."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client
        self.widgets = {}  # state by id
        self.outputs = []
        self.errors = []
        self.replies = {}  # by the id of what was asked
        self.idle = set()  # the ids of what has ended
        self.updates = []  # the ids of widgets whose value changed

    def until(self, condition):
        """Read what the kernel publishes until the condition is met."""
        end = time.monotonic() + PATIENCE
        while not condition():
            try:
                self._take(self.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"waited in vain for {PATIENCE} s; {self.errors or self.outputs[-3:]}") from None

    def _take(self, message):
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"]["state"])
        elif kind == "comm_msg" and content["data"].get("method") == "update" and content["comm_id"] in self.widgets:
            self.widgets[content["comm_id"]].update(content["data"]["state"])
            if "value" in content["data"]["state"]:
                self.updates.append(content["comm_id"])
        elif kind in ("display_data", "update_display_data", "execute_result"):
            self.outputs.append(content["data"].get("text/html", "") + content["data"].get("text/plain", ""))
        elif kind == "stream":
            self.outputs.append(content["text"])
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle.add(message["parent_header"].get("msg_id", ""))
        elif kind == "error":
            self.errors.append(f"{content['ename']}: {content['evalue']}")

    def execute(self, code):
        """Queue a cell; gives its id."""
        return self.client.execute(code, allow_stdin=False, stop_on_error=False)

    def reply(self, asked):
        """The reply to a cell, once the kernel has put its own handling of interrupts back."""
        while asked not in self.replies:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            self.replies[message["parent_header"]["msg_id"]] = message["content"]
        self.until(lambda: asked in self.idle)
        return self.replies.pop(asked)

    def run(self, code):
        """Run a cell to its end; it may not fail."""
        reply = self.reply(self.execute(code))
        assert reply["status"] == "ok", reply

    def prints(self, code):
        """What a cell prints."""
        self.outputs.clear()
        self.run(code + "\nprint('.')")
        self.until(lambda: any("." in text for text in self.outputs))
        return "".join(self.outputs)

    def interrupt(self):
        """The kernel's interrupt, as the button with the square sends it."""
        self.manager.interrupt_kernel()

    def play(self):
        """Show a new playground, with only its own widgets known. A call whose stop is lost outlasts all patience."""
        self.widgets.clear()
        self.run("play = moa.playground(question, models, timeout=600)\nplay")
        self.until(lambda: any("moa-runs" in state.get("_dom_classes", ()) for state in self.widgets.values()))
        self.until(lambda: "ready" in self.html("moa-said"))

    def named(self, label):
        """The id of the control with this label."""
        words = {name: re.sub("<[^>]+>", "", state.get("description") or "") for name, state in self.widgets.items()}
        return next(name for name, said in words.items() if said == label)

    def state(self, label):
        """The state of the control with this label."""
        return self.widgets[self.named(label)]

    def inside(self, name):
        """The ids of the output of this class and of all that it contains now."""
        found = [each for each, state in self.widgets.items() if name in state.get("_dom_classes", ())][-1:]
        for each in found:
            found += [child.removeprefix("IPY_MODEL_") for child in self.widgets[each].get("children", ())]
        return found

    def html(self, name):
        """The HTML of the output of this class."""
        return "".join(str(self.widgets[each].get("value", "")) for each in self.inside(name))

    def send(self, label, data, subshell=None):
        """A message to a control."""
        message = self.client.session.msg("comm_msg", {"comm_id": self.named(label), "data": data})
        if subshell:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def click(self, label, subshell=None):
        """A click on a button."""
        self.send(label, {"method": "custom", "content": {"event": "click"}}, subshell)

    def write(self, label, text, subshell=None):
        """A text, and Enter."""
        self.send(label, {"method": "update", "state": {"value": text}, "buffer_paths": []}, subshell)

    def tick(self, label, value, subshell=None):
        """A click on a checkbox."""
        self.send(label, {"method": "update", "state": {"value": value}, "buffer_paths": []}, subshell)

    def running(self):
        """Wait until a run has all it will get: one call's stream is stalled."""
        self.until(lambda: "2 of 4 calls ended · 1 writing" in self.html("moa-watched"))
        self.until(lambda: "Half an answer" in self.html("moa-watched"))

    def stopped(self):
        """Wait until a run has been stopped, and check that nothing goes on."""
        self.until(lambda: "stopped" in self.html("moa-said") and not self.state("Stop")["button_style"])
        assert "stopped after" in self.html("moa-watched")
        assert "Half an answer" in self.html("moa-watched"), "what has arrived is gone"
        assert self.prints("print(left())").startswith("(0, 0)")


@contextmanager
def kernel(folder, environment):
    """A kernel in which the package is set up, with scripted streams."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=environment, cwd=str(folder))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        front = Front(manager, client)
        front.run(BEGIN)
        yield front
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
