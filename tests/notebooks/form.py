"""Checks of a notebook's form: what the file holds, whatever it teaches. Each yields what is wrong."""

import ast
import copy
import html
import json
import re
import warnings
from collections.abc import Iterator

from tests.notebooks.cells import Elements, Notebook, strings

KEY_SHAPED = r"(?<![\w-])(?:sk|gsk|csk|pk|hf|tgp)[-_][\w-]{16,}|Bearer\s+[\w.-]{16,}"
MACHINE_PATH = r"(?<![\w.:/])(?:~|/(?:home|Users|root|tmp|usr|opt|var|mnt|srv|work|private))/[\w.-]+|[A-Z]:\\Users\\"


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
    if any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in notebook.outputs):
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
    for text in strings(notebook.data):
        yield from (f"shaped like a key: {found[:6]}…" for found in re.findall(KEY_SHAPED, text))


def no_path_of_a_machine(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.code:
        yield from (f"a path of a machine: {found}" for found in re.findall(MACHINE_PATH, cell.output_text))


def pictures_have_alt_text(notebook: Notebook) -> Iterator[str]:
    for output in notebook.outputs:
        if raw := [mime for mime in output.get("data", {}) if mime.startswith("image/")]:
            yield f"{raw} has no place for alt text; show an <img alt=…>"
    texts = [text for output in notebook.outputs for text in strings(output.get("data", {}).get("text/html", []))]
    for text in texts + [cell.source for cell in notebook.markdown]:
        if any(tag == "img" and not (attributes.get("alt") or "").strip() for tag, attributes in Elements(text).found):
            yield "an <img> without alt text"
        if re.search(r"!\[\s*\]\(", text):
            yield "a Markdown picture without alt text"


def pictures_are_not_compared(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.code:
        if (
            'src="data:image' in "".join(strings(cell.outputs)).replace("'", '"')
            and "nbval-ignore-output" not in cell.tags
        ):
            yield f"a picture, which another version of matplotlib draws otherwise, is compared: {cell.source!r}"


def sizes_kept(notebook: Notebook) -> Iterator[str]:
    lengths = sorted(len(cell.source.splitlines()) for cell in notebook.code)
    if lengths[-1] > 20:
        yield f"a code cell of {lengths[-1]} lines; at most 20"
    if sum(length <= 12 for length in lengths) < 0.9 * len(lengths):
        yield f"more than one code cell in ten is longer than 12 lines: {lengths}"
    if len(notebook.cells) > 30:
        yield f"{len(notebook.cells)} cells; at most 30"
    if len(json.dumps(notebook.data, indent=1, ensure_ascii=False).encode()) > 150_000:
        yield "larger than 150 kB"
    for cell in notebook.code:
        yield from (
            f"a line of more than 100 characters: {line}" for line in cell.source.splitlines() if len(line) > 100
        )


def code_is_written_to_be_read(notebook: Notebook) -> Iterator[str]:
    comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            inside = (inner for inner in ast.walk(node) if inner is not node)
            if isinstance(node, comprehensions) and any(isinstance(inner, comprehensions) for inner in inside):
                yield f"a comprehension within another: {ast.unparse(node)}"
            elif isinstance(node, ast.Assert):
                yield f"an assert, which a reader meets as a traceback; say it in words: {ast.unparse(node)}"
            elif isinstance(body := getattr(node, "body", None), list):
                lines = [statement.lineno for statement in body]
                if len(set(lines)) < len(lines):
                    yield f"two statements on one line: {ast.unparse(body[0])}"


def dollars_are_no_formula(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.markdown:
        prose = html.unescape(re.sub(r"(?s)```.*?```|`[^`]*`", "", cell.source))
        if prose.count("$") > 1:  # JupyterLab looks for formulas in the finished page, where no \$ is left
            yield f"what stands between two $ is shown as a formula, \\$ too; write words in {prose[:40]!r}"


CHECKS = (
    valid_format,
    python3_kernel,
    no_widget_state,
    counts_run_from_1,
    outputs_stored,
    errors_only_where_meant,
    no_secrets,
    no_path_of_a_machine,
    pictures_have_alt_text,
    pictures_are_not_compared,
    sizes_kept,
    code_is_written_to_be_read,
    dollars_are_no_formula,
)
