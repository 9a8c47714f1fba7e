"""The file of a comparison when others touch it: what was paid for is not lost without a word, and no call follows."""

import asyncio
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import answers, hangs

FILE = Path("comparison.jsonl")
STRATEGIES = {"single": A, "other": B, "third": C}
AT_ONCE = 2


@pytest.fixture
def compare(run, monkeypatch, script):
    return standins.comparing(run, monkeypatch, script)


def saved():
    (path,) = Path().glob("comparison.jsonl.saved*")
    return path


# Another program takes it away or changes it while calls are made


def replaced_by_an_older_one():
    Path("older").write_bytes(b"".join(FILE.read_bytes().splitlines(keepends=True)[:3]))
    os.replace("older", FILE)


def replaced_by_the_same():
    """As editors and sync tools do."""
    shutil.copyfile(FILE, "copy")
    os.replace("copy", FILE)


def cut():
    os.truncate(FILE, FILE.stat().st_size - 100)


def emptied():
    FILE.write_bytes(b"")


def another_writes_too():
    with FILE.open("ab") as file:
        file.write(b"What is this?\n")


def a_folder_in_its_place():
    FILE.unlink()
    FILE.mkdir()


DISTURBANCES = [
    FILE.unlink,
    lambda: FILE.rename("mine.jsonl"),
    replaced_by_an_older_one,
    replaced_by_the_same,
    cut,
    emptied,
    another_writes_too,
    a_folder_in_its_place,
]


@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_no_call_follows_and_all_is_saved(disturb, compare, script):
    def act(request):
        if len(script.asked) == 12:
            disturb()
        return script.default

    script[A] = script[B] = script[C] = act
    with pytest.raises(OSError, match="another program removed, replaced or changed it, so no further call") as caught:
        compare(offline.questions(), STRATEGIES, max_concurrency=AT_ONCE)
    assert str(saved()) in str(caught.value)
    assert len(script.asked) <= 12 + AT_ONCE
    assert caught.value.comparison.answers, "what was finished is in the exception"
    paid, lost = len(script.asked), 12 if disturb is emptied else 1 if disturb is cut else 0
    entries = [json.loads(line) for line in saved().read_bytes().splitlines()]
    assert len(entries) >= paid - lost
    kept = sum(entry["reply"]["failure"] is None for entry in entries)
    assert kept >= len(entries) - AT_ONCE, "the others were stopped"
    # It is a file like any other: with the old one's name, the next start goes on with it.
    shutil.rmtree(FILE) if FILE.is_dir() else FILE.unlink(missing_ok=True)
    saved().rename(FILE)
    del script.acts[A], script.acts[B], script.acts[C]
    compare(offline.questions(), STRATEGIES)
    assert len(script.asked) == 30 - kept


def test_what_was_saved_before_is_not_written_over(compare, script):
    script[A] = lambda request: FILE.unlink() or answers("Yes.")
    Path("comparison.jsonl.saved").write_text("precious")
    for times in (1, 2):
        compare(["Why?"], {"a": A})
        assert Path("comparison.jsonl.saved").read_text() == "precious"
        assert Path(f"comparison.jsonl.saved{times}").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("disturb", [FILE.unlink, replaced_by_the_same, another_writes_too])
def test_after_the_last_call_it_is_said_all_the_same(disturb, compare, script):
    """There is a result, so it is given."""
    script[A] = lambda request: disturb() or answers("Yes.") if FILE.stat().st_size else answers("No.")
    found = compare(["Why?", "Who?"], {"a": A}, max_concurrency=1)
    assert [each.text for each in found.answers] == ["No.", "Yes."]
    assert "comparison.jsonl.saved" in str(found)
    assert saved().read_bytes().count(b"\n") == 2


def test_where_it_cannot_be_saved_either_that_is_said(compare, script, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    folder.mkdir()
    script[A] = lambda request: shutil.rmtree(folder) or answers("Yes.")
    with pytest.raises(OSError, match=r"Nor could it be saved beside it: .*No such file"):
        compare(["Why?", "Who?"], {"a": A}, max_concurrency=1, path=folder / "calls.jsonl")
    assert len(script.asked) == 1


HARMLESS = {
    "another working directory": lambda: os.chdir(".."),
    "touched": lambda: os.utime(FILE),
    "read-only from now on": lambda: FILE.chmod(0o400),
    "a second name": lambda: os.link(FILE, "second"),
}


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_changes_nothing_in_the_file_is_no_disturbance(harmless, compare, script, tmp_path):
    path = tmp_path / FILE

    def act(request):
        if len(script.asked) == 2:
            HARMLESS[harmless]()
        return script.default

    script[A] = act
    found = compare(["Why?", "Who?", "What?"], {"a": A}, max_concurrency=1)
    assert (len(found.answers), found.problem) == (3, "")
    assert path.read_bytes().count(b"\n") == 3


# A disk without room


def test_of_a_line_that_the_disk_has_no_room_for_nothing_stays(compare, script, monkeypatch):
    """Else the next line would follow on half a one, and no start could read the file."""

    def write(file, data, real=os.write):
        if b"Who?" in data:
            real(file, data[:50])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    script[A] = [answers("Yes.", after=after) for after in (1, 2)]
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"):
            compare(["Who?", "Why?"], {"a": A}, max_concurrency=2)
    assert FILE.read_bytes().count(b"\n") == FILE.read_bytes().count(b'{"key": ')


@pytest.mark.parametrize("there", [b"", None])
def test_without_room_on_the_disk_no_call_is_made(there, compare, script, monkeypatch):
    if there is None:  # there is a file already
        compare(["Why?"], {"a": A})
    before = FILE.read_bytes() if FILE.exists() else b""
    room = [100]

    def write(file, data, real=os.write):
        """As the system does: what fits is written, and the next write fails."""
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        wrote, room[0] = real(file, data[: room[0]]), 0
        return wrote

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match=r"comparison.jsonl could not be written: .*No space left on device"):
        compare(["Why?", "Who?"], {"a": A})
    assert not script.asked
    assert FILE.read_bytes() == before
    if there is None:
        assert compare(["Why?"], {"a": A}).answers, "what is in the file can still be read"


# What a start finds


def lines():
    return FILE.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "tail", [b"\0" * 5000, b'{"key": "12', b'{"key": "12' + b"\0" * 99, b"\n", b"\n\n  \n", b" ", b"\r\n"]
)
def test_what_a_power_cut_or_an_editor_leaves_at_the_end(tail, compare, script):
    first = compare(["Why?"], STRATEGIES)
    FILE.write_bytes(FILE.read_bytes() + tail)
    again = compare(["Why?", "Who?"], STRATEGIES)
    assert len(script.asked) == 3, "only the new question is asked"
    assert again.answers[:3] == first.answers
    assert len([line for line in lines() if line.strip()]) == 6
    assert b"\0" not in FILE.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: b"\n\0\0" + text.replace(b"\n", b"\n\0\0\0", 1),
        lambda text: text.rstrip(b"\n") + b"\0\0",
    ],
)
def test_what_stands_around_its_lines_does_not_matter(change, compare, script):
    first = compare(["Why?"], STRATEGIES)
    FILE.write_bytes(change(FILE.read_bytes()))
    assert compare(["Why?"], STRATEGIES) == first
    assert not script.asked
    compare(["Who?"], STRATEGIES)
    compare(["Why?", "Who?"], STRATEGIES)
    assert not script.asked


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
def test_an_edited_line_is_named_before_any_call(edit, compare, script):
    compare(["Why?"], STRATEGIES)
    entries = [json.loads(line) for line in lines()]
    edit(entries[1])
    FILE.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    before = FILE.read_bytes()
    with pytest.raises(ValueError, match=r"Line 2 of comparison.jsonl is no call that was kept\. Name another file"):
        compare(["Why?", "Who?"], STRATEGIES)
    assert not script.asked
    assert FILE.read_bytes() == before


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"key": ' + b"[" * 100_000, b"9" * 5000, b'"\\ud800"', b"NaN"])
def test_a_line_that_json_cannot_hold_is_named_too(line, compare, script):
    FILE.write_bytes(line + b"\n")
    with pytest.raises(ValueError, match=r"Line 1 of .* is no call"):
        compare(["Why?"], STRATEGIES)
    with pytest.raises(ValueError, match="no result that to_json wrote"):
        moa.from_json(line.decode())


# Started again between two layers: what has been asked of the later one is not asked anew

QUORUM = {"reference_models": MODELS, "aggregator": A, "layers": 3, "quorum": 2, "grace": 0.5}
CHANGES = [
    {},
    {"grace": 0},
    {"hedge_after": 0.3, "hedge_with": "groq:openai/gpt-oss-120b"},
    {"stop_at": 1.0},
    {"robust": True, "shuffle_seed": 3},
    {"reference_models": [C, A, B]},
    {"pick": True},
    {"max_calls": 9, "retries": 1},
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stops", [1, 2])
def test_a_layer_whose_quorum_is_kept_stays_as_it_was(change, stops, compare, run, script, question):
    """C was too slow for the first layer; on the second start it would answer, and change what the others read."""
    how = QUORUM | change

    async def stopped():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await moa.compare([question], {"moa": how}, path=FILE)

    def hangs_in(*roles):
        return lambda request: hangs() if request.role in roles else script.default

    for number in range(stops):
        script[A] = hangs_in("aggregator")
        script[B] = hangs_in("layer 2", "aggregator")
        script[C] = hangs_in("layer 2", "aggregator") if number else hangs()
        script["groq:openai/gpt-oss-120b"] = hangs()
        run(stopped())
        roles = [asked.request.role for asked in script.asked if asked.request.role != "second request"]
        assert roles == ["layer 2"] * 2 if number else ["layer 1"] * 3 + ["layer 2"] * 3
    script.acts.clear()
    compare([question], {"moa": how})
    assert {asked.request.role for asked in script.asked} <= {"layer 2", "aggregator"}
    assert (A, "layer 2") not in [(asked.model, asked.request.role) for asked in script.asked], "it is in the file"
