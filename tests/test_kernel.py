"""The playground and ``watch`` in a real kernel, driven by the messages that a front end sends and reads."""

import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the Jupyter client library
WITHIN = 5.0  # seconds in which a click on Stop, or an interrupt, ends all calls on a busy machine; a lost one takes 60
BEGIN = """\
import asyncio, time
import moa_helpers as moa
from moa_helpers import offline
moa.setup()
models = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "mistral:mistral-small-2603"]
question = offline.questions()[0].prompt
await moa.fan_out(models, question)  # loads the SDKs
fault = offline.fault("mistral", "stalled_stream")
fault.__enter__()
def left():
    "How many of the package's tasks there are, and requests that the vendors have not seen end."
    ours = [task for task in asyncio.all_tasks() if "moa_helpers" in task.get_coro().cr_code.co_filename]
    until = time.monotonic() + 5
    while offline.start().vendors.under_way and time.monotonic() < until:
        time.sleep(0.01)
    return len(ours), offline.start().vendors.under_way"""


class Front:
    """A front end: it keeps the widgets' state and the outputs as the kernel's messages say, and sends messages."""

    def __init__(self, manager: KernelManager, client: Any) -> None:
        self.manager, self.client = manager, client
        self.widgets: dict[str, dict[str, Any]] = {}
        self.outputs: list[str] = []
        self.errors: list[str] = []
        self.replies: dict[str, dict[str, Any]] = {}  # by the id of what was asked
        self.idle: set[str] = set()  # the ids of what has ended
        self.updates: list[tuple[float, str]] = []  # when which widget's HTML came

    def until(self, condition: Callable[[], object], patience: float = 20.0) -> None:
        """Read what the kernel publishes until the condition is met."""
        end = time.monotonic() + patience
        while not condition():
            try:
                self._take(self.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"waited in vain for {patience} s; {self.errors or self.outputs[-3:]}") from None

    def _take(self, message: Any) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"]["state"])
        elif kind == "comm_msg" and content["data"].get("method") == "update" and content["comm_id"] in self.widgets:
            state = content["data"]["state"]
            self.widgets[content["comm_id"]].update(state)
            if "value" in state:
                self.updates.append((time.monotonic(), content["comm_id"]))
        elif kind in ("display_data", "update_display_data", "execute_result"):
            self.outputs.append(content["data"].get("text/html", "") + content["data"].get("text/plain", ""))
        elif kind == "stream":
            self.outputs.append(content["text"])
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle.add(message["parent_header"].get("msg_id", ""))
        elif kind == "error":
            self.errors.append(f"{content['ename']}: {content['evalue']}")

    def execute(self, code: str) -> str:
        """Queue a cell; gives its id."""
        return str(self.client.execute(code, allow_stdin=False, stop_on_error=False))

    def reply(self, asked: str, patience: float = 20.0) -> dict[str, Any]:
        """The reply to a cell, once the kernel has put its own handling of interrupts back."""
        while asked not in self.replies:
            message = self.client.get_shell_msg(timeout=patience)
            self.replies[message["parent_header"]["msg_id"]] = message["content"]
        self.until(lambda: asked in self.idle, patience)
        return self.replies.pop(asked)

    def run(self, code: str, patience: float = 20) -> None:
        """Run a cell to its end; it may not fail."""
        reply = self.reply(self.execute(code), patience)
        assert reply["status"] == "ok", reply

    def prints(self, code: str) -> str:
        """What a cell prints."""
        self.outputs.clear()
        self.run(code + "\nprint('.')")
        self.until(lambda: any("." in text for text in self.outputs))
        return "".join(self.outputs)

    def play(self) -> None:
        """Show a new playground, with only its own widgets known."""
        self.widgets.clear()
        self.run("play = moa.playground(question, models)\nplay")
        self.until(lambda: any("moa-runs" in state.get("_dom_classes", ()) for state in self.widgets.values()))
        self.until(lambda: "ready" in self.html("moa-said"))

    def named(self, label: str) -> str:
        """The id of the control with this label."""
        return next(name for name, state in self.widgets.items() if state.get("description") == label)

    def state(self, label: str) -> dict[str, Any]:
        """The state of the control with this label."""
        return self.widgets[self.named(label)]

    def inside(self, name: str) -> list[str]:
        """The ids of the output of this class and of all that it contains now."""
        found = [each for each, state in self.widgets.items() if name in state.get("_dom_classes", ())][-1:]
        for each in found:
            found += [child.removeprefix("IPY_MODEL_") for child in self.widgets[each].get("children", ())]
        return found

    def html(self, name: str) -> str:
        """The HTML of the output of this class."""
        return "".join(str(self.widgets[each].get("value", "")) for each in self.inside(name))

    def send(self, label: str, data: dict[str, Any], subshell: str | None = None) -> None:
        """A message to a control."""
        message = self.client.session.msg("comm_msg", {"comm_id": self.named(label), "data": data})
        if subshell:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def click(self, label: str, subshell: str | None = None) -> None:
        """A click on a button."""
        assert not self.state(label)["disabled"], f"{label} is disabled"
        self.send(label, {"method": "custom", "content": {"event": "click"}}, subshell)

    def tick(self, label: str, value: bool, subshell: str | None = None) -> None:
        """A click on a checkbox."""
        self.send(label, {"method": "update", "state": {"value": value}, "buffer_paths": []}, subshell)

    def running(self) -> None:
        """Wait until a run has all it will get: one call's stream is stalled."""
        self.until(lambda: "2 of 3 calls ended · 1 writing" in self.html("moa-watched"))

    def stopped(self, began: float) -> None:
        """Check that a run ends soon after it was stopped, and that nothing goes on."""
        self.until(lambda: "stopped" in self.html("moa-said") and self.state("Stop")["disabled"])
        took = time.monotonic() - began
        assert took < WITHIN, f"stopped after {took:.2f} s"
        assert "stopped after" in self.html("moa-watched")
        assert "Golden Gate" in self.html("moa-watched"), "what has arrived is gone"
        assert self.prints("print(left())").startswith("(0, 0)")


@contextmanager
def kernel() -> Iterator[Front]:
    manager = KernelManager(kernel_name="python3")
    environment = {"MOA_MODE": "offline", "MOA_OFFLINE_SPEED": "5"}
    manager.start_kernel(env=os.environ | environment)
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        yield Front(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with kernel() as front:
        front.run(BEGIN, patience=120)
        yield front


def test_choose_run_see_it_stream_and_stop(front: Front) -> None:
    front.play()
    front.tick("groq:openai/gpt-oss-20b", True)
    front.until(lambda: "5 calls" in front.html("moa-estimate"))
    front.tick("groq:openai/gpt-oss-20b", False)
    front.until(lambda: "4 calls" in front.html("moa-estimate"))
    front.updates.clear()
    front.click("Run")
    front.running()
    front.click("Stop")
    front.stopped(time.monotonic())
    head, grid, _more, *calls = front.inside("moa-watched")[1:]
    assert [name for _, name in front.updates].count(head) > 3
    assert front.widgets[grid]["children"] == [f"IPY_MODEL_{name}" for name in calls]
    assert len(calls) == 3


@pytest.mark.parametrize("while_idle", [True, False])
def test_the_kernels_interrupt_stops_a_run_and_the_kernel_goes_on(front: Front, while_idle: bool) -> None:
    front.play()
    asked = None if while_idle else front.execute("await play.run()")
    if while_idle:
        front.click("Run")
    front.running()
    front.manager.interrupt_kernel()
    began = time.monotonic()
    front.stopped(began)
    if asked:  # the reply comes when IPython has drawn up the traceback, which takes longer than the stop
        assert front.reply(asked)["ename"] in ("CancelledError", "KeyboardInterrupt")
    front.manager.interrupt_kernel()  # with nothing under way it does nothing
    assert front.prints("print(6 * 7)").startswith("42")
    front.click("Run")
    front.running()
    front.click("Stop")
    front.stopped(time.monotonic())


def test_an_interrupt_during_an_other_cell_ends_that_cell_and_the_next_one_the_run(front: Front) -> None:
    front.play()
    front.click("Run")
    front.running()
    asked = front.execute("print('here')\nawait asyncio.sleep(30)")
    front.until(lambda: any("here" in text for text in front.outputs))
    front.manager.interrupt_kernel()
    assert front.reply(asked)["status"] == "error"
    assert "1 writing" in front.html("moa-watched")
    front.manager.interrupt_kernel()
    front.stopped(time.monotonic())


def test_a_run_that_ends_during_another_cell_leaves_the_next_runs_interrupt_working(front: Front) -> None:
    front.play()
    front.click("Run")
    front.running()
    asked = front.execute("play.stop()\nawait asyncio.sleep(0.7)")
    front.reply(asked)
    front.until(lambda: "stopped" in front.html("moa-said"))
    front.play()
    front.click("Run")
    front.running()
    front.manager.interrupt_kernel()
    front.stopped(time.monotonic())


def test_watch_in_a_cell_is_interrupted(front: Front) -> None:
    front.outputs.clear()
    asked = front.execute("await moa.watch(moa.mixture_of_agents(question, models, models[0]))")
    front.until(lambda: front.outputs and "2 of 3 calls ended · 1 writing" in front.outputs[-1])
    front.manager.interrupt_kernel()
    began = time.monotonic()
    front.until(lambda: "3 of 3 calls ended" in front.outputs[-1] and "stopped after" in front.outputs[-1])
    assert time.monotonic() - began < WITHIN
    assert front.reply(asked)["ename"] in ("CancelledError", "KeyboardInterrupt")
    panel = [text for text in front.outputs if "moa-live" in text][-1]
    assert "Golden Gate" in panel
    assert front.prints("print(left())").startswith("(0, 0)")


def test_over_a_subshell_as_jupyterlab_sends_it(front: Front) -> None:
    asked = front.client.session.msg("kernel_info_request", {})
    front.client.shell_channel.send(asked)
    features = front.reply(asked["header"]["msg_id"]).get("supported_features", [])
    if "kernel subshells" not in features:
        pytest.skip("this kernel has no subshells")
    front.client.control_channel.send(front.client.session.msg("create_subshell_request", {}))
    while (message := front.client.get_control_msg(timeout=10))["msg_type"] != "create_subshell_reply":
        pass
    subshell = message["content"]["subshell_id"]
    front.play()
    front.tick("groq:openai/gpt-oss-20b", True, subshell)
    front.until(lambda: "5 calls" in front.html("moa-estimate"))
    front.tick("groq:openai/gpt-oss-20b", False, subshell)
    front.until(lambda: "4 calls" in front.html("moa-estimate"))
    front.click("Run", subshell)
    front.running()
    front.click("Stop", subshell)
    front.stopped(time.monotonic())
    front.click("Run", subshell)
    front.running()
    front.manager.interrupt_kernel()
    front.stopped(time.monotonic())
    # While a cell awaits, the button works too; without a subshell it would wait for the cell.
    asked = front.execute("await asyncio.sleep(2)\nprint(len(play.runs))")
    front.click("Run", subshell)
    front.running()
    front.click("Stop", subshell)
    began = time.monotonic()
    front.until(lambda: "stopped" in front.html("moa-said"))
    assert time.monotonic() - began < WITHIN
    assert front.reply(asked)["status"] == "ok"
