"""Notebooks with a real model in their lists: no cell fails. The first four run with ``make real``, all in CI."""

import pytest

from tests.notebooks.cells import PATHS, REAL
from tests.real import notebooks
from tests.real.conftest import MODEL

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the Jupyter client library
CASES = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem[:2] > "04")) for path in PATHS]


@pytest.mark.parametrize("path", [*CASES, pytest.param(REAL, id=REAL.stem)])
def test_every_cell_runs(path, tmp_path):
    assert notebooks.run(path, [MODEL], tmp_path).problems == []
