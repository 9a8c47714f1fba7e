"""A model's code against tests, in its own process with limits. They stop accidents; they are no prison."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

SAID = 1_000_000  # bytes that the code may write to its output, or to any file
RUNNER = """
import json, resource, sys
given = json.load(sys.stdin)
for name, most in given["limits"].items():
    resource.setrlimit(getattr(resource, name), (most, most))
def refuse(event, arguments):
    if event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.", "os.system", "os.exec",
                         "os.fork", "os.posix_spawn", "os.kill")):
        raise PermissionError(f"{event} is not allowed here")
sys.addaudithook(refuse)
space = {"__name__": "answer"}
for part in ("code", "tests"):
    exec(compile(given[part], part, "exec"), space)
print("\\n" + given["passed"])
"""
_pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="moa-code")


async def passes(code: str, tests: str, seconds: float, memory_mb: int) -> tuple[bool, str]:
    """Whether code passes tests, and "passed" or its last line. One runs at a time for each processor."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _run, code, tests, seconds, memory_mb)


def _run(code: str, tests: str, seconds: float, memory_mb: int) -> tuple[bool, str]:
    limits = {"RLIMIT_AS": memory_mb << 20, "RLIMIT_FSIZE": SAID, "RLIMIT_CPU": int(seconds) + 1, "RLIMIT_CORE": 0}
    passed = secrets.token_hex(16)  # says that the tests came to their end, without a sys.exit() before
    given = json.dumps({"code": code, "tests": tests, "limits": limits, "passed": passed})
    with tempfile.TemporaryDirectory(prefix="moa-code-") as folder, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*_without_network(), sys.executable, "-I", "-B", "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            process.communicate(given.encode(errors="replace"), timeout=seconds)
        except subprocess.TimeoutExpired:
            return False, f"not done after {seconds:g} s"
        finally:
            with suppress(ProcessLookupError):  # it and all that it has started have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        lines = said.read(SAID).decode(errors="replace").split("\n")
    if passed in lines:
        return True, "passed"
    return False, next((line.strip()[:200] for line in reversed(lines) if line.strip()), "ended before the tests did")


@cache
def _without_network() -> tuple[str, ...]:
    """The command that starts a process without a network, if this machine allows it."""
    command = ("unshare", "--user", "--map-root-user", "--net")
    try:
        return command if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0 else ()
    except OSError:
        return ()
