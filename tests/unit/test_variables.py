"""What .env and the environment say, however they were written; and keys that cannot be keys."""

import os
import threading
from pathlib import Path

import pytest

from moa_helpers.catalogue import hosts
from moa_helpers.vendors import colab, variables

KEY = "dummy-" + "k" * 20
TEXT = f"# Schlüssel\nexport OPENAI_API_KEY={KEY}\nGROQ_API_KEY='{KEY}'\n"


def found():
    values, notes = variables.read()
    return values.get("OPENAI_API_KEY") == values.get("GROQ_API_KEY") == KEY, notes


def test_env_files_of_any_editor():
    for written in (
        *(
            TEXT.encode(name)
            for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-32")
        ),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        *(TEXT.replace("\n", end).encode() for end in ("\r\n", "\r")),
    ):
        Path(".env").write_bytes(written)
        assert found() == (True, []), written


def test_what_can_be_read_of_a_file_is_read_and_the_rest_is_noted():
    for more, words in (
        *(
            (line.encode(), "cannot be read as NAME=value in line 4")
            for line in (
                "who are you\n",
                "OPENAI_API_KEY: x\n",
                "$env:OPENAI_API_KEY=x\n",
                "\u200bOPENAI_API_KEY=x\n",
                'A="x',
            )
        ),
        ((b"A=" + b"x" * 98 + b"\n") * 2_000, "larger than 100 kB"),
        (b"A=" + b"x" * 200_000, "larger than 100 kB"),
    ):
        Path(".env").write_bytes(TEXT.encode() + more)
        there, (note,) = found()
        assert there
        assert words in note
        assert KEY not in note
    Path(".env").write_bytes(b"\x81\x8d\xff")
    assert "save it as UTF-8" in found()[1][0]


def test_what_is_no_file_in_its_place_is_noted(monkeypatch):
    here = Path(".env")
    here.unlink()
    here.mkdir()
    Path("below").mkdir()
    for link in (None, "/dev/zero", "/nowhere", here.absolute()):  # the last to itself
        if link:
            here.symlink_to(link)
        assert found()[1][0] == f"{here.absolute()} is no file that can be read."
        here.unlink() if link else here.rmdir()
    here.write_text(TEXT)
    monkeypatch.chdir("below")
    here.mkdir()
    there, (note,) = found()  # above it is one
    assert there
    assert "is no file" in note
    here.rmdir()
    monkeypatch.setattr(Path, "open", lambda *args, **options: (_ for _ in ()).throw(PermissionError("denied")))
    assert "cannot be read: denied" in found()[1][0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_read_if_somebody_writes_and_hangs_nobody(monkeypatch):
    Path(".env").unlink()
    os.mkfifo(".env")
    monkeypatch.setattr(variables, "PATIENCE", 0.01)
    assert "a pipe to which nobody writes" in found()[1][0]
    monkeypatch.setattr(variables, "PATIENCE", 20)
    writer = threading.Thread(target=Path(".env").write_text, args=(TEXT,))
    writer.start()
    assert found() == (True, [])
    writer.join()


def test_a_folder_that_is_gone_stops_nobody(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    values, notes = variables.read()
    assert values["OPENAI_API_KEY"] == KEY
    assert ".env cannot be read: " in notes[0]
    monkeypatch.undo()


# a key, and what the reader is told
ODD = [
    *((f"{mark}{KEY}{mark}", "QUOTATION MARK") for mark in '"“”«'),
    (f"'{KEY}'", "APOSTROPHE"),
    (f"`{KEY}`", "GRAVE ACCENT"),
    (f'{KEY}"', "QUOTATION MARK"),
    *(
        (f"{KEY}{odd}{KEY}", f"U+{ord(odd):04X}")
        for odd in " \t\n\r\xa0\u2028\u200b\u200d\u2060\ufeff\u00ad\x01é…–\udcff"
    ),
    ("\u200b" + KEY, "ZERO WIDTH SPACE"),
    (f"Bearer {KEY}", "SPACE"),
    (f"OPENAI_API_KEY={KEY}", "begins with its own name"),
]


@pytest.mark.parametrize("source", ["environment", ".env", "Colab secrets"])
def test_keys_that_are_none_are_refused_by_name(source, monkeypatch):
    for key, words in ODD:
        if source == "Colab secrets":
            monkeypatch.setattr(
                colab.session, "secret", lambda name, key=key: key if name == "OPENAI_API_KEY" else None
            )
        given = {} if source == "Colab secrets" else {"OPENAI_API_KEY": key}
        around = key if source == "environment" and "\udcff" not in key else ""
        monkeypatch.setitem(os.environ, "OPENAI_API_KEY", around)
        with pytest.raises(ValueError, match=r"OPENAI_API_KEY .*copy the key again") as caught:
            variables.find_keys(variables.Variables(given), needed=True)
        assert words in str(caught.value), key
        assert KEY not in str(caught.value)


def test_a_key_that_nobody_needs_is_noted():
    """Whoever asks for the offline mode gets it, whatever the keys are."""
    given = {"OPENAI_API_KEY": f'"{KEY}"', "GROQ_API_KEY": KEY, "VLLM_API_KEY": f"“{KEY}”"}
    sources, keys, notes = variables.find_keys(variables.Variables(given), needed=False)
    assert (sources, keys) == ({"groq": ".env"}, {"OPENAI_API_KEY": "", "GROQ_API_KEY": KEY, "VLLM_API_KEY": ""})
    assert [note.split()[0] for note in notes] == ["OPENAI_API_KEY", "VLLM_API_KEY"]
    for name in ("VLLM_API_KEY", "LOCAL_API_KEY"):
        with pytest.raises(ValueError, match=f"{name} .*QUOTATION MARK"):
            variables.find_keys(variables.Variables({name: f"“{KEY}”"}), needed=True)


def test_a_placeholder_is_an_unset_key():
    for text in (
        *(
            "sk-...",
            "your-key-here",
            "sk-your-key",
            "enter_your_key",
            "YOUR_API_KEY",
            "<KEY>",
            "<your key>",
            "insert-key",
        ),
        *(
            "xxxx",
            "sk-xxxxxxxx",
            "****",
            "changeme",
            "replace_me",
            "paste-key-here",
            "$OPENAI_API_KEY",
            "${KEY}",
            "TODO",
        ),
    ):
        sources, keys, notes = variables.find_keys(variables.Variables({"OPENAI_API_KEY": text}), needed=True)
        assert (sources, keys) == ({}, {"OPENAI_API_KEY": ""}), text
        assert notes == ["OPENAI_API_KEY (.env) is a placeholder, not a key: it counts as unset."]
    hosts.add_host("acme", "http://acme.example", "ACME_API_KEY")
    for given in (  # who may want any text
        {"OPENAI_API_KEY": "xxx", "OPENAI_BASE_URL": "http://gateway.example/v1"},
        {"ACME_API_KEY": "xxx"},
        {"LOCAL_API_KEY": "xxx"},
    ):
        keys, notes = variables.find_keys(variables.Variables(given), needed=True)[1:]
        assert (*keys.values(), notes) == ("xxx", [])


def test_short_and_plain_keys_are_taken():
    for key in ("a", "test", "EMPTY", "lm-studio", "sk-no-key-required", "token-abc123", "Ab3/+=_.~:", "my-api-key"):
        found = variables.find_keys(variables.Variables({"GROQ_API_KEY": key}), needed=False)
        assert found == ({"groq": ".env"}, {"GROQ_API_KEY": key}, [])
