"""README, docs and notebooks as GitHub shows them: no dead link, words for every picture; the glossary, all names."""

import json
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

import moa_helpers as moa

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", ".github/**/*.md", "notebooks/**/*.ipynb")
    for path in ROOT.glob(pattern)
    if ".ipynb_checkpoints" not in path.parts
)


def texts(path):
    """The Markdown of a page: of a notebook, that of each cell."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [text]
    cells = json.loads(text)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


@cache
def parsed(path):
    """All tokens of a page's Markdown, those inside a line as well."""
    tokens = [token for text in texts(path) for token in MarkdownIt("commonmark").enable("table").parse(text)]
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def links(path):
    """Where its links and pictures lead."""
    for token in parsed(path):
        yield from filter(None, (token.attrGet("href"), token.attrGet("src")))
        if token.type.startswith("html"):
            yield from re.findall(r'(?:href|src)="([^"]+)"', token.content)


@cache
def anchors(path):
    """The anchors that GitHub gives to a page's headings."""
    counts, found, tokens = Counter(), set(), parsed(path)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(part.content for part in inline.children if part.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
            counts[slug] += 1
    return found


def dead(path):
    """What is wrong with a page's links to files and headings of this repository."""
    for link in links(path):
        target, _, anchor = unquote(link).partition("#")
        to = (path.parent / target).resolve() if target else path
        if re.match(r"(https?|mailto|data|attachment):", link):
            continue
        if not to.exists():
            yield f"{link}: no such file"
        elif anchor and to != path and to.suffix != ".md":
            yield f"{link}: only headings of Markdown files have anchors that hold everywhere"
        elif anchor and to.suffix == ".md" and anchor not in anchors(to):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_leads_nowhere(path):
    assert list(dead(path)) == []


def test_dead_links_are_found(tmp_path):
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# One, `two`\n\n# One, two\n", encoding="utf-8")
    page.write_text(
        "[a](other.md#one-two) [b](other.md#one-two-1) ![c](none.png) [d](other.md#one-two-2) [e][r]\n\n"
        '<a href="gone.md">f</a> `[g](code.md)`\n\n[r]: no.md\n',
        encoding="utf-8",
    )
    assert [problem.partition(":")[0] for problem in dead(page)] == [
        "none.png",
        "other.md#one-two-2",
        "no.md",
        "gone.md",
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_picture_has_words(path):
    pictures = [token for token in parsed(path) if token.type == "image"]
    assert [token.attrGet("src") for token in pictures if len(token.content.split()) < 3] == []


def test_the_glossary_is_in_order_and_says_where_each_term_is_taught():
    _, *entries = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").split("\n## ")
    terms = [entry.partition("\n")[0] for entry in entries]
    assert len(terms) > 70
    assert terms == sorted(terms, key=str.casefold)
    assert [term for term, entry in zip(terms, entries, strict=True) if not re.search(r"\][\[(]", entry)] == []


def test_the_cheat_sheet_has_every_public_name():
    sheet = (ROOT / "docs/cheat-sheet.md").read_text(encoding="utf-8")
    assert [name for name in moa.__all__ if not re.search(rf"\b{name}\b", sheet)] == []


def test_the_messages_in_the_reference_are_those_of_the_package():
    table = (ROOT / "docs/reference.md").read_text(encoding="utf-8").partition("## When something is wrong")[2]
    shown = [part for row in re.findall(r"(?m)^\| (.*?) \|", table) for part in re.findall("`([^`]+)`", row)]
    files = [path for path in (ROOT / "moa_helpers").rglob("*") if path.suffix in (".py", ".csv")]
    said = re.sub(r'"\n\s+f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))
    pieces = [piece.strip() for message in shown for piece in message.split("…") if len(piece.strip()) > 4]
    assert len(pieces) > 15
    assert [piece for piece in pieces if piece not in said] == []
