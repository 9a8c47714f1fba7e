"""Every line of code in docs/cheat-sheet.md runs offline, from top to bottom."""

import ast
import re
from inspect import isawaitable
from pathlib import Path

SHEET = Path(__file__).parents[2] / "docs/cheat-sheet.md"


def test_the_cheat_sheet_runs(run, capsys):
    blocks = re.findall(r"(?s)```python\n(.*?)```", SHEET.read_text(encoding="utf-8"))
    assert len(blocks) > 5
    names = {}

    async def all_blocks():
        for block in blocks:
            awaited = eval(compile(block, str(SHEET), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if isawaitable(awaited):
                await awaited

    run(all_blocks())
    assert "offline stand-in" in capsys.readouterr().out.lower()
    assert names["answer"].outcome == "complete"
    assert names["again"] == names["answer"]
    assert len(names["answers"].table()) == 2
