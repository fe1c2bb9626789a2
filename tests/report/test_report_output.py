"""Writing a report into a folder: whole or not at all, and files of the user stay."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.report import staging
from analyzer.report.output import place

OWNED = frozenset({"index.html", "figures/a.svg", "figures/b.svg", "tables/t.csv"})
FILES = {"index.html": b"new", "figures/a.svg": b"new", "tables/t.csv": b"new"}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def unfit(*folders):
    raise staging.Unfit


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A folder with an earlier report and with files of the user's."""
    output = tmp_path / "out"
    old = ("index.html", "figures/a.svg", "figures/b.svg", "tables/t.csv")
    for path in (*old, "figures/mine.png", "notes.txt"):
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_bytes(b"old")
    return output


def test_folders_are_made(tmp_path):
    place(FILES, tmp_path / "a" / "b", OWNED)
    assert tree(tmp_path / "a" / "b") == FILES
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


@pytest.fixture(params=["at once", "one by one"])
def way(request, earlier, monkeypatch):
    """Both ways that files come into a folder; a subfolder of the user's needs the second."""
    if request.param == "one by one":
        (earlier / "drafts").mkdir()
        (earlier / "drafts" / "a.txt").write_bytes(b"old")
    return request.param


@pytest.mark.parametrize("failing", range(1, 4))
def test_a_failure_half_way_brings_the_old_report_back(earlier, way, monkeypatch, failing):
    before = tree(earlier)
    calls = []
    replace = os.replace

    def sometimes(source, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    monkeypatch.setattr(staging, "_exchanged", unfit)
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


def test_new_replaces_old_and_leaves_the_users_files(earlier, way):
    theirs = {
        path: content
        for path, content in tree(earlier).items()
        if path in ("figures/mine.png", "notes.txt", "drafts/a.txt")
    }
    place(FILES, earlier, OWNED)
    assert tree(earlier) == FILES | theirs
    assert not list(earlier.parent.rglob(".report-*"))


def test_an_exchange_is_what_an_ordinary_report_takes(earlier):
    """Else the tests of killed programs would test the other way alone."""
    inode = earlier.stat().st_ino
    place(FILES, earlier, OWNED)
    assert earlier.stat().st_ino != inode


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/tmp/a", "a/b/c", "", ".", "a\\b", "a//b"])
def test_a_path_that_leads_out_is_refused(tmp_path, path):
    with pytest.raises(AnalyzerError, match="its own folder alone"):
        place({path: b"x"}, tmp_path / "out", frozenset({path}))
    assert list(tmp_path.iterdir()) == []


def test_modes_stay_and_new_files_get_what_the_umask_leaves(earlier, way):
    earlier.chmod(0o750)
    (earlier / "figures").chmod(0o770)
    (earlier / "index.html").chmod(0o640)
    before = os.umask(0o027)
    try:
        place(FILES | {"new.txt": b"x"}, earlier, OWNED | {"new.txt"})
    finally:
        os.umask(before)
    modes = {
        p: stat.S_IMODE((earlier / p).stat().st_mode)
        for p in (".", "figures", "index.html", "new.txt", "notes.txt")
    }
    assert modes["."] == 0o750
    assert modes["figures"] == 0o770
    assert modes["index.html"] == 0o640
    assert modes["new.txt"] == 0o640  # 0666 without 0027


def test_symbolic_links_of_the_user_stay_and_are_written_through(earlier):
    real = earlier.parent / "real.html"
    real.write_bytes(b"old")
    (earlier / "index.html").unlink()
    (earlier / "index.html").symlink_to(real)
    place(FILES, earlier, OWNED)
    assert (earlier / "index.html").is_symlink()
    assert real.read_bytes() == b"new"


def test_a_pipe_is_in_the_way(earlier):
    (earlier / "index.html").unlink()
    os.mkfifo(earlier / "index.html")
    with pytest.raises(AnalyzerError, match="pipe or device"):
        place(FILES, earlier, OWNED)
    assert stat.S_ISFIFO((earlier / "index.html").stat().st_mode)


def test_a_file_that_the_user_writes_meanwhile_is_kept(earlier, monkeypatch):
    exchanged = staging._exchanged

    def late(new, output):
        (output / "late.txt").write_bytes(b"late")
        (output / "notes.tmp").write_bytes(b"newer")
        os.replace(output / "notes.tmp", output / "notes.txt")
        exchanged(new, output)

    monkeypatch.setattr(staging, "_exchanged", late)
    place(FILES, earlier, OWNED)
    assert tree(earlier)["late.txt"] == b"late"
    assert tree(earlier)["notes.txt"] == b"newer"


def test_the_folder_that_somebody_is_in_stays_the_same(earlier, monkeypatch):
    monkeypatch.chdir(earlier)
    inode = earlier.stat().st_ino
    place(FILES, Path("."), OWNED)
    assert earlier.stat().st_ino == inode
    assert tree(earlier)["index.html"] == b"new"


_WRITER = textwrap.dedent(
    """
    import itertools, signal, sys
    from pathlib import Path
    from analyzer.report.output import place
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    names = [f"figures/{i}.svg" for i in range(25)] + ["index.html", "tables/t.csv"]
    sys.stdout.write("ready"); sys.stdout.flush()
    for number in itertools.count():
        content = f"version {number}".encode()
        place(dict.fromkeys(names, content), Path(sys.argv[1]), frozenset(names))
    """
)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_writer_leaves_one_report(tmp_path, stop):
    """Each kill leaves files of one version, and all files of the user's; remains are swept."""
    output = tmp_path / "out"
    kills = int(os.environ.get("ANALYZER_KILLS", "6"))
    for turn in range(kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(output)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with writer:
            assert writer.stdout.read(5) == b"ready"
            time.sleep(0.02 + (turn * 7919 % 1000) / 20_000)
            if output.exists():
                (output / "notes.txt").write_bytes(b"mine")
                (output / "figures" / "mine.png").write_bytes(b"mine")
                time.sleep((turn * 104_729 % 1000) / 100_000)
            writer.send_signal(stop)
        if output.exists():
            found = tree(output)
            # what is not yet back after a kill comes back with the next report
            mine = {found.pop(n, b"mine") for n in ("notes.txt", "figures/mine.png")}
            assert mine == {b"mine"}
            assert len(set(found.values())) == 1, "a mixed report"
            assert len(found) == 27
    names = frozenset(tree(output)) - {"notes.txt", "figures/mine.png"}
    place(dict.fromkeys(names, b"last"), output, names)
    found = tree(output)
    assert found.pop("notes.txt") == b"mine"
    assert found.pop("figures/mine.png") == b"mine"
    assert set(found.values()) == {b"last"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_two_writers_leave_one_report(tmp_path):
    output = tmp_path / "out"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(output)], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    time.sleep(1.5)
    for writer in writers:
        assert writer.poll() is None, "a writer failed"
        writer.kill()
        writer.wait()
    found = tree(output)
    assert len(set(found.values())) == 1
    assert len(found) == 27
