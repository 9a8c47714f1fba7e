"""A notebook run twice with keys, as a reader does who keeps answers: the second run asks nobody and shows the same.

The vendors are the embedded ones, at addresses that count as live; the keys are made up.
"""

import pytest

from moa_helpers.catalogue import VENDORS
from moa_helpers.offline.server import OfflineVendors, Server
from tests.notebooks.cells import PATHS, read
from tests.notebooks.queued import kernel, run_all

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of the Jupyter client library
KEPT = ("kept", "cost_usd")  # what shows these shows that the second run is one


@pytest.fixture
def counting():
    server = Server(OfflineVendors(speed=1000))
    yield server
    server.stop()


def settings(url):
    """Lines of ``.env``: keys, addresses and a store."""
    yield "MOA_KEEP=kept.sqlite"
    for vendor in VENDORS.values():
        if vendor.key_variable and vendor.name in ("openai", "anthropic", "mistral"):
            yield f"{vendor.key_variable}=dummy-{vendor.name}"
            yield f"{vendor.url_variable}={url}/{vendor.name}" + ("/v1" if vendor.api == "openai" else "")


def shown(path, folder):
    """What the cells print, by number, but for those that show whether they asked."""
    cells = [{"source": cell.source, "metadata": cell.data["metadata"]} for cell in read(path).code]
    with kernel(folder, mode="live") as client:
        ran = run_all(client, cells, patience=300)
    assert ran.problems == []
    numbers = [number for number, cell in enumerate(cells, 1) if not any(word in cell["source"] for word in KEPT)]
    return {number: ran.printed[number] for number in numbers}


@pytest.mark.parametrize("path", [path for path in PATHS if path.stem[:2] == "10"], ids=lambda path: path.stem)
def test_a_second_run_asks_nobody_and_shows_the_same(path, counting, tmp_path):
    (tmp_path / ".env").write_text("\n".join(settings(counting.url)), encoding="utf-8")
    first = shown(path, tmp_path)
    asked = counting.vendors.asked.total()
    assert asked > 20
    assert any("Alcatraz" in text for text in first.values())
    assert shown(path, tmp_path) == first
    assert counting.vendors.asked.total() == asked, "the second run asked again"
