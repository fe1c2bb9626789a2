"""The archive of energy cards: the same bytes each time, and safe against those of others."""

import io
import os
import stat
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from report_profiles import HOSTILE, dense, spiking

import analyzer
from analyzer.cards import archive
from analyzer.cards.archive import packed, refuse_large, unpack
from analyzer.cards.check import check
from analyzer.errors import AnalyzerError
from analyzer.report.compared import MOST_BYTES, MOST_UNPACKED


def test_the_same_profiles_give_the_same_bytes(tmp_path):
    one = analyzer.card([dense(), spiking(HOSTILE)], tmp_path / "one")
    again = analyzer.card([dense(), spiking(HOSTILE)], tmp_path / "two")
    assert one.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(one) as file:
        names = [member.filename for member in file.infolist()]
        assert names == sorted(names)
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {member.compress_type for member in file.infolist()} == {zipfile.ZIP_STORED}
    for name in names:
        with zipfile.ZipFile(one) as file:
            assert file.read(name) == (tmp_path / "one" / name).read_bytes()


OUTSIDE = "/tmp/a-file-of-the-tests-of-energy-cards"


def zipped(members, compression=zipfile.ZIP_STORED):
    """A zip of names or members with contents, as given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def linked(kind=stat.S_IFLNK):
    member = zipfile.ZipInfo("manifest.json")
    member.create_system = 3
    member.external_attr = (kind | 0o777) << 16
    return zipped([(member, "/etc/passwd")])


def encrypted():
    data = bytearray(zipped([("a", b"x")]))
    at = data.rindex(b"PK\x01\x02") + 8
    data[at : at + 2] = b"\x01\x00"
    return bytes(data)


def lying():
    """A member that unpacks to more than it says."""
    data = bytearray(zipped([("a", bytes(10**6))], zipfile.ZIP_DEFLATED))
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<L", 10)
    return bytes(data)


def many(said=None):
    data = bytearray(zipped([(f"f{n}", b"") for n in range(archive.MOST_MEMBERS + 1)]))
    if said is not None:
        data[-14:-10] = struct.pack("<2H", said, said)
    return bytes(data)


def sixty_four():
    """A zip whose end points to another end, which is read instead of it."""
    data = zipped([("a", b"x")])
    return data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:]


def renamed(name):
    """A member of a name that Python itself would not write."""
    return zipped([("#" * len(name), b"x")]).replace(b"#" * len(name), name)


ATTACKS = {
    "no zip": b"this is no zip at all, but a text of some length",
    "empty": b"",
    "cut": zipped([("a", b"x" * 1000)])[:-40],
    "parent": zipped([("../outside", b"x")]),
    "deep parent": zipped([("cards/../../outside", b"x")]),
    "absolute": zipped([(OUTSIDE, b"x")]),
    "drive": zipped([("C:outside", b"x")]),
    "backslash": renamed(b"..\\outside"),
    "link": linked(),
    "device": linked(stat.S_IFCHR),
    "folder without a slash": linked(stat.S_IFDIR),
    "twice": zipped([("a", b"1"), ("b", b"2")]).replace(b"b", b"a"),
    "encrypted": encrypted(),
    "lzma": zipped([("a", b"x")], zipfile.ZIP_LZMA),
    "lying": lying(),
    "bomb": zipped([("a", bytes(MOST_BYTES + 1))], zipfile.ZIP_DEFLATED),
    "many": many(),
    "many that are said to be few": many(3),
    "two ends": sixty_four(),
    "a file that is a folder": zipped([("a", b"x"), ("a/b", b"x")]),
    "comment": zipped([("a", b"x")])[:-2] + b"\x04\x00PK\x05\x06",
    "nothing": zipped([]),
    "damaged": zipped([("manifest.json", b"{}" * 50)]).replace(b"{}{}", b"{]{}", 1),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_archives_are_refused_in_a_sentence(attack, tmp_path, monkeypatch):
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "unpacked"))
    path = place / "evil.zip"
    path.write_bytes(ATTACKS[attack])
    tracemalloc.start()
    with pytest.raises(AnalyzerError) as refused:
        check(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert not Path(OUTSIDE).exists()


def test_an_archive_is_unpacked_where_it_was_told_and_nowhere_else(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "good.zip").write_bytes(packed({"a/b.txt": b"x", "c": b"y"}))
    assert unpack(tmp_path / "good.zip", tmp_path / "in") == ["a/b.txt", "c"]
    assert (tmp_path / "in" / "a" / "b.txt").read_bytes() == b"x"
    with pytest.raises(AnalyzerError, match="can not be read"):
        unpack(tmp_path / "missing.zip", tmp_path / "in")


def gzipped(content):
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzipped(b" " * (MOST_UNPACKED + 1)), "holds more than any profile"),
        (gzipped(b"[" + b"[]," * archive.MOST_VALUES + b"[]]"), "holds more than any profile"),
        (gzipped(b"[" * 10**5), "can not be read"),
        (gzipped(b'{"sent": [{"silent": "4294967296 eJw="}]}'), "more neurons than a model has"),
        (gzipped(b'{"sent": [{"silent": "many eJw="}]}'), "can not be read"),
        (b"{}", "can not be read"),
        (gzipped(b"{}")[:-4], "can not be read"),
    ],
)
def test_profiles_that_would_fill_the_memory_are_refused(content, sentence, tmp_path):
    (tmp_path / "x.json.gz").write_bytes(content)
    with pytest.raises(AnalyzerError, match=sentence):
        refuse_large(tmp_path / "x.json.gz", "x.json.gz")


def test_a_hostile_archive_takes_little_memory(tmp_path):
    """The whole command, in a process that may not have more than 1 GiB beside its code."""
    path = tmp_path / "bomb.zip"
    path.write_bytes(ATTACKS["bomb"])
    code = (
        "import re, sys; from pathlib import Path; from analyzer.cli import main\n"
        "try: main(['card', '--check', sys.argv[1]])\n"
        "except SystemExit as stop: code = stop.code\n"
        "assert code == 1\n"
        # ru_maxrss would be that of the process that started it, where that is larger.
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "assert int(peak[1]) < 512 * 1024"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "more than 256 MiB" in done.stderr
    assert "Traceback" not in done.stderr
