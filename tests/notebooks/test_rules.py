"""What holds for every notebook without running it, and for each check: a broken notebook that it refuses."""

from pathlib import Path

import pytest

from tests.notebooks import form, lesson
from tests.notebooks.cells import PATHS, Notebook, read
from tests.notebooks.made import BROKEN, good

CHECKS = (*form.CHECKS, *lesson.CHECKS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the good notebook's links lead somewhere."""
    (tmp_path / "next.ipynb").touch()
    return tmp_path


def test_the_notebooks_are_there() -> None:
    assert len(PATHS) >= 9


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_keeps_all_rules(path: Path) -> None:
    broken = {check.__name__: list(check(read(path))) for check in CHECKS}
    assert {rule: problems for rule, problems in broken.items() if problems} == {}


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
