"""Checks of a notebook as a part of the lesson. Each yields what is wrong."""

import ast
import csv
import re
import sys
from collections.abc import Iterator

import moa_helpers
from tests.notebooks.cells import ROOT, Cell, Elements, Notebook

MODELS = list(csv.DictReader((ROOT / "moa_helpers/catalogue/models.csv").read_text(encoding="utf-8").splitlines()))
SETUP = "import moa_helpers as moa\n\nmoa.setup()"  # tools/colab.py puts in front what Colab needs
LIBRARIES = {"openai", "anthropic", "mistralai", "pandas", "matplotlib", "IPython", "fastapi"}
MODULES = tuple(f"moa_helpers.{name}" for name in ("charts", "figures", "measures", "offline", "scores"))


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


def playground_output_not_compared(notebook: Notebook) -> Iterator[str]:
    showing = (cell for cell in notebook.code if "moa.playground(" in cell.source)
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
        names = vars(getattr(moa_helpers, module.partition(".")[2])) if module in MODULES else {}
        public = name in names.get("__all__", names) and not name.startswith("_")
    if not public:
        yield f"{module}.{name} is no public name"


def header_says_what_it_takes(notebook: Notebook) -> Iterator[str]:
    head = notebook.cells[0].source if notebook.cells[0].kind == "markdown" else ""
    if not head.startswith("# "):
        yield "the notebook does not begin with its title"
    for point in (r"\*\*Time\*\*: [^\n]*\d", r"\*\*Cost live\*\*: [^\n]*\d", r"\*\*You will be able to\*\*:\n +- "):
        if not re.search(rf"(?m)^- {point}", head):
            yield f"no bullet that looks like {point}"


def ends_with_takeaways(notebook: Notebook) -> Iterator[str]:
    prose = "\n".join(cell.source for cell in notebook.markdown)
    parts = re.findall(r"(?m)^(?:#+ |\*\*)(Takeaways|Sources|Next|Appendix)\b", prose)
    if [part for part in parts if part != "Appendix"] != ["Takeaways", "Sources", "Next"] or parts[0] != "Takeaways":
        yield f"it ends with {parts}, not with Takeaways, Sources, Next"
    if not re.search(r"(?m)^(?:#+ |\*\*)Next(?s:.*?)\]\((?!https?:)[^)]+\)", prose):
        yield "no link to the next notebook"


def sources_have_links(notebook: Notebook) -> Iterator[str]:
    prose = "\n".join(cell.source for cell in notebook.markdown)
    _, _, sources = prose.partition("Sources")
    for source in re.findall(r"(?m)^- (?s:.+?)(?=\n- |\n\n|\Z)", re.split(r"(?m)^(?:#|\*\*)", sources)[0]):
        if "](" not in source:
            yield f"a source without a link: {source}"


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
        said = "\n".join(cell.source for cell in exercise if cell.kind == "code")
        yield from (
            f"an exercise whose check never says {words!r}"
            for words in ("Not tried yet", "Not yet", "Right")
            if not re.search(rf"""["']{words}\b""", said)
        )


CHECKS = (
    local_links_resolve,
    setup_cell_first,
    model_ids_in_one_place,
    playground_output_not_compared,
    no_model_about_to_end,
    only_public_names,
    header_says_what_it_takes,
    ends_with_takeaways,
    sources_have_links,
    exercises_with_solution_and_check,
)
