"""The weekly look at models and links, against a server on this machine."""

import json
import shutil
import sys
import threading
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import facts as tool
import pytest

from tests.notebooks.cells import ROOT

KEY = "dummy-key-0123456789"
VENDORS = (
    "name,api,base_url,key_variable,url_variable\nopenai,openai,https://x.invalid/v1,OPENAI_API_KEY,OPENAI_BASE_URL\n"
)
VENDORS += "anthropic,anthropic,https://y.invalid,ANTHROPIC_API_KEY,ANTHROPIC_BASE_URL\n"
MODELS = "vendor,model_id,shutdown_date,successor,usd_in_per_m,usd_out_per_m\n"
NOWHERE = "http://127.0.0.1:9"


def price(use, model, *, provider_id):
    """As genai-prices has it: one model, at 2 and 10 dollars for a million tokens, as decimals."""
    if (provider_id, model) != ("openai", "priced"):
        raise LookupError(model)
    return SimpleNamespace(total_price=Decimal(2 * use.input_tokens + 10 * use.output_tokens) / 1_000_000)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """A project with one text, and a server whose paths do what they say; returns what it was asked with."""
    asked, go = [], threading.Event()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            what = self.path.strip("/").partition("?")[0]
            if what == "silent":
                go.wait(30)
            self.send_response({"moved": 301, "gone": 404, "refuses": 403, "broken": 503}.get(what, 200))
            if what == "moved":
                self.send_header("Location", "/there")
            if what == "torn":
                self.send_header("Content-Length", "100")
            self.end_headers()
            if what == "v1/models":
                self.wfile.write(json.dumps({"data": [{"id": "here"}]}).encode())

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "CATALOGUE", tmp_path)
    monkeypatch.setattr(tool, "NO_PAGE", tool.re.compile("OWNER"))
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setitem(sys.modules, "genai_prices", SimpleNamespace(Usage=SimpleNamespace, calc_price=price))
    (tmp_path / "vendors.csv").write_text(VENDORS)
    (tmp_path / "models.csv").write_text(MODELS)

    def write(*paths):
        (tmp_path / "README.md").write_text(" ".join(f"[a]({here.address}/{path})." for path in paths))

    here = SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}", asked=asked, write=write, folder=tmp_path)
    yield here
    go.set()
    server.shutdown()
    server.server_close()


def report(capsys, timeout=20.0):
    status = tool.main(date(2026, 11, 29), timeout)
    return status, capsys.readouterr().out


def test_a_dead_link_is_a_fault_and_one_that_moved_or_refuses_programs_is_not(pages, capsys):
    pages.write("well", "moved", "refuses")
    status, said = report(capsys)
    assert status == 0
    assert f"<{pages.address}/moved> leads on to {pages.address}/there (README.md)" in said
    assert f"<{pages.address}/refuses> refuses programs (403): look at it (README.md)" in said
    assert "/well>" not in said
    pages.write("well", "gone", "broken")
    status, said = report(capsys)
    assert status == 1
    assert "## Links" in said
    assert f"<{pages.address}/broken> answers 503 (README.md)" in said
    assert f"<{pages.address}/gone> answers 404 (README.md)" in said
    assert [path for path, _ in pages.asked].count("/broken") == 2


def test_a_link_that_is_silent_is_asked_twice(pages, capsys):
    pages.write("silent")
    status, said = report(capsys, timeout=0.1)
    assert status == 1
    assert f"<{pages.address}/silent> does not answer: " in said


def test_what_is_no_answer_or_no_address_is_a_fault_and_ends_nothing(pages, capsys):
    pages.write("torn", "ü", "gone")
    (pages.folder / "CHANGELOG.md").write_text("<http://[broken/>")
    status, said = report(capsys)
    assert status == 1
    for path in ("torn", "ü"):
        assert f"<{pages.address}/{path}> does not answer: " in said
    assert "<http://[broken/> does not answer: " in said
    assert f"<{pages.address}/gone> answers 404" in said


def test_a_model_that_is_not_listed_or_ends_soon_is_named(pages, capsys, monkeypatch):
    pages.write("well")
    (pages.folder / "models.csv").write_text(
        f"{MODELS}openai,here,,\nopenai,lost,,\nanthropic,here,2026-12-24,newer\nanthropic,later,2027-06-01,\n"
    )
    status, said = report(capsys)
    assert status == 0  # without keys nobody's list is asked, and no text names the model that ends
    assert "## For your information\n\n- anthropic:here ends on 2026-12-24; its successor: newer\n\n1 links" in said
    (pages.folder / "docs").mkdir()
    (pages.folder / "docs" / "page.md").write_text("Ask `anthropic:here`.")
    status, said = report(capsys)
    assert status == 1
    assert "## Models\n\n- anthropic:here ends on 2026-12-24; its successor: newer\n" in said
    assert "not asked for their models: openai, anthropic." in said
    for name in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.setenv(f"{name}_BASE_URL", f"{pages.address}/v1")
    status, said = report(capsys)
    assert status == 1
    assert "- openai:lost is not in the vendor's list\n- anthropic:later is not in the vendor's list\n" in said
    sent = [headers for path, headers in pages.asked if path.startswith("/v1/models")]
    assert [headers.get("Authorization") or headers.get("X-Api-Key") for headers in sent] == [f"Bearer {KEY}", KEY]


def test_a_price_that_differs_is_named(pages, capsys, monkeypatch):
    pages.write("well")
    (pages.folder / "models.csv").write_text(f"{MODELS}openai,priced,,,2,10\nanthropic,unknown to them,,,1,5\n")
    assert report(capsys)[0] == 0
    (pages.folder / "models.csv").write_text(f"{MODELS}openai,priced,,,2,8\n")
    status, said = report(capsys)
    assert status == 1
    assert "- openai:priced costs [2.0, 10.0] by genai-prices, and [2.0, 8.0] in models.csv\n" in said
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    status, said = report(capsys)
    assert status == 1
    assert "- The prices were not compared: genai-prices is not installed" in said


def test_a_list_that_cannot_be_had_is_said_without_the_key(pages, capsys, monkeypatch):
    pages.write("well")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for address, why in ((f"{pages.address}/gone", "JSONDecodeError"), (NOWHERE, "URLError")):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        status, said = report(capsys)
        assert status == 1
        assert "- openai gave no list of its models: " in said
        assert why in said
        assert KEY not in said


def test_the_lessons_own_links_are_found(tmp_path, monkeypatch):
    for name in ("README.md", "docs", "notebooks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    found = tool.links()
    assert len(found) >= 20
    assert "README.md" in found["https://arxiv.org/abs/2406.04692"]
    assert not [address for address in found if "127.0.0.1" in address or "example" in address.split("/")[2]]
