"""Files of JSON lines that comparisons of version 0.1 wrote: taken in as they are, or refused as a whole."""

import json
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers.evaluation.comparison import Answered
from moa_helpers.store.answers import Answers
from tests.support.kept import rows

OLD = Path("calls.jsonl")
LINES = (Path(__file__).parents[1] / "support/comparison-0.1.jsonl").read_bytes().splitlines(keepends=True)
WRITTEN = b"".join(LINES)


@pytest.fixture
def take_in(tmp_path):
    """Take in a file with this content; returns the rows that a new store then has."""

    def take_in(content):
        OLD.write_bytes(content)
        store = Answers(tmp_path / "new.sqlite")
        try:
            store.take_in(OLD, Answered)
        finally:
            store.close()
            assert OLD.read_bytes() == content
        return rows(store.path)

    return take_in


def test_calls_and_answers_and_failures_are_taken_in(take_in):
    found, entries = take_in(WRITTEN), [json.loads(line) for line in LINES]
    assert [(row["key"], row["given"]) for row in found] == [
        (entry["key"], entry.get("reply") or entry["answer"]) for entry in entries
    ]
    assert [bool(row["good"]) for row in found] == [not entry.get("reply", {}).get("failure") for entry in entries]
    assert sum(row["usd"] for row in found) == pytest.approx(
        sum(entry["reply"]["cost_usd"] or 0 for entry in entries if "reply" in entry)
    )


def test_only_what_is_new_is_taken_in_again(take_in):
    assert len(take_in(b"".join(LINES[:7]))) == 7
    assert len(take_in(WRITTEN)) == len(LINES)
    assert len(take_in(WRITTEN)) == len(LINES)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: b"\n\0\0" + text.replace(b"\n", b"\n\0\0\0", 1),
        lambda text: text.rstrip(b"\n"),
        lambda text: text.rstrip(b"\n") + b"\0\0",
        lambda text: text + b"\0" * 5000,
        lambda text: text + b"\n" * 16_384,
        lambda text: text + b"{",
        lambda text: text + b'{"key": "12',
        lambda text: text + b'{"key": "12' + b"\0" * 99,
        lambda text: text + LINES[0][:-2],
        lambda text: text + b"\n\n  \n",
    ],
)
def test_what_editors_and_crashes_leave_does_not_matter(change, take_in):
    assert take_in(change(WRITTEN)) == take_in(WRITTEN)
    assert len(take_in(WRITTEN)) == len(LINES)


def without(name):
    return lambda entry: entry["reply"].pop(name)


def changed(name, value):
    return lambda entry: entry["reply"].update({name: value})


EDITS = [
    without("model"),
    changed("text", 7),
    changed("txt", "Yes."),
    changed("elapsed", "1 s"),
    changed("attempts", None),
    changed("attempts", [{}]),
    changed("failure", "none"),
    changed("input_tokens", 1.5),
    changed("hedged", ["no reply"]),
    lambda entry: entry.pop("reply"),
    lambda entry: entry.update(reply=None),
    lambda entry: entry.update(reply=[]),
    lambda entry: entry.pop("key"),
    lambda entry: entry.update(answer={"text": "Yes."}),
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_line_is_named_and_nothing_taken_in(edit, take_in):
    entries = [json.loads(line) for line in LINES]
    edit(entries[1])
    with pytest.raises(ValueError, match=r"Line 2 of calls.jsonl is no call that was kept\. Name another file"):
        take_in("".join(json.dumps(entry) + "\n" for entry in entries).encode())
    assert rows(Path("new.sqlite")) == []


STRANGE = [
    b"id,prompt",
    b'{"id": "1", "prompt": "Why?"}',
    b"[1]",
    b"\xff",
    b'{"key": 1}',
    b"[" * 100_000,
    b"7",
    b'"answer"',
]
STRANGE += [b'{"key": ' + b"[" * 100_000, b"9" * 5000, b'"\\ud800"', b"NaN", b"{}"]


@pytest.mark.parametrize("line", STRANGE)
def test_another_file_is_named_too(line, take_in):
    for end in (b"\n", b""):
        with pytest.raises(ValueError, match=r"Line 1 of .* is no call"):
            take_in(line + end)
    with pytest.raises(ValueError, match="no result that to_json wrote"):
        moa.from_json(line.decode(errors="replace"))
