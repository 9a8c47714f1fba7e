"""A kernel that is sent all cells of a notebook at once, as Run All does."""

import os
import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

Source = dict[str, Any]  # a code cell as it stands in the file


@dataclass
class Ran:
    """What came of it: what went wrong, and what each cell printed, by its number from 1."""

    problems: list[str] = field(default_factory=list)
    printed: dict[int, str] = field(default_factory=dict)


@contextmanager
def kernel(folder: Path, mode: str = "offline") -> Iterator[Any]:
    """A client of a kernel of this very Python, offline (unless told so), quick and without anybody's keys."""
    (folder / ".env").touch()  # found first, so none above it is read
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    manager = KernelManager(kernel_name="python3")
    # At a higher speed the cells would measure this machine instead of the stand-ins.
    manager.start_kernel(cwd=str(folder), env=environment | {"MOA_MODE": mode, "MOA_OFFLINE_SPEED": "4"})
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def run_all(client: Any, cells: Sequence[Source], patience: float) -> Ran:
    """Queue all cells, then collect the replies for ``patience`` seconds."""
    ran = Ran()
    numbers, waiting = {}, {}
    for number, cell in enumerate(cells, start=1):
        may_fail = "raises-exception" in cell["metadata"].get("tags", [])
        request = client.execute("".join(cell["source"]), stop_on_error=not may_fail, allow_stdin=False)
        numbers[request] = number
        waiting[request] = ["error"] if may_fail else ["ok"]
    until = time.monotonic() + patience
    while waiting:
        try:
            reply = client.get_shell_msg(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            late = [numbers[request] for request in waiting]
            ran.problems.append(f"cells {late} had no reply within {patience} s")
            break
        request, content = reply["parent_header"]["msg_id"], reply["content"]
        if request in waiting and content["status"] not in waiting.pop(request):
            what = " ".join([content["status"], content.get("ename", ""), content.get("evalue", "")])
            ran.problems.append(f"cell {numbers[request]} ended with: {what}")
    still_there = client.execute("", silent=True)
    try:
        while client.get_shell_msg(timeout=5)["parent_header"]["msg_id"] != still_there:
            pass
    except queue.Empty:
        ran.problems.append("the kernel answers no more")
    else:
        ran.printed = _printed(client, numbers, still_there)
    return ran


def _printed(client: Any, numbers: dict[str, int], last: str) -> dict[int, str]:
    """What the cells printed until the kernel was idle after the last request."""
    printed = dict.fromkeys(numbers.values(), "")
    while True:
        message = client.get_iopub_msg(timeout=30)
        request, content = message["parent_header"].get("msg_id"), message["content"]
        if message["msg_type"] == "stream" and request in numbers:
            printed[numbers[request]] += content["text"]
        if request == last and content.get("execution_state") == "idle":
            return printed
