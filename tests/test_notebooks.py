"""What holds for every notebook without running it, and for each check: a broken notebook that it refuses."""

import ast
import copy
import csv
import html
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import colab
import pytest

import moa_helpers

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODELS = list(csv.DictReader((ROOT / "moa_helpers/catalogue/models.csv").read_text(encoding="utf-8").splitlines()))
SETUP = colab.setup_cell(colab.project_address())
LIBRARIES = {"openai", "anthropic", "mistralai", "pandas", "matplotlib", "IPython"}
KEY_SHAPED = r"(?<![\w-])(?:sk|gsk|csk|pk|hf|tgp)[-_][\w-]{16,}|Bearer\s+[\w.-]{16,}"
MACHINE_PATH = r"(?<![\w.:/])(?:~|/(?:home|Users|root|tmp|usr|opt|var|mnt|srv|work|private))/[\w.-]+|[A-Z]:\\Users\\"


@dataclass
class Cell:
    """A cell with its source as one text."""

    data: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.data["cell_type"])

    @property
    def source(self) -> str:
        return "".join(self.data["source"])

    @property
    def tags(self) -> list[str]:
        return list(self.data["metadata"].get("tags", []))

    @property
    def outputs(self) -> list[dict[str, Any]]:
        return list(self.data.get("outputs", []))

    @property
    def output_text(self) -> str:
        """All that the outputs say, without embedded pictures."""
        return re.sub(r"data:image/[^\"')\s]+", "", "\n".join(_strings(self.outputs)))

    @property
    def tree(self) -> ast.Module:
        """The code, with IPython's magic lines blanked."""
        return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", self.source))


@dataclass
class Notebook:
    """A notebook, and the folder that its links start from."""

    data: dict[str, Any]
    folder: Path

    @property
    def cells(self) -> list[Cell]:
        return [Cell(cell) for cell in self.data["cells"]]

    @property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "code"]

    @property
    def markdown(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "markdown"]


class Elements(HTMLParser):
    """The tags of an HTML text with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield "".join(value)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


# ---- The checks. Each yields what is wrong. ----


def valid_format(notebook: Notebook) -> Iterator[str]:
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            nbformat.validate(copy.deepcopy(notebook.data))
        except (nbformat.ValidationError, Warning) as error:
            yield str(error).splitlines()[0]
    ids = [cell.data.get("id") for cell in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        yield "a cell has no id, or two have the same"


def python3_kernel(notebook: Notebook) -> Iterator[str]:
    if notebook.data["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"


def no_widget_state(notebook: Notebook) -> Iterator[str]:
    if "widgets" in notebook.data["metadata"]:
        yield "metadata.widgets is there; GitHub refuses to show such a notebook"
    if any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in _outputs(notebook)):
        yield "an output is a widget"


def counts_run_from_1(notebook: Notebook) -> Iterator[str]:
    counts = [cell.data["execution_count"] for cell in notebook.code]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}"


def outputs_stored(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.code:
        prints = any(ast.unparse(node).startswith("print(") for node in cell.tree.body)
        if (prints or "setup" in cell.tags) and not cell.outputs:
            yield f"no output is stored, so nothing is compared: {cell.source!r}"
    if 2 * sum(bool(cell.outputs) for cell in notebook.code) < len(notebook.code):
        yield "most code cells have no stored output"


def errors_only_where_meant(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.code:
        failed = any(output["output_type"] == "error" for output in cell.outputs)
        if failed != ("raises-exception" in cell.tags):
            yield f"error: {failed}, tags: {cell.tags}: {cell.source!r}"


def no_secrets(notebook: Notebook) -> Iterator[str]:
    for text in _strings(notebook.data):
        yield from (f"shaped like a key: {found[:6]}…" for found in re.findall(KEY_SHAPED, text))


def no_path_of_a_machine(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.code:
        yield from (f"a path of a machine: {found}" for found in re.findall(MACHINE_PATH, cell.output_text))


def pictures_have_alt_text(notebook: Notebook) -> Iterator[str]:
    for output in _outputs(notebook):
        if raw := [mime for mime in output.get("data", {}) if mime.startswith("image/")]:
            yield f"{raw} has no place for alt text; show an <img alt=…>"
    texts = [text for output in _outputs(notebook) for text in _strings(output.get("data", {}).get("text/html", []))]
    for text in texts + [cell.source for cell in notebook.markdown]:
        if any(tag == "img" and not (attributes.get("alt") or "").strip() for tag, attributes in Elements(text).found):
            yield "an <img> without alt text"
        if re.search(r"!\[\s*\]\(", text):
            yield "a Markdown picture without alt text"


def sizes_kept(notebook: Notebook) -> Iterator[str]:
    lengths = sorted(len(cell.source.splitlines()) for cell in notebook.code)
    if lengths[-1] > 25:
        yield f"a code cell of {lengths[-1]} lines; at most 25"
    if sum(length <= 12 for length in lengths) < 0.9 * len(lengths):
        yield f"more than one code cell in ten is longer than 12 lines: {lengths}"
    if len(notebook.cells) > 30:
        yield f"{len(notebook.cells)} cells; at most 30"
    if len(json.dumps(notebook.data, indent=1, ensure_ascii=False).encode()) > 150_000:
        yield "larger than 150 kB"
    for cell in notebook.code[1:]:  # the setup cell is what it is
        yield from (
            f"a line of more than 100 characters: {line}" for line in cell.source.splitlines() if len(line) > 100
        )


def local_links_resolve(notebook: Notebook) -> Iterator[str]:
    prose = "\n".join(re.sub(r"(?s)```.*?```", "", cell.source) for cell in notebook.markdown)
    anchors = [title.strip().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)$", prose)]
    hrefs = [attributes.get("href") or attributes.get("src") for _, attributes in Elements(prose).found]
    for link in re.findall(r"\]\(<?([^)\s>]+)", prose) + [href for href in hrefs if href]:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        if target and not (notebook.folder / target).exists():
            yield f"the link {link} leads nowhere"
        elif not target and anchor not in anchors:
            yield f"no heading is called #{anchor}"


def setup_cell_first(notebook: Notebook) -> Iterator[str]:
    if notebook.code[0].source != SETUP:
        yield "the first code cell is not the setup cell that all notebooks share"
    if not {"setup", "nbval-ignore-output"} <= set(notebook.code[0].tags):
        yield "the setup cell lacks its tags"


def model_ids_in_one_place(notebook: Notebook) -> Iterator[str]:
    ids = "|".join(sorted({re.escape(row["model_id"]) for row in MODELS}, key=len, reverse=True))
    for cell in notebook.cells:
        if "models" not in cell.tags:
            found = re.findall(rf"(?<![\w/-])(?:{ids})(?![\w-]|\.\d)", cell.source)
            yield from (f"{name} stands in a cell without the tag models" for name in found)
    if sum("models" in cell.tags for cell in notebook.cells) > 1:
        yield "more than one cell with the tag models"


def models_chosen_by_mouse(notebook: Notebook) -> Iterator[str]:
    showing = [
        cell for cell in notebook.code if re.search(r"\bmoa\.playground\(prompt, reference_models\b", cell.source)
    ]
    if not showing:
        yield "no cell shows moa.playground(prompt, reference_models, …)"
    yield from (f"not tagged nbval-ignore-output: {c.source!r}" for c in showing if "nbval-ignore-output" not in c.tags)


def no_model_about_to_end(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.cells:
        for row in MODELS if "models" in cell.tags else []:
            name = f"{row['vendor']}:{row['model_id']}"
            if row["shutdown_date"] and re.search(rf"\b{re.escape(name)}(?![\w-]|\.\d)", cell.source):
                yield f"{name} ends or ended on {row['shutdown_date']}"


def only_public_names(notebook: Notebook) -> Iterator[str]:
    ours = {"moa": "moa_helpers"}  # what a name stands for -> module
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield from _import_problems(name.name)
                    if name.name.split(".")[0] == "moa_helpers":
                        ours[name.asname or name.name] = name.name
            elif isinstance(node, ast.ImportFrom):
                yield from _import_problems(node.module or "")
                for name in node.names if (node.module or "").split(".")[0] == "moa_helpers" else []:
                    yield from _name_problems(str(node.module), name.name)
                    if f"{node.module}.{name.name}" in MODULES:
                        ours[name.asname or name.name] = f"{node.module}.{name.name}"
            elif isinstance(node, ast.Attribute):
                if ast.unparse(node.value) in ours:
                    yield from _name_problems(ours[ast.unparse(node.value)], node.attr)
                elif re.match(r"_(?!_)", node.attr):
                    yield f"a private name: {ast.unparse(node)}"


MODULES = tuple(f"moa_helpers.{name}" for name in ("charts", "figures", "measures", "offline"))


def _import_problems(module: str) -> Iterator[str]:
    top = module.split(".")[0]
    if top == "moa_helpers":
        if module not in ("moa_helpers", *MODULES):
            yield f"{module} is no public module"
    elif (top not in sys.stdlib_module_names and top not in LIBRARIES) or module == "matplotlib.pyplot":
        yield f"{module} is not to be imported by a notebook"


def _name_problems(module: str, name: str) -> Iterator[str]:
    if module == "moa_helpers":
        public = name in moa_helpers.__all__ or f"{module}.{name}" in MODULES
    else:
        names = vars(importlib.import_module(module))
        public = name in names.get("__all__", names) and not name.startswith("_")
    if not public:
        yield f"{module}.{name} is no public name"


def header_says_what_it_takes(notebook: Notebook) -> Iterator[str]:
    head = notebook.cells[0].source if notebook.cells[0].kind == "markdown" else ""
    if not head.startswith("# "):
        yield "the notebook does not begin with its title"
    if not re.search(r"\*\*Time\*\*[^*]+\d[^*]+\*\*Cost\*\*[^*]+\*\*Calls\*\*[^*]*\d", head):
        yield "no line with **Time** … **Cost** … **Calls** …, with numbers"
    if not re.search(r"You will be able to\b.*\n(?:\s*\n)*- ", head):
        yield "no list under 'You will be able to'"


def ends_with_takeaways(notebook: Notebook) -> Iterator[str]:
    prose = "\n".join(cell.source for cell in notebook.markdown[-3:])
    parts = re.findall(r"(?m)^(?:#+ |\*\*)(Takeaways|Sources|Next)\b", prose)
    if parts != ["Takeaways", "Sources", "Next"]:
        yield f"it ends with {parts}, not with Takeaways, Sources, Next"
    if notebook.cells[-1].kind != "markdown" or not re.search(r"Next(?s:.*)\]\((?!https?:)[^)]+\)", prose):
        yield "no link to the next notebook"


def exercises_with_solution_and_check(notebook: Notebook) -> Iterator[str]:
    exercises: list[list[Cell]] = []
    inside = False
    for cell in notebook.cells:
        if cell.kind == "markdown" and (titles := re.findall(r"(?m)^#+ (.*)", cell.source)):
            inside = titles[-1].startswith("Exercise")
            exercises += [[]] if inside else []
        if inside:
            exercises[-1].append(cell)
    if len(exercises) < 2:
        yield f"{len(exercises)} exercises; at least two"
    for exercise in exercises:
        prose = "\n".join(cell.source for cell in exercise if cell.kind == "markdown")
        if not re.search(r"(?s)<details>\s*<summary>[^<]+</summary>.+</details>", prose):
            yield "an exercise without a folded solution"
        code = [node for cell in exercise if cell.kind == "code" for node in ast.walk(cell.tree)]
        if not any(isinstance(node, ast.Assert) for node in code):
            yield "an exercise without a cell that checks it"


def _outputs(notebook: Notebook) -> list[dict[str, Any]]:
    return [output for cell in notebook.code for output in cell.outputs]


def dollars_are_no_formula(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.markdown:
        prose = html.unescape(re.sub(r"(?s)```.*?```|`[^`]*`", "", cell.source))
        if prose.count("$") > 1:  # JupyterLab looks for formulas in the finished page, where no \$ is left
            yield f"what stands between two $ is shown as a formula, \\$ too; write words in {prose[:40]!r}"


CHECKS: list[Callable[[Notebook], Iterator[str]]] = [
    dollars_are_no_formula,
    valid_format,
    python3_kernel,
    no_widget_state,
    counts_run_from_1,
    outputs_stored,
    errors_only_where_meant,
    no_secrets,
    no_path_of_a_machine,
    pictures_have_alt_text,
    sizes_kept,
    local_links_resolve,
    setup_cell_first,
    model_ids_in_one_place,
    models_chosen_by_mouse,
    no_model_about_to_end,
    only_public_names,
    header_says_what_it_takes,
    ends_with_takeaways,
    exercises_with_solution_and_check,
]


def test_the_notebooks_are_there() -> None:
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path: Path, check: Callable[[Notebook], Iterator[str]]) -> None:
    assert list(check(Notebook(json.loads(path.read_text(encoding="utf-8")), path.parent))) == []


def test_notebooks_are_in_normal_form() -> None:
    tool = [sys.executable, str(ROOT / "tools/notebooks.py"), "--check"]
    done = subprocess.run([*tool, *map(str, NOTEBOOKS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_normal_form_leaves_out_who_ran_it_where(tmp_path: Path) -> None:
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
    path = tmp_path / "07-dirty.ipynb"
    path.write_text(json.dumps(dirty), encoding="utf-8")
    tool = [sys.executable, str(ROOT / "tools/notebooks.py"), "--check", str(path)]
    refused = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert str(path) in refused.stderr

    spec = importlib.util.spec_from_file_location("notebooks_tool", ROOT / "tools/notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    tool_module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool_module)
    clean = tool_module.normal(dirty, path.stem)
    path.write_text(tool_module.text(clean), encoding="utf-8")
    assert subprocess.run(tool, check=False).returncode == 0
    notebook = Notebook(clean, tmp_path)
    assert [*no_widget_state(notebook), *python3_kernel(notebook), *counts_run_from_1(notebook)] == []
    assert clean["cells"][3]["metadata"] == {"tags": []}
    assert clean["cells"][3]["outputs"] == [printed(["1\n"])]
    assert clean["cells"][4]["outputs"][0]["traceback"] == ["File site-packages/a/b.py:1"]
    assert clean["cells"][5]["id"] == "07-06"
    assert clean["cells"][9]["outputs"][0]["data"] == {"text/plain": ["a widget"]}


def test_notebooks_are_executed_offline_whatever_keys_there_are(tmp_path: Path) -> None:
    keys = {"MOA_MODE": "live", "OPENAI_API_KEY": DUMMY_KEY}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in keys.items()), encoding="utf-8")
    notebook = good()
    notebook["cells"] = [code("import moa_helpers as moa\nfound = moa.setup()\nprint(found.mode, found.reason)")]
    path = tmp_path / "01-small.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    tool = [sys.executable, str(ROOT / "tools/notebooks.py"), str(path)]
    subprocess.run(tool, check=True, env=os.environ | keys | {"TMPDIR": str(tmp_path)})
    (cell,) = Notebook(json.loads(path.read_text(encoding="utf-8")), tmp_path).cells
    assert [output["text"] for output in cell.outputs] == [["offline no API key is set\n"]]


# ---- Each check sees what it is for. ----

OK_MODEL = next(row["model_id"] for row in MODELS if not row["shutdown_date"])
ENDING = next(row for row in MODELS if row["shutdown_date"])


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": list(outputs)}


def shown(mime: str, text: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {mime: text}, "metadata": {}}


def printed(text: str | list[str]) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def good() -> dict[str, Any]:
    """A small notebook that passes every check."""
    exercise = "## Exercise {}\nDo it.\n\n<details><summary>Solution</summary>\n\n`x = 1`\n\n</details>"
    cells = [
        markdown(
            "# Title\nWhy.\n\n**Time** 5 minutes · **Cost** about $1 · **Calls** 3\n\n**You will be able to**\n- see"
        ),
        code(SETUP, shown("text/html", "<p>report</p>"), tags=("setup", "nbval-ignore-output")),
        code(
            f"reference_models = ['openai:{OK_MODEL}']\nmoa.playground(prompt, reference_models)",
            tags=("models", "nbval-ignore-output"),
        ),
        code("print(1)", printed("1\n")),
        code(
            "moa.find(reference_models[0])", shown("text/html", "<img alt='A bar' src='data:image/png;base64,/tmp/x'>")
        ),
        markdown(exercise.format(1) + "\nBack to [the title](#Title)."),
        code("x = 1"),
        code("assert x == 1\nprint('right')", printed("right\n")),
        markdown(exercise.format(2)),
        code("from moa_helpers import offline\noffline.questions()\nassert True", printed("")),
        markdown(
            "## Takeaways\n- see\n\n## Sources\n[MoA](https://arxiv.org/abs/2406.04692)\n\n## Next\n[2](next.ipynb)"
        ),
    ]
    counts = iter(range(1, len(cells)))
    for number, cell in enumerate(cells):
        cell["id"] = f"good-{number:02d}"
        if cell["cell_type"] == "code":
            cell["execution_count"] = next(counts)
    kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}


def change(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Put a value somewhere into a notebook: ``"cells.3.source"``. A function is given the old value."""

    def apply(notebook: dict[str, Any]) -> None:
        *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
        inner: Any = notebook
        for step in way:
            inner = inner[step]
        inner[last] = value(inner[last]) if callable(value) else value

    return apply


def strip_outputs(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []


DUMMY_KEY = "sk-" + "x1" * 12
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
BROKEN: list[tuple[Callable[[Notebook], Iterator[str]], Callable[[dict[str, Any]], None]]] = [
    (valid_format, change("cells.3.cell_type", "cod")),
    (valid_format, change("cells.3.id", "good-00")),
    (valid_format, lambda notebook: notebook["cells"][3].pop("id")),
    (python3_kernel, change("metadata.kernelspec.name", "venv")),
    (no_widget_state, change("metadata", lambda old: old | {"widgets": {}})),
    (no_widget_state, change("cells.3.outputs.0", shown("application/vnd.jupyter.widget-view+json", "{}"))),
    (counts_run_from_1, change("cells.3.execution_count", None)),
    (counts_run_from_1, change("cells.3.execution_count", 7)),
    (outputs_stored, strip_outputs),
    (outputs_stored, change("cells.3.outputs", [])),
    (errors_only_where_meant, change("cells.3.outputs.0", ERROR)),
    (errors_only_where_meant, change("cells.3.metadata.tags", ["raises-exception"])),
    (no_secrets, change("cells.3.source", f"key = {DUMMY_KEY!r}")),
    (no_secrets, change("cells.3.outputs.0.text", f"sent {DUMMY_KEY}")),
    (no_secrets, change("cells.3.outputs.0.text", "Authorization: Bearer " + "y" * 20)),
    (no_path_of_a_machine, change("cells.3.outputs.0.text", 'File "/home/me/lesson/x.py"')),
    (no_path_of_a_machine, change("cells.3.outputs.0.text", "File ~/lesson/x.py:3")),
    (pictures_have_alt_text, change("cells.4.outputs.0", shown("text/html", "<img src='x.png'>"))),
    (pictures_have_alt_text, change("cells.4.outputs.0", shown("text/html", "<img src='x.png' alt=' '>"))),
    (pictures_have_alt_text, change("cells.4.outputs.0", shown("image/png", "aGk="))),
    (pictures_have_alt_text, change("cells.5.source", lambda old: old + "\n![](x.png)")),
    (sizes_kept, change("cells.6.source", "x = 1\n" * 26)),
    (sizes_kept, change("cells.6.source", "x = 1\n" * 13)),
    (sizes_kept, change("cells.6.source", "x = 1  # " + "-" * 100)),
    (sizes_kept, change("cells", lambda old: old * 3)),
    (sizes_kept, change("cells.3.outputs.0.text", "x" * 150_000)),
    (local_links_resolve, change("cells.5.source", lambda old: old + "\n[gone](gone.ipynb)")),
    (local_links_resolve, change("cells.5.source", lambda old: old + "\n[gone](#Gone)")),
    (setup_cell_first, change("cells.1.source", lambda old: old + "  ")),
    (setup_cell_first, change("cells.1.metadata.tags", ["setup"])),
    (dollars_are_no_formula, change("cells.0.source", lambda old: f"{old} It costs $1 to $2.")),
    (dollars_are_no_formula, change("cells.5.source", lambda old: rf"{old} It costs \$1 to \$2.")),
    (dollars_are_no_formula, change("cells.0.source", lambda old: f"{old} Or &#36;2.")),
    (model_ids_in_one_place, change("cells.3.source", f"print('openai:{OK_MODEL}')")),
    (model_ids_in_one_place, change("cells.5.source", lambda old: f"{old} Take {OK_MODEL}.")),
    (model_ids_in_one_place, change("cells.3.metadata", {"tags": ["models"]})),
    (models_chosen_by_mouse, change("cells.2.source", f"reference_models = ['openai:{OK_MODEL}']")),
    (models_chosen_by_mouse, change("cells.2.metadata.tags", ["models"])),
    (no_model_about_to_end, change("cells.2.source", f"models = ['{ENDING['vendor']}:{ENDING['model_id']}']")),
    (only_public_names, change("cells.6.source", "import nest_asyncio")),
    (only_public_names, change("cells.6.source", "import matplotlib.pyplot as plt")),
    (only_public_names, change("cells.6.source", "from moa_helpers.calls import Call")),
    (only_public_names, change("cells.6.source", "from moa_helpers import calls")),
    (only_public_names, change("cells.6.source", "moa.calls")),
    (only_public_names, change("cells.6.source", "from moa_helpers import offline as o\no.standins")),
    (only_public_names, change("cells.6.source", "await moa.setup()._card()")),
    (header_says_what_it_takes, change("cells.0.source", lambda old: old.replace("# Title", "Title"))),
    (header_says_what_it_takes, change("cells.0.source", lambda old: old.replace("**Cost** about $1 · ", ""))),
    (header_says_what_it_takes, change("cells.0.source", lambda old: old.replace("\n- see", ""))),
    (ends_with_takeaways, change("cells.10.source", lambda old: old.replace("## Sources", ""))),
    (ends_with_takeaways, change("cells.10.source", lambda old: old.replace("[2](next.ipynb)", ""))),
    (exercises_with_solution_and_check, change("cells.8.source", "## Another thing")),
    (exercises_with_solution_and_check, change("cells.8.source", "## Exercise 2\nNo solution.")),
    (exercises_with_solution_and_check, change("cells.9.source", "2")),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_passes_a_good_notebook(check: Callable[[Notebook], Iterator[str]], tmp_path: Path) -> None:
    (tmp_path / "next.ipynb").touch()
    assert list(check(Notebook(good(), tmp_path))) == []


@pytest.mark.parametrize(("check", "damage"), BROKEN, ids=[f"{c.__name__}-{i}" for i, (c, _) in enumerate(BROKEN)])
def test_each_check_refuses_a_broken_notebook(
    check: Callable[[Notebook], Iterator[str]], damage: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    (tmp_path / "next.ipynb").touch()
    notebook = good()
    damage(notebook)
    assert list(check(Notebook(notebook, tmp_path)))


def test_no_check_is_without_a_broken_notebook() -> None:
    assert {check for check, _ in BROKEN} == set(CHECKS)
