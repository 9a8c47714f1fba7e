"""The store itself: one file for threads, forks and programs; what it refuses; and how fast it is."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pytest

import moa_helpers as moa
from moa_helpers.results import Attempt, Failure, Reply
from moa_helpers.store.answers import Answers
from moa_helpers.vendors.requests import Request
from tests.support.kept import edit, rows
from tests.support.replies import A

FILE = Path("answers.sqlite")
ROOT = Path(__file__).parents[2]


def request(number, **options):
    return Request(moa.find(A), f"Question {number}?", **options)


def reply(text, usd=0.25, **options):
    return Reply(A, text, cost_usd=usd, least_usd=usd or 0.125, attempts=(Attempt(0.0, 1.0, None, usd),), **options)


@pytest.fixture
def store():
    with closing(Answers(FILE)) as store:
        yield store


def test_a_reply_comes_back_whole(store):
    whole = reply("“Så”\0 \ud800", thinking="Hm.", cached_tokens=7, hedged=(reply("a"), reply("b")), warnings=("x",))
    store.keep(request(1), whole)
    assert store.find(request(1)) == whole
    store.close()
    assert store.find(request(1)) == whole, "it is opened again by its next use"


def test_of_a_failed_call_only_the_cost_is_kept(store):
    began = time.time()
    store.keep(request(1), reply("", usd=None, failure=Failure("cancelled", "Stopped.")))
    assert store.find(request(1)) is None
    store.keep(request(2), reply("Yes."))
    assert store.spent_since(began) == 0.375
    assert store.spent_since(time.time() + 1) == 0


# One file for many


def test_threads_use_one_store(store):
    def work(thread):
        for number in range(50):
            store.keep(request(f"{thread}.{number}"), reply(f"{thread}.{number}"))
            assert store.find(request(f"{thread}.{number}")).text == f"{thread}.{number}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(rows(FILE)) == 200


WRITER = """
import sys
from moa_helpers.store.answers import Answers
from tests.unit.test_store import FILE, reply, request

sys.stdin.read()  # until all are there
store = Answers(FILE)
for number in range(50):
    store.keep(request(f"{sys.argv[1]}.{number}"), reply(sys.argv[1]))
"""


def test_programs_that_begin_one_file_at_the_same_time(store):
    store.close()
    FILE.unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MOA_MODE": "live"}
    programs = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, name], stdin=subprocess.PIPE, env=environment)
        for name in "abc"
    ]
    for program in programs:
        program.stdin.close()
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert sorted(row["given"]["text"] for row in rows(FILE)) == sorted("abc" * 50)
    assert sorted(Path().glob("answers*")) == [FILE], "the last one leaves one file"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_and_its_parent_go_on_with_one_file(store):
    store.keep(request(0), reply("before"))
    busy = threading.Event()

    def work():
        for number in range(300):
            store.keep(request(f"thread {number}"), reply("by a thread"))
            busy.set()

    thread = threading.Thread(target=work)
    thread.start()
    busy.wait()
    child = os.fork()
    if child == 0:
        try:
            store.keep(request(1), reply(store.find(request(0)).text))
            store.close()
        finally:
            os._exit(0)
    thread.join()
    store.keep(request(2), reply("parent"))
    os.waitpid(child, 0)
    assert [store.find(request(number)).text for number in range(3)] == ["before", "before", "parent"]
    assert len(rows(FILE)) == 303


def test_another_program_that_writes_is_waited_for(store):
    with closing(sqlite3.connect(FILE, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.find(request(1)) is None, "reading goes on meanwhile"
        ender = threading.Timer(0.1, other.execute, ["COMMIT"])
        ender.start()
        store.keep(request(1), reply("Yes."))
        ender.join()
    assert store.find(request(1)).text == "Yes."


def test_a_program_that_never_ends_its_writing_is_named(store, monkeypatch):
    store._run("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match=r"answers.sqlite cannot be used: database is locked"):
            store.check()
        with pytest.warns(UserWarning, match="A reply of .* could not be kept"):
            store.keep(request(1), reply("Yes."))
        assert "locked" in store.problem
    store.check()
    assert store.problem == "", "once it can be written again, calls are made again"


# Shared, and what is no store


def test_once_it_is_closed_the_one_file_is_all(store):
    for number in range(20):
        store.keep(request(number), reply("Yes."))
    store.close()
    shutil.copyfile(FILE, "shared.sqlite")
    assert sorted(Path().glob("answers*")) == [FILE]
    with closing(Answers("shared.sqlite")) as shared:
        assert all(shared.find(request(number)) for number in range(20))


@pytest.mark.parametrize("path", ["", " ", "answers\0.sqlite"])
def test_what_is_no_name_of_a_file_is_refused(path):
    with pytest.raises(ValueError, match="is no name of a file"):
        Answers(path)
    assert [*Path().glob("[!.]*")] == []


@contextmanager
def no_root():
    """Without the rights of root, who may write everywhere."""
    if root := os.geteuid() == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="this system has other rights")
@pytest.mark.parametrize("folder", [0o555, 0o777])
def test_a_file_that_can_only_be_read_is_read(folder, store):
    store.keep(request(1), reply("Yes."))
    store.close()
    with TemporaryDirectory() as shared:
        file = shutil.copy(FILE, shared)
        Path(file).chmod(0o444)
        Path(shared).chmod(folder)
        with no_root(), closing(Answers(file)) as other:
            assert other.find(request(1)).text == "Yes."
            with pytest.raises(OSError, match=f"{file} cannot be used: attempt to write a readonly database"):
                other.check()


BAD = {
    "a text": lambda: FILE.write_text("What is this? " * 100),
    "a short text": lambda: FILE.write_text("?!"),
    "lines of JSON": lambda: FILE.write_text('{"key": "12"}\n' * 100),
    "another program's": lambda: edit("CREATE TABLE calls (key)", path=FILE),
    "another's that marks it": lambda: edit("PRAGMA application_id = 7", path=FILE),
    "a later version's": lambda: Answers(FILE).close() or edit("PRAGMA user_version = 2", path=FILE),
}


@pytest.mark.parametrize("what", BAD)
def test_another_file_is_refused_and_left_alone(what):
    BAD[what]()
    before = FILE.read_bytes()
    with pytest.raises(ValueError, match=r"answers.sqlite .*name another file") as caught:
        Answers(FILE)
    assert ("later version" in str(caught.value)) == ("later" in what)
    assert FILE.read_bytes() == before


@pytest.mark.parametrize("path", ["nowhere/answers.sqlite", "."])
def test_where_no_file_can_be_that_is_said(path):
    with pytest.raises(OSError, match=r"cannot be used: unable to open .* See that its folder can be written"):
        Answers(path)


def test_an_empty_file_becomes_a_store():
    FILE.touch()
    with closing(Answers(FILE)) as store:
        store.keep(request(1), reply("Yes."))
    assert len(rows(FILE)) == 1


@pytest.mark.parametrize("given", ["", "{}", "[1]", '{"model": 7}', '{"model": "m", "new": 1}'])
def test_a_call_that_was_edited_is_named(given, store):
    store.keep(request(1), reply("Yes."))
    edit("UPDATE calls SET given = ?", given, path=FILE)
    with pytest.raises(ValueError, match=r"In answers.sqlite, the call \w+ cannot be read .*: delete it there"):
        store.find(request(1))


@pytest.mark.slow
def test_a_hundred_thousand_replies(store):
    """Of an answer's usual length; the limits are far above what is measured: 1 ms to open, 0.05 ms to find."""
    for number in range(100_000):
        store.keep(request(number), reply(f"{number} " + "because " * 200))
    store.close()
    opened, took = [], []
    for _ in range(5):  # the quickest counts, as the machine may do something else meanwhile
        began = time.perf_counter()
        with closing(Answers(FILE)):
            opened.append(time.perf_counter() - began)
    with closing(Answers(FILE)) as again:
        for number in range(0, 100_000, 97):
            began = time.perf_counter()
            assert again.find(request(number)).text.startswith(f"{number} ")
            took.append(time.perf_counter() - began)
        began = time.perf_counter()
        assert again.spent_since(0) == 25_000
        summed = time.perf_counter() - began
    print(
        f"opened in {min(opened):.4f} s; found in {median(took) * 1e3:.3f} ms, {max(took) * 1e3:.3f} ms at most;"
        f" summed in {summed:.4f} s; {FILE.stat().st_size / 1e6:.0f} MB"
    )
    assert min(opened) < 0.5
    assert median(took) < 0.001
