"""What notebook 8 concludes follows from what it measures: where the stand-ins know other things, it says so."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.evaluation import measures
from tests.support import standins

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "08-layers.ipynb"
VERDICT = r"^    (right|wrong) .*\)\s+(above|below|no difference shown)$"


async def perform(statements, names):
    code = compile(ast.Module(statements, []), NOTEBOOK.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if inspect.isawaitable(waiting := eval(code, names)):
        await waiting


async def three_worlds():
    """Run the cell with the three worlds, after what it builds on, on ten questions instead of twenty."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    trees = [ast.parse("".join(cell["source"])).body for cell in cells[1:]]  # without the setup cell
    (worlds,) = (tree for tree in trees if any(ast.unparse(node).startswith("worlds = ") for node in tree))
    (helpers,) = (tree for tree in trees if any(getattr(node, "name", "") == "merge" for node in tree))
    every = [node for tree in trees for node in tree]
    names = {"moa": moa}
    await perform([node for node in every if isinstance(node, ast.Import | ast.ImportFrom)], names)
    await perform([node for node in trees[0] if isinstance(node, ast.Assign)], names)  # the models
    await perform(helpers, names)
    await perform([node for node in every if ast.unparse(node).startswith(("first, *others = ", "twenty = "))], names)
    await perform([node for node in every if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)], names)
    names["twenty"] = names["twenty"][::2]
    await perform([node for node in worlds if not ast.unparse(node).startswith("twenty = ")], names)


@pytest.fixture(autouse=True)
def _stand_ins(script, monkeypatch):
    standins.enter(monkeypatch, script)


def test_the_three_worlds_as_shipped(run, capsys):
    run(three_worlds())
    shown = capsys.readouterr().out
    assert re.findall(r"^(.*): mixture minus", shown, re.M) == [
        "as shipped",
        "all know the same",
        "one is much stronger",
    ]
    right, wrong = (re.findall(VERDICT.replace("right|wrong", what), shown, re.M) for what in ("right", "wrong"))
    assert [verdict for _, verdict in right] == ["above", "no difference shown", "no difference shown"]
    assert wrong[1][1] == "no difference shown"
    assert wrong[2][1] != "below"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"alike": 1}, "no difference shown"),
        ({"alike": 1, "recall": {"openai:gpt-6-luna": 0.9}, "credulity": {"openai:gpt-6-luna": 0.05}}, "below"),
    ],
)
def test_the_verdict_turns_round_where_its_reason_is_gone(changed, verdict, run, capsys):
    """The same cells where the shipped stand-ins know other things: the printed conclusion has to follow."""
    with offline.knowledge(**changed):
        run(three_worlds())
    first = re.findall(VERDICT, capsys.readouterr().out, re.M)[0]
    assert first == ("right", verdict)


@pytest.mark.parametrize(
    ("found", "shown"),
    [((-0.001, -0.1, 0.004), "0.00 (-0.10 to 0.00)"), ((0.5, -0.0, 1), "0.50 (0.00 to 1.00)")],
)
def test_no_interval_shows_a_minus_zero(found, shown):
    assert str(measures.Interval(*found)) == shown
