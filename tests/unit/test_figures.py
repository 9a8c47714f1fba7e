"""Tables and pictures: they say what the calls gave, and unknown is unknown."""

import base64

import pandas as pd
import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.pages import MARKUP, read
from tests.support.replies import GREEN, MODELS, TIDES, A, B, C, reply
from tests.support.scripts import answers, fails, hangs

figures = moa.figures
COLUMNS = [
    "model",
    "outcome",
    "started_s",
    "ttft_s",
    "elapsed_s",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "attempts",
    "second_request",
    "kept",
    "settings",
]


def alt_of(picture):
    """The text of a picture, which is an image and nothing else."""
    found = read(picture._repr_mimebundle_()["text/html"])
    assert found.tags == {"img"}
    (image,) = found.images
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG")
    assert len(data) > 1000
    assert image["alt"] == picture.alt
    return image["alt"]


def labels(texts):
    return [text.get_text() for text in texts]


# Tables


def test_columns_and_types_of_the_table(run, script, question):
    script[B] = answers("Cut off", finish="length", after=0.5, tokens=(40, 2))
    script[C] = fails(503)
    replies = run(moa.fan_out(MODELS, question, retries=1))
    table = replies.table()
    assert list(table.columns) == COLUMNS
    assert table.index.name == "call"
    assert list(table["model"]) == MODELS
    assert list(table["outcome"]) == ["ok", "truncated", "overloaded"]
    assert list(table["attempts"]) == [1, 1, 2]
    types = {"ttft_s": "Float64", "cost_usd": "Float64", "input_tokens": "Int64", "output_tokens": "Int64"}
    for column, dtype in (types | {"started_s": float, "elapsed_s": float}).items():
        assert table[column].dtype == dtype, column
    assert list(table["started_s"]) == [0, 0, 0]
    assert table["ttft_s"][:2].tolist() == [1.0, 0.5]
    assert table["ttft_s"].isna().tolist() == [False, False, True]
    assert table["output_tokens"][1] == 2
    assert list(figures.table([]).columns) == COLUMNS


def test_the_table_of_a_mixture_ends_with_the_aggregator(run, script, question):
    script[C] = answers(after=4)
    answer = run(moa.mixture_of_agents(question, MODELS, A))
    table = answer.table()
    assert list(table.columns) == ["role", *COLUMNS[:-2], "left_out", *COLUMNS[-2:]]
    assert list(table["role"]) == ["layer 1"] * 3 + ["aggregator"]
    assert list(table["model"]) == [*MODELS, A]
    assert table["cost_usd"].sum() == pytest.approx(answer.cost_usd)
    assert table["started_s"][3] == pytest.approx(table["elapsed_s"][2]) == pytest.approx(4.2)


def test_unknown_in_a_table_is_no_number():
    row = figures.table([reply("Some text.", finish_reason="stop")]).iloc[0]
    for column in ("ttft_s", "input_tokens", "output_tokens", "cost_usd"):
        assert row[column] is pd.NA


def test_percentiles():
    table = figures.percentiles({"one": [float(number) for number in range(101)], "two": [2.0]})
    assert table.loc["one"].to_dict() == {"n": 101, "mean_s": 50, "p50_s": 50, "p95_s": 95, "p99_s": 99}
    assert table.loc["two"].to_dict() == {"n": 1, "mean_s": 2, "p50_s": 2, "p95_s": 2, "p99_s": 2}


# Timelines


def test_timeline_with_failures_and_retries(run, script, question):
    script[B] = [fails(429, after=0.5, retry_after=2), answers("Yes.")]
    script[C] = fails(401)
    replies = run(moa.fan_out([*MODELS, A], question))
    picture = replies.timeline()
    alt = alt_of(picture)
    for each in replies:
        assert f"{each.model} from 0.00 s to " in alt
    assert "failed (authentication)" in alt
    legend = ["waiting for the first token", "writing", "failed attempt", "pause before a retry"]
    assert labels(picture.legends[0].get_texts()) == legend
    axes = picture.axes[0]
    assert labels(axes.get_yticklabels()) == [each.model for each in replies]
    bars = [(round(bar.get_x(), 2), round(bar.get_width(), 2)) for bar in axes.patches]
    wrote = [(0.0, 1.0), (1.0, 0.2)]
    assert bars == [*wrote, (0.0, 0.5), (0.5, 2.0), (2.5, 1.0), (3.5, 0.0), (0.0, 0.04), *wrote]


def test_the_timeline_names_who_was_waited_for(run, script, question):
    script[C] = [fails(429, retry_after=3), answers("Yes.")]
    answer = run(moa.mixture_of_agents(question, MODELS, A))
    assert answer.critical_path == (answer.layers[0][2], answer.aggregator)
    picture = answer.timeline()
    title = [
        f"4.00 s of 5.20 s waited for {C} (3.00 s of it failed attempts and pauses)",
        f"1.20 s of 5.20 s waited for {A}",
    ]
    assert picture.axes[0].get_title(loc="left").splitlines() == title
    named = [label.endswith(", waited for") for label in labels(picture.axes[0].texts)]
    assert named == [False, False, True, True]
    assert picture.alt.endswith(" ".join(title))


def test_the_timeline_tells_a_wait_for_a_place_from_one_for_calls_without_an_answer(run, script, question):
    script[A], script[B] = fails(401, after=2), answers("Yes.", after=3)
    answer = run(moa.mixture_of_agents(question, [A, B], C, max_concurrency=1))
    assert answer.timeline().axes[0].get_title(loc="left").splitlines() == [
        f"2.00 s of 6.20 s went by before {B} began",
        f"3.00 s of 6.20 s waited for {B}",
        f"1.20 s of 6.20 s waited for {C}",
    ]


def test_the_timeline_shows_second_requests_and_what_was_abandoned(run, script, question):
    script[C] = hangs()
    replies = run(moa.fan_out(MODELS, question, hedge_after=3, hedge_with=B))
    picture = replies.timeline()
    names = labels(picture.axes[0].get_yticklabels())
    assert names == [*MODELS, f"second request:\n{B}"]
    assert labels(picture.legends[0].get_texts()) == ["waiting for the first token", "writing", "abandoned"]
    ends = labels(picture.axes[0].texts)
    assert "cancelled" in ends[2]
    assert ends[3].endswith("waited for")
    assert f"4.20 s of 4.20 s waited for {C} and its second request" in picture.alt
    for model in MODELS:
        script[model] = hangs()
    stopped = run(moa.fan_out(MODELS, question, deadline=0.5))
    assert "waited for" in stopped.timeline().alt


def test_timeline_where_every_call_failed_or_never_began(run, script, question):
    script.default = hangs()
    replies = run(moa.fan_out(MODELS, question, deadline=0.5, max_concurrency=1))
    assert alt_of(replies.timeline()).count("failed (deadline)") == 3
    with pytest.raises(ValueError, match="Nothing to draw"):
        moa.Replies().timeline()


def test_distribution():
    samples = {"one call": [1.0, 2.0, 3.0], "slowest of three": [3.0, 3.0, 4.0]}
    picture = figures.distribution(samples, "seconds to wait")
    alt = alt_of(picture)
    assert "one call: median 2.00" in alt
    assert "slowest of three: median 3.00" in alt
    assert "seconds to wait" in picture.axes[0].get_xlabel()
    for line in picture.axes[0].lines[:2]:
        heights = list(line.get_ydata())
        assert heights == sorted(heights)
        assert heights[-1] == 100
    tail = figures.distribution(samples, tail=True)
    assert "one call: median 2.00, 95% within 2.90, 99% within 2.98" in tail.alt
    assert list(tail.axes[0].lines[0].get_ydata())[-1] == 0


# Where a sentence came from


def test_provenance_finds_the_source():
    text = f"# Answer\n\n- {TIDES}\n- **{GREEN}**"
    table = figures.provenance(text, [reply(GREEN), reply(f"Hello there. {TIDES}")])
    assert list(table.columns) == [f"1 {A}", f"2 {A}"]
    assert list(table.index) == [TIDES, GREEN]
    assert table.to_numpy().tolist() == [[0, 1], [1, 0]]


def test_provenance_is_a_share_and_leaves_failures_out():
    references = [reply(TIDES, failure="timeout"), reply(GREEN)]
    table = figures.provenance("Plants are green because of magic and sunlight.", references)
    assert list(table.columns) == [f"2 {A}"]
    assert 0.2 < table.iloc[0, 0] < 0.8


def test_provenance_of_a_mixture_of_stand_ins(run, script, monkeypatch):
    standins.enter(monkeypatch, script)
    mixture = run(moa.mixture_of_agents(offline.questions()[0].prompt, MODELS, A))
    table = figures.provenance(mixture.text, mixture.layers[0])
    assert len(table) > 2
    assert table.max(axis=1).min() > 0.3, "the stand-in adds nothing of its own"
    alt = alt_of(figures.provenance_picture(mixture.text, mixture.layers[0]))
    assert all(column in alt for column in table.columns)


def test_a_picture_of_a_long_text_shows_its_beginning_and_says_so():
    text = " ".join(f"Sentence number {number} {'abcdefghij'[number % 10] * 5} stands here." for number in range(40))
    picture = figures.provenance_picture(text, [reply(text)])
    assert len(picture.axes[0].get_yticks()) == 30
    assert picture.axes[0].get_xlabel() == "The first 30 of 40 sentences."
    assert "The first 30 of 40 sentences. Sentence number 0 " in picture.alt
    assert picture.alt.count("Sentence number") == 30
    assert len(figures.provenance(text, [reply(text)])) == 40


def test_pictures_of_any_text():
    for text in ("Ünïcödé wörds überall hier, ☃.", "Tickets cost $5 or 50% of $10 for adults today."):
        alt = alt_of(figures.provenance_picture(text, [reply(text)]))
        assert alt.startswith("Share of")
        assert text[:30] in alt
    assert MARKUP[:40] in alt_of(figures.provenance_picture(f"{MARKUP}\n\n{GREEN}", [reply(GREEN), reply(MARKUP)]))
    with pytest.raises(ValueError, match="Nothing to draw"):
        figures.provenance_picture("", [reply(GREEN)])


def test_names_are_no_formula():
    name = r"vllm:a$\b$"
    mine = reply(GREEN, model=name)
    for picture in (figures.timeline([mine]), figures.provenance_picture(GREEN, [mine])):
        picture.canvas.draw()
        ticks = [label for axis in picture.axes for label in (*axis.get_xticklabels(), *axis.get_yticklabels())]
        assert any(r"a$\b$" in text for text in labels(ticks))


def test_a_picture_escapes_its_text():
    picture = figures.Picture()
    picture.add_subplot()
    picture.alt = f'{MARKUP} "> <script>'
    assert alt_of(picture) == picture.alt
