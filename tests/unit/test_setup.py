"""Live or offline, where the keys come from, and that they never show; and what the package offers."""

import os
import pprint
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
from IPython.lib.pretty import pretty

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.vendors import colab, local
from tests.support.pages import report

KEY = "dummy-" + "k" * 20
URL = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch):
    """Not on Colab, no model server, stand-ins that nobody calls, and no mode asked for by the environment."""
    monkeypatch.setattr(offline, "start", lambda values: SimpleNamespace(url=URL))
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: (local.places(values), ((), ()))[1])
    monkeypatch.setattr(colab, "session", colab.Session())
    monkeypatch.delenv("MOA_MODE")


def shown(settings):
    ways = [repr, str, pretty, pprint.pformat, type(settings)._repr_html_, type(settings)._repr_markdown_]
    return "\n".join(way(settings) for way in ways)


# MOA_MODE, the argument of setup(), a key; the mode and why
MODES = [
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
]


def test_mode(monkeypatch):
    for variable, argument, key, mode, reason in MODES:
        for name, value in (("MOA_MODE", variable), ("GROQ_API_KEY", key)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        settings = moa.setup(argument)
        assert (settings.mode, settings.reason) == (mode, reason)
        assert settings.offline_url == (URL if mode == "offline" else None)
        assert settings.key_sources == ({"groq": "environment"} if key else {})
        assert str(settings).startswith(f"Mode: {mode.upper()}, because {reason}.")
        assert ("Stand-ins answer" in str(settings)) == (mode == "offline")
        assert len(str(settings).splitlines()) == 2, "the mode, and what changes it"
        change = "run moa.setup('live')" if key else "write a key into a file .env"
        change = "run moa.setup('offline')" if mode == "live" else change
        assert change in str(settings)


def test_a_mode_that_does_not_exist_is_refused(monkeypatch):
    for wrong in ("online", "Live ", 1):
        with pytest.raises(ValueError, match="it takes auto, live or offline"):
            moa.setup(wrong)
    monkeypatch.setenv("MOA_MODE", "on")
    with pytest.raises(ValueError, match="MOA_MODE is 'on'; it takes auto, live or offline"):
        moa.setup()


def test_a_file_of_keys_here_or_above_and_the_environment_before_it(tmp_path, monkeypatch):
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


def test_no_key_shows(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    for mode in ("live", "offline"):
        settings = moa.setup(mode)
        assert KEY not in shown(settings)
        assert "openai  key from .env" in report(settings)
        assert "mistral  key from environment" in report(settings)
        assert "anthropic  no key (ANTHROPIC_API_KEY)" in report(settings)
        assert "no key" not in str(settings), "what is not there is folded"
    moa.setup("live")
    connection = moa.connection("openai")
    assert connection["api_key"] == KEY
    for way in (repr, str, pretty, pprint.pformat, "{}".format):
        assert KEY not in way(connection)
        assert "hidden" in way(connection)


def test_the_report_names_versions():
    settings = moa.setup("offline")
    assert settings.versions["openai"] == metadata.version("openai")
    assert settings.versions["python"] in sys.version
    assert f"pandas {metadata.version('pandas')}" in report(settings)


def test_connections_offline():
    moa.setup("offline")
    assert dict(moa.connection("openai")) == {"api_key": "offline", "base_url": f"{URL}/openai/v1"}
    assert dict(moa.connection("anthropic")) == {"api_key": "offline", "base_url": f"{URL}/anthropic"}
    assert dict(moa.connection("mistral")) == {"api_key": "offline", "server_url": f"{URL}/mistral"}
    with pytest.raises(moa.UnknownModel, match="no vendor 'google'; known are openai"):
        moa.connection("google")


# vendor, the variable with its address, where it is then
ADDRESSES = [
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
    ("vllm", "127.0.0.1:8101", "http://127.0.0.1:8101/v1"),
    ("vllm", "https://box.example", "https://box.example:443/v1"),
]


def test_live_addresses(monkeypatch):
    for name in ("OPENAI", "ANTHROPIC", "MISTRAL"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    for vendor, value, url in ADDRESSES:
        with monkeypatch.context() as here:
            if value:
                here.setenv({"ollama": "OLLAMA_HOST"}.get(vendor, f"{vendor.upper()}_BASE_URL"), value)
            moa.setup("live")
            connection = dict(moa.connection(vendor))
        assert connection.pop("api_key") == ("none-needed" if vendor in ("ollama", "vllm") else KEY)
        assert list(connection.values()) == [url]
    monkeypatch.setenv("OLLAMA_HOST", "box.example:many")
    with pytest.raises(ValueError, match=r"OLLAMA_HOST is 'box\.example:many'; write it as 127\.0\.0\.1:11434"):
        moa.setup("live")


def test_all_public_names_exist():
    for name in moa.__all__:
        assert getattr(moa, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        moa.nonsense  # noqa: B018
