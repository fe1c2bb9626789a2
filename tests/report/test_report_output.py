"""Writing a report into a folder: whole or not at all, and files of the user stay."""

import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.report import output as output_module
from analyzer.report import staging
from analyzer.report.manifest import earlier as earlier_names
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


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_two_failures_lose_nothing(earlier, monkeypatch, error):
    """The second comes while old files are put back; after a Ctrl-C that is done once more."""
    before = tree(earlier)
    calls = itertools.count(1)
    replace = os.replace

    def sometimes(source, target):
        if next(calls) in (3, 4):
            raise error
        return replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    monkeypatch.setattr(staging, "_exchanged", unfit)
    if isinstance(error, OSError):
        with pytest.raises(AnalyzerError, match=r"No space left .* put back are in .*/earlier-"):
            place(FILES, earlier, OWNED)
        (left,) = earlier.glob("earlier-*")
        lost = tree(left)
        shutil.rmtree(left)
        assert lost.keys() == {"tables/t.csv"}
        assert tree(earlier) | lost == before
    else:
        with pytest.raises(KeyboardInterrupt):
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
    with pytest.raises(AnalyzerError, match=r"cannot write to .*out: File exists; choose"):
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


def test_files_of_the_user_that_could_not_be_moved_are_kept_for_the_next_report(
    earlier, monkeypatch
):
    exchanged, rename = staging._exchanged, Path.rename

    def late(new, output):
        for name in ("late.txt", "later.txt"):
            (output / name).write_bytes(b"late")
        exchanged(new, output)

    def refused(path, target):
        if path.name == "late.txt":
            raise PermissionError(1, "Operation not permitted")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "_exchanged", late)
        patch.setattr(Path, "rename", refused)
        with pytest.raises(AnalyzerError, match="not permitted"):
            place(FILES, earlier, OWNED)
    assert tree(earlier)["later.txt"] == b"late"
    place(FILES, earlier, OWNED)
    assert tree(earlier)["late.txt"] == b"late"
    assert [p.name for p in earlier.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("found", "at_once"),
    [
        (["security.selinux"], True),
        (OSError(95, "Operation not supported"), True),
        (["security.selinux", "user.note"], False),
    ],
)
def test_attributes_that_come_by_themselves_do_not_matter(earlier, monkeypatch, found, at_once):
    def listxattr(path):
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(os, "listxattr", listxattr, raising=False)
    inode = earlier.stat().st_ino
    place(FILES, earlier, OWNED)
    assert (earlier.stat().st_ino != inode) is at_once
    assert tree(earlier)["index.html"] == b"new"


def test_the_folder_that_somebody_is_in_stays_the_same(earlier, monkeypatch):
    monkeypatch.chdir(earlier)
    inode = earlier.stat().st_ino
    place(FILES, Path("."), OWNED)
    assert earlier.stat().st_ino == inode
    assert tree(earlier)["index.html"] == b"new"


def report(name: str) -> dict[str, bytes]:
    """A small report whose profile has a name of its own."""
    content = name.encode()
    files = {"index.html": content, f"profiles/{name}.json.gz": content}
    said = {"kind": "analyzer.report", "priced": {}, "drawn": {}, "profiles": [], "analyzer": ""}
    said["sha256"] = dict.fromkeys(files, "")
    return files | {"manifest.json": json.dumps(said).encode()}


def write(name: str, output: Path) -> None:
    fixed = frozenset({"index.html", "manifest.json", "figures/old.svg"})
    place(report(name), output, fixed | earlier_names(output))


def die(*given, **more):
    os.kill(os.getpid(), signal.SIGKILL)


def write_and_die(moment: str, output: str) -> None:
    """In a process of its own."""
    if moment == "removing":

        def removed(folder, **more):
            (folder / "new" / "manifest.json").unlink()
            die()

        staging.shutil.rmtree = removed
    else:
        where, name, last = {
            "exchanged": (staging, "_exchanged", 1),
            "filling": (Path, "write_bytes", 2),
            "the first": (output_module, "_moved", 1),
            "the second": (output_module, "_moved", 2),
            "the third": (output_module, "_moved", 3),
        }[moment]
        calls, real = itertools.count(1), getattr(where, name)

        def counted(*given):
            real(*given)
            if next(calls) == last:
                die()

        setattr(where, name, counted)
    write("b", Path(output))


@pytest.mark.parametrize(
    "moment", ["exchanged", "removing", "filling", "the first", "the second", "the third"]
)
def test_the_report_after_a_killed_one_holds_nothing_of_others(tmp_path, moment):
    output = tmp_path / "out"
    mine = {}
    if moment != "filling":
        write("a", output)
        mine = {"notes.txt": b"mine", "profiles/mine.json.gz": b"mine"}
        if moment.startswith("the"):  # a folder of the user's needs one by one
            mine["drafts/a.txt"] = b"mine"
        for path, content in mine.items():
            (output / path).parent.mkdir(exist_ok=True)
            (output / path).write_bytes(content)
    code = "import sys; from test_report_output import write_and_die; write_and_die(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, moment, str(output)],
        check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    output.mkdir(exist_ok=True)
    write("c", output)
    assert tree(output) == report("c") | mine
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


_WRITER = textwrap.dedent(
    """
    import itertools, json, signal, sys
    from pathlib import Path
    from analyzer.report.manifest import earlier
    from analyzer.report.output import place
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    output, varies = Path(sys.argv[1]), len(sys.argv) > 2
    names = [f"figures/{i}.svg" for i in range(25)] + ["index.html"]
    said = {"kind": "analyzer.report", "priced": {}, "drawn": {}, "profiles": []}
    sys.stdout.write("ready"); sys.stdout.flush()
    for number in itertools.count():
        version = f"version {number}"
        files = dict.fromkeys([*names, f"profiles/{number * varies}.json.gz"], version.encode())
        said |= {"sha256": dict.fromkeys(files, ""), "analyzer": version}
        files["manifest.json"] = json.dumps(said).encode()
        place(files, output, frozenset(names) | {"manifest.json"} | earlier(output))
    """
)


@pytest.mark.parametrize(
    ("stop", "at_once"),
    [
        (signal.SIGKILL, True),
        (signal.SIGTERM, True),
        (signal.SIGINT, True),
        (signal.SIGKILL, False),
    ],
)
def test_a_killed_writer_leaves_one_report(tmp_path, stop, at_once):
    """Each kill leaves files of one version, and all files of the user's; remains are swept.

    Where files are replaced one by one, the next report alone is of one version.
    """
    output = tmp_path / "out"
    theirs = {"notes.txt": b"mine", "figures/mine.png": b"mine"}
    if not at_once:
        theirs["drafts/a.txt"] = b"mine"
        (output / "drafts").mkdir(parents=True)
        (output / "drafts" / "a.txt").write_bytes(b"mine")
    kills = int(os.environ.get("ANALYZER_KILLS", "6"))
    for turn in range(kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(output), "varies"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with writer:
            assert writer.stdout.read(5) == b"ready"
            time.sleep(0.02 + (turn * 7919 % 1000) / 20_000)
            if (output / "figures").exists():
                (output / "notes.txt").write_bytes(b"mine")
                (output / "figures" / "mine.png").write_bytes(b"mine")
                time.sleep((turn * 104_729 % 1000) / 100_000)
            writer.send_signal(stop)
        if output.exists() and at_once:
            found = tree(output)
            # what is not yet back after a kill comes back with the next report
            assert {found.pop(name, b"mine") for name in theirs} == {b"mine"}
            said = json.loads(found.pop("manifest.json"))
            assert found == dict.fromkeys(said["sha256"], said["analyzer"].encode()), "mixed"
    place(report("last"), output, frozenset(f"figures/{i}.svg" for i in range(25))
          | {"index.html", "manifest.json"} | earlier_names(output))  # fmt: skip
    assert tree(output) == report("last") | theirs
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_two_writers_leave_one_report(tmp_path):
    output = tmp_path / "out"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(output)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.read(5) == b"ready"
    time.sleep(1)
    for writer in writers:
        assert writer.poll() is None, "a writer failed"
        writer.kill()
        writer.communicate()
    found = tree(output)
    said = json.loads(found.pop("manifest.json"))
    assert found == dict.fromkeys(said["sha256"], said["analyzer"].encode())
