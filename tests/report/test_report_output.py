"""Writing a report into a folder: whole or not at all, and files of the user stay."""

from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.report.output import place

OWNED = frozenset({"index.html", "figures/a.svg", "figures/b.svg", "tables/t.csv"})
FILES = {"index.html": b"new", "figures/a.svg": b"new", "tables/t.csv": b"new"}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A folder with an earlier report and with files of the user's."""
    output = tmp_path / "out"
    old = ("index.html", "figures/a.svg", "figures/b.svg", "tables/t.csv")
    for path in (*old, "profiles/m.json", "figures/mine.png", "notes.txt"):
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_bytes(b"old")
    return output


def test_folders_are_made(tmp_path):
    place(FILES, tmp_path / "a" / "b", OWNED)
    assert tree(tmp_path / "a" / "b") == FILES
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


def test_new_replaces_old_and_leaves_the_users_files(earlier):
    place(FILES, earlier, OWNED)
    theirs = dict.fromkeys(("profiles/m.json", "figures/mine.png", "notes.txt"), b"old")
    assert tree(earlier) == FILES | theirs


@pytest.mark.parametrize("failing", range(1, 7))
def test_a_failure_half_way_brings_the_old_report_back(earlier, monkeypatch, failing):
    before = tree(earlier)
    calls = []
    rename = Path.rename

    def sometimes(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", sometimes)
    with pytest.raises(AnalyzerError, match="No space left on device"):
        place(FILES, earlier, OWNED)
    assert tree(earlier) == before


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(AnalyzerError, match="No space left"):
        place(FILES, tmp_path / "out", OWNED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("obstacle", ["out", "out/figures"])
def test_a_file_in_the_way(tmp_path, obstacle):
    path = tmp_path / obstacle
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(AnalyzerError, match="in the way"):
        place(FILES, tmp_path / "out", OWNED)
    assert tree(tmp_path) == {obstacle: b"precious"}


def test_a_folder_in_the_way_of_the_page(tmp_path):
    (tmp_path / "index.html").mkdir()
    with pytest.raises(AnalyzerError, match=r"the folder .*index.html is in the way"):
        place(FILES, tmp_path, OWNED)


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(AnalyzerError, match="cannot write the report"):
        place(FILES, tmp_path / "file" / "out", OWNED)
    assert tree(tmp_path) == {"file": b"precious"}


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    place(FILES, tmp_path / "link", OWNED)
    assert tree(tmp_path / "real") == FILES
    assert (tmp_path / "link").is_symlink()
