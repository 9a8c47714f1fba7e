"""What holds for every notebook without running it, and for each check: a broken notebook that it refuses."""

import math
import re
from pathlib import Path

import pytest

from tests.notebooks import form, lesson
from tests.notebooks.cells import PATHS, REAL, Notebook, read
from tests.notebooks.made import BROKEN, good

CHECKS = (*form.CHECKS, *lesson.CHECKS)


APART = {
    "setup_cell_first",
    "pictures_are_not_compared",
    "exercises_with_solution_and_check",
}  # it is no lesson of these


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the good notebook's links lead somewhere."""
    (tmp_path / "next.ipynb").touch()
    return tmp_path


def test_the_notebooks_are_there() -> None:
    assert len(PATHS) >= 11


def test_models_are_chosen_by_mouse_where_mixtures_are_and_where_the_playground_is() -> None:
    shown = [path.stem[:2] for path in PATHS for cell in read(path).code if "moa.playground(" in cell.source]
    assert set(shown) == {"03", "07"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_keeps_all_rules(path: Path) -> None:
    broken = {check.__name__: list(check(read(path))) for check in CHECKS}
    assert {rule: problems for rule, problems in broken.items() if problems} == {}


def test_the_notebook_on_real_models_keeps_the_rules_and_says_when_it_ran_and_on_what() -> None:
    notebook = read(REAL)
    broken = {check.__name__: list(check(notebook)) for check in CHECKS if check.__name__ not in APART}
    assert {rule: problems for rule, problems in broken.items() if problems} == {}
    said = " ".join(notebook.code[0].output_text.split())
    assert re.search(
        r"20\d\d-\d\d-\d\d · SmolLM2-135M-Instruct.* sha256 [0-9a-f]{8}….* xllamacpp [\d.]+.* threads: \d", said
    )
    assert [cell.tags for cell in notebook.code if "local:" in cell.source] == [["models"]]


def test_the_intervals_of_the_measured_table_are_wilsons() -> None:
    prose = "".join(cell.source for cell in read(REAL).markdown)
    rows = re.findall(r"\| (\d+) of (\d+) \| ([\d.]+) \(([\d.]+) to ([\d.]+)\)", prose)
    assert len(rows) == 4
    for right, count, *shown in rows:
        p, n, z = int(right) / int(count), int(count), 1.96
        centre, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        assert [float(number) for number in shown] == [
            round(number, 2) for number in (p, (centre - reach) / (1 + z * z / n), (centre + reach) / (1 + z * z / n))
        ]


def test_each_check_passes_a_good_notebook(folder: Path) -> None:
    notebook = Notebook(good(), folder)
    assert [(check.__name__, problem) for check in CHECKS for problem in check(notebook)] == []


def test_each_check_refuses_a_broken_notebook(folder: Path) -> None:
    passed = []
    for number, (check, damage) in enumerate(BROKEN):
        notebook = good()
        damage(notebook)
        if not list(check(Notebook(notebook, folder))):
            passed.append(f"BROKEN[{number}] by {check.__name__}")
    assert passed == []


def test_no_check_is_without_a_broken_notebook() -> None:
    assert {check for check, _ in BROKEN} == set(CHECKS)
