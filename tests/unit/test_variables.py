"""What .env and the environment say, however they were written; and keys that cannot be keys."""

import os
import threading
from pathlib import Path

import pytest

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
        (b"who are you\n", "cannot be read as NAME=value in line 4"),
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
    assert "is a folder" in found()[1][0]
    here.rmdir()
    here.symlink_to("/dev/zero")
    assert "neither a file nor a pipe" in found()[1][0]
    here.unlink()
    here.symlink_to(here.absolute())  # to itself
    assert len(found()[1]) == 1
    here.unlink()
    here.touch()
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
    assert "No .env was looked for" in notes[0]
    monkeypatch.undo()


# a key, and what the reader is told
ODD = [
    *((f"{mark}{KEY}{mark}", "quotation marks") for mark in "\"'`"),
    (f"“{KEY}”", "quotation marks"),
    (f'{KEY}"', "quotation marks"),
    *(
        (f"{KEY}{blank}{KEY}", "a blank or a line break inside")
        for blank in (" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2028")
    ),
    *((f"{KEY}{odd}", f"U+{ord(odd):04X}") for odd in "\u200b\u200d\u2060\ufeff\u00ad\x01é…–"),
    ("\u200b" + KEY, "U+200B"),
    *(
        (placeholder, "placeholder")
        for placeholder in ("sk-...", "your-key-here", "<KEY>", "YOUR_API_KEY", "xxxx", "changeme")
    ),
]


@pytest.mark.parametrize("source", ["environment", ".env", "Colab secrets"])
def test_keys_that_are_none_are_refused_by_name(source, monkeypatch):
    for key, words in ODD:
        if source == "Colab secrets":
            monkeypatch.setattr(
                colab.session, "secret", lambda name, key=key: key if name == "OPENAI_API_KEY" else None
            )
        given = {} if source == "Colab secrets" else {"OPENAI_API_KEY": key}
        monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "" if source != "environment" else key)
        with pytest.raises(ValueError, match=f"OPENAI_API_KEY .{source}. .*") as caught:
            variables.find_keys(variables.Variables(given), ask_colab=True)
        assert words in str(caught.value), key
        assert KEY not in str(caught.value)


def test_short_and_plain_keys_are_taken():
    for key in ("a", "test", "EMPTY", "lm-studio", "sk-no-key-required", "token-abc123", "Ab3/+=_.~:"):
        sources, keys = variables.find_keys(variables.Variables({"GROQ_API_KEY": key}), ask_colab=False)
        assert (sources, keys) == ({"groq": ".env"}, {"GROQ_API_KEY": key})
