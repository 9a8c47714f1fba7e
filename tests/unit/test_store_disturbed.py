"""A store's file when others touch it: what was paid for is not lost without a word, and no call follows."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers import offline
from tests.support import standins
from tests.support.kept import FILE, rows
from tests.support.replies import MODELS, A, B, C
from tests.support.scripts import answers, hangs

STRATEGIES = {"single": A, "other": B, "third": C}
AT_ONCE = 2


@pytest.fixture
def compare(run, monkeypatch, script):
    return standins.comparing(run, monkeypatch, script)


def saved():
    (path,) = Path().glob("comparison.sqlite.saved*")
    return path


# Another program takes it away or changes it while calls are made


def copied(to):
    with closing(sqlite3.connect(FILE)) as here, closing(sqlite3.connect(to)) as there:
        here.backup(there)


def replaced_by_the_same():
    """As editors and sync tools do."""
    copied("copy")
    os.replace("copy", FILE)


def replaced_by_another():
    Path("other").write_text("What is this?")
    os.replace("other", FILE)


def a_folder_in_its_place():
    FILE.unlink()
    FILE.mkdir()


@pytest.mark.parametrize(
    "disturb",
    [
        FILE.unlink,
        lambda: FILE.rename("mine.sqlite"),
        replaced_by_the_same,
        replaced_by_another,
        a_folder_in_its_place,
        lambda: [path.unlink() for path in Path().glob(f"{FILE}*")],
    ],
)
def test_no_call_follows_and_all_is_saved(disturb, compare, script):
    def act(request):
        if len(script.asked) == 12:
            disturb()
        return script.default

    script[A] = script[B] = script[C] = act
    with pytest.raises(OSError, match=r"Another program removed, replaced or cut .*, so no further call") as caught:
        compare(offline.questions(), STRATEGIES, max_concurrency=AT_ONCE)
    assert str(saved()) in str(caught.value)
    assert len(script.asked) <= 12 + AT_ONCE
    assert caught.value.comparison.answers, "what was finished is in the exception"
    assert len(rows(saved())) == len(script.asked)
    kept = sum(row["good"] for row in rows(saved()))
    assert kept >= len(script.asked) - AT_ONCE, "the others were stopped"
    # It is a file like any other: with the old one's name, the next start goes on with it.
    shutil.rmtree(FILE) if FILE.is_dir() else FILE.unlink(missing_ok=True)
    saved().rename(FILE)
    del script.acts[A], script.acts[B], script.acts[C]
    compare(offline.questions(), STRATEGIES)
    assert len(script.asked) == 30 - kept


def test_what_was_saved_before_is_not_written_over(compare, script):
    script[A] = lambda request: FILE.unlink() or answers("Yes.")
    Path("comparison.sqlite.saved").write_text("precious")
    for times in (1, 2):
        compare(["Why?"], {"a": A})
        assert Path("comparison.sqlite.saved").read_text() == "precious"
        assert len(rows(Path(f"comparison.sqlite.saved{times}"))) == 1


@pytest.mark.parametrize("disturb", [FILE.unlink, replaced_by_the_same])
def test_after_the_last_call_it_is_said_all_the_same(disturb, compare, script):
    """There is a result, so it is given."""
    script[A] = lambda request: disturb() or answers("Yes.") if len(script.asked) == 1 else answers("No.")
    found = compare(["Why?", "Who?"], {"a": A}, max_concurrency=1)
    assert [each.text for each in found.answers] == ["No.", "Yes."]
    assert "comparison.sqlite.saved" in str(found)
    assert len(rows(saved())) == 2


def test_where_it_cannot_be_saved_either_that_is_said(compare, script, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    script[A] = lambda request: shutil.rmtree(folder) or answers("Yes.")
    with pytest.raises(OSError, match=r"Nor could it be saved beside it: .*unable to open"):
        compare(["Why?", "Who?"], {"a": A}, max_concurrency=1, path=folder / "calls.sqlite")
    assert len(script.asked) == 1


@pytest.mark.parametrize("size", [0, 9_000])
def test_no_call_follows_where_the_file_was_cut(size, compare, script):
    compare(offline.questions()[:5], STRATEGIES)
    script[A] = lambda request: os.truncate(FILE, size) or answers("Yes.")
    with pytest.raises(OSError, match=r"cut .*, so no further call is made"):
        compare(offline.questions(), STRATEGIES, max_concurrency=1)
    assert len(script.asked) == 1


HARMLESS = {
    "another working directory": lambda: os.chdir(".."),
    "touched": lambda: os.utime(FILE),
    "read-only from now on": lambda: FILE.chmod(0o400),
    "a second name": lambda: os.link(FILE, "second"),
    "read by another": lambda: copied("second"),
}


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_changes_nothing_in_the_file_is_no_disturbance(harmless, compare, script, tmp_path):
    def act(request):
        if len(script.asked) == 2:
            HARMLESS[harmless]()
        return script.default

    script[A] = act
    found = compare(["Why?", "Who?", "What?"], {"a": A}, max_concurrency=1)
    assert (len(found.answers), found.problem) == (3, "")
    assert len(rows(tmp_path / FILE)) == 3


# A disk without room


@pytest.fixture
def disk():
    """``disk(size)``: no file of this process may grow beyond so many bytes, as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("more", [0, 30_000, 50_000])
def test_no_call_is_made_once_nothing_can_be_written(more, compare, script, disk):
    def act(request):
        if len(script.asked) == 5:
            disk(Path(f"{FILE}-wal").stat().st_size + more)
        return script.default

    script[A] = script[B] = script[C] = act
    with pytest.raises(OSError, match=r"comparison.sqlite cannot be used: .*disk"), pytest.warns(match="not be kept"):
        compare(offline.questions(), STRATEGIES, max_concurrency=AT_ONCE)
    disk(None)
    kept, asked = sum(row["good"] for row in rows()), len(script.asked)
    assert kept >= 3
    assert asked <= kept + AT_ONCE, "calls began whose answers could not be kept"
    script.acts.clear()
    compare(offline.questions(), STRATEGIES)
    assert len(script.asked) == 30 - kept


def test_without_room_no_call_is_made_and_what_is_kept_is_read(compare, script, disk):
    compare(["Why?"], {"a": A})
    disk(FILE.stat().st_size)
    with pytest.raises(OSError, match="disk"):
        compare(["Why?", "Who?"], {"a": A})
    assert not script.asked
    assert compare(["Why?"], {"a": A}).answers
    Path("new").mkdir()
    with pytest.raises(OSError, match="disk"):
        disk(0), compare(["Why?"], {"a": A}, path="new/calls.sqlite")
    assert not script.asked


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
                await moa.compare([question], {"moa": how})

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
