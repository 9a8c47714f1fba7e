"""Every notebook with all its cells queued at once, as Run All does; nbval waits for each and misses some faults."""

import json
import os
import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the Jupyter client library

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
Cell = dict[str, Any]


@contextmanager
def kernel(folder: Path) -> Iterator[Any]:
    """A client of a kernel of this very Python, offline, quick and without anybody's keys."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder), env=environment | {"MOA_MODE": "offline", "MOA_OFFLINE_SPEED": "4"})
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def run_all(client: Any, cells: Sequence[Cell], patience: float) -> list[str]:
    """Queue all cells, then collect the replies for ``patience`` seconds. Returns what went wrong."""
    asked = {}
    for number, cell in enumerate(cells, start=1):
        may_fail = "raises-exception" in cell["metadata"].get("tags", [])
        request = client.execute("".join(cell["source"]), stop_on_error=not may_fail, allow_stdin=False)
        asked[request] = (number, ["error"] if may_fail else ["ok"])
    problems = []
    until = time.monotonic() + patience
    while asked:
        try:
            reply = client.get_shell_msg(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            problems.append(f"cells {[number for number, _ in asked.values()]} had no reply within {patience} s")
            break
        number, allowed = asked.pop(reply["parent_header"]["msg_id"], (0, []))
        content = reply["content"]
        if number and content["status"] not in allowed:
            what = " ".join([content["status"], content.get("ename", ""), content.get("evalue", "")])
            problems.append(f"cell {number} ended with: {what}")
    still_there = client.execute("", silent=True)
    try:
        while client.get_shell_msg(timeout=5)["parent_header"]["msg_id"] != still_there:
            pass
    except queue.Empty:
        problems.append("the kernel answers no more")
    return problems


def code_cells(path: Path) -> list[Cell]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def cells_of(*sources: str) -> list[Cell]:
    return [{"source": source, "metadata": {}} for source in sources]


def test_the_notebooks_are_there() -> None:
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_run_all(path: Path) -> None:
    with kernel(path.parent) as client:
        assert run_all(client, code_cells(path), patience=300) == []


# Many tasks that go on in the same turn of the event loop as the cell. With few of them it is a matter of luck.
BEFORE = cells_of(
    """\
import asyncio
async def other():
    await go.wait()
go = asyncio.Event()
others = [asyncio.create_task(other()) for _ in range(100)]
asyncio.get_running_loop().call_later(0.5, go.set)
await go.wait()"""
)
NEST_ASYNCIO = "\nimport nest_asyncio\nnest_asyncio.apply()\nasyncio.run(asyncio.sleep(0.1))"
AFTER = cells_of(*["await asyncio.sleep(0.05)"] * 6)


def test_run_all_sees_nest_asyncio_lose_cells(tmp_path: Path) -> None:
    """The fault that these tests are for: nest_asyncio 1.6.0 applied and used while further cells are queued.

    The kernel's turn of the loop has counted the callbacks that are ready; the nested loop takes them away, and the
    kernel's loop ends with "pop from an empty deque".
    """
    cells = [*cells_of(BEFORE[0]["source"] + NEST_ASYNCIO), *AFTER]
    with kernel(tmp_path) as client:
        problems = run_all(client, cells, patience=6)
    assert any("had no reply" in problem or "answers no more" in problem for problem in problems), problems


def test_run_all_passes_the_same_cells_without_nest_asyncio(tmp_path: Path) -> None:
    with kernel(tmp_path) as client:
        assert run_all(client, [*BEFORE, *AFTER], patience=10) == []


def test_run_all_sees_a_cell_that_fails(tmp_path: Path) -> None:
    with kernel(tmp_path) as client:
        problems = run_all(client, cells_of("1", "1 / 0", "2"), patience=8)
    assert problems[0] == "cell 2 ended with: error ZeroDivisionError division by zero"
    assert problems[1].startswith("cell 3 ended with: ")  # not run: the front end stops at an error


def test_run_all_goes_on_after_a_cell_that_is_meant_to_fail(tmp_path: Path) -> None:
    cells = cells_of("1", "1 / 0", "2")
    cells[1]["metadata"] = {"tags": ["raises-exception"]}
    with kernel(tmp_path) as client:
        assert run_all(client, cells, patience=8) == []
    cells[1]["source"] = "1 / 1"
    with kernel(tmp_path) as client:
        assert run_all(client, cells, patience=8) == ["cell 2 ended with: ok  "]
