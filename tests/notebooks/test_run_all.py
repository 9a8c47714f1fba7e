"""Every notebook with all its cells queued at once, the folded solutions in the place of the reader's own code.

nbval waits for each cell and so misses some faults of Run All. The solutions satisfy the notebooks' own checks.
"""

import re
from pathlib import Path

import pytest

from tests.notebooks.cells import PATHS, read
from tests.notebooks.claims import CLAIMS
from tests.notebooks.queued import Source, kernel, run_all

slow = pytest.mark.slow
pytestmark = pytest.mark.filterwarnings("ignore")  # those of the Jupyter client library


def solved(path: Path) -> tuple[list[Source], list[int]]:
    """The notebook's code cells, solutions put in, and the numbers from 1 of those that belong to exercises."""
    cells, exercises, inside, solution = [], [], False, ""
    for cell in read(path).cells:
        if cell.kind == "markdown":
            inside = "\n## Exercise" in f"\n{cell.source}"
            solution = (
                re.findall(r"(?s)<summary>Solution</summary>.*?```python\n(.*?)```", cell.source)[0] if inside else ""
            )
            continue
        source = cell.source
        if solution:
            check = re.search(r"(?s)\n\n(if |# The check).*", source)  # some cells hold the check as well
            source, solution = solution + (check[0] if check else ""), ""
        cells.append({"source": source, "metadata": cell.data["metadata"]})
        exercises += [len(cells)] if inside else []
    return cells, exercises


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_as_shipped_no_exercise_has_been_tried(path):
    _, exercises = solved(path)
    stored = [cell.output_text for number, cell in enumerate(read(path).code, start=1) if number in exercises]
    assert "\n".join(stored).count("Not ") == 2


@slow
@pytest.mark.parametrize("path", PATHS[::-1], ids=lambda path: path.stem)  # the longest first
def test_run_all_with_the_solutions(path, tmp_path):
    cells, exercises = solved(path)
    with kernel(tmp_path) as client:
        ran = run_all(client, [*cells, *cells_of(CLAIMS.get(path.stem[:2], ""))], patience=300)
    assert ran.problems == []
    said = "".join(ran.printed[number] for number in exercises)
    assert said.count("Right") == 2, said
    assert "Not " not in said


# Many tasks that go on in the same turn of the event loop as the cell. With few of them it is a matter of luck.
BEFORE = """\
import asyncio
async def other():
    await go.wait()
go = asyncio.Event()
others = [asyncio.create_task(other()) for _ in range(100)]
asyncio.get_running_loop().call_later(0.5, go.set)
await go.wait()"""
NEST_ASYNCIO = "\nimport nest_asyncio\nnest_asyncio.apply()\nasyncio.run(asyncio.sleep(0.1))"
AFTER = ["await asyncio.sleep(0.05)"] * 6


def cells_of(*sources: str) -> list[Source]:
    return [{"source": source, "metadata": {}} for source in sources]


@slow
def test_it_sees_nest_asyncio_lose_cells(tmp_path):
    """The fault that these tests are for: nest_asyncio 1.6.0 applied and used while further cells are queued.

    The kernel's turn of the loop has counted the callbacks that are ready; the nested loop takes them away, and the
    kernel's loop ends with "pop from an empty deque".
    """
    with kernel(tmp_path) as client:
        problems = run_all(client, cells_of(BEFORE + NEST_ASYNCIO, *AFTER), patience=6).problems
    assert any("had no reply" in problem or "answers no more" in problem for problem in problems), problems


@slow
def test_it_passes_the_same_cells_without_nest_asyncio(tmp_path):
    with kernel(tmp_path) as client:
        assert run_all(client, cells_of(BEFORE, *AFTER), patience=60).problems == []


@slow
def test_it_sees_a_cell_that_fails_and_what_cells_print(tmp_path):
    with kernel(tmp_path) as client:
        ran = run_all(client, cells_of("print('one')", "1 / 0", "2"), patience=60)
    assert ran.problems[0] == "cell 2 ended with: error ZeroDivisionError division by zero"
    assert ran.problems[1].startswith("cell 3 ended with: ")  # not run: the front end stops at an error
    assert ran.printed[1] == "one\n"


@slow
def test_it_goes_on_after_a_cell_that_is_meant_to_fail(tmp_path):
    cells = cells_of("1", "1 / 0", "2")
    cells[1]["metadata"] = {"tags": ["raises-exception"]}
    with kernel(tmp_path) as client:
        assert run_all(client, cells, patience=60).problems == []
        cells[1]["source"] = "1 / 1"
        assert run_all(client, cells, patience=60).problems == ["cell 2 ended with: ok  "]
