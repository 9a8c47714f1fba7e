"""What the lesson says of other people's results stands in the files that it carries over, each with its source."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "moa_helpers/data"
EVALUATION = sorted((ROOT / "notebooks").glob("0[89]-*.ipynb"))
OURS = {"1.96", "0.25", "0.5", "2.0"}  # of a formula, a score, and the name AlpacaEval 2.0


def rows(name):
    return list(csv.DictReader((DATA / name).read_text(encoding="utf-8").splitlines()))


def measured(name):
    """The rows of a benchmark's table."""
    lines = (ROOT / "benchmarks/results" / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def published():
    """The numbers that the files hold, as they may be written: as they are, or rounded to one digit."""
    found = set()
    for name, columns in {
        "published_results.csv": ("value", "plus_minus"),
        "alpaca_leaderboard.csv": ("lc_win_rate", "lc_se", "win_rate", "se", "avg_length"),
    }.items():
        numbers = [row[column] for row in rows(name) for column in columns if row[column]]
        found |= {number for written in numbers for number in (written, f"{float(written):.1f}")}
    return found


def printed(notebook):
    """All that the notebook's cells print."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs)


def cited(text):
    """The numbers with a decimal point in a prose, without code, links, arXiv's numbers and versions."""
    text = re.sub(r"(?s)```.*?```|`[^`]*`|\]\([^)]*\)|arXiv:[\d.]+|gpt-[\w.]+|\$[\d.]+", "", text)
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\w)", text)


def unknown(notebook, others=()):
    """The numbers in a notebook's prose that no file holds and no cell prints, of its own or of the others."""
    shown = "\n".join(map(printed, (notebook, *others)))
    known = published() | OURS | set(re.findall(r"\d+\.\d+", shown))
    prose = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return [number for number in cited(prose) if number not in known]


def test_the_notebooks_are_there():
    assert len(EVALUATION) == 2


@pytest.mark.parametrize("path", EVALUATION, ids=lambda path: path.stem)
def test_every_number_in_the_text_is_published_or_printed(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert unknown(notebook) == []


@pytest.mark.parametrize(
    "text", ["It reached 65.3 % (arXiv:2406.04692).", "- 57.6, it is said", "a win rate of **99.9 %**."]
)
def test_a_number_of_nobody_is_seen(text):
    assert len(unknown({"cells": [{"cell_type": "markdown", "source": [text]}]})) == 1


def test_numbers_that_are_published_pass():
    text = "65.7 ± 0.7 (arXiv:2406.04692 Table 2), `99.9`, 86.5, [x](y-1.5.html), gpt-4.1 and a fence of 1.96 sigma"
    assert unknown({"cells": [{"cell_type": "markdown", "source": [text]}]}) == []
    assert cited(text) == ["65.7", "0.7", "86.5", "1.96"]


@pytest.mark.parametrize("path", EVALUATION[-1:], ids=lambda path: path.stem)
def test_what_the_cells_show_of_the_leaderboard_is_what_the_file_has(path):
    shown = printed(json.loads(path.read_text(encoding="utf-8")))
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    seen = 0
    for row in rows("alpaca_leaderboard.csv"):
        if row["model"] in lines and len(lines[row["model"]]) == 6:
            error = f"{float(row['lc_se']):.1f}" if row["lc_se"] else "NaN"
            rates = [f"{float(row['lc_win_rate']):.1f}", error, f"{float(row['win_rate']):.1f}"]
            assert lines[row["model"]][2:] == [*rates, row["avg_length"]]
            seen += 1
    assert seen == 10


def test_the_appendix_has_the_figures_of_the_file():
    notebook = json.loads(EVALUATION[-1].read_text(encoding="utf-8"))
    (appendix,) = (text for cell in notebook["cells"] if "## Appendix" in (text := "".join(cell["source"])))
    shown = [line.strip("| ").split(" | ") for line in appendix.splitlines() if re.match(r"\| .*\d", line)]
    known = {
        (row["table"].partition(" (")[0], row["setting"]): (row["value"], row["calls_per_query"])
        for row in rows("published_results.csv")
        if row["metric"] == "lc_win_rate"
    }
    expected = []
    for first, *values in shown:
        if first.isdigit():
            ways = ("1 proposer",) * 2 if first == "1" else (f"{first} different proposers", f"{first} samples of one")
            places = [place for way in ways for place in known if place[0] == "Proposer count" and way in place[1]]
            expected.append([first, *(known[place][0] for place in places)])
        elif first in {setting for table, setting in known if table == "Roles: as sole proposer"} and len(values) == 2:
            roles = ("Roles: as aggregator of six", "Roles: as sole proposer")
            expected.append([first, *(known[role, first][0] for role in roles)])
        else:
            expected.append([first, *known["AlpacaEval 2.0", first], values[-1]])
    assert shown == expected
    assert len(shown) == 14


def test_each_figure_has_its_source():
    assert all(row["source"].startswith("arXiv:") for row in rows("published_results.csv"))
    sources = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in sources for path in DATA.glob("*.csv"))


def test_a_crash_costs_nothing_twice():
    path = ROOT / "notebooks/11-ten-thousand-questions.ipynb"
    lines = re.findall(r"(?m)^(.*\S) +(0\.\d+)$", printed(json.loads(path.read_text(encoding="utf-8"))))
    dollars = {name: float(number) for name, number in lines}
    assert dollars["the script, until it was killed"] > 0 < dollars["the rest, in this cell"]
    assert dollars["all together"] == dollars["what the forty answers cost"]


def test_what_many_questions_take_of_this_machine_is_what_was_measured():
    path = ROOT / "notebooks/11-ten-thousand-questions.ipynb"
    prose = " ".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
    assert "less than 2 ms of a processor (`benchmarks/results/bulk_calls.csv`)" in prose
    assert "stays below 100 MB" in prose
    calls, memory = (measured(f"bulk_{what}.csv") for what in ("calls", "memory"))
    ours = [float(row["CPU ms a call"]) for row in calls if row["way"] == "moa.answer_all"]
    assert len(ours) == 3
    assert all(each < 2 for each in ours)
    assert {row["questions"] for row in memory} >= {"1000", "10000"}
    assert all(float(row["MB at most"]) < 100 for row in memory)
