"""Google Colab: secrets, free models, the setup cell and the notebooks to upload, against a stand-in of its package."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import colab as tool
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import moa_helpers as moa
from moa_helpers import calls
from moa_helpers.limits.values import Bounds, Limits
from moa_helpers.vendors import colab as google

ROOT = Path(__file__).parents[1]
STAND_IN = Path(__file__).parent / "google_colab"
KEY = "dummy-" + "k" * 20
GEMINI, GEMMA = "colab:google/gemini-2.5-flash", "colab:google/gemma-3-27b-it"
ADDRESS = "https://github.com/someone/a-lesson"


@pytest.fixture
def colab(monkeypatch):
    """On Colab: its stand-in is there, fresh, and no mode is asked for."""
    monkeypatch.delenv("MOA_MODE")
    monkeypatch.syspath_prepend(STAND_IN)
    before = set(sys.modules)
    from google.colab import ai, userdata

    yield SimpleNamespace(ai=ai, userdata=userdata)
    for name in [name for name in sys.modules if name.split(".")[0] == "google" and name not in before]:
        del sys.modules[name]


class ProxyError(Exception):
    """What the SDK within google.colab.ai raises when the proxy refuses."""

    def __init__(self, status_code, message):
        super().__init__(message)
        self.status_code, self.body = status_code, {"message": message}


# Secrets


def test_secrets(colab, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "dummy-anthropic")
    colab.userdata.secrets |= {"OPENAI_API_KEY": KEY, "TOGETHER_API_KEY": " "}
    settings = moa.setup()
    assert settings.mode == "live"
    assert settings.key_sources == {"openai": "Colab secrets", "anthropic": "environment"}
    assert moa.connection("openai")["api_key"] == KEY
    assert KEY not in str(settings) + repr(settings) + settings._repr_html_() + settings._repr_markdown_()
    assert settings.notes == ()
    moa.setup()
    assert colab.userdata.asked.count("OPENAI_API_KEY") == 1
    assert "ANTHROPIC_API_KEY" not in colab.userdata.asked


def test_a_secret_that_is_added_later_is_found(colab):
    assert moa.setup().mode == "offline"
    colab.userdata.secrets["OPENAI_API_KEY"] = KEY
    assert moa.setup().key_sources == {"openai": "Colab secrets"}


def test_a_secret_that_is_denied_is_not_asked_for_again(colab):
    colab.userdata.secrets |= {"OPENAI_API_KEY": KEY, "GROQ_API_KEY": colab.userdata.NotebookAccessError}
    for _ in range(2):  # a second dialog would annoy
        settings = moa.setup()
        assert settings.key_sources == {"openai": "Colab secrets"}
        assert "no access to GROQ_API_KEY, so not asked for again" in str(settings)
    assert colab.userdata.asked.count("GROQ_API_KEY") == 1


@pytest.mark.parametrize("token_is_known", [False, True])
def test_a_panel_that_times_out_is_asked_nothing_more(token_is_known, colab, run, monkeypatch):
    if token_is_known:
        monkeypatch.setenv("MODEL_PROXY_API_KEY", "known-from-before")
    colab.userdata.secrets["ANTHROPIC_API_KEY"] = colab.userdata.TimeoutException
    for _ in range(2):
        settings = moa.setup()
        assert settings.mode == "offline"
        assert "the panel did not answer in time, so it is not asked again" in str(settings)
        assert settings.colab_models == ((GEMINI, GEMMA) if token_is_known else ())
    moa.setup("live")
    if token_is_known:
        assert run(moa.ask(GEMINI, "Hello?")).ok
    else:
        with pytest.raises(moa.MissingKey, match=r"did not answer in time.*open the notebook in Colab's own page"):
            run(moa.ask(GEMINI, "Hello?"))
    assert colab.userdata.asked == ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]  # each time-out takes ten seconds


def test_nothing_is_asked_when_offline_is_asked_for(colab, monkeypatch):
    monkeypatch.setattr(colab.ai, "list_models", lambda: pytest.fail("the network was used"))
    assert moa.setup("offline").notes == ()
    assert not colab.userdata.asked


# The free models


def test_without_a_key_the_free_models_are_offered(colab):
    settings = moa.setup()
    assert settings.mode == "offline"  # noticed, not used unasked
    assert settings.colab_models == settings.free_models == (GEMINI, GEMMA)
    assert f"{GEMINI}, {GEMMA}: to use them, run moa.setup('live')" in str(settings)
    live = moa.setup("live")
    assert f"free on Colab  {GEMINI}, {GEMMA}\n" in f"{live}\n"


def test_the_models_are_listed_once(colab, monkeypatch):
    asked = []
    monkeypatch.setattr(colab.ai, "list_models", lambda: asked.append(1) or ["google/gemini-2.5-flash"])
    assert moa.setup().colab_models == moa.setup().colab_models == (GEMINI,)
    assert len(asked) == 1


def test_a_list_that_comes_late_is_there_the_next_time(colab, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(colab.ai, "list_models", lambda: go.wait(10) and ["google/gemini-2.5-flash"])
    found = google.Session()
    assert found.models(patience=0.05) == ()
    assert found.notes() == ["The free models of Colab are not listed yet: run moa.setup() again."]
    go.set()
    assert found.models(patience=10) == (GEMINI,)
    assert found.notes() == []


def test_a_list_that_fails_is_reported_without_the_key(colab, monkeypatch):
    token = colab.ai._token()

    def fail():
        raise colab.ai.ModelProxyServiceError(f"no list for {token}")

    monkeypatch.setattr(colab.ai, "list_models", fail)
    report = str(moa.setup())
    assert "The free models of Colab could not be listed: ModelProxyServiceError: no list for [key]" in report


def test_an_answer(colab, run):
    moa.setup("live")
    reply = run(moa.ask(GEMINI, "Hello?"))
    assert (reply.text, reply.ok) == ("google/gemini-2.5-flash says: hello.", True)
    assert (reply.finish_reason, reply.truncated, len(reply.attempts)) == ("stop", False, 1)
    assert (reply.input_tokens, reply.output_tokens, reply.cost_usd) == (None, None, 0.0)
    assert not reply.offline
    assert 0 <= reply.ttft <= reply.elapsed
    assert colab.ai.asked == [("Hello?", "google/gemini-2.5-flash")]


def test_the_system_message_goes_in_front_of_the_prompt(colab, run):
    moa.setup("live")
    assert run(moa.ask(GEMINI, "Hello?", system="Be brief.")).ok
    ((prompt, _),) = colab.ai.asked
    assert prompt == "# Instructions\n\nBe brief.\n\n# The message to answer\n\nHello?"


def test_a_mixture_streams_piece_by_piece_and_costs_nothing(colab, run, monkeypatch):
    moa.setup("live")
    seen = threading.Event()  # a model goes on only when its first piece has been seen

    def answer(prompt, model_name):
        yield "First"
        assert seen.wait(10)
        yield " and last."

    async def watch():
        deltas = []
        async for event in moa.stream_mixture("Why?", [GEMINI, GEMMA], aggregator=GEMINI, budget_usd=0.01):
            if isinstance(event, moa.ProposerDelta | moa.AggregatorDelta):
                deltas.append(event.text)
                seen.set()
        return deltas, event.answer

    monkeypatch.setattr(colab.ai, "answer", answer)
    deltas, mixed = run(watch())
    assert Counter(deltas) == {"First": 3, " and last.": 3}
    assert (mixed.outcome, mixed.text, mixed.cost_usd) == ("complete", "First and last.", 0.0)
    assert sorted(model for _, model in colab.ai.asked) == ["google/gemini-2.5-flash"] * 2 + ["google/gemma-3-27b-it"]


def test_a_call_that_is_stopped_returns_at_once_and_its_thread_ends_with_the_next_piece(colab, run, monkeypatch):
    moa.setup("live")
    go, closed, written = threading.Event(), threading.Event(), []

    def answer(prompt, model_name):
        try:
            yield "First"
            go.wait(10)
            for number in range(1000):
                written.append(number)
                yield f" {number}"
        finally:
            closed.set()

    async def stop_after_the_first_piece():
        heard = asyncio.Event()
        (request,) = calls.prepare([GEMINI], "Why?")
        call = calls.Call(request, Bounds(Limits(60, None, 0)), listen=lambda delta: heard.set())
        asking = asyncio.create_task(call.run())
        await heard.wait()
        before = time.perf_counter()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return time.perf_counter() - before, call.reply()

    monkeypatch.setattr(colab.ai, "answer", answer)
    took, reply = run(stop_after_the_first_piece())
    assert took < 5
    assert (reply.text, reply.abandoned, reply.cost_usd) == ("First", True, 0.0)
    assert not closed.is_set()
    go.set()
    assert closed.wait(10)
    assert written == [0]


def test_a_call_that_hangs_keeps_no_process_alive():
    code = (
        "import threading, moa_helpers as moa; from google.colab import ai\n"
        "ai.answer = lambda prompt, model_name: (threading.Event().wait() for _ in '1')\n"
        f"moa.setup('live'); print(moa.run(moa.ask({GEMINI!r}, 'Hello?', timeout=0.2, retries=0)).failure.kind)"
    )
    paths = os.pathsep.join([*sys.path, str(STAND_IN)])
    command, variables = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": paths}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert (ended.stdout.strip(), ended.returncode) == ("timeout", 0), ended.stderr


@pytest.mark.parametrize("pieces", [[], ["Half an "]])
@pytest.mark.parametrize(
    ("error", "kind", "attempts"),
    [
        (ProxyError(429, "Quota exceeded for this hour."), "rate_limit", 2),
        (ProxyError(503, "The model is overloaded."), "overloaded", 2),
        (ProxyError(404, "No such model."), "not_found", 1),
        (RuntimeError("Something else."), "unexpected", 1),
    ],
)
def test_what_goes_wrong_is_explained(error, kind, attempts, pieces, colab, run, monkeypatch):
    moa.setup("live")

    def answer(prompt, model_name):
        yield from pieces
        raise error

    monkeypatch.setattr(colab.ai, "answer", answer)
    monkeypatch.setattr("moa_helpers.limits.retry.BACKOFF_BASE", 0.01)
    reply = run(moa.ask(GEMINI, "Hello?", retries=1))
    assert (reply.failure.kind, len(reply.attempts)) == (kind, attempts)
    assert str(error) in reply.failure.message
    assert reply.text == "".join(pieces)


def test_an_error_before_the_first_piece_and_an_empty_answer(colab, run, monkeypatch):
    moa.setup("live")
    monkeypatch.setattr(colab.ai, "answer", lambda prompt, model_name: (piece for piece in [None, ""]))
    assert run(moa.ask(GEMINI, "Hello?")).failure.kind == "empty"
    monkeypatch.setitem(colab.userdata.secrets, "MODEL_PROXY_API_KEY", colab.userdata.NotebookAccessError)
    monkeypatch.delenv("MODEL_PROXY_API_KEY")
    assert "does not have access to secret" in run(moa.ask(GEMINI, "Hello?")).failure.message


def test_the_key_of_the_proxy_never_shows(colab, run, monkeypatch):
    token = colab.userdata.secrets["MODEL_PROXY_API_KEY"]

    def answer(prompt, model_name):
        raise ProxyError(401, f"{token} has expired")
        yield

    monkeypatch.setattr(colab.ai, "answer", answer)
    settings = moa.setup("live")
    reply = run(moa.ask(GEMINI, "Hello?"))
    assert os.environ["MODEL_PROXY_API_KEY"] == token
    assert "[key] has expired" in reply.failure.message
    shown = str(settings) + repr(settings) + settings._repr_html_() + str(moa.connection("colab"))
    assert token not in shown + str(reply) + repr(reply) + reply._repr_html_()


def test_outside_colab_they_are_refused_before_any_call(live, recorder, models, run):
    assert live.colab_models == ()
    for call in (moa.ask(GEMINI, "Hello?"), moa.fan_out([*models, GEMINI], "Hello?")):
        with pytest.raises(ImportError, match=r"only on Google Colab.*moa\.setup\('offline'\)"):
            run(call)
    assert not recorder.requests


def test_offline_a_stand_in_answers_for_them(colab, run, question, vendors):
    moa.setup()
    reply = run(moa.ask(GEMINI, question))
    assert reply.ok
    assert reply.offline
    assert reply.cost_usd == 0.0
    assert reply.output_tokens > 0
    assert dict(vendors.asked) == {GEMINI: 1}
    assert not colab.ai.asked


def test_they_take_no_temperature(colab, run):
    moa.setup("live")
    with pytest.raises(ValueError, match=r"takes no temperature \(google\.colab\.ai cannot pass one on\): leave"):
        run(moa.ask(GEMINI, "Hello?", temperature=0.5))
    assert not colab.ai.asked


# The setup cell, the address and the notebooks to upload


@pytest.fixture
def copy(tmp_path):
    """A copy of what ``make links`` and ``make colab`` read and write; call it with arguments for tools/colab.py."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("notebooks", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))

    def run(*arguments):
        command = [sys.executable, str(tmp_path / "tools" / "colab.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return SimpleNamespace(folder=tmp_path, run=run)


def publish(folder, address=ADDRESS):
    path = folder / "pyproject.toml"
    without = re.sub(r"(?m)^\[project\.urls\]\n(?:\w+ = .*\n)*", "", path.read_text(encoding="utf-8"))
    urls = f'[project.urls]\nRepository = "{address}"\n\n' if address else ""
    path.write_text(without.replace("[tool.setuptools]\n", urls + "[tool.setuptools]\n"), encoding="utf-8")


def state(folder):
    """All that the command may write."""
    return {path.name: path.read_text(encoding="utf-8") for path in [folder / "README.md", *notebooks(folder)]}


def notebooks(folder):
    found = sorted((folder / "notebooks").glob("*.ipynb"))
    assert len(found) >= 6
    return found


def sources(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def test_the_notebooks_and_the_readme_are_as_make_links_writes_them(copy):
    ended = copy.run("address")
    assert (ended.stdout, ended.returncode) == ("", 0), ended.stderr
    assert state(copy.folder) == state(ROOT)


def test_an_address_gives_badges_and_setup_cells(copy):
    publish(copy.folder, None)
    copy.run("address")
    without = state(copy.folder)
    publish(copy.folder)
    assert copy.run("address").returncode == 0
    once = state(copy.folder)
    assert copy.run("address").stdout == ""
    assert state(copy.folder) == once
    for path in notebooks(copy.folder):
        where = f"https://colab.research.google.com/github/someone/a-lesson/blob/main/notebooks/{path.name}"
        badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({where})"
        head, *cells = sources(path)
        assert head.split("\n\n")[1] == badge
        assert head.startswith("# ")
        assert sum(f'default="git+{ADDRESS}"' in cell and "%pip install" in cell for cell in cells) == 1
        assert f"](notebooks/{path.name}) {badge} |" in once["README.md"]
    assert once["README.md"].count("Open in Colab](") == len(notebooks(copy.folder))

    publish(copy.folder, None)  # and back
    copy.run("address")
    assert state(copy.folder) == without


@pytest.mark.parametrize("address", ["https://example.org/someone/lesson", f"{ADDRESS}.git", "github.com/a/b"])
def test_an_address_that_colab_cannot_open_is_refused(address, copy):
    before = state(copy.folder)
    publish(copy.folder, address)
    ended = copy.run("address")
    assert "Colab opens https://github.com/OWNER/NAME" in ended.stderr
    assert state(copy.folder) == before


def run_setup_cell(source, folder, monkeypatch):
    """Run a setup cell where the package is absent; returns what it would have installed."""
    installed = []

    def install(kind, line):
        assert kind == "pip"
        installed.append(line)
        monkeypatch.setitem(sys.modules, "moa_helpers", moa)

    def expand(line):
        return line.replace("{package}", str(names["package"]))

    names = {"get_ipython": lambda: SimpleNamespace(run_line_magic=lambda kind, line: install(kind, expand(line)))}
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "moa_helpers", None)  # an import raises ModuleNotFoundError
    exec(TransformerManager().transform_cell(source), names)
    return installed


LACKING = ' "anthropic<3" "mistralai>=2.10,<3" eval-type-backport jsonpath-python'


def test_the_setup_cell_does_nothing_but_setup_where_the_package_is(tmp_path):
    names = {}
    exec(TransformerManager().transform_cell(tool.setup_cell(None)), names)
    assert names["moa"] is moa
    assert set(names) == {"__builtins__", "moa"}


def test_the_setup_cell_asks_for_the_wheel(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"Upload moa_helpers-….whl \(from `make wheel`\)"):
        run_setup_cell(tool.setup_cell(None), tmp_path, monkeypatch)


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_the_setup_cell_takes_the_newest_wheel_that_is_there(address, tmp_path, monkeypatch):
    for age, version in enumerate(["0.10.0", "0.9.0", "0.11.0.dev1"]):
        path = tmp_path / f"moa_helpers-{version}-py3-none-any.whl"
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    installed = run_setup_cell(tool.setup_cell(address), tmp_path, monkeypatch)
    assert installed == ["install -q --no-deps moa_helpers-0.10.0-py3-none-any.whl" + LACKING]


def test_the_setup_cell_takes_the_address(tmp_path, monkeypatch):
    installed = run_setup_cell(tool.setup_cell(ADDRESS), tmp_path, monkeypatch)
    assert installed == [f"install -q --no-deps git+{ADDRESS}" + LACKING]


def test_the_setup_cell_unpacks_what_it_holds(tmp_path, monkeypatch):
    wheel, empty = tmp_path / "moa_helpers-0.1.0-py3-none-any.whl", tmp_path / "empty"
    wheel.write_bytes(bytes(range(256)) * 50)
    empty.mkdir()
    (empty / "moa_helpers-0.9.0-py3-none-any.whl").touch()
    source = tool.setup_cell(ADDRESS, wheel)
    assert max(map(len, source.splitlines())) <= 120
    installed = run_setup_cell(source, empty, monkeypatch)
    assert installed == [f"install -q --no-deps {wheel.name}" + LACKING]
    assert (empty / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_a_notebook_to_upload_stands_alone(address, copy):
    publish(copy.folder, address)
    wheel = copy.folder / "moa_helpers-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    (copy.folder / "notebooks" / "images" / "x.png").write_bytes(b"picture")
    first = notebooks(copy.folder)[0]
    notebook = json.loads(first.read_text(encoding="utf-8"))
    notebook["cells"][0]["source"].append("\n\n![A picture](images/x.png)")
    first.write_text(json.dumps(notebook), encoding="utf-8")
    ended = copy.run("notebooks", str(wheel))
    assert ended.returncode == 0, ended.stderr
    made = sorted((copy.folder / "dist" / "colab").glob("*.ipynb"))
    assert [path.name for path in made] == [path.name for path in notebooks(copy.folder)]
    whole = {path.name: "\n".join(sources(path)) for path in made}
    for text in whole.values():
        assert base64.b64encode(b"wheel").decode() in text
        assert not re.findall(r"\]\((?!https:|data:|#)[^)]*\.(?:ipynb|png)\)", text)
    assert "data:image/png;base64," + base64.b64encode(b"picture").decode() in whole[first.name]
    second = notebooks(copy.folder)[1].name
    assert (f"]({tool.on_colab(ADDRESS, second)})" if address else f" (the file `{second}`)") in whole[first.name]
