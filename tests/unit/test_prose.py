"""The prose linter: what it refuses, what it lets pass, and what it takes for prose in each kind of file."""

import json
from pathlib import Path

import prose
import pytest

PHRASES = prose.style()
LONG = " ".join(["Word"] * 31) + "."
SHORT = " ".join(["Word"] * 30) + "."


def said(folder: Path, name: str, text: str) -> list[str]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return list(prose.problems(path, PHRASES))


@pytest.mark.parametrize(
    "text",
    [
        "All is done, but for the last call.",
        "The budget does not reach for the next.",
        "A call that waits gives way to another.",
        "The table stands below.",
        "Ask it again; else it ends.",
        "It depends: one; two; three things.",
        "Read this now!",
        f"A heading\n\n- {LONG}",
        f"| a | b |\n|---|---|\n| {LONG} | b |",
        f"<details><summary>More</summary>{LONG}</details>",
    ],
)
def test_it_refuses(tmp_path: Path, text: str) -> None:
    assert len(said(tmp_path, "page.md", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "A stand-in answers. You understand what MoA stands for.",
        f"```\n{LONG}\n```",
        f"`{LONG}`",
        f"{SHORT} {SHORT}",
        "\n".join(f"- {' '.join(['word'] * 20)}" for _ in range(5)),
        "It asks one model, e.g. the first; then it ends.",
        "The sum $ a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r $ is small.",
    ],
)
def test_it_lets_pass(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, "page.md", text) == []


def test_of_a_notebook_it_reads_markdown_alone(tmp_path: Path) -> None:
    cells = [{"cell_type": kind, "source": ["All but", " for one."]} for kind in ("markdown", "code")]
    assert len(said(tmp_path, "lesson.ipynb", json.dumps({"cells": cells}))) == 1


def test_of_code_it_reads_docstrings_and_the_phrases_of_messages(tmp_path: Path) -> None:
    code = f'''
"""Where it stands."""
def function():
    """Do it.

    Args:
        first: {" ".join(["word"] * 20)}
        second: {" ".join(["word"] * 20)}
    """
    message = "The table stands in the other file."
    message = "{LONG}"
    name = "stands"  # it stands
'''
    assert [problem[:12] for problem in said(tmp_path, "code.py", code)] == ["'stands': wr", "'stands': wr"]


def test_a_page_of_long_sentences_is_refused(tmp_path: Path) -> None:
    page = " ".join([" ".join(["Word"] + ["word"] * 17) + "."] * 30)
    assert said(tmp_path, "page.md", page) == ["the median sentence has 18 words; at most 16"]


def test_the_command_names_the_file_and_fails(tmp_path: Path, capsys, monkeypatch) -> None:
    said(tmp_path, "page.md", "All but for one.")
    monkeypatch.setattr("sys.argv", ["prose.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="1 places to rewrite"):
        prose.main()
    assert "page.md: 'but for': write apart from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.ipynb", b"{}"), ("b.ipynb", b""), ("c.md", b"\xff"), ("d.py", b"def ("), ("missing.md", None)],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch, name, content) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("sys.argv", ["prose.py", str(tmp_path / name)])
    with pytest.raises(SystemExit, match=f"{name} cannot be read"):
        prose.main()


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_bytes(b'\xef\xbb\xbf"""It is."""\n')
    assert list(prose.problems(tmp_path / "code.py", prose.style())) == []
