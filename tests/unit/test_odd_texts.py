"""Texts and names that mean something to a terminal, to matplotlib or to a page, and more of them than anyone reads."""

import io
import random
import sys
import time

import pytest

import moa_helpers as moa
from moa_helpers.evaluation import charts
from moa_helpers.evaluation.measures import Interval
from moa_helpers.results import Attempt, Failure, Replies, Reply
from moa_helpers.ui import figures
from moa_helpers.ui.html import rendered

# What a terminal obeys: colours, a new title, a link, the clipboard, "clear" in one byte, backspaces, an answer-back
SEQUENCES = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x1bP+q544e\x1b\\",
    "rm -rf\b\b\b\b\b\bhello",
    "10 $\r 1 $",
    "\x05\x0e\x7f",
    "half a character: \ud83d",
]


def harmful(text):
    return [char for char in text if (ord(char) < 32 and char not in "\t\n") or 127 <= ord(char) < 160]


@pytest.mark.parametrize("text", SEQUENCES)
def test_a_text_does_nothing_to_a_terminal(text, capsys):
    bad = Reply("openai:x", text, answered_by=text, failure=Failure("refusal", text))
    good = Reply("openai:x", f"A tab\tand a line\nare what they are. {text}")
    answer = moa.Answer("Why?", text, "complete", (Replies([good, bad]),), good, 0.0, 1.0)
    for result in (good, bad, Replies([good, bad]), answer):
        print(result)
        shown = capsys.readouterr().out
        assert not harmful(shown)
        assert shown.encode()
        assert not harmful(result._repr_html_())
        assert not harmful(result._repr_markdown_())
        assert result._repr_html_().encode()
    assert "A tab\tand a line\nare" in str(good)
    print(figures.provenance(f"The {text} is among seven other distinctive words.", [good]))
    assert not harmful(capsys.readouterr().out)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ["Yes.", "Déjà vu – “quoted” …", "空は青い 🌍", "\x1b[31m"])
def test_it_can_be_printed_whatever_the_terminal_can_show(encoding, text, monkeypatch):
    reply = Reply("openai:x", text, offline=True)
    whole = [reply, Replies([reply]), moa.estimate("Why?", ["openai:gpt-6-luna"] * 2)]
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    print(*whole)
    out.flush()
    said = out.buffer.getvalue().decode(encoding)
    assert "offline stand-in" in said
    if encoding == "ascii" and text == "Yes.":
        assert "\\" not in said, "what is only decoration has a plain form"
    if encoding == "utf-8":
        assert " · offline stand-in" in said


@pytest.mark.parametrize("stdout", [None, object()])
def test_without_a_stdout_it_is_a_text_all_the_same(stdout, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout)
    assert " · offline stand-in" in str(Reply("openai:x", offline=True))


# Names in figures

SOME = Interval(0.5, 0.2, 0.7)


@pytest.mark.parametrize("name", ["a $1 and $2^{", r"$\frac$", "_hidden <b>&", "%s {0} \x1b[31m"])
@pytest.mark.filterwarnings("error")
def test_every_name_in_a_figure_stands_as_it_is(name):
    model, failed = f"openai:{name}", Failure(name, "")
    pictures = [
        figures.distribution({name: [1, 2], "b": [3]}, name),
        figures.distribution({name: [1, 2]}, tail=True),
        figures.timeline([Reply(model, elapsed=1.0, failure=failed), Reply("b:c", elapsed=2.0)]),
        figures.provenance_picture(f"Several distinctive words stand beside {name}.", [Reply(model, name)]),
        charts.intervals({name: SOME}, name),
        charts.curves({name: {1: SOME, 2: SOME}, "b": {1: SOME}}, name, name),
        charts.tradeoff({name: (1, 2), "b": (2, 3)}, name, name),
    ]
    for picture in pictures:
        assert name.split()[0] in picture.alt
        shown = picture._repr_mimebundle_()
        assert not harmful(shown["text/html"] + shown["text/plain"])
    for picture in (pictures[0], pictures[5]):
        (legend,) = picture.legends or [picture.axes[0].get_legend()]
        assert [text.get_text() for text in legend.get_texts()] == [name, "b"]


# Much of everything


def test_a_timeline_of_very_many_calls_shows_those_that_matter():
    calls = [
        Reply("openai:x", "Yes.", elapsed=1 + number / 1000, attempts=(Attempt(0, 1, None, 0.1),))
        for number in range(1000)
    ]
    calls[700] = Reply("mistral:slow", "Yes.", elapsed=30.0)
    began = time.process_time()
    picture = figures.timeline(calls)
    assert time.process_time() - began < 5
    rows = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert rows == ["openai:x"] * (figures.MOST_REQUESTS - 1) + ["mistral:slow"]
    assert f"Shown are {figures.MOST_REQUESTS} of 1000 requests" in picture.alt
    few = figures.timeline(calls[: figures.MOST_REQUESTS])
    assert "Shown are" not in few.alt


def test_where_long_texts_come_from_is_found_in_time():
    draw = random.Random(1)
    words = [f"{draw.randrange(10**8):08d}ab"[draw.randrange(4) :] for _ in range(2000)]

    def text():
        return " ".join(" ".join(draw.choices(words, k=10)) + "." for _ in range(1500))

    began = time.process_time()
    one, other = text(), text()
    shares = moa.figures.provenance(one, [Reply("a:b", one), Reply("c:d", other)])
    assert time.process_time() - began < 2
    assert len(shares) == 1500
    assert set(shares["1 a:b"]) == {1.0}
    assert 0 < shares["2 c:d"].mean() < 0.5


@pytest.mark.parametrize(
    "table",
    [
        "|a" * 1000 + "|\n" + "|-" * 1000 + "|\n" + "|\n" * 7500,
        "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + "x\n" * 7500,
        "> " + "|a" * 50 + "|\n> " + "|-" * 50 + "|\n" + "> x\n" * 4000,
    ],
)
def test_a_few_characters_do_not_ask_for_very_many_cells(table):
    shown = rendered(table)
    assert len(shown) < 4 * len(table)
    assert "<table" not in shown


def test_an_ordinary_table_is_laid_out():
    table = "Before.\n\n|a|b|c|\n|-|-|-|\n" + "|1|2|3|\n" * 300 + "\n" + "A line.\n" * 300
    assert rendered(table).count("<tr") == 301
