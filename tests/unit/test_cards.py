"""What a result shows of itself as text, Markdown and HTML: unknown is unknown, and a model's text is only text."""

import random
import re
import sys
import time
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.ui.html import LONGEST_MARKDOWN
from tests.support import standins
from tests.support.hostile import HOSTILE
from tests.support.pages import MARKUP, read
from tests.support.replies import GREEN, MODELS, TIDES, A, B, answer, reply

SHOWS = (str, lambda result: result._repr_html_(), lambda result: result._repr_markdown_())


def html_of(text):
    """A text as the HTML that shows it whole, read."""
    return read(reply(text)._repr_html_()).text


def test_unknown_is_shown_as_unknown_and_never_as_zero():
    unknown = reply("Some text.", finish_reason="stop")
    for show in SHOWS:
        assert show(unknown).count("unknown") == 5  # first token, tokens in, tokens out, cost, answered by
        assert "$0" not in show(unknown)
        assert "0 in" not in show(unknown)
    mixture = answer(GREEN, [GREEN, TIDES], cost_usd=0.01)
    assert mixture.cost_usd is None, "one unknown cost makes the whole unknown"
    assert "unknown" in str(mixture).splitlines()[0]


def test_a_strategy_whose_cost_is_unknown_is_shown_as_that():
    costs = {"priced": 0.25, "own": None}
    answers = tuple(moa.Answered("q", name, "ok", "Yes.", 1, usd, 1.0, 4, False) for name, usd in costs.items())
    found = moa.Comparison(tuple(costs), (), 1, answers, (), Path("none.jsonl"))
    heading, _, priced, own = str(found).splitlines()
    assert heading == "1 of 1 questions · unknown"
    assert priced.split()[:3] == ["priced", "1", "$0.250000"]
    assert own.split()[:3] == ["own", "1", "unknown"]
    for shown in (str(found), found._repr_markdown_(), found._repr_html_()):
        assert "nan" not in shown
    assert list(found.table().cost_usd.isna()) == [False, True]


def test_what_is_certain_of_an_unknown_cost_is_shown():
    stopped = reply("Some", failure="cancelled", least_usd=0.0001)
    for show in SHOWS:
        assert "at least" in show(stopped)
        assert "0.000100" in show(stopped)


def test_zero_is_shown_as_zero():
    free = reply("Some text.", finish_reason="stop", ttft=0.0, input_tokens=0, output_tokens=0, cost_usd=0.0)
    for words in ("0.00 s", "0 in, 0 out", "$0.000000"):
        assert words in str(free)


def test_a_table_in_text_is_aligned_and_in_html_has_heads():
    layer = moa.Replies([reply("One.", finish_reason="stop"), reply(model=B, failure="timeout")])
    heading, *rows = str(layer).splitlines()
    assert heading.startswith("1 of 2 answered")
    assert len({line.index(word) for line, word in zip(rows, ("outcome", "answered", "failed"), strict=True)}) == 1
    source = layer._repr_html_()
    assert re.findall(r'<th[^>]*scope="?col', source)
    text = read(source).text
    assert text.index("model") < text.index("outcome") < text.index(A) < text.index(B)


def test_a_console_and_a_notebook_show_the_same_words():
    class Printer:
        shown = ""

        def text(self, text):
            self.shown += text

    mixture, printer = answer(GREEN, [GREEN, TIDES]), Printer()
    for result in (mixture, mixture.layers[0], mixture.aggregator):
        printer.shown = ""
        result._repr_pretty_(printer, False)
        assert printer.shown == str(result)
        shown = read(result._repr_html_()).text
        assert all(word in shown for word in re.findall(r"\w+", str(result)))


def test_without_the_packages_of_a_lesson_a_table_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "moa_helpers.ui.tables", raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^This needs pandas, .*: run `pip install 'moa-helpers\[lesson\]'`\.$"):
        moa.Replies([reply("Yes.")]).table()


def test_without_the_packages_of_a_lesson_a_notebook_shows_markdown(monkeypatch):
    monkeypatch.setitem(sys.modules, "markupsafe", None)
    assert reply("Yes.")._repr_html_() is None
    assert "Yes." in reply("Yes.")._repr_markdown_()


def test_a_models_text_is_never_markup():
    mixture = answer(f"{MARKUP} {GREEN}", [MARKUP, TIDES])
    for result in (reply(MARKUP), reply(MARKUP, failure="timeout"), mixture.layers[0], mixture):
        found = read(result._repr_html_())
        assert "img" not in found.tags
        assert "<script>alert(1)</script>" in found.text
        outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", result._repr_markdown_())  # a code block shows it as it is
        assert not re.search(r"(?<!\\)[<\[]", outside)


def test_hostile_texts_are_only_text_everywhere():
    for name, text in HOSTILE.items():
        mixture = answer(text, [text, "Fine."])
        results = (reply(text), reply(model=A, failure="timeout", answered_by=text), mixture.layers[0], mixture)
        for result in (*results, moa.Verdict(A, (1, 2), moa.Replies([reply(text)]))):
            found = read(result._repr_html_())
            assert "img" not in found.tags, name
        for word in re.findall(r"\w+", re.sub(r"```\S*", "", text[-1000:])):  # a fence names its language, unseen
            assert word in html_of(text), (name, word)


def test_a_text_cannot_leave_its_code_block():
    for inside in ("```\n# out", "````text\n# out\n````", "`" * 20):
        lines = answer(f"before\n{inside}", ["x"])._repr_markdown_().splitlines()
        fence = next(line for line in lines if line.endswith("text") and line.startswith("```"))
        marks = [number for number, line in enumerate(lines) if line.startswith(fence.removesuffix("text"))]
        assert marks == [lines.index(fence), len(lines) - 1]


def test_a_pipe_in_a_text_does_not_break_the_markdown_table():
    rows = [line for line in moa.Replies([reply(MARKUP)])._repr_markdown_().splitlines() if line.startswith("|")]
    assert [len(line.replace("\\|", "").split("|")) for line in rows] == [5, 5, 5]


def test_an_address_is_no_link():
    shown = moa.Replies([reply("see http://x.example/a or www.x.example")])._repr_markdown_()
    assert "http\\://" in shown
    assert "www\\." in shown


def test_offline_answers_say_so(run, script, monkeypatch):
    standins.enter(monkeypatch, script)
    mixture = run(moa.mixture_of_agents(offline.questions()[0].prompt, MODELS, A))
    for result in (mixture, mixture.layers[0], mixture.aggregator):
        for show in SHOWS:
            assert "offline stand-in" in show(result)


def test_markdown_is_laid_out():
    found = read(reply("# Tides\n\n- *two* a day\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n**so**")._repr_html_())
    assert {"h1", "ul", "li", "em", "table", "strong"} <= found.tags
    assert "*" not in found.text


def test_no_mixture_of_markup_becomes_anything_but_text():
    """Texts put together by chance, with a fixed seed, of all that means something to Markdown, HTML or maths."""
    chance = random.Random(4)
    marks = [*"<>&\"'`*_#[]()!|~$\\-+=:\n\r\t\x00\x1b\u202e ", "\n\n", "\n    ", "\n> ", "\n- ", "\n1. ", "\n```\n"]
    marks += ["\n~~~\n", "<script>", "</script>", "<!--", "-->", "<![CDATA[", "<?", "<img src=x onerror=y>", "</div>"]
    marks += ["<a href='", "](javascript:", "![", "&lt;", "&#60;", "&quot;", "https://", "\n[word]: ", "\n---\n", "$$"]
    for number in range(400):
        words = [f"{'abcdefghij'[place]}word{number}x" for place in range(10)]
        text = "".join(part for word in words for part in (*chance.choices(marks, k=chance.randint(0, 6)), word))
        table = "|" in text and "\n" in text  # Markdown leaves out the cells that a table's header has no column for
        found = html_of(text)
        missing = [word for word in words if word not in found]
        assert table or not missing, (text, missing)
        shown = read(moa.Replies([reply(text)])._repr_html_()).text  # in a cell of a table, as it stands
        assert all(word in shown for word in words), text


def test_a_very_long_text_is_only_text_too():
    text = " ".join([MARKUP] * 1000)
    assert len(text) > LONGEST_MARKDOWN
    found = read(reply(text)._repr_html_())
    assert text in found.text
    assert "img" not in found.tags


def test_a_very_long_text_is_shown_whole_and_quickly():
    text = ("**w** " * (100_000 // 6)).strip()
    began = time.process_time()
    assert text in html_of(text)
    deep = reply("".join(f"{'> ' * (n % 90)}[*`{n}" for n in range(200)))
    deep._repr_html_()
    assert time.process_time() - began < 5
