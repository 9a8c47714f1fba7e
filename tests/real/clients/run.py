"""Other people's clients ask a mixture that ``python -m moa_helpers.serve`` offers as a model: ``make clients``.

Each client is a script of its own, with a server of its own over the offline vendors, and runs in an environment that
the package is not in. It prints what came of each case; here that is looked through and shown as a table. inspect_ai
also asks the offline vendors themselves, by batch, and reads the log of a comparison.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import moa_helpers as moa
from moa_helpers.offline import bank
from tests.support import environment

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
VENV = (ROOT / (sys.argv[1] if len(sys.argv) > 1 else ".venv-clients")).absolute()
OLDER = "openai==2.54.0"  # on httpx; the one in requirements.txt is on httpx2
SCRIPTS = [  # script, package; the slowest first
    ("llm_command.py", "llm"),
    ("langchain_models.py", "langchain-core"),
    ("litellm_library.py", "litellm"),
    ("inspect_task.py", "inspect-ai"),
    ("inspect_batch.py", "inspect-ai"),
    ("inspect_log.py", "inspect-ai"),
    ("vercel_sdk.mjs", "ai"),
    ("openai_sdk.py", OLDER),
    ("openai_sdk.py", "openai"),
    ("anthropic_sdk.py", "anthropic"),
]
FAULTS = "mistral=500; anthropic:claude-opus-5-5=stalled_stream"  # what mixture.toml counts on
WORDS = {"unknown": "There is no mixture", "all fail": "every reference model of layer 1 failed"}
MIXTURES = ["moa_helpers.serve", str(HERE / "mixture.toml")]
BATCHES = ["moa_helpers.offline", "--speed", "20", "--faults", "*=shuffled"]
SKY = bank.match("Why is the sky blue?")


def main():
    """Install what is missing, run all scripts, print what they tell; returns how many failed."""
    subprocess.run([ROOT / "tools/install", VENV, "--target", VENV / "older", "--no-deps", "-q", OLDER], check=True)
    compare()
    scripts = [(script, package) for script, package in SCRIPTS if script.endswith(".py") or has_npm()]
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda each: transcript(*each), scripts))
    for client, rows, error in told:
        print(f"\n{client}: {f'{len(rows)} cases passed' if not error else 'FAILED'}")
        for case, words in rows:
            print(f"  {case:34}{words}")
        print(error, end="")
    if len(scripts) < len(SCRIPTS):
        print("\nThe Vercel AI SDK was left out: it needs node (22 or later) and npm.")
    return sum(bool(error) for _, _, error in told)


def compare():
    """Write the logs of a comparison, which ``inspect_log.py`` reads."""
    environment.clean()
    moa.setup("offline")
    model = "openai:gpt-6-luna"
    strategies = {"single": model, "moa": {"reference_models": [model] * 2, "aggregator": model}}
    (VENV / "logs").mkdir(exist_ok=True)
    found = moa.run(moa.compare(bank.questions()[:3], strategies, judge=model, path=VENV / "comparison.sqlite"))
    for name in ("comparison.eval", "comparison.json"):
        found.to_inspect(VENV / "logs" / name)


def has_npm():
    """Whether the packages of package.json are there, or could be fetched."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        return False
    folder = VENV / "npm"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "vercel_sdk.mjs"):
        shutil.copy(HERE / name, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True)
    return True


def transcript(script, package):
    """The client with its version, what it showed in each case, and the error with which it ended, if it did."""
    python = script.endswith(".py")
    command = [VENV / "bin/python", HERE / script] if python else ["node", VENV / "npm" / script]
    with served(BATCHES if script == "inspect_batch.py" else MIXTURES) as url:
        more = {"MIXTURES_URL": url, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "AI_SDK_LOG_WARNINGS": "false"}
        more |= {"PYTHONPATH": str(VENV / "older")} if package == OLDER else {}
        done = subprocess.run(command, capture_output=True, text=True, cwd=VENV, env=os.environ | more)
    rows, error = [], done.stderr if done.returncode else ""
    for line in done.stdout.splitlines():
        told = json.loads(line)
        try:
            rows.append((told["case"], shown(**told)))
        except AssertionError as wrong:
            error += f"{told['case']}: {wrong}\n"
    return f"{Path(script).stem} ({version(package)})", rows, error


@contextmanager
def served(what):
    """A server of the mixtures in mixture.toml, or of the offline vendors, in a process of its own; its address."""
    environment.clean()
    command = [sys.executable, "-m", *what, "--port", "0"]
    offline = os.environ | {"MOA_OFFLINE_FAULTS": FAULTS, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=offline) as server:
        line = server.stdout.readline()
        url = re.search(r"http://[^\s;]+", line)
        assert url, line + server.stderr.read()
        try:
            yield url[0]
        finally:
            server.terminate()
            log = server.communicate()[1]
    assert server.returncode == 0, log
    assert "Traceback" not in log, log


def shown(case, text=None, refused=None, left=None):
    """What a client showed, in few words, if it is what the case calls for."""
    if left is not None:
        return f"left; the server's work ended {left:.2f} s later"
    if refused is not None:
        assert any(kind in case and words in refused for kind, words in WORDS.items()), refused
        return " ".join(refused.split())[:100]
    points = bank.points_in(SKY, text)
    assert len(points) > 2, text
    return f"{len(points)} points: {' '.join(text.split())[:60]}…"


def version(package):
    """A package with its version."""
    if "==" in package:
        return package.replace("==", " ")
    if package == "ai":
        return f"ai {json.loads((HERE / 'package.json').read_text(encoding='utf-8'))['dependencies'][package]}"
    code = f"from importlib.metadata import version; print('{package}', version('{package}'))"
    return subprocess.run([VENV / "bin/python", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
