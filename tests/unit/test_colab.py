"""The project's address and the notebooks to upload: what tools/links.py and tools/colab.py write, and what it does."""

import base64
import json
import re
import shutil
import sys
from types import SimpleNamespace

import colab as tool
import links
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import moa_helpers as moa
from tests.notebooks.cells import ROOT
from tests.notebooks.lesson import SETUP

ADDRESS = "https://github.com/someone/a-lesson"


@pytest.fixture
def copy(tmp_path, monkeypatch, capsys):
    """A copy of what ``make links`` and ``make colab`` read and write, and either of them to run on it."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(links, "ROOT", tmp_path)

    def link():
        """What ``make links`` says."""
        links.write()
        return capsys.readouterr().out

    def build(*arguments):
        """What tools/colab.py says."""
        monkeypatch.setattr(sys, "argv", ["tools/colab.py", *arguments])
        tool.main()
        return capsys.readouterr().out

    return SimpleNamespace(folder=tmp_path, link=link, build=build)


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
    assert copy.link() == ""
    assert state(copy.folder) == state(ROOT)


def test_an_address_gives_badges(copy):
    publish(copy.folder, None)
    copy.link()
    without = state(copy.folder)
    publish(copy.folder)
    copy.link()
    once = state(copy.folder)
    assert copy.link() == ""
    assert state(copy.folder) == once
    for path in notebooks(copy.folder):
        where = f"https://colab.research.google.com/github/someone/a-lesson/blob/colab/{path.name}"
        badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({where})"
        head = sources(path)[0]
        assert head.split("\n\n")[1] == badge
        assert head.startswith("# ")
        assert f"](notebooks/{path.name}) {badge} |" in once["README.md"]
    top, table = once["README.md"].partition("\n| 1 |")[::2]
    assert table.count("Open in Colab](") == len(notebooks(copy.folder))
    shown = re.findall(r"(?m)^\[!\[[^]]+\]\(([^)]+)\)\]\(([^)]+)\)$", top)
    assert [target for _, target in shown] == [
        f"{ADDRESS}/actions/workflows/ci.yml",
        "https://someone.github.io/a-lesson/",
        "https://colab.research.google.com/github/someone/a-lesson/blob/colab/" + links.FIRST,
        f"https://mybinder.org/v2/gh/someone/a-lesson/main?urlpath=lab/tree/notebooks/{links.FIRST}",
        "LICENSE",
    ]
    assert (ROOT / "notebooks" / links.FIRST).exists()

    publish(copy.folder, None)  # and back
    copy.link()
    assert state(copy.folder) == without


def test_an_address_that_colab_cannot_open_is_refused(copy):
    before = state(copy.folder)
    for address in ("https://example.org/someone/lesson", f"{ADDRESS}.git", "github.com/a/b"):
        publish(copy.folder, address)
        with pytest.raises(SystemExit, match=r"Colab opens https://github\.com/OWNER/NAME"):
            copy.link()
        assert state(copy.folder) == before


def test_a_command_that_it_does_not_know_shows_what_there_is(copy):
    for arguments in ((), ("address",), ("notebooks",)):
        with pytest.raises(SystemExit, match=r"python tools/colab\.py notebooks"):
            copy.build(*arguments)


@pytest.fixture
def run_setup_cell(tmp_path, monkeypatch):
    """Run a built setup cell in an empty folder; returns what it would have installed, and how often it set up."""
    wheel, folder = tmp_path / "moa_helpers-0.1.0-py3-none-any.whl", tmp_path / "empty"
    wheel.write_bytes(bytes(range(256)) * 50)
    folder.mkdir()
    monkeypatch.chdir(folder)
    times, installed = [], []
    monkeypatch.setattr(moa, "setup", lambda: times.append(1))
    source = tool.installing(wheel) + SETUP
    assert max(map(len, source.splitlines())) <= 120

    def install(kind, line):
        assert kind == "pip"
        installed.append(line.replace("{package}", str(names["package"])))
        assert (folder / names["package"]).read_bytes() == wheel.read_bytes()
        monkeypatch.setitem(sys.modules, "moa_helpers", moa)

    names = {"get_ipython": lambda: SimpleNamespace(run_line_magic=install)}

    def run():
        exec(TransformerManager().transform_cell(source), names)
        assert names["moa"] is moa
        return installed, len(times)

    return run


def test_a_built_setup_cell_installs_what_it_holds_where_the_package_is_missing(run_setup_cell, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    asked = '"anthropic<3" "mistralai<3" eval-type-backport jsonpath-python krippendorff'
    assert run_setup_cell() == ([f"install -q --no-deps moa_helpers-0.1.0-py3-none-any.whl {asked}"], 1)


def test_a_built_setup_cell_installs_nothing_where_the_package_is(run_setup_cell, tmp_path):
    assert run_setup_cell() == ([], 1)
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_a_notebook_to_upload_stands_alone(address, copy):
    publish(copy.folder, address)
    wheel = copy.folder / "moa_helpers-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    (copy.folder / "notebooks" / "images" / "x.png").write_bytes(b"picture")
    first, second, *_ = notebooks(copy.folder)
    notebook = json.loads(first.read_text(encoding="utf-8"))
    notebook["cells"][0]["source"].append("\n\n![A picture](images/x.png) [pages](../docs/colab.md#keys)")
    first.write_text(json.dumps(notebook), encoding="utf-8")
    said = copy.build("notebooks", str(wheel))
    made = sorted((copy.folder / "dist" / "colab").glob("*.ipynb"))
    assert [path.name for path in made] == [path.name for path in notebooks(copy.folder)]
    assert re.findall(r"dist/colab/([\w-]+\.ipynb): \d+ kB\n", said) == [path.name for path in made]
    whole = {path.name: "\n".join(sources(path)) for path in made}
    for path in made:
        assert sum(cell.endswith(f"\n\n{SETUP}") for cell in sources(path)) == 1
    for text in whole.values():
        assert base64.b64encode(b"wheel").decode() in text
        assert not re.findall(r"\]\((?!https:|data:|#)[^)]*\.(?:ipynb|png|md)\)", text)
    assert "data:image/png;base64," + base64.b64encode(b"picture").decode() in whole[first.name]
    for label, target in {
        f" (the file `{second.name}`)": f"]({links.on_colab(ADDRESS, second.name)})",
        "pages (the file `docs/colab.md`)": f"[pages]({ADDRESS}/blob/main/docs/colab.md#keys)",
    }.items():
        assert (target if address else label) in whole[first.name]
