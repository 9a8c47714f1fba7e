"""What GitHub, Binder, containers and pre-commit are told to run is there, and is what the README tells a reader."""

import json
import re
import tomllib

import pytest
import yaml

from tests.notebooks.cells import ROOT

WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = {".venv/ready", ".venv/tests", ".venv/warm", *re.findall(r"(?m)^([a-z-]+|\.venv-[a-z]+/ready):", MAKEFILE)}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def jobs(name):
    return yaml.safe_load(WORKFLOWS[name])["jobs"]


def commands(name):
    """The commands of a workflow, with the values of its matrices put in."""
    for job in jobs(name).values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            for value in matrix.get("target", [""]):
                yield step.get("run", "").replace("${{ matrix.target }}", value)


def called(text):
    """The targets that a text calls ``make`` with."""
    for arguments in re.findall(r"(?m)(?:^|[`'\"]|&& )make((?: [\w./=${}-]+)+)", text):
        yield from (word for word in arguments.split() if re.fullmatch(r"\.?[a-z/-]*[a-z]", word) and word[0] != "-")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_little_and_ends(name):
    whole = yaml.safe_load(WORKFLOWS[name])
    assert whole["permissions"] == {"contents": "read"}
    assert whole["concurrency"]
    assert [job for job, what in whole["jobs"].items() if "timeout-minutes" not in what] == []
    actions = re.findall(r"uses: (\S+)(.*)", WORKFLOWS[name])
    assert [action for action, tag in actions if not re.search(r"@[0-9a-f]{40}$", action) or "# v" not in tag] == []
    assert WORKFLOWS[name].count("actions/checkout@") == WORKFLOWS[name].count("persist-credentials: false")


def test_the_actions_have_one_version_each():
    used = {action.partition("@")[::2] for text in WORKFLOWS.values() for action in re.findall(r"uses: (\S+)", text)}
    assert len(used) == len({action for action, _ in used})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_makes_what_the_makefile_has(name):
    wanted = {target for command in commands(name) for target in called(command)}
    assert wanted or name not in ("ci.yml", "release.yml")
    assert wanted - TARGETS == set()


def test_the_page_for_contributors_the_container_and_ci_name_targets_that_are_there():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    texts = [(ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), README, container["postCreateCommand"]]
    texts.append((ROOT / ".github/pull_request_template.md").read_text(encoding="utf-8"))
    wanted = {target for text in texts for target in called(text)}
    run = re.search(r"for target in ([a-z -]+);", (ROOT / ".ci/run").read_text(encoding="utf-8"))[1].split()
    assert len(wanted) > 10
    assert {*wanted, *run} - TARGETS == set()


def test_a_target_that_is_missing_is_seen():
    assert set(called("make --silent facts >x\n`make test PYTHONS=3.13`, 'make lab'")) >= {"facts", "test", "lab"}
    assert set(called("a && make nothing")) - TARGETS == {"nothing"}


def test_windows_runs_the_commands_of_the_readme():
    shown = "\n".join(re.findall(r"(?s)```bat\n(.*?)```", README)).splitlines()
    for_tests = [line.replace("py -m venv", "python -m venv") for line in shown if line and "jupyter" not in line]
    assert len(for_tests) >= 4
    assert [step["run"] for step in jobs("ci.yml")["windows"]["steps"] if "run" in step] == for_tests


def test_the_files_that_workflows_hand_on_are_where_they_are_made():
    handed = [
        step["with"]["path"]
        for name in WORKFLOWS
        for job in jobs(name).values()
        for step in job["steps"]
        if "upload" in step.get("uses", "")
    ]
    assert sorted(handed) == ["dist/colab", "dist/packages", "site/_build/html"]
    assert " . site/_build/html\n" in MAKEFILE
    assert '"dist" / "colab"' in (ROOT / "tools/colab.py").read_text(encoding="utf-8")
    assert '"dist" / "packages"' in (ROOT / "tools/release.py").read_text(encoding="utf-8")


def test_ci_has_the_pythons_that_are_supported():
    for job in ("lesson", "windows"):
        assert jobs("ci.yml")[job]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert re.search(r"(?m)^PYTHONS = 3\.13 3\.12 3\.11", MAKEFILE)
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"] == ">=3.11"
    )


def test_binder_installs_what_a_learner_does():
    build = ROOT / "binder/postBuild"
    install = "pip install -r requirements.txt -c constraints.txt"
    assert install in README
    assert install in build.read_text(encoding="utf-8").replace("--no-cache-dir ", "")
    assert build.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert build.stat().st_mode & 0o111
    assert (ROOT / "binder/runtime.txt").read_text(encoding="utf-8").strip().removeprefix("python-") in MAKEFILE


def test_pre_commit_does_what_make_lint_does():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]  # nothing is fetched, and no version is named twice
    lint = MAKEFILE.partition("\nlint:")[2].partition("\nchecks:")[0].replace("$(VENV)", ".venv")
    entries = [hook["entry"].replace("--check", "").strip() for hook in hooks[0]["hooks"]]
    assert [entry for entry in entries if entry not in lint] == [".venv/bin/python tools/notebooks.py"]  # a unit test's
    assert len(entries) == 5
