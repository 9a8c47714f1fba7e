"""``moa.keep`` around calls: what is in its file is not asked again, in a block or after ``setup``."""

import asyncio
import os
from pathlib import Path

import pytest

import moa_helpers as moa
from moa_helpers.store import keeping
from moa_helpers.vendors import settings
from tests.support import standins
from tests.support.kept import rows
from tests.support.replies import MODELS, A, B
from tests.support.scripts import answers, fails, hangs

FILE = Path("answers.sqlite")


@pytest.fixture
def ask(run, monkeypatch, script):
    """Ask the model A something, with what is kept around; the reply."""
    standins.enter(monkeypatch, script)
    return lambda prompt="Why?", **options: run(moa.ask(A, prompt, **options))


@pytest.fixture(autouse=True)
def _closed():
    """What ``setup`` opened is closed at the end of a program, and of a test."""
    yield
    if keeping._of_setup:
        keeping._of_setup.close()
        keeping._of_setup = None


def test_a_second_time_nothing_is_asked(run, ask, script):
    def everything():
        yield moa.ask(B, "Why?", max_tokens=500)
        yield moa.fan_out([A, A, moa.Member(A, system="Doubt.")], [{"role": "user", "content": "Why?"}])
        yield moa.mixture_of_agents("Why?", MODELS, [B, A], layers=3, stop_at=0.9)
        yield moa.mixture_of_agents("Why?", [A] * 3, A, pick=True)

    with moa.keep(FILE):
        first = [run(each) for each in everything()]
        made = rows(FILE)
    with moa.keep(FILE) as store:
        again = []
        for each in everything():
            again.append(run(each))
            assert not script.asked
        assert store.spent_since(0) > 0
    assert [str(each) for each in again] != [str(each) for each in first], "it says what came from the file"
    assert [getattr(each, "text", None) for each in again] == [getattr(each, "text", None) for each in first]
    assert {each.cost_usd for each in again} == {0.0}
    assert rows(FILE) == made


def test_only_inside_the_block(ask, script):
    with moa.keep(FILE):
        first = ask()
    assert ask().text == first.text
    assert script.asked
    with moa.keep("outer.sqlite"):
        with moa.keep(FILE):
            assert ask().kept
        assert not ask().kept
        assert ask().kept
    assert (len(rows(FILE)), len(rows(Path("outer.sqlite")))) == (1, 1)


def test_in_moa_run_which_has_a_thread_of_its_own(monkeypatch, script):
    standins.enter(monkeypatch, script)
    script.default = answers("Yes.", after=0)
    with moa.keep(FILE):
        assert [moa.run(moa.ask(A, "Why?")).kept for _ in range(2)] == [False, True]


def test_what_goes_on_after_the_block_is_kept_all_the_same(run, ask, script):
    async def late():
        with moa.keep(FILE):
            task = asyncio.create_task(moa.ask(A, "Why?"))
            while not script.asked:
                await asyncio.sleep(0.01)
        return await task

    assert not run(late()).kept
    with moa.keep(FILE):
        assert ask().kept


def test_what_failed_or_was_stopped_is_asked_again(run, ask, script):
    script[A] = fails(400)
    with moa.keep(FILE):
        assert not ask().ok
        script[A] = hangs("Half")
        assert not ask(timeout=1).ok
        script.acts.clear()
        assert ask().ok
    assert [row["good"] for row in rows(FILE)] == [0, 0, 1]


def test_live_and_offline_never_answer_for_each_other(ask, script, monkeypatch):
    def live(here):
        return settings.Settings("live", "a test", {}, {}, _values=settings.Variables({"OPENAI_BASE_URL": here}))

    worlds = [settings.current(), live("https://api.openai.com/v1"), live("http://127.0.0.1:9/v1")]
    texts = ["by a stand-in", "live", "on this machine"]
    with moa.keep(FILE):
        for world, text in zip(worlds, texts, strict=True):
            monkeypatch.setattr(settings, "_current", world)
            script[A] = answers(text)
            assert (ask().text, ask().kept) == (text, True)
        for world, text in zip(worlds, texts, strict=True):
            monkeypatch.setattr(settings, "_current", world)
            reply = ask()
            assert (reply.text, reply.kept, reply.offline) == (text, True, world.mode == "offline")


def test_a_store_that_cannot_be_written_stops_calls_before_they_are_made(ask, script):
    with moa.keep(FILE) as store:
        ask()
        store._run("PRAGMA query_only = 1")
        with pytest.warns(UserWarning, match="could not be kept. answers.sqlite cannot be used"):
            assert ask("Who?").ok, "it was under way, and is given"
        with pytest.raises(OSError, match="No further call is made, as its answer would be paid for"):
            ask("How?")
        assert not script.asked
        assert ask().kept, "what is in the file is still read"


# setup(keep=…) and MOA_KEEP


@pytest.fixture
def setup(monkeypatch, ask):
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(settings.local, "find_servers", lambda *args, **options: ((), []))
    return moa.setup


def test_setup_keeps_until_the_next_one(setup, ask, tmp_path, monkeypatch):
    assert setup("offline").keep is None
    assert not ask().kept
    assert setup("offline", keep=FILE).keep == tmp_path / FILE
    os.chdir("/")
    assert [ask().kept, ask().kept] == [False, True]
    monkeypatch.setenv("MOA_KEEP", str(tmp_path / FILE))
    with moa.keep(tmp_path / "other.sqlite"):
        assert not ask().kept, "the block around is nearer"
    assert setup("offline").keep == tmp_path / FILE
    assert ask().kept
    assert setup("offline", keep="").keep is None
    assert not ask().kept
    setup("offline", keep=tmp_path / "third.sqlite")
    assert [ask().kept, ask().kept] == [False, True]


def test_a_file_that_the_reader_deletes_is_begun_anew(setup, ask):
    setup("offline", keep=FILE)
    assert [ask().kept, ask().kept] == [False, True]
    FILE.unlink()
    assert [ask().kept, ask().kept] == [False, True]
    assert len(rows(FILE)) == 1


def test_the_home_of_nobody_is_no_folder(setup, ask, script):
    setup("offline", keep="~nobody-of-that-name/answers.sqlite")
    with pytest.raises(OSError, match=r"nobody-of-that-name/answers.sqlite cannot be used"):
        ask()
    with pytest.raises(OSError, match=r"cannot be used"), moa.keep("~nobody-of-that-name/answers.sqlite"):
        pass
    assert not script.asked


def test_what_setup_cannot_open_is_said_before_any_call(setup, ask, script):
    FILE.write_text("What is this?")
    setup("offline", keep=FILE)
    with pytest.raises(ValueError, match=r"answers.sqlite is no file of kept answers"):
        ask()
    assert not script.asked
