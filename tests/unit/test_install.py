"""Set-up says what it does: tools/install with programs that end, tick and fail when the test says so."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sets up by pip alone")
SCRIPTS = {
    "sleep": 'read -r _ <"$FOLDER/tick"',
    "date": 'cat "$FOLDER/now"',
    "uv": 'echo "uv $*" >>"$FOLDER/called"; . "$FOLDER/installing"',
    "python": 'case "$*" in *config*) exit 1 ;; esac; echo "python $*" >>"$FOLDER/called"; exit ${PIP:-0}',
}


class Machine:
    """A machine on which time passes, and installing ends, when the test says so."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, folder / "env" / "bin"
        self.bin.mkdir(parents=True)
        for name, script in SCRIPTS.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.bin / name).chmod(0o755)
        for pipe in ("tick", "go"):
            os.mkfifo(folder / pipe)
        self.clock(100)

    def clock(self, seconds: int) -> None:
        (self.folder / "now").write_text(f"{seconds}\n")

    def start(self, installing: str, **variables: str) -> subprocess.Popen[str]:
        (self.folder / "installing").write_text(installing)
        env = {"PATH": f"{self.bin}:/usr/bin:/bin", "FOLDER": str(self.folder), **variables}
        command = [ROOT / "tools/install", str(self.folder / "env"), "-r", "requirements.txt"]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.running = subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, **output)
        return self.running

    def tell(self, pipe: str) -> None:
        """Blocks until somebody reads."""
        (self.folder / pipe).write_text("\n")

    def called(self) -> list[str]:
        return [line.split(" --")[0] for line in (self.folder / "called").read_text().splitlines()]


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.running.kill()
    made.running.stdout.close()
    made.running.wait()
    os.close(os.open(tmp_path / "tick", os.O_RDWR))  # whoever still sleeps wakes up


def test_a_slow_installer_is_seen_at_work(machine):
    running = machine.start('echo "Downloading big (16.5MiB)"; read -r _ <"$FOLDER/go"')
    said = running.stdout
    assert said.readline() == "Fetching and installing packages, about 120 MB unless they are in the cache …\n"
    for seconds in (4, 8, 350):
        machine.clock(100 + seconds)
        machine.tell("tick")
        assert said.readline() == f"  {seconds} s: Downloading big (16.5MiB)\n"
    machine.tell("go")
    assert said.readline() == "  done after 350 s\n"
    assert (said.read(), running.wait()) == ("", 0)


def test_an_index_out_of_reach_is_said_without_its_password(machine):
    failing = 'echo "error: Failed to fetch: https://index.example/simple/"; exit 2'
    running = machine.start(failing, PIP_INDEX_URL="https://me:secret@index.example/simple")
    said = running.communicate()[0]
    assert running.returncode == 1
    assert "failed after 0 s\nThe package index at https://index.example/simple was not reached.\n" in said
    assert "HTTPS_PROXY" in said
    assert "secret" not in said
    assert machine.called() == ["uv pip install"]


@pytest.mark.parametrize("status", [0, 1])
def test_what_uv_cannot_do_pip_does(status, machine):
    running = machine.start('echo "error: no such platform"; exit 2', PIP=str(status))
    said = running.communicate()[0]
    assert running.returncode == status
    assert "error: no such platform" in said
    assert "Without uv: pip installs instead" in said
    assert "not reached" not in said
    assert machine.called() == ["uv pip install", "python -m pip install -r requirements.txt"]


def test_ctrl_c_ends_it_and_nothing_else_is_tried(machine):
    running = machine.start('read -r _ <"$FOLDER/go"')
    said = running.stdout
    said.readline()
    machine.tell("tick")
    said.readline()  # the installer is at work
    os.killpg(running.pid, signal.SIGINT)
    said.read()  # whoever could still write has ended
    assert running.wait() != 0
    assert machine.called() == ["uv pip install"]
