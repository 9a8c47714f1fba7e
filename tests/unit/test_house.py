"""The house keeps its measures: sizes, no circle of imports, a sentence at the door of each folder, a light import.

``import-linter`` holds the direction of imports (pyproject.toml); these are the rules that it does not know.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "moa_helpers"
CORE = ("results", "plan", "calls", "fanout", "prompts", "mixture")
HEAVY = (
    *("openai", "anthropic", "mistralai", "httpx", "httpx2", "aiohttp", "pydantic"),
    *("pandas", "numpy", "matplotlib", "PIL", "ipywidgets", "IPython", "tqdm", "jinja2", "markdown_it"),
)
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {path: ast.parse(source) for path, source in SOURCES.items()}


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def name(path):
    """A file as what imports call it: ``moa_helpers.ui.cards``, and a folder's ``__init__`` as the folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_the_core_is_read_in_one_sitting():
    sizes = {module: lines(PACKAGE / f"{module}.py") for module in CORE}
    assert sum(sizes.values()) <= 900, sizes
    assert max(sizes.values()) <= 250, sizes


def test_no_file_is_long():
    assert {name(path): lines(path) for path in SOURCES if lines(path) > 300} == {}


def test_no_function_is_long():
    sizes = {
        f"{name(path)}:{function.lineno} {function.name}": function.end_lineno - function.lineno + 1
        for path, tree in TREES.items()
        for function in functions(tree)
    }
    assert {place: size for place, size in sizes.items() if size > 60} == {}


def test_the_package_does_not_grow():
    """Lower the number with each line that goes; a new door gets lines of its own."""
    templates = [path for path in PACKAGE.glob("ui/templates/**/*") if path.is_file()]
    assert sum(map(lines, [*SOURCES, *templates])) <= 16_799


def test_each_folder_says_what_it_is_for():
    folders = {path.parent for path in SOURCES}
    silent = []
    for folder in folders:
        said = ast.get_docstring(TREES[folder / "__init__.py"]) if folder / "__init__.py" in TREES else None
        if not said or not said.splitlines()[0].endswith((".", "?")):
            silent.append(name(folder / "__init__.py"))
    assert silent == []


def imported(tree):
    """The modules of this package that a module imports when it is loaded: not in functions, not for types alone."""
    waiting, modules = list(tree.body), {name(path) for path in SOURCES}
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import without its full name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from {whole if whole in modules else node.module} & modules
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def circle(graph):
    """Modules that import each other in a circle, or None."""
    done = set()

    def walk(module, way):
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return None
        found = next(filter(None, (walk(other, [*way, module]) for other in graph[module])), None)
        done.add(module)
        return found

    return next(filter(None, (walk(module, []) for module in graph)), None)


def test_there_is_no_circle_of_imports():
    assert circle({name(path): sorted(imported(tree)) for path, tree in TREES.items()}) is None


def test_a_circle_is_seen():
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert circle({"a": ["b", "c"], "b": ["c"], "c": []}) is None
    code = "from moa_helpers import calls\nclass A:\n    import moa_helpers.plan"
    assert sorted(imported(ast.parse(code))) == ["moa_helpers.calls", "moa_helpers.plan"]
    assert list(imported(ast.parse("if TYPE_CHECKING:\n    import moa_helpers.ui"))) == []
    assert list(imported(ast.parse("def load():\n    from moa_helpers.ui import cards"))) == []


@pytest.fixture
def python(tmp_path):
    """Run code in a Python of its own, in an empty folder and offline; returns what it prints."""

    def python(code):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
        environment |= {"PYTHONPATH": str(ROOT), "MOA_MODE": "offline"}
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    return python


def test_an_import_is_light(python):
    loaded = python("import sys, moa_helpers; print(*sys.modules)").split()
    assert "moa_helpers" in loaded
    assert [module for module in HEAVY if module in loaded] == []


# As in an environment where only the base dependencies are: None in sys.modules makes an import fail.
SERVICE = """
import sys
for module in "pandas numpy matplotlib PIL ipywidgets jinja2 markupsafe markdown_it".split():
    sys.modules[module] = None
import moa_helpers as moa
moa.setup()
answer = moa.run(moa.mixture_of_agents("Why is the sky blue?", ["openai:gpt-6-luna"] * 2, "openai:gpt-6-luna"))
print(str(answer))
print(moa.estimate("Why?", ["openai:gpt-6-luna"], "openai:gpt-6-luna"))
moa.run(moa.watch(moa.ask("openai:gpt-6-luna", "Why?")))
print(answer._repr_html_() is None, answer.replies[0]._repr_markdown_() != "")
for shown in (answer.table, answer.timeline, moa.models):
    try:
        shown()
    except ImportError as error:
        print(error)
"""


def test_a_service_needs_nothing_of_the_lesson(python):
    said = python(SERVICE)
    assert "blue" in said
    assert "True True" in said
    assert said.count("pip install 'moa-helpers[lesson]'") == 3
