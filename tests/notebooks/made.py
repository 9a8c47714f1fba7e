"""A small notebook that passes every check, and damage to it: for each check at least one that it must refuse."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.notebooks import form, lesson
from tests.notebooks.cells import Notebook
from tests.notebooks.lesson import MODELS, SETUP

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
    check = "if x is None:\n    print('Not tried yet.')\nelse:\n    print('Right: it is 1.' if x == 1 else 'Not yet.')"
    cells = [
        markdown(
            "# Title\nWhy.\n\n- **Time**: 5 minutes\n- **Cost live**: about $1, 3 calls\n"
            "- **You will be able to**:\n  - see"
        ),
        code(SETUP, shown("text/html", "<p>report</p>"), tags=("setup", "nbval-ignore-output")),
        code(
            f"reference_models = ['openai:{OK_MODEL}']\nmoa.playground(prompt, reference_models)",
            tags=("models", "nbval-ignore-output"),
        ),
        code("print(1)", printed("1\n")),
        code(
            "moa.find(reference_models[0])",
            shown("text/html", "<img alt='A bar' src='data:image/png;base64,/tmp/x'>"),
            tags=("nbval-ignore-output",),
        ),
        markdown(exercise.format(1) + "\nBack to [the title](#Title)."),
        code("x = 1"),
        code(check, printed("Right: it is 1.\n")),
        markdown(exercise.format(2)),
        code("from moa_helpers import offline\noffline.questions()\n" + check, printed("Right: it is 1.\n")),
        markdown(
            "## Takeaways\n- see\n\n## Sources\n- [MoA](https://arxiv.org/abs/2406.04692)\n\n## Next\n[2](next.ipynb)"
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
    (form.valid_format, change("cells.3.cell_type", "cod")),
    (form.valid_format, change("cells.3.id", "good-00")),
    (form.valid_format, lambda notebook: notebook["cells"][3].pop("id")),
    (form.python3_kernel, change("metadata.kernelspec.name", "venv")),
    (form.no_widget_state, change("metadata", lambda old: old | {"widgets": {}})),
    (form.no_widget_state, change("cells.3.outputs.0", shown("application/vnd.jupyter.widget-view+json", "{}"))),
    (form.counts_run_from_1, change("cells.3.execution_count", None)),
    (form.counts_run_from_1, change("cells.3.execution_count", 7)),
    (form.outputs_stored, strip_outputs),
    (form.outputs_stored, change("cells.3.outputs", [])),
    (form.errors_only_where_meant, change("cells.3.outputs.0", ERROR)),
    (form.errors_only_where_meant, change("cells.3.metadata.tags", ["raises-exception"])),
    (form.no_secrets, change("cells.3.source", f"key = {DUMMY_KEY!r}")),
    (form.no_secrets, change("cells.3.outputs.0.text", f"sent {DUMMY_KEY}")),
    (form.no_secrets, change("cells.3.outputs.0.text", "Authorization: Bearer " + "y" * 20)),
    (form.no_path_of_a_machine, change("cells.3.outputs.0.text", 'File "/home/me/lesson/x.py"')),
    (form.no_path_of_a_machine, change("cells.3.outputs.0.text", "File ~/lesson/x.py:3")),
    (form.pictures_have_alt_text, change("cells.4.outputs.0", shown("text/html", "<img src='x.png'>"))),
    (form.pictures_have_alt_text, change("cells.4.outputs.0", shown("text/html", "<img src='x.png' alt=' '>"))),
    (form.pictures_have_alt_text, change("cells.4.outputs.0", shown("image/png", "aGk="))),
    (form.pictures_have_alt_text, change("cells.5.source", lambda old: old + "\n![](x.png)")),
    (form.pictures_are_not_compared, change("cells.4.metadata.tags", [])),
    (form.sizes_kept, change("cells.6.source", "x = 1\n" * 21)),
    (form.sizes_kept, change("cells.6.source", "x = 1\n" * 13)),
    (form.sizes_kept, change("cells.6.source", "x = 1  # " + "-" * 100)),
    (form.sizes_kept, change("cells", lambda old: old * 3)),
    (form.sizes_kept, change("cells.3.outputs.0.text", "x" * 150_000)),
    (form.code_is_written_to_be_read, change("cells.6.source", "assert x")),
    (form.code_is_written_to_be_read, change("cells.6.source", "x = 1; y = 2")),
    (form.code_is_written_to_be_read, change("cells.6.source", "for x in y:\n    x; y")),
    (form.code_is_written_to_be_read, change("cells.6.source", "[[x for x in y] for y in z]")),
    (form.code_is_written_to_be_read, change("cells.6.source", "[x for x in max(y for y in z)]")),
    (form.code_is_written_to_be_read, change("cells.6.source", "{key: (lambda: {x for x in y}) for key in z}")),
    (lesson.local_links_resolve, change("cells.5.source", lambda old: old + "\n[gone](gone.ipynb)")),
    (lesson.local_links_resolve, change("cells.5.source", lambda old: old + "\n[gone](#Gone)")),
    (lesson.setup_cell_first, change("cells.1.source", lambda old: old + "  ")),
    (lesson.setup_cell_first, change("cells.1.metadata.tags", ["setup"])),
    (form.dollars_are_no_formula, change("cells.0.source", lambda old: f"{old} It costs $1 to $2.")),
    (form.dollars_are_no_formula, change("cells.5.source", lambda old: rf"{old} It costs \$1 to \$2.")),
    (form.dollars_are_no_formula, change("cells.0.source", lambda old: f"{old} Or &#36;2.")),
    (lesson.model_ids_in_one_place, change("cells.3.source", f"print('openai:{OK_MODEL}')")),
    (lesson.model_ids_in_one_place, change("cells.5.source", lambda old: f"{old} Take {OK_MODEL}.")),
    (lesson.model_ids_in_one_place, change("cells.3.metadata", {"tags": ["models"]})),
    (lesson.playground_output_not_compared, change("cells.2.metadata.tags", ["models"])),
    (lesson.no_model_about_to_end, change("cells.2.source", f"models = ['{ENDING['vendor']}:{ENDING['model_id']}']")),
    (lesson.only_public_names, change("cells.6.source", "import nest_asyncio")),
    (lesson.only_public_names, change("cells.6.source", "import matplotlib.pyplot as plt")),
    (lesson.only_public_names, change("cells.6.source", "from moa_helpers.calls import Call")),
    (lesson.only_public_names, change("cells.6.source", "from moa_helpers import calls")),
    (lesson.only_public_names, change("cells.6.source", "moa.calls")),
    (lesson.only_public_names, change("cells.6.source", "from moa_helpers import offline as o\no.standins")),
    (lesson.only_public_names, change("cells.6.source", "await moa.setup()._card()")),
    (lesson.header_says_what_it_takes, change("cells.0.source", lambda old: old.replace("# Title", "Title"))),
    (
        lesson.header_says_what_it_takes,
        change("cells.0.source", lambda old: old.replace("about $1, 3 calls", "little")),
    ),
    (lesson.header_says_what_it_takes, change("cells.0.source", lambda old: old.replace("\n  - see", ""))),
    (lesson.ends_with_takeaways, change("cells.10.source", lambda old: old.replace("## Sources", ""))),
    (lesson.ends_with_takeaways, change("cells.10.source", lambda old: old.replace("[2](next.ipynb)", ""))),
    (lesson.ends_with_takeaways, change("cells.10.source", lambda old: "## Appendix\n\n" + old)),
    (lesson.sources_have_links, change("cells.10.source", lambda old: old.replace("- [MoA]", "- A book.\n- [MoA]"))),
    (lesson.exercises_with_solution_and_check, change("cells.8.source", "## Another thing")),
    (lesson.exercises_with_solution_and_check, change("cells.8.source", "## Exercise 2\nNo solution.")),
    (lesson.exercises_with_solution_and_check, change("cells.9.source", "2")),
    (lesson.exercises_with_solution_and_check, change("cells.7.source", lambda old: old.replace("'Not yet.'", "''"))),
]
