"""Files are written whole or not at all, stay what they are, and are read without hanging."""

import errno
import gzip
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from analyzer import files
from analyzer.errors import AnalyzerError
from analyzer.files import read_limited, write_atomically


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "private", b"x")
        os.umask(0o002)
        write_atomically(tmp_path / "shared", b"x")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "private"), mode(tmp_path / "shared")) == (0o600, 0o664)


def test_a_file_keeps_its_mode(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    target.chmod(0o640)
    write_atomically(target, b"new")
    assert (target.read_bytes(), mode(target)) == (b"new", 0o640)


def test_a_symbolic_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    link.symlink_to("there/real")
    for content in (b"first", b"second"):  # the link dangles at first
        write_atomically(link, content)
        assert link.is_symlink()
        assert real.read_bytes() == content
    assert [p.name for p in real.parent.iterdir()] == ["real"]


def test_a_pipe_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"x" * 200_000)
    reader.join(20)
    assert found == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_nobody_reads_ends_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WAIT_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AnalyzerError, match="nothing read from it"):
        write_atomically(tmp_path / "pipe", b"x")


def test_a_device_stays_a_device(tmp_path):
    """A null device of its own, as a program of root must not replace /dev/null."""
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_bytes(b"x")
    except PermissionError:
        pytest.skip("only root makes devices")
    write_atomically(device, b"x")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["null"]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(AnalyzerError, match="it is a folder"):
        write_atomically(tmp_path, b"x")


def test_what_can_not_be_written_is_refused_before(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    for good in (tmp_path / "a", tmp_path / "b" / "c", Path(os.devnull)):
        files.refuse_unwritable(good)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    for bad, why in ((tmp_path, "it is a folder"), (tmp_path / "a" / "b", "Not a directory")):
        with pytest.raises(AnalyzerError, match=f"cannot write {bad}: {why}"):
            files.refuse_unwritable(bad)


def test_a_name_as_long_as_names_can_be(tmp_path):
    write_atomically(tmp_path / ("é" * 120 + "a" * 15), b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o400)
    with pytest.raises(AnalyzerError, match="read-only"):
        write_atomically(tmp_path / "a", b"new")
    tmp_path.chmod(0o500)
    with pytest.raises(AnalyzerError, match=r"cannot write .*b: Permission denied"):
        write_atomically(tmp_path / "b", b"new")


def test_a_read_only_folder_of_another_user(tmp_path):
    """As root, in a process that gives its rights away."""
    if os.geteuid():
        pytest.skip("only root takes another's place")
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o644)
    tmp_path.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from analyzer.files import refuse_unwritable, write_atomically\n"
        "from analyzer.errors import AnalyzerError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for name in ('a', 'b'):\n"
        "    try: write_atomically(Path(sys.argv[1]) / name, b'new')\n"
        "    except AnalyzerError as error: print(error)\n"
        "    try: refuse_unwritable(Path(sys.argv[1]) / name)\n"
        "    except AnalyzerError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"cannot write {tmp_path}/a: it is read-only.",
        f"cannot write {tmp_path}/a: it is read-only.",
        f"cannot write {tmp_path}/b: Permission denied.",
        f"cannot write {tmp_path}/b: nothing can be written in {tmp_path}.",
    ]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """A limit on the size of files fails in the middle of a write, as a full disk does."""
    target = tmp_path / "a"
    target.write_bytes(b"old")
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from analyzer.files import write_atomically\n"
        "from analyzer.errors import AnalyzerError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: write_atomically(Path(sys.argv[1]), b'x' * 1_000_000)\n"
        "except AnalyzerError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cannot write {target}: {os.strerror(errno.EFBIG)}.\n"
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


_WRITER = textwrap.dedent(
    """
    import itertools, sys
    from pathlib import Path
    from analyzer.files import write_atomically
    sys.stdout.write("ready"); sys.stdout.flush()
    for number in itertools.count():
        write_atomically(Path(sys.argv[1]), f"{number:07d}".encode() * 50_000)
    """
)


def test_a_killed_writer_leaves_a_whole_file_and_the_next_sweeps(tmp_path):
    target = tmp_path / "a.json"
    for turn in range(int(os.environ.get("ANALYZER_KILLS", "10"))):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.PIPE
        )
        with writer:
            assert writer.stdout.read(5) == b"ready"
            time.sleep(0.01 + (turn * 7919 % 1000) / 20_000)
            writer.send_signal(signal.SIGKILL)
        if target.exists():
            content = target.read_bytes()
            assert content == content[:7] * 50_000
    write_atomically(target, b"last")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_several_writers_of_one_file(tmp_path):
    target = tmp_path / "a.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    time.sleep(1.5)
    for _ in range(100):
        content = target.read_bytes()
        assert content == content[:7] * 50_000
    assert [writer.poll() for writer in writers] == [None] * 3, "a writer failed"
    for writer in writers:
        writer.kill()
        writer.wait()
    write_atomically(target, b"last")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_reading_is_limited_before_and_after_decompression(tmp_path):
    (tmp_path / "plain").write_bytes(b"x" * 1001)
    (tmp_path / "packed").write_bytes(gzip.compress(b"x" * 1001))
    for name in ("plain", "packed"):
        assert read_limited(tmp_path / name, 1001) == b"x" * 1001
        with pytest.raises(AnalyzerError, match=r"more than 1,000 bytes, .*; --most raises"):
            read_limited(tmp_path / name, 1000, raised_by="--most")
    with pytest.raises(AnalyzerError, match="more than"):
        read_limited("/dev/zero", 1000)


def test_a_pipe_is_read_to_its_end(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write():
        with pipe.open("wb") as stream:
            for _ in range(3):
                stream.write(b"x" * 100_000)
                stream.flush()
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_limited(pipe, 10**6) == b"x" * 300_000
    writer.join()


def test_a_pipe_without_a_writer_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WAIT_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"nothing was written to it within 0\.1 seconds"):
        read_limited(tmp_path / "pipe", 1000)


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(os.urandom(1000))
    (tmp_path / "a").write_bytes(whole[:500])
    with pytest.raises(OSError, match="damaged gzip"):
        read_limited(tmp_path / "a", 10_000)
