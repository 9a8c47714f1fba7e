"""A release whose files disagree on its version, or whose changelog is not written, is refused."""

import shutil

import pytest
import release as tool

from tests.notebooks.cells import ROOT

FILES = ("pyproject.toml", "CHANGELOG.md", "CITATION.cff")


@pytest.fixture
def change(tmp_path, monkeypatch):
    """A copy of the files that name the version; call it to replace a text in one of them."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{tool.version()}] - 2026-12-01\n", encoding="utf-8")
    monkeypatch.setattr(tool, "ROOT", tmp_path)

    def change(name, old, new):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def test_the_files_agree_on_the_version():
    assert tool.version()


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_another_version_is_named(name, change):
    now = tool.version()
    before = {"pyproject.toml": f'version = "{now}"', "CHANGELOG.md": f"## [{now}", "CITATION.cff": f"version: {now}"}
    change(name, before[name], before[name].replace(now, "9.9.9"))
    with pytest.raises(SystemExit, match=rf"The version differs: .*{name} says 9\.9\.9"):
        tool.version()


def test_a_tag_has_to_fit_and_wants_a_date(change):
    now = tool.version()
    log = tool.ROOT / "CHANGELOG.md"
    assert tool.version(f"v{now}") == now
    with pytest.raises(SystemExit, match=r"the tag says 9\.9\.9"):
        tool.version("v9.9.9")
    for unreleased in (f"## {now} (not yet released)", f"## [Unreleased]\n\n## [{now}]"):
        log.write_text(f"# Changelog\n\n{unreleased}\n", encoding="utf-8")
        assert tool.version() == now
        with pytest.raises(SystemExit, match="not yet released"):
            tool.version(f"v{now}")
