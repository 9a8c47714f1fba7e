"""Build a release, check it, and run the lesson from it in an empty environment. Nothing is uploaded.

    python tools/release.py [TAG] -- OPTIONS        the options are pytest's, for nbval

It ends with what to upload and how. With a tag, such as v0.2.0, the version and the changelog have to agree with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "dist" / "packages"
NOTEBOOKS = ("01-*.ipynb", "03-*.ipynb", "10-*.ipynb")
SCRIPT = """
import moa_helpers as moa
moa.setup("offline")
models = ["openai:gpt-6-luna", "mistral:mistral-small-2603"]
question = "What are three fun things to do in San Francisco?"
answer = moa.run(moa.mixture_of_agents(question, models, aggregator=models[0]))
assert answer.outcome == "complete", answer
print(moa.__file__)
"""


def version(tag: str | None = None) -> str:
    """The version of this release; ends the program if the files that name it, or the tag, disagree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"(?m)^## \[?(.+?)\]?(?: .*)?$", log)
    waiting = re.search(r"(?mi)^## .*(unreleased|not yet)", log)
    cited = re.search(r"(?m)^version: \"?([\w.]+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    named = {"pyproject.toml": str(project["version"]), "CITATION.cff": cited[1] if cited else "none"}
    if newest and newest[1] != "Unreleased":
        named["CHANGELOG.md"] = newest[1]
    if tag:
        named["the tag"] = tag.removeprefix("v")
    if len(set(named.values())) != 1:
        sys.exit("The version differs: " + ", ".join(f"{name} says {said}" for name, said in named.items()))
    if tag and waiting:
        sys.exit("CHANGELOG.md has changes that are not yet released: write the version and the date above them.")
    return named["pyproject.toml"]


def build() -> Path:
    """Build the source distribution, and out of it the wheel; both pass twine's check."""
    shutil.rmtree(PACKAGES, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", str(PACKAGES), str(ROOT), quiet=True)
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(PACKAGES.iterdir())))
    (wheel,) = PACKAGES.glob("*.whl")
    return wheel


def try_out(wheel: Path, options: list[str]) -> None:
    """A script with what a service installs, then notebooks with what a learner installs, both outside the checkout."""
    for name in [name for name in os.environ if name.startswith("MOA_") or name.endswith("_API_KEY")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        environment, constraints = Path(folder, "env"), ["-c", str(ROOT / "constraints.txt")]
        python, install = str(environment / "bin" / "python"), str(ROOT / "tools" / "install")
        run(sys.executable, "-m", "venv", str(environment))
        run(install, str(environment), str(wheel), *constraints)
        where = subprocess.run([python, "-c", SCRIPT], cwd=folder, check=True, capture_output=True, text=True).stdout
        if not Path(where.strip()).is_relative_to(environment):
            sys.exit(f"Not the wheel was tried, but {where}")
        run(
            install,
            str(environment),
            f"{wheel}[lesson]",
            "nbval",
            "pytest-xdist",
            "nest-asyncio",
            "fastapi",
            *constraints,
        )
        for path in (path for pattern in NOTEBOOKS for path in (ROOT / "notebooks").glob(pattern)):
            Path(folder, path.stem).mkdir()
            shutil.copy(path, Path(folder, path.stem))
        os.environ |= {"MOA_MODE": "offline", "MOA_OFFLINE_SPEED": "4", "PYTHONPATH": str(ROOT / "tools")}
        names = sorted(path.name for path in Path(folder).iterdir() if path != environment)
        run(python, "-m", "pytest", *options, *names, folder=folder)


def run(*command: str, folder: str | Path = ROOT, quiet: bool = False) -> None:
    """Run a command; if it fails, so does this program. Of a quiet one only a failure is shown."""
    print("+", *command, flush=True)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
    done = subprocess.run(command, cwd=folder, check=False, **output)  # type: ignore[call-overload]
    if done.returncode:
        print((done.stdout or b"").decode(errors="replace"))
        sys.exit(done.returncode)


def main(arguments: list[str]) -> None:
    """Read the command line and do it."""
    tag, options = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    name = version(*tag)
    wheel = build()
    try_out(wheel, options)
    files = "".join(f"\n  {path.relative_to(ROOT)}" for path in sorted(PACKAGES.iterdir()))
    print(f"""
Version {name} is built, checked, and the lesson ran from it. To upload:{files}

With the repository on GitHub, a tag does it (CONTRIBUTING.md, "Publish a release"):
  git tag v{name} && git push origin v{name}
By hand, with an account on PyPI:
  {Path(sys.executable).relative_to(ROOT)} -m twine upload {PACKAGES.relative_to(ROOT)}/*""")


if __name__ == "__main__":
    main(sys.argv[1:])
