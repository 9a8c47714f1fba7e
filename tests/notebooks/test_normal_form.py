"""``tools/notebooks.py``: it executes notebooks offline and brings them into one normal form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import notebooks as tool
from tests.notebooks import form
from tests.notebooks.cells import PATHS, REAL, ROOT, Notebook, read
from tests.notebooks.made import DUMMY_KEY, ERROR, code, good, printed, shown

COMMAND = [sys.executable, str(ROOT / "tools/notebooks.py")]


def test_all_are_in_normal_form() -> None:
    normal = {path: tool.text(tool.normal(read(path).data, path.stem)) for path in [*PATHS, REAL]}
    other = [path.name for path in normal if path.read_text(encoding="utf-8") != normal[path]]
    assert other == [], "run make notebooks"


def test_it_leaves_out_who_ran_it_where(tmp_path: Path) -> None:
    dirty = good()
    dirty["metadata"]["widgets"] = {}
    dirty["metadata"]["kernelspec"]["name"] = "venv"
    dirty["cells"][3]["metadata"]["collapsed"] = True
    dirty["cells"][3]["execution_count"] = 12
    dirty["cells"][3]["outputs"] = [printed("1"), printed("\n")]
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "a widget"}
    dirty["cells"][9]["outputs"] = [shown("text/html", "") | {"data": widget}]
    dirty["cells"][4]["outputs"] = [ERROR | {"traceback": ["File ~/here/lib/python3.12/site-packages/a/b.py:1"]}]
    del dirty["cells"][5]["id"]
    clean = tool.normal(dirty, "07-dirty")
    notebook = Notebook(clean, tmp_path)
    checks = (form.no_widget_state, form.python3_kernel, form.counts_run_from_1)
    assert [problem for check in checks for problem in check(notebook)] == []
    assert clean["cells"][3]["metadata"] == {"tags": []}
    assert clean["cells"][3]["outputs"] == [printed(["1\n"])]
    assert clean["cells"][4]["outputs"][0]["traceback"] == ["File site-packages/a/b.py:1"]
    assert clean["cells"][5]["id"] == "07-06"
    assert clean["cells"][9]["outputs"][0]["data"] == {"text/plain": ["a widget"]}


def test_the_command_refuses_another_form_and_passes_its_own(tmp_path: Path) -> None:
    dirty, clean = tmp_path / "07-dirty.ipynb", tmp_path / "08-clean.ipynb"
    dirty.write_text(json.dumps(good()), encoding="utf-8")
    clean.write_text(tool.text(tool.normal(good(), clean.stem)), encoding="utf-8")
    done = subprocess.run([*COMMAND, "--check", str(dirty), str(clean)], capture_output=True, text=True)
    assert done.returncode == 1
    assert str(dirty) in done.stderr
    assert str(clean) not in done.stderr
    subprocess.run([*COMMAND, "--check", str(clean)], check=True)


def test_notebooks_are_executed_offline_whatever_keys_there_are(tmp_path: Path) -> None:
    keys = {"MOA_MODE": "live", "OPENAI_API_KEY": DUMMY_KEY}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in keys.items()), encoding="utf-8")
    notebook = good()
    notebook["cells"] = [code("import moa_helpers as moa\nfound = moa.setup()\nprint(found.mode, found.reason)")]
    path = tmp_path / "01-small.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    subprocess.run([*COMMAND, str(path)], check=True, env=os.environ | keys | {"TMPDIR": str(tmp_path)})
    (cell,) = read(path).cells
    assert [output["text"] for output in cell.outputs] == [["offline no API key is set\n"]]
