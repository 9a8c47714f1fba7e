"""The setup cell, the project's address and the notebooks to upload: what tools/colab.py writes, and what it does."""

import base64
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import colab as tool
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import moa_helpers as moa

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/someone/a-lesson"


@pytest.fixture
def copy(tmp_path, monkeypatch, capsys):
    """A copy of what ``make links`` and ``make colab`` read and write; call it with the arguments of tools/colab.py."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(tool, "ROOT", tmp_path)

    def run(*arguments):
        """What it says."""
        monkeypatch.setattr(sys, "argv", ["tools/colab.py", *arguments])
        tool.main()
        return capsys.readouterr().out

    return SimpleNamespace(folder=tmp_path, run=run)


def publish(folder, address=ADDRESS):
    path = folder / "pyproject.toml"
    without = re.sub(r"(?m)^\[project\.urls\]\n(?:\w+ = .*\n)*", "", path.read_text(encoding="utf-8"))
    urls = f'[project.urls]\nRepository = "{address}"\n\n' if address else ""
    path.write_text(without.replace("[tool.ruff]\n", urls + "[tool.ruff]\n"), encoding="utf-8")


def state(folder):
    """All that the command may write."""
    return {path.name: path.read_text(encoding="utf-8") for path in [folder / "README.md", *notebooks(folder)]}


def notebooks(folder):
    found = sorted((folder / "notebooks").glob("*.ipynb"))
    assert len(found) >= 6
    return found


def sources(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def test_the_notebooks_and_the_readme_are_as_make_links_writes_them(copy):
    assert copy.run("address") == ""
    assert state(copy.folder) == state(ROOT)


def test_an_address_gives_badges_and_setup_cells(copy):
    publish(copy.folder, None)
    copy.run("address")
    without = state(copy.folder)
    publish(copy.folder)
    copy.run("address")
    once = state(copy.folder)
    assert copy.run("address") == ""
    assert state(copy.folder) == once
    for path in notebooks(copy.folder):
        where = f"https://colab.research.google.com/github/someone/a-lesson/blob/main/notebooks/{path.name}"
        badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({where})"
        head, *cells = sources(path)
        assert head.split("\n\n")[1] == badge
        assert head.startswith("# ")
        assert sum(f'default="git+{ADDRESS}"' in cell and "%pip install" in cell for cell in cells) == 1
        assert f"](notebooks/{path.name}) {badge} |" in once["README.md"]
    assert once["README.md"].count("Open in Colab](") == len(notebooks(copy.folder))

    publish(copy.folder, None)  # and back
    copy.run("address")
    assert state(copy.folder) == without


def test_an_address_that_colab_cannot_open_is_refused(copy):
    before = state(copy.folder)
    for address in ("https://example.org/someone/lesson", f"{ADDRESS}.git", "github.com/a/b"):
        publish(copy.folder, address)
        with pytest.raises(SystemExit, match=r"Colab opens https://github\.com/OWNER/NAME"):
            copy.run("address")
        assert state(copy.folder) == before


def test_a_command_that_it_does_not_know_shows_what_there_is(copy):
    for arguments in ((), ("adress",), ("notebooks",)):
        with pytest.raises(SystemExit, match=r"python tools/colab\.py address"):
            copy.run(*arguments)


def run_setup_cell(source, folder, monkeypatch):
    """Run a setup cell where the package is absent; returns what it would have installed."""
    installed = []

    def install(kind, line):
        assert kind == "pip"
        installed.append(line)
        monkeypatch.setitem(sys.modules, "moa_helpers", moa)

    def expand(line):
        return line.replace("{package}", str(names["package"]))

    names = {"get_ipython": lambda: SimpleNamespace(run_line_magic=lambda kind, line: install(kind, expand(line)))}
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "moa_helpers", None)  # an import raises ModuleNotFoundError
    exec(TransformerManager().transform_cell(source), names)
    return installed


LACKING = ' "anthropic<3" "mistralai<3" eval-type-backport jsonpath-python krippendorff'


LACKING = ' "anthropic<3" "mistralai<3" eval-type-backport jsonpath-python krippendorff'


@pytest.fixture(autouse=True)
def set_up(monkeypatch):
    """How often the setup cell has called ``moa.setup()``."""
    times = []
    monkeypatch.setattr(moa, "setup", lambda: times.append(1))
    return times


def test_the_setup_cell_does_nothing_but_setup_where_the_package_is(set_up):
    names = {}
    exec(TransformerManager().transform_cell(tool.setup_cell(None)), names)
    assert names["moa"] is moa
    assert set(names) == {"__builtins__", "moa"}
    assert set_up == [1]


def test_the_setup_cell_asks_for_the_wheel(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"Upload moa_helpers-….whl \(from `make wheel`\)"):
        run_setup_cell(tool.setup_cell(None), tmp_path, monkeypatch)


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_the_setup_cell_takes_the_newest_wheel_that_is_there(address, tmp_path, monkeypatch):
    for age, version in enumerate(["0.10.0", "0.9.0", "0.11.0.dev1"]):
        path = tmp_path / f"moa_helpers-{version}-py3-none-any.whl"
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    installed = run_setup_cell(tool.setup_cell(address), tmp_path, monkeypatch)
    assert installed == ["install -q --no-deps moa_helpers-0.10.0-py3-none-any.whl" + LACKING]


def test_the_setup_cell_takes_the_address(tmp_path, monkeypatch):
    installed = run_setup_cell(tool.setup_cell(ADDRESS), tmp_path, monkeypatch)
    assert installed == [f"install -q --no-deps git+{ADDRESS}" + LACKING]


def test_the_setup_cell_unpacks_what_it_holds(tmp_path, monkeypatch):
    wheel, empty = tmp_path / "moa_helpers-0.1.0-py3-none-any.whl", tmp_path / "empty"
    wheel.write_bytes(bytes(range(256)) * 50)
    empty.mkdir()
    (empty / "moa_helpers-0.9.0-py3-none-any.whl").touch()
    source = tool.setup_cell(ADDRESS, wheel)
    assert max(map(len, source.splitlines())) <= 120
    installed = run_setup_cell(source, empty, monkeypatch)
    assert installed == [f"install -q --no-deps {wheel.name}" + LACKING]
    assert (empty / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_a_notebook_to_upload_stands_alone(address, copy):
    publish(copy.folder, address)
    wheel = copy.folder / "moa_helpers-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    (copy.folder / "notebooks" / "images" / "x.png").write_bytes(b"picture")
    first, second, *_ = notebooks(copy.folder)
    notebook = json.loads(first.read_text(encoding="utf-8"))
    notebook["cells"][0]["source"].append("\n\n![A picture](images/x.png)")
    first.write_text(json.dumps(notebook), encoding="utf-8")
    said = copy.run("notebooks", str(wheel))
    made = sorted((copy.folder / "dist" / "colab").glob("*.ipynb"))
    assert [path.name for path in made] == [path.name for path in notebooks(copy.folder)]
    assert re.findall(r"dist/colab/([\w-]+\.ipynb): \d+ kB\n", said) == [path.name for path in made]
    whole = {path.name: "\n".join(sources(path)) for path in made}
    for text in whole.values():
        assert base64.b64encode(b"wheel").decode() in text
        assert not re.findall(r"\]\((?!https:|data:|#)[^)]*\.(?:ipynb|png)\)", text)
    assert "data:image/png;base64," + base64.b64encode(b"picture").decode() in whole[first.name]
    linked = f"]({tool.on_colab(ADDRESS, second.name)})" if address else f" (the file `{second.name}`)"
    assert linked in whole[first.name]
