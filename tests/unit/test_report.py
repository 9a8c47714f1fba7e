"""What a comparison hands on: one HTML file that nothing in it can harm, and a log for inspect_ai's viewer."""

import json
import re
import zipfile
from importlib import metadata

import pytest

import moa_helpers as moa
from moa_helpers import offline, texts
from moa_helpers.bulk.questions import Question
from moa_helpers.evaluation.comparison import NULL
from moa_helpers.ui.html import visible
from moa_helpers.vendors import secrets
from moa_helpers.vendors.settings import current
from tests.support import pages, reported, standins
from tests.support.hostile import HOSTILE
from tests.support.replies import A, B, C
from tests.support.reported import answered, compared, judged

TEXTS = {
    **HOSTILE,
    "style": "</style></title></details>",
    "entity": "&lt;b&gt; &#60;i&#62; &amp",
    "surrogate": "half \ud83d",
}
TAGS = {"a", "bdi", "body", "figcaption", "figure", "head", "header", "html", "main", "nav", "title"}
ATTRIBUTES = {"content", "href", "http-equiv", "lang", "name"}


class Page(pages.Reader):
    """A whole page, as a browser reads it."""

    def __init__(self, path):
        self.metas, self.links, self.ids, self.scopes = {}, [], [], 0
        super().__init__(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_decl(self, text):
        assert text == "doctype html"

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "meta":
            self.metas[given.get("http-equiv") or given.get("name") or "charset"] = given.get("content")
            return
        self.links += [given["href"]] if "href" in given else []
        self.ids += [given["id"]] if "id" in given else []
        self.scopes += (tag == "th") - ("scope" in given)
        super().handle_starttag(tag, attributes)


@pytest.fixture(scope="module")
def hostile():
    """All that a model, a question, or who named a strategy may have written."""
    return reported.hostile(TEXTS)


def written(comparison, folder):
    return Page(comparison.report(folder / "report.html"))


# The report


def test_nothing_in_it_acts(hostile, tmp_path):
    page = written(hostile, tmp_path)
    assert page.tags <= pages.TAGS | TAGS
    assert page.attributes <= pages.ATTRIBUTES | ATTRIBUTES
    assert page.metas["Content-Security-Policy"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    )
    assert page.images
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.images)
    assert not re.search(r"url\(|@import|expression", page.styles)
    assert {link[0] for link in page.links} == {"#"}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", page.text)


def test_all_of_it_is_there(hostile, tmp_path):
    page = written(hostile, tmp_path)
    for text in TEXTS:
        assert page.text.count(visible(text)) >= 3  # the reference and two answers, if not the question
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert page.scopes == 0, "each header of a table says of what"
    assert all(image["alt"] in page.text for image in page.images), "what a picture shows stands under it"


def test_what_was_found(run, monkeypatch, script, tmp_path):
    compare = standins.comparing(run, monkeypatch, script)
    strategies = {
        "single": A,
        "moa": {"reference_models": [A, moa.Member(B, extra={"note": "mine alone"})], "aggregator": A, "layers": 3},
    }
    found = compare(offline.questions()[:4], strategies, judge=[B, C], path=tmp_path / "mine.sqlite")
    page = written(found, tmp_path)
    words = " ".join(page.text.split())
    row = found.table().loc["moa"]
    for expected in (
        *("Offline.", "Strategies: 2, questions: 4", "mine.sqlite", f"${found.cost_usd:.6f}"),
        f"{row.points_share:.2f} ({row.points_share_low:.2f} to {row.points_share_high:.2f})",
        f"{row.win_rate:.2f} ({row.win_rate_low:.2f} to {row.win_rate_high:.2f})",
        *(f"reference models: {A}, {B} (extra note); aggregator: {A}; layers: 3", "November 2026", "genai-prices"),
        *("±49 percentage points", "385", "Stand-ins answered", "null answer", "points right"),
        *(text for question in offline.questions()[:4] for text in (question.id, question.prompt)),
    ):
        assert expected in words
    for each in found.answers:
        assert each.text in page.text
    for name, version in {**current().versions, "moa-helpers": metadata.version("moa-helpers")}.items():
        assert f"{name}{version}" in page.text
    assert f"{B}0.10.50.5genai-prices" in page.inside("prices in US dollars for a million tokens").replace("\n", "")
    for private in (str(tmp_path), "mine alone"):
        assert private not in page.text
    assert page.labels("nav") == ["Contents"]
    assert page.labels("region")[:2] == ["the strategies", "the judges"]
    shown = ["points share", "points wrong", "win rate", "position bias", "points share against US dollars a question"]
    assert [image["alt"].partition(":")[0] for image in page.images] == shown


def test_disagreements_are_told(tmp_path):
    questions = [Question(name, f"Why {name}?") for name in ("tie", "split", "bias", "both")]
    answers = [answered(one.id, name, name) for one in questions for name in ("base", "x", "y")]
    verdicts = [
        *(judged("tie", "x", B, (0, 0)), judged("tie", "y", B, (1, 2))),
        *(judged("split", "x", B, (1, 2)), judged("split", "x", C, (2, 1))),
        *(judged("bias", "x", B, (1, 1)), judged("bias", NULL, B, (1, 1))),
        *(judged("both", "x", B, (1, 2)), judged("both", "y", B, (2, 1))),
    ]
    page = written(compared(questions, ["base", "x", "y"], answers, verdicts, [B, C]), tmp_path)
    told = page.inside("disagreements")
    assert f"x won for {B}, and lost for {C}" in told
    assert f"{B} chose the place, not the answer, for x" in told
    assert "x won against base, y lost" in told
    assert [link for link in page.links if link.startswith("#q")] == ["#q2", "#q3", "#q4"]


def test_what_a_score_said(tmp_path):
    page = written(reported.ordinary(), tmp_path)
    told = page.inside("disagreements")
    assert "the score: a 1, b 0, c 1" in told
    assert f"{B} prefers b, the score a" in told
    cells = page.inside("question 1")
    for expected in ("scoreread", "1Because.", "nothing to read", "unknownValueError: no"):
        assert expected in cells
    assert "How far they agree on c" in page.labels("region")
    assert "counts as wrong" in page.text
    log = read(reported.ordinary().to_inspect(tmp_path / "log.eval"))
    scores = [sample["scores"].get("score") for sample in log["samples"][:3]]
    assert scores[0] == {"answer": "Because.", "value": 1.0, "explanation": ""}
    assert (scores[1]["value"], scores[1]["explanation"], scores[2]) == (0.0, "nothing to read", None)


def test_what_is_unknown_is_said(tmp_path):
    answers = [answered("a", "single", "", cost_usd=None), answered("a", "other", "Yes.")]
    found = compared([Question("a", "A?"), Question("b", "B?")], ["single", "other"], answers)
    place = (tmp_path / "runs" / "mine.sqlite").absolute()
    gone = compared(found.questions, found.strategies, answers, path=place, problem=f"Stopped: see {place}.saved.")
    words = " ".join(written(gone, tmp_path).text.split())
    for expected in (
        "1 of 2 questions",
        "Stopped: see mine.sqlite.saved.",
        "unknown",
        "timeout",
        "None.",
        "was judged",
    ):
        assert expected in words
    assert "Offline." not in words
    assert "points share" not in words
    assert str(tmp_path) not in words
    assert "<i>" in written(compared(found.questions, ["<i>"], [answered("a", "<i>", "Yes.")]), tmp_path).text
    empty = written(compared(found.questions, ["single"], []), tmp_path)
    assert "0 of 2 questions" in " ".join(empty.text.split())


def test_no_key_is_in_it(monkeypatch, tmp_path):
    monkeypatch.setattr(secrets, "_used", {})
    key = secrets.remember("Zq7-a-very-secret-key")
    found = compared([Question(key, f"Is {key} right?")], ["x"], [answered(key, "x", f"It is {key}.")])
    assert "It is [key]." in written(found, tmp_path).text
    for name in ("log.json", "log.eval"):
        logged = read(found.to_inspect(tmp_path / name))
        assert logged["samples"][0]["output"]["choices"][0]["message"]["content"] == "It is [key]."
        assert key not in json.dumps(logged)


# Files


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    found = compared([Question("a", "A?")], ["x"], [answered("a", "x", "Yes.")])
    place = tmp_path / "report.html"
    place.write_text("before")
    assert found.report(str(place)) == place
    whole = place.read_text(encoding="utf-8")
    assert whole.startswith("<!doctype html>")
    with monkeypatch.context() as full:
        full.setattr(texts.Path, "replace", lambda *names: (_ for _ in ()).throw(OSError("No space left")))
        with pytest.raises(OSError, match="No space left"):
            found.report(place)
    assert place.read_text(encoding="utf-8") == whole
    with pytest.raises(OSError, match="is a folder: name a file in it"):
        found.report(tmp_path)
    with pytest.raises(OSError, match=r"There is no folder .*absent to write report.html in: make it first"):
        found.report(tmp_path / "absent" / "report.html")
    with pytest.raises(ValueError, match=r"name the file comparison\.eval, not .*log\.txt"):
        found.to_inspect(tmp_path / "log.txt")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["report.html"]


# The log


def read(path):
    """A log as inspect_ai reads it: of an archive the header and each sample."""
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    with zipfile.ZipFile(path) as parts:
        names = [name for name in parts.namelist() if name.startswith("samples/")]
        samples = [json.loads(parts.read(name)) for name in names]
        assert names == [f"samples/{sample['id']}_epoch_1.json" for sample in samples]
        assert [each["id"] for each in json.loads(parts.read("summaries.json"))] == [each["id"] for each in samples]
        return json.loads(parts.read("header.json")) | {"samples": samples}


@pytest.mark.parametrize("name", ["log.eval", "log.json"])
def test_the_log(name, tmp_path):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A?"}]
    questions = [Question("a", talk, "Yes."), Question("b/../c", "B?")]
    facts = {"points_right": 1, "points_wrong": 0, "points_possible": 4}
    answers = [
        *(answered("a", "base", "No."), answered("a", "x", "Yes.", **facts)),
        *(answered("b/../c", "base", ""), answered("b/../c", "x", "B.")),
    ]
    verdicts = [judged("a", "x", B, (1, 2)), judged("b/../c", "x", B, None)]
    log = read(compared(questions, ["base", "x"], answers, verdicts, [B]).to_inspect(tmp_path / name))
    assert (log["version"], log["status"], log["eval"]["model"]) == (2, "success", "base, x")
    assert log["eval"]["metadata"]["strategies"] == {"base": A, "x": A}
    assert log["eval"]["dataset"] == {
        "name": "mine.sqlite",
        "samples": 4,
        "sample_ids": ["1 a · base", "1 a · x", "2 b .. c · base", "2 b .. c · x"],
    }
    assert {one["name"]: one["metrics"]["x"]["value"] for one in log["results"]["scores"]} == {
        f"judge {B}": 0.75,
        "points share": 0.25,
    }
    base, x, failed, _ = log["samples"]
    assert base["input"] == x["input"] == talk
    assert x["messages"][-1] == {"role": "assistant", "content": "Yes.", "source": "generate", "model": "x"}
    assert (x["target"], x["metadata"]["cost_usd"], x["metadata"]["strategy"]) == ("Yes.", 0.25, "x")
    assert x["scores"][f"judge {B}"] == {
        "answer": "Yes.",
        "value": 1.0,
        "metadata": {"places": [1, 2], "cost_usd": 0.125},
    }
    assert (failed["input"], failed["output"]) == ("B?", {"model": "base", "choices": [], "error": "timeout"})


def test_a_log_of_hostile_texts(hostile, tmp_path):
    log = read(hostile.to_inspect(tmp_path / "log.eval"))
    said = [sample["messages"][-1]["content"] for sample in log["samples"]][::2]
    assert said == [text.replace("\ud83d", "?") for text in TEXTS]
    assert all(sample["id"].isprintable() and len(sample["id"]) < 130 for sample in log["samples"])
