"""The playground and ``watch`` in a real kernel, driven by the messages that a front end sends and reads."""

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the Jupyter client library


def test_choose_run_see_it_stream_stop_and_interrupt(front):
    """One of each, quickly; what follows is slow."""
    front.play()
    front.write("Add a model", "groq:openai/gpt-oss-20b")
    front.until(lambda: "5 calls" in front.html("moa-estimate"))
    front.tick("groq:openai/gpt-oss-20b", False)
    front.until(lambda: "4 calls" in front.html("moa-estimate"))
    front.updates.clear()
    front.click("Run")
    front.running()
    front.until(lambda: max(front.updates.count(name) for name in front.inside("moa-watched")) > 3)
    front.click("Stop")
    front.stopped()
    front.click("Run")
    front.running()
    front.interrupt()
    front.stopped()


@pytest.mark.slow
@pytest.mark.parametrize("while_idle", [True, False])
def test_the_kernels_interrupt_stops_a_run_and_the_kernel_goes_on(front, while_idle):
    front.play()
    asked = None if while_idle else front.execute("await play.run()")
    if while_idle:
        front.click("Run")
    front.running()
    front.interrupt()
    front.stopped()
    if asked:  # the reply comes when IPython has drawn up the traceback, which takes longer than the stop
        assert front.reply(asked)["ename"] in ("CancelledError", "KeyboardInterrupt")
    front.interrupt()  # with nothing under way it does nothing
    assert front.prints("print(6 * 7)").startswith("42")
    front.click("Run")
    front.running()
    front.click("Stop")
    front.stopped()


@pytest.mark.slow
def test_an_interrupt_during_an_other_cell_ends_that_cell_and_the_next_one_the_run(front):
    front.play()
    front.click("Run")
    front.running()
    front.outputs.clear()
    asked = front.execute("print('here')\nawait asyncio.sleep(600)")
    front.until(lambda: any("here" in text for text in front.outputs))
    front.interrupt()
    assert front.reply(asked)["status"] == "error"
    assert "1 writing" in front.html("moa-watched")
    front.interrupt()
    front.stopped()


@pytest.mark.slow
def test_a_run_that_ends_during_another_cell_leaves_the_next_runs_interrupt_working(front):
    front.play()
    front.click("Run")
    front.running()
    front.run("play.stop()\nwhile not play.runs:\n    await asyncio.sleep(0.05)")
    front.until(lambda: "stopped" in front.html("moa-said"))
    front.play()
    front.click("Run")
    front.running()
    front.interrupt()
    front.stopped()


@pytest.mark.slow
def test_watch_in_a_cell_is_interrupted(front):
    front.outputs.clear()
    asked = front.execute("await moa.watch(moa.mixture_of_agents(question, models, A, timeout=600))")
    front.until(lambda: front.outputs and "2 of 4 calls ended · 1 writing" in front.outputs[-1])
    front.until(lambda: "Half an answer" in front.outputs[-1])
    front.interrupt()
    front.until(lambda: "3 of 4 calls ended" in front.outputs[-1] and "stopped after" in front.outputs[-1])
    assert front.reply(asked)["ename"] in ("CancelledError", "KeyboardInterrupt")
    panel = [text for text in front.outputs if "moa-live" in text][-1]
    assert "Half an answer" in panel
    assert front.prints("print(left())").startswith("(0, 0)")


@pytest.mark.slow
def test_over_a_subshell_as_jupyterlab_sends_it(front):
    asked = front.client.session.msg("kernel_info_request", {})
    front.client.shell_channel.send(asked)
    features = front.reply(asked["header"]["msg_id"]).get("supported_features", [])
    if "kernel subshells" not in features:
        pytest.skip("this kernel has no subshells")
    front.client.control_channel.send(front.client.session.msg("create_subshell_request", {}))
    while (message := front.client.get_control_msg(timeout=60))["msg_type"] != "create_subshell_reply":
        pass
    subshell = message["content"]["subshell_id"]
    front.play()
    front.tick("openai:gpt-6-luna", False, subshell)
    front.until(lambda: "3 calls" in front.html("moa-estimate"))
    front.tick("openai:gpt-6-luna", True, subshell)
    front.until(lambda: "4 calls" in front.html("moa-estimate"))
    front.click("Run", subshell)
    front.running()
    front.click("Stop", subshell)
    front.stopped()
    front.click("Run", subshell)
    front.running()
    front.interrupt()
    front.stopped()
    # While a cell awaits, the button works too; without a subshell it would wait for the cell.
    before = int(front.prints("print(len(play.runs), end=' ')").split()[0])
    asked = front.execute(f"while len(play.runs) == {before}:\n    await asyncio.sleep(0.05)\nprint('seen')")
    front.click("Run", subshell)
    front.running()
    front.click("Stop", subshell)
    front.until(lambda: "stopped" in front.html("moa-said"))
    assert front.reply(asked)["status"] == "ok"
    front.until(lambda: any("seen" in text for text in front.outputs))
