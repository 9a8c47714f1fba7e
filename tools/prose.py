"""Plain English, checked: sentences of at most 30 words, at most one semicolon in each, no phrase of style.txt.

    python tools/prose.py notebooks/*.ipynb docs/*.md moa_helpers

Notebooks and Markdown files are read as a reader sees them: without code and formulas, and each item of a list and cell
of a table by itself. Of Python files it reads the docstrings, and looks for the phrases in messages, too.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

LONGEST, MEDIAN = 30, 16  # words in a sentence
PROMPTS = ("prompts.py", "ranking.py", "judging.py")  # what models are told: stored answers are found by these words
STYLE = Path(__file__).with_name("style.txt")
_ENDS = re.compile(r"(?<=[.!?])[\"”’)*_]*\s+(?=[\"“‘(*_]*[A-Z0-9`§])")
_FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
_ENTRY = re.compile(r"(?m)^\s*(?:[-*] |(?:[\w*]+(?:, )?)+: (?=\S)|(?:Args|Returns|Raises|Yields|Attributes):$)")
_CODE = "`"  # stands for code in a sentence, and counts as a word


def of_markdown(text: str) -> Iterator[str]:
    """Each piece of prose in a Markdown text: a heading, a paragraph, an item of a list, a cell of a table."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "inline":
            kinds = {"text": None, "code_inline": _CODE, "softbreak": " ", "hardbreak": ". "}
            parts = [kinds.get(child.type, "") for child in token.children or ()]
            yield "".join(
                child.content if part is None else part for child, part in zip(token.children or (), parts, strict=True)
            )
        elif token.type == "html_block":
            yield from re.split(r"<[^>]+>|\n\s*\n", token.content)


def of_docstring(text: str) -> Iterator[str]:
    """Each paragraph of a docstring and each entry of its lists, without code."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if "::" not in block and not block.startswith((" ", ">>>")):
            for entry in _ENTRY.split(block):
                yield re.sub(r"``?[^`]+``?", _CODE, entry)


def of_file(path: Path) -> Iterator[tuple[str, bool]]:
    """Each piece of prose in a file, and whether it is made of sentences (a message may be a part of one)."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".ipynb":
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "markdown":
                yield from ((piece, True) for piece in of_markdown("".join(cell["source"])))
    elif path.suffix == ".md":
        yield from ((piece, True) for piece in of_markdown(text))
    else:
        tree = ast.parse(text)
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node.value in docstrings:
                    yield from ((piece, True) for piece in of_docstring(node.value))
                elif node.value.count(" ") > 3 and path.name not in PROMPTS:
                    yield node.value, False


def sentences(piece: str) -> Iterator[str]:
    """The sentences of a piece of prose that have more than one word."""
    plain = " ".join(_FORMULA.sub(_CODE, piece).split())
    yield from (sentence for sentence in _ENDS.split(plain) if " " in sentence)


def words(sentence: str) -> int:
    """How many words a sentence has; numbers and code count, signs between them do not."""
    return sum(any(sign.isalnum() or sign == _CODE for sign in word) for word in sentence.split())


def style() -> list[tuple[re.Pattern[str], str]]:
    """The phrases to avoid, each with what to write instead."""
    lines = STYLE.read_text(encoding="utf-8").splitlines()
    rows = (line.split(" -> ") for line in lines if not line.startswith("#"))
    return [(re.compile(wrong, re.IGNORECASE), instead) for wrong, instead in rows]


def problems(path: Path, phrases: list[tuple[re.Pattern[str], str]]) -> Iterator[str]:
    """What is wrong with a file's prose."""
    lengths = []
    for piece, whole in of_file(path):
        for sentence in sentences(piece):
            for wrong, instead in phrases:
                if found := wrong.search(sentence):
                    yield f"{found[0].strip()!r}: write {instead}: {sentence}"
            if whole:
                lengths.append(words(sentence))
                if lengths[-1] > LONGEST:
                    yield f"{lengths[-1]} words: {sentence}"
                if sentence.count(";") > 1:
                    yield f"{sentence.count(';')} semicolons: {sentence}"
    if path.suffix != ".py" and len(lengths) > 20 and statistics.median(lengths) > MEDIAN:
        yield f"the median sentence has {statistics.median(lengths):g} words; at most {MEDIAN}"


def main() -> None:
    """Read the command line and check its files, and all of its folders."""
    phrases, count = style(), 0
    for given in map(Path, sys.argv[1:]):
        inside = (path for path in sorted(given.rglob("*")) if path.suffix in (".ipynb", ".md", ".py"))
        for path in inside if given.is_dir() else [given]:
            try:
                for problem in problems(path, phrases):
                    print(f"{path}: {problem}")
                    count += 1
            except (OSError, ValueError, SyntaxError, KeyError) as error:
                sys.exit(f"{path} cannot be read: {error!r}")
    sys.exit(f"{count} places to rewrite" if count else 0)


if __name__ == "__main__":
    main()
