"""Answers for a data set of Ray Data; the documentation's own examples."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import moa_helpers as moa
from moa_helpers.bulk.ray_data import Answering
from tests.support.scripts import LUNA

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]
PAGE = Path(__file__).parents[2] / "docs" / "many-questions.md"
ADDED = ["text", "outcome", "cost_usd", "calls", "seconds"]


def test_the_examples_of_the_documentation_run(cluster, vendors):
    section = PAGE.read_text(encoding="utf-8").partition("\n## Ray\n")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    names = {}
    compiled = compile(code, "many-questions.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def run():
        if inspect.iscoroutine(waiting := eval(compiled, names)):
            await waiting

    moa.run(run())
    assert {row.outcome for row in names["answers"]} == {"complete"}
    table = names["answered"].to_pandas()
    assert [*table.columns] == ["question", *ADDED]
    assert sorted(table.question) == sorted(names["questions"])
    assert set(table.outcome) == {"complete"}
    assert len(vendors.answered) == 2 * 40 * 3


def test_a_batch_is_an_array_mapping_or_a_table(cluster, vendors):
    answering = Answering(LUNA, column="asked")
    asked = ["Why is the sky blue?", " "]
    arrays = answering({"asked": np.array(asked), "number": np.array([1, 2])})
    assert [*arrays] == ["asked", "number", *ADDED]
    assert [*arrays["outcome"]] == ["ok", "refused"]
    table = answering(pd.DataFrame({"asked": asked}))
    assert [*table.text] == [*arrays["text"]]
    with pytest.raises(KeyError, match="'asked'; it has other"):
        answering({"other": np.array(asked)})
