"""What notebook 8 concludes follows from what it measures: where the stand-ins know other things, it says so."""

import ast
import inspect
import json
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.evaluation import measures
from tests.support import standins

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "08-layers.ipynb"


async def perform(statements, names):
    code = compile(ast.Module(statements, []), NOTEBOOK.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if inspect.isawaitable(waiting := eval(code, names)):
        await waiting


async def three_worlds():
    """Run the cells with the three worlds, after what they build on, on ten questions instead of twenty.

    Returns the verdicts on points right and on points wrong, by world.
    """
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    trees = [ast.parse("".join(cell["source"])).body for cell in cells[1:]]  # without the setup cell
    (worlds,) = (tree for tree in trees if any(ast.unparse(node).startswith("outcomes = ") for node in tree))
    (helpers,) = (tree for tree in trees if any(getattr(node, "name", "") == "merge" for node in tree))
    every = [node for tree in trees for node in tree]
    names = {"moa": moa}
    await perform([node for node in every if isinstance(node, ast.Import | ast.ImportFrom)], names)
    await perform([node for node in trees[0] if isinstance(node, ast.Assign)], names)  # the models
    await perform(helpers, names)
    wanted = ("first, *others = ", "worlds = ")
    await perform([node for node in every if ast.unparse(node).startswith(wanted)], names)
    await perform([node for node in every if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)], names)
    names["questions"] = offline.questions(3)[:20:2]
    await perform(worlds, names)
    outcomes = names["outcomes"].items()
    return {
        world: [text.partition("): ")[2] for text in table.iloc[0][["right", "wrong"]]] for world, table in outcomes
    }


@pytest.fixture(autouse=True)
def _stand_ins(script, monkeypatch):
    standins.enter(monkeypatch, script)


def test_the_three_worlds_as_shipped(run):
    verdicts = run(three_worlds())
    assert [*verdicts] == ["as shipped", "all know the same", "one is much stronger"]
    right, wrong = zip(*verdicts.values(), strict=True)
    assert right == ("above", "no difference shown", "no difference shown")
    assert wrong[1] == "no difference shown"
    assert wrong[2] != "below"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"alike": 1}, "no difference shown"),
        ({"alike": 1, "recall": {"openai:gpt-6-luna": 0.9}, "credulity": {"openai:gpt-6-luna": 0.05}}, "below"),
    ],
)
def test_the_verdict_turns_round_where_its_reason_is_gone(changed, verdict, run):
    """The same cells where the shipped stand-ins know other things: the conclusion that they show has to follow."""
    with offline.knowledge(**changed):
        verdicts = run(three_worlds())
    assert verdicts["as shipped"][0] == verdict


@pytest.mark.parametrize(
    ("found", "shown"),
    [((-0.001, -0.1, 0.004), "0.00 (-0.10 to 0.00)"), ((0.5, -0.0, 1), "0.50 (0.00 to 1.00)")],
)
def test_no_interval_shows_a_minus_zero(found, shown):
    assert str(measures.Interval(*found)) == shown
