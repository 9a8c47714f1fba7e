"""Tables and pictures: they say what the calls gave, unknown is unknown, and a model's text is never markup."""

import base64
import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.ui import figures

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
]
EVIL = "<script>alert(1)</script> & \"quoted\" <img src=x onerror='boo'> | a | b |"
GREEN = "Plants are green because chlorophyll reflects green light."
TIDES = "The moon pulls the ocean and raises two tides daily."


def reply(text="", model="openai:gpt-6-luna", failure=None, **rest):
    kind = failure and moa.Failure(failure, f"{model}: {failure}. {EVIL}")
    tries = (moa.Attempt(0.0, 1.0, kind, None),)
    return moa.Reply(model, text, elapsed=1.0, attempts=tries, failure=kind, started=100.0, **rest)


def answer(text, texts, **rest):
    layer = moa.Replies([reply(each, finish_reason="stop", ttft=0.2) for each in texts])
    final = reply(text, "mistral:mistral-small-2603", ttft=0.3, finish_reason="stop", **rest)
    return moa.Answer("Why?", text, "complete", (layer,), final, started=100.0, elapsed=2.5)


class Tags(HTMLParser):
    """The tags and the visible text of a piece of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def alt_of(picture):
    tags = Tags(picture._repr_mimebundle_()["text/html"])
    assert tags.tags == ["img"]
    values = dict(tags.attributes)
    image = base64.b64decode(values["src"].removeprefix("data:image/png;base64,"))
    assert image.startswith(b"\x89PNG")
    assert len(image) > 1000
    return values["alt"]


# Tables


def test_columns_and_types_of_the_table(models, question, run):
    with offline.fault("mistral", 503), offline.fault("anthropic", "length"):
        replies = run(moa.fan_out(models, question, retries=1))
    table = replies.table()
    assert list(table.columns) == COLUMNS
    assert table.index.name == "call"
    assert list(table["model"]) == models
    assert list(table["outcome"]) == ["ok", "truncated", "overloaded"]
    assert list(table["attempts"]) == [1, 1, 2]
    for column, dtype in {
        "ttft_s": "Float64",
        "cost_usd": "Float64",
        "input_tokens": "Int64",
        "output_tokens": "Int64",
    }.items():
        assert table[column].dtype == dtype
    for column in ("started_s", "elapsed_s"):
        assert table[column].dtype == float
    assert table["started_s"].min() == 0
    assert table["ttft_s"].isna().tolist() == [False, False, True]
    assert table["output_tokens"][0] == replies[0].output_tokens


def test_the_table_of_a_mixture_ends_with_the_aggregator(models, question, run):
    answer = run(moa.mixture_of_agents(question, models, models[0]))
    table = answer.table()
    assert list(table["model"]) == [*models, models[0]]
    assert table["cost_usd"].sum() == pytest.approx(answer.cost_usd)
    assert table["started_s"][3] >= max(table["started_s"][:3] + table["elapsed_s"][:3]) - 0.01


def test_unknown_is_shown_as_unknown_and_never_as_zero():
    unknown = reply("Some text.", finish_reason="stop")
    for show in (str, moa.Reply._repr_html_, moa.Reply._repr_markdown_):
        assert show(unknown).count("unknown") == 5  # first token, tokens in, tokens out, cost, answered by
        assert "$0" not in show(unknown)
        assert "0 in" not in show(unknown)
    row = figures.table([unknown]).iloc[0]
    for column in ("ttft_s", "input_tokens", "output_tokens", "cost_usd"):
        assert row[column] is pd.NA


def test_zero_is_shown_as_zero():
    free = reply("Some text.", finish_reason="stop", ttft=0.0, input_tokens=0, output_tokens=0, cost_usd=0.0)
    assert "0.00 s" in str(free)
    assert "0 in, 0 out" in str(free)
    assert "$0.000000" in str(free)


def test_one_unknown_cost_makes_the_whole_unknown():
    mixture = answer(GREEN, [GREEN, TIDES], cost_usd=0.01)
    assert mixture.cost_usd is None
    assert "unknown" in str(mixture).splitlines()[0]


def test_percentiles():
    table = figures.percentiles({"one": [float(number) for number in range(101)], "two": [2.0]})
    assert table.loc["one"].to_dict() == {"n": 101, "mean_s": 50, "p50_s": 50, "p95_s": 95, "p99_s": 99}
    assert table.loc["two"].to_dict() == {"n": 1, "mean_s": 2, "p50_s": 2, "p95_s": 2, "p99_s": 2}


# Pictures


def test_timeline_with_failures_and_retries(models, question, run):
    with offline.fault("mistral", 401), offline.fault("anthropic", 429, retry_after=0.2, times=1):
        replies = run(moa.fan_out([*models, models[0]], question))
    picture = replies.timeline()
    alt = alt_of(picture)
    assert alt == picture.alt
    for each in replies:
        assert f"{each.model} from " in alt
    assert "failed (authentication)" in alt
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["waiting for the first token", "writing", "failed attempt", "pause before a retry"]
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == [each.model for each in replies]
    bars = [(bar.get_x(), bar.get_width()) for bar in picture.axes[0].patches]
    assert len(bars) == 2 + 4 + 1 + 2  # waiting and writing; a failed attempt and a pause before; only that; as first
    end = max(each.started + each.elapsed for each in replies) - min(each.started for each in replies)
    assert max(x + width for x, width in bars) == pytest.approx(end, abs=0.01)


def test_the_timeline_names_who_was_waited_for(models, question, run):
    with offline.fault("mistral", 429, retry_after=1, times=1):
        answer = run(moa.mixture_of_agents(question, models, models[0]))
    picture = answer.timeline()
    proposer, aggregator = answer.critical_path
    assert (proposer, aggregator) == (answer.layers[0][2], answer.aggregator)
    first, second = picture.axes[0].get_title(loc="left").splitlines()
    total = aggregator.ended - min(reply.started for reply in answer.replies)
    waited = re.fullmatch(rf"([\d.]+) s of {total:.2f} s waited for {models[2]} \(([\d.]+) s of it .*pauses\)", first)
    assert waited
    assert 1 <= float(waited[2]) < float(waited[1])
    waited_then = re.fullmatch(rf"([\d.]+) s of {total:.2f} s waited for {models[0]}", second)
    assert float(waited[1]) + float(waited_then[1]) == pytest.approx(total, abs=0.02)
    labels = [text.get_text() for text in picture.axes[0].texts]
    assert [label.endswith(", waited for") for label in labels] == [False, False, True, True]
    assert first in picture.alt


def test_the_timeline_shows_second_requests_and_what_was_abandoned(models, question, run):
    with offline.fault("mistral", "hang"):
        replies = run(moa.fan_out(models, question, hedge_after=3, hedge_with=models[1], timeout=30))
    picture = replies.timeline()
    names = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert names == [*models, f"second request:\n{models[1]}"]
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["waiting for the first token", "writing", "abandoned"]
    ends = [text.get_text() for text in picture.axes[0].texts]
    assert "cancelled" in ends[2]
    assert ends[3].endswith("waited for")
    assert f"waited for {models[2]} and its second request" in picture.alt
    with offline.fault("*", "hang"):
        stopped = run(moa.fan_out(models, question, deadline=0.3))
    assert "waited for" in stopped.timeline().alt


def test_timeline_where_every_call_failed_or_never_began(models, question, run):
    with offline.fault("*", "hang"):
        replies = run(moa.fan_out(models, question, deadline=0.3, max_concurrency=1))
    assert alt_of(replies.timeline()).count("failed (deadline)") == 3


def test_distribution():
    picture = figures.distribution(
        {"one call": [1.0, 2.0, 3.0], "slowest of three": [3.0, 3.0, 4.0]}, "seconds to wait"
    )
    alt = alt_of(picture)
    assert "one call: median 2.00" in alt
    assert "slowest of three: median 3.00" in alt
    assert "seconds to wait" in picture.axes[0].get_xlabel()
    for line in picture.axes[0].lines[:2]:
        heights = list(line.get_ydata())
        assert heights == sorted(heights)
        assert heights[-1] == 100


# Where a sentence came from


def test_provenance_finds_the_source():
    text = f"# Answer\n\n- {TIDES}\n- **{GREEN}**"
    table = figures.provenance(text, [reply(GREEN), reply(f"Hello there. {TIDES}")])
    assert list(table.columns) == ["1 openai:gpt-6-luna", "2 openai:gpt-6-luna"]
    assert list(table.index) == [TIDES, GREEN]
    assert table.to_numpy().tolist() == [[0, 1], [1, 0]]


def test_provenance_is_a_share_and_leaves_failures_out():
    references = [reply(TIDES, failure="timeout"), reply(GREEN)]
    table = figures.provenance("Plants are green because of magic and sunlight.", references)
    assert list(table.columns) == ["2 openai:gpt-6-luna"]
    assert 0.2 < table.iloc[0, 0] < 0.8


def test_provenance_of_a_real_mixture(models, question, run):
    mixture = run(moa.mixture_of_agents(question, models, models[0]))
    table = figures.provenance(mixture.text, mixture.layers[0])
    assert len(table) > 2
    assert table.max(axis=1).min() > 0.3  # the stand-in adds nothing of its own
    alt = alt_of(figures.provenance_picture(mixture.text, mixture.layers[0]))
    assert all(column in alt for column in table.columns)


def test_a_picture_of_a_long_text_shows_its_beginning_and_says_so():
    text = " ".join(f"Sentence number {number} {'abcdefghij'[number % 10] * 5} stands here." for number in range(40))
    picture = figures.provenance_picture(text, [reply(text)])
    assert len(picture.axes[0].get_yticks()) == figures.MOST_SENTENCES == 30
    assert picture.axes[0].get_xlabel() == "The first 30 of 40 sentences."
    assert "The first 30 of 40 sentences. Sentence number 0 " in picture.alt
    assert picture.alt.count("Sentence number") == 30
    assert len(figures.provenance(text, [reply(text)])) == 40


def test_a_picture_of_any_text():
    text = "Ünïcödé wörds überall hier, ☃."
    assert alt_of(figures.provenance_picture(text, [reply(text)])).startswith("Share of")


def test_a_picture_of_a_text_with_prices():
    text = "Tickets cost $5 or 50% of $10 for adults today."
    assert "$5 or 50% of $10" in alt_of(figures.provenance_picture(text, [reply(text)]))


def test_a_picture_of_no_text():
    with pytest.raises(ValueError, match="Nothing to draw"):
        figures.provenance_picture("", [reply(GREEN)])


def test_a_picture_of_no_call():
    with pytest.raises(ValueError, match="Nothing to draw"):
        moa.Replies().timeline()


def test_names_are_no_formula():
    name = r"vllm:a$\b$"
    for picture in (
        figures.timeline([reply(GREEN, model=name)]),
        figures.provenance_picture(GREEN, [reply(GREEN, model=name)]),
    ):
        picture.canvas.draw()
        assert any(
            r"a$\b$" in label.get_text()
            for axis in picture.axes
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels())
        )


def test_an_address_is_no_link():
    shown = moa.Replies([reply("see http://x.example/a or www.x.example")])._repr_markdown_()
    assert "http\\://" in shown
    assert "www\\." in shown


def test_a_table_of_no_call():
    assert list(figures.table([]).columns) == COLUMNS


# Markup


def test_a_models_text_is_never_markup():
    mixture = answer(f"{EVIL} {GREEN}", [EVIL, TIDES])
    for result in (reply(EVIL), reply(EVIL, failure="timeout"), mixture.layers[0], mixture):
        tags = Tags(result._repr_html_())
        assert set(tags.tags) <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "div"}
        assert "onerror" not in dict(tags.attributes)
        assert "<script>alert(1)</script>" in tags.text
        outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", result._repr_markdown_())  # a code block shows it as it is
        assert not re.search(r"(?<!\\)[<\[]", outside)


def test_a_picture_escapes_its_text(models):
    picture = figures.Picture()
    picture.add_subplot()
    picture.alt = f'{EVIL} "> <script>'
    assert alt_of(picture) == picture.alt
    assert EVIL[:40] in alt_of(figures.provenance_picture(f"{EVIL}\n\n{GREEN}", [reply(GREEN), reply(EVIL)]))


def test_a_pipe_in_a_text_does_not_break_the_markdown_table():
    rows = [line for line in moa.Replies([reply(EVIL)])._repr_markdown_().splitlines() if line.startswith("|")]
    assert [len(line.replace("\\|", "").split("|")) for line in rows] == [5, 5, 5]


def test_offline_answers_say_so(models, question, run):
    mixture = run(moa.mixture_of_agents(question, models, models[0]))
    for result in (mixture, mixture.layers[0], mixture.aggregator):
        for show in (str(result), result._repr_html_(), result._repr_markdown_()):
            assert "offline stand-in" in show
    assert not math.isnan(mixture.elapsed)
