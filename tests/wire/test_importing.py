"""A first call does not stop the event loop while SDKs are imported, and nothing is left when a process ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
# The import of an SDK waits until the event loop has gone on; where it keeps the loop, that never happens.
WAITS = """
import asyncio, importlib.abc, sys, threading, types
import moa_helpers as moa
ticked, seen = threading.Event(), []


class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "anthropic" and not seen:
            seen.append(threading.current_thread() is threading.main_thread())
            assert ticked.wait(60), "the loop stood still"


sys.meta_path.insert(0, Slow())


async def tick():
    while not seen:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    ticked.set()


async def main():
    ticking = asyncio.create_task(tick())
    answer = await moa.mixture_of_agents("Why is the sky blue?", {models}, "anthropic:claude-haiku-5-5")
    await ticking
    return answer.outcome


moa.setup("offline")
print(moa.run(main()), seen)
"""
MODELS = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5"]
# In a kernel: setup() warms up; the process forks and ends meanwhile.
WARMS = """
import os, sys, threading, types
import IPython.core.getipython
IPython.core.getipython.get_ipython = lambda: types.SimpleNamespace(kernel=True)
import moa_helpers as moa
from moa_helpers.vendors import importing
moa.setup("offline")
if "fork" in sys.argv and os.fork() == 0:
    from openai import AsyncOpenAI
    os._exit(0 if moa.run(moa.ask("openai:gpt-6-luna", "Why?")).ok else 1)
print(*[os.waitstatus_to_exitcode(os.wait()[1])] if "fork" in sys.argv else [], flush=True)
import atexit
names = lambda: [each.name for each in threading.enumerate() if "moa.setup" in each.name]
atexit.register(lambda: print("openai" in sys.modules, names()))
"""


def ran(tmp_path, code, *arguments):
    (tmp_path / ".env").touch()
    command = [sys.executable, "-W", "ignore" if "fork" in arguments else "error", "-c", code, *arguments]
    around = os.environ | {"PYTHONPATH": str(HOME), "MOA_OFFLINE_SPEED": "1000"}
    done = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_the_loop_goes_on_while_an_sdk_is_imported(tmp_path):
    assert ran(tmp_path, WAITS.replace("{models}", str(MODELS))) == ["complete", "[False]"]


@pytest.mark.parametrize("arguments", [[], ["fork"]])
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_setup_began_to_import_is_done_when_the_process_ends(tmp_path, arguments):
    assert ran(tmp_path, WARMS, *arguments) == ["0"] * len(arguments) + ["True", "[]"]


def test_a_service_imports_no_sdk_that_it_does_not_ask(tmp_path):
    look = "print({'openai', 'anthropic', 'mistralai'} & {*sys.modules})"
    assert ran(tmp_path, f"import sys, moa_helpers as moa; moa.setup('offline'); {look}") == ["set()"]


@pytest.mark.parametrize("error", ["OSError", "ValueError", "ImportError"])
def test_a_broken_sdk_says_what_it_says_itself(tmp_path, error):
    code = f"""
import importlib.abc, sys
import moa_helpers as moa


class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "openai":
            raise {error}("its library is missing")


sys.meta_path.insert(0, Broken())
moa.setup("offline")
for _ in range(2):
    try:
        moa.run(moa.ask("openai:gpt-6-luna", "Why?"))
    except Exception as error:
        print(type(error).__name__, error, sep=":", end=".")
"""
    assert " ".join(ran(tmp_path, code)) == f"{error}:its library is missing." * 2
