"""Live or offline, where the keys come from, and that they never show; ``moa.run``; what an import loads."""

import asyncio
import os
import pprint
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from importlib import metadata

import pytest
from aiohttp import web
from conftest import wait_until
from IPython.lib.pretty import pretty

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline.server import Server
from moa_helpers.vendors import local

KEY = "dummy-" + "k" * 20


@pytest.fixture
def unset(monkeypatch):
    """No mode asked for by the environment."""
    monkeypatch.delenv("MOA_MODE")


def shown(settings):
    ways = [repr, str, pretty, pprint.pformat, type(settings)._repr_html_, type(settings)._repr_markdown_]
    return "\n".join(way(settings) for way in ways)


@pytest.mark.parametrize(
    ("variable", "argument", "key", "mode", "reason"),
    [
        (None, None, None, "offline", "no API key is set"),
        (None, None, KEY, "live", "at least one API key is set"),
        ("auto", None, KEY, "live", "at least one API key is set"),
        ("AUTO", None, None, "offline", "no API key is set"),
        ("offline", None, KEY, "offline", "MOA_MODE asked for it"),
        ("live", None, None, "live", "MOA_MODE asked for it"),
        ("live", "offline", KEY, "offline", "setup() asked for it"),
        ("offline", "live", KEY, "live", "setup() asked for it"),
        ("offline", "auto", KEY, "live", "at least one API key is set"),
        (" ", None, None, "offline", "no API key is set"),
    ],
)
def test_mode(variable, argument, key, mode, reason, unset, monkeypatch):
    if variable:
        monkeypatch.setenv("MOA_MODE", variable)
    if key:
        monkeypatch.setenv("GROQ_API_KEY", key)
    settings = moa.setup(argument)
    assert (settings.mode, settings.reason) == (mode, reason)
    assert (settings.offline_url is not None) == (mode == "offline")
    assert settings.key_sources == ({"groq": "environment"} if key else {})
    assert str(settings).startswith(f"Mode: {mode.upper()}, because {reason}.")
    assert ("stand-ins" in str(settings)) == (mode == "offline")


@pytest.mark.parametrize("wrong", ["online", "Live ", 1])
def test_a_mode_that_does_not_exist(wrong):
    with pytest.raises(ValueError, match="it takes auto, live or offline"):
        moa.setup(wrong)


def test_a_wrong_mode_in_the_environment(monkeypatch):
    monkeypatch.setenv("MOA_MODE", "on")
    with pytest.raises(ValueError, match="MOA_MODE is 'on'; it takes auto, live or offline"):
        moa.setup()


def test_env_file(unset, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}-file\nMISTRAL_API_KEY=\nANTHROPIC_API_KEY='  '\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    settings = moa.setup()
    assert (settings.mode, settings.key_sources) == ("live", {"openai": ".env"})
    assert moa.connection("openai")["api_key"] == f"{KEY}-file"
    with pytest.raises(moa.MissingKey, match="No key for mistral: set MISTRAL_API_KEY"):
        moa.connection("mistral")
    assert "OPENAI_API_KEY" not in os.environ

    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}-environment ")
    assert moa.setup().key_sources == {"openai": "environment"}
    assert moa.connection("openai")["api_key"] == f"{KEY}-environment"

    monkeypatch.setenv("OPENAI_API_KEY", "  ")  # blank is unset
    assert moa.setup().key_sources == {"openai": ".env"}
    assert moa.connection("openai")["api_key"] == f"{KEY}-file"


def test_env_file_holds_the_mode_and_the_offline_settings(unset, tmp_path):
    (tmp_path / ".env").write_text(f"MOA_MODE=offline\nMOA_OFFLINE_SPEED=33\nOPENAI_API_KEY={KEY}\n")
    code = (
        "import moa_helpers as moa; from moa_helpers import offline; moa.setup(); print(offline.start().vendors.speed)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "33.0", ended.stderr


def test_no_key_shows(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    for mode in ("live", "offline"):
        settings = moa.setup(mode)
        assert KEY not in shown(settings)
        assert "openai      key from .env" in str(settings)
        assert "mistral     key from environment" in str(settings)
        assert "anthropic   no key (ANTHROPIC_API_KEY)" in str(settings)
    moa.setup("live")
    connection = moa.connection("openai")
    assert connection["api_key"] == KEY
    for way in (repr, str, pretty, pprint.pformat, "{}".format):
        assert KEY not in way(connection)
        assert "hidden" in way(connection)


def test_the_report_names_versions():
    versions = moa.setup("offline").versions
    assert versions["openai"] == metadata.version("openai")
    assert versions["python"] in sys.version
    assert f"pandas {metadata.version('pandas')}" in str(moa.setup("offline"))


def test_connection():
    url = offline.start().url
    assert dict(moa.connection("openai")) == {"api_key": "offline", "base_url": f"{url}/openai/v1"}
    assert dict(moa.connection("anthropic")) == {"api_key": "offline", "base_url": f"{url}/anthropic"}
    assert dict(moa.connection("mistral")) == {"api_key": "offline", "server_url": f"{url}/mistral"}
    with pytest.raises(moa.UnknownModel, match="no vendor 'google'; known are openai"):
        moa.connection("google")


@pytest.mark.parametrize(
    ("vendor", "value", "url"),
    [
        ("openai", None, "https://api.openai.com/v1"),
        ("openai", "https://proxy.example/v1/", "https://proxy.example/v1"),
        ("anthropic", None, "https://api.anthropic.com"),
        ("anthropic", "https://proxy.example/v1", "https://proxy.example"),
        ("mistral", "https://proxy.example/", "https://proxy.example"),
        ("vllm", None, "http://127.0.0.1:8000/v1"),
        ("ollama", "0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("ollama", "box.example:99", "http://box.example:99/v1"),
        ("ollama", "https://box.example:99/", "https://box.example:99/v1"),
        ("ollama", "[::1]:99", "http://[::1]:99/v1"),
    ],
)
def test_live_addresses(vendor, value, url, monkeypatch):
    for name in ("OPENAI", "ANTHROPIC", "MISTRAL"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    if value:
        monkeypatch.setenv({"ollama": "OLLAMA_HOST"}.get(vendor, f"{vendor.upper()}_BASE_URL"), value)
    moa.setup("live")
    connection = dict(moa.connection(vendor))
    assert connection.pop("api_key") == ("none-needed" if vendor in ("ollama", "vllm") else KEY)
    assert list(connection.values()) == [url]


# Ollama


def ollama(answer):
    application = web.Application()
    application.router.add_get("/api/tags", answer)
    return Server(types.SimpleNamespace(application=lambda: application))


def test_a_running_ollama_is_noticed(unset, monkeypatch):
    async def tags(request):
        return web.json_response({"models": [{"name": "llama3.2:3b"}, {"name": "qwen"}]})

    server = ollama(tags)
    monkeypatch.setattr(local.running_ollama, "__defaults__", (20.0,))  # seconds; a busy machine needs more
    monkeypatch.setenv("OLLAMA_HOST", server.url.removeprefix("http://"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    settings = moa.setup()
    server.stop()
    assert settings.mode == "offline"  # noticed, not used unasked
    assert settings.ollama_models == ("ollama:llama3.2:3b", "ollama:qwen")
    assert "ollama:llama3.2:3b, ollama:qwen: free to use with MOA_MODE=live" in str(settings)


@pytest.mark.parametrize("body", ["[]", '{"models": 5}', '{"models": [{}]}', '{"models": ["llama"]}', "<html>", ""])
def test_something_else_on_that_port_is_no_ollama(body, monkeypatch):
    async def other(request):
        return web.Response(text=body)

    server = ollama(other)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    assert moa.setup("offline").ollama_models == ()
    server.stop()


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-Server\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"])
def test_a_port_that_is_silent_or_speaks_no_http_costs_a_moment_only(greeting, monkeypatch):
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet():
            connection = listening.accept()[0]
            with connection:
                connection.sendall(greeting)
                asked.wait(0 if greeting else 30)

        thread = threading.Thread(target=greet)
        thread.start()
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{listening.getsockname()[1]}")
        start = time.perf_counter()
        assert moa.setup("offline").ollama_models == ()
        assert time.perf_counter() - start < 5
        asked.set()
        thread.join()


# moa.run


async def double(number):
    await asyncio.sleep(0)
    return 2 * number


def test_run_without_and_within_a_running_loop(question, models):
    assert moa.run(double(2)) == 4

    async def cell():
        return moa.run(double(3)), moa.run(moa.ask(models[0], question)).ok

    assert asyncio.run(cell()) == (6, True)


def test_run_hands_over_what_is_raised():
    with pytest.raises(moa.UnknownModel):
        moa.run(moa.ask("nobody", "Why?"))


def test_run_leaves_no_thread(models, question):
    before = threading.active_count()
    moa.run(moa.fan_out(models, question))
    assert threading.active_count() == before


def test_an_interrupt_cancels_and_carries_the_replies(interruptible, models, question, vendors):
    moa.run(moa.fan_out(models, question))  # the first call loads the SDKs
    vendors.asked.clear()

    def stop():  # as Stop in JupyterLab does
        wait_until(lambda: vendors.asked.total() == 3 and vendors.under_way == 1)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with offline.fault("mistral", "hang"), pytest.raises(KeyboardInterrupt) as caught:
        moa.run(moa.fan_out(models, question, timeout=30))
    assert [reply.ok for reply in caught.value.replies] == [True, True, False]
    assert not hasattr(caught.value, "comparison")
    assert not [thread for thread in threading.enumerate() if thread.name == "moa.run"]


def test_an_interrupt_of_a_comparison_carries_what_is_finished(interruptible, models, tmp_path):
    timer = threading.Timer(2.5, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with offline.fault("mistral", "hang"), pytest.raises(KeyboardInterrupt) as caught:
        moa.run(moa.compare(["Why?"], {"one": models[0], "other": models[2]}, path=tmp_path / "calls"))
    assert caught.value.comparison.planned == 1
    assert caught.value.comparison.answers == ()


# Importing


def test_an_import_loads_no_sdk_and_nothing_large():
    large = ("openai", "anthropic", "mistralai", "pandas", "matplotlib", "aiohttp", "numpy", "httpx", "IPython")
    large += ("ipywidgets", "tqdm", "markdown_it", "PIL")
    code = f"import sys, moa_helpers; print([name for name in {large} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_all_public_names_exist():
    for name in moa.__all__:
        assert getattr(moa, name).__doc__, name
