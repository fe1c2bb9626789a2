"""What is in the folder of a report beside its page, and whether a check of it can fail."""

import base64
import gzip
import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from importlib.resources import files

import pandas as pd
import pytest
from cli.running import run
from report_profiles import HOSTILE, dense, spiking

import analyzer
from analyzer import files as reading
from analyzer.cards.check import check as check_cards
from analyzer.errors import AnalyzerError
from analyzer.profiles import load
from analyzer.report.check import check
from analyzer.report.live.payload import unpack
from analyzer.report.page import render

CHIP = """
name = "chip"
title = "A chip of mine"
source = "measured"
[add_pj]
fp32 = 0.5
[multiply_pj]
fp32 = 2
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("folder")
    (place / "chip.toml").write_text(CHIP, encoding="utf-8")
    profiles = [dense(), spiking(HOSTILE), spiking(HOSTILE)]
    render(profiles, place / "out", technology=str(place / "chip.toml"), only=["energy"])
    (place / "chip.toml").unlink()
    return place / "out"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_a_reviewer_needs_nothing_but_the_folder(folder):
    found = check(folder)
    assert found.passed, found.sentences
    assert (found.missing, found.changed, found.differing) == ((), (), ())
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    here = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert manifest["sha256"].keys() == here - {"manifest.json"}
    assert manifest["priced"]["technology"] == "constants/chip.toml"
    profiles = [load(folder / path) for path in manifest["profiles"]]
    assert [p.name for p in profiles] == ["dense", HOSTILE, f"{HOSTILE} (2)"]
    assert len(set(manifest["profiles"])) == 3


def test_files_with_brackets_behind_them_are_in_the_folder(tmp_path):
    place = tmp_path / "mine (1)"
    place.mkdir()
    (place / "chip.toml").write_text(CHIP, encoding="utf-8")
    memory = files("analyzer.energy") / "memories" / "spyx.toml"
    (place / "mem.toml").write_bytes(memory.read_bytes())
    asked = {
        "technology": "chip.toml(add_pj.fp32=0.125)",
        "memory": "mem.toml(weight_bits=8, neurons=none)",
    }
    priced = {key: f"{place}/{spec}" for key, spec in asked.items()}
    render([dense()], place / "out", **priced, only=["energy"])
    folder = shutil.move(place / "out", tmp_path / "moved (2)")
    shutil.rmtree(place)

    said = json.loads((folder / "manifest.json").read_text("utf-8"))["priced"]
    assert {key: said[key] for key in asked} == {k: f"constants/{v}" for k, v in asked.items()}
    assert {path.name for path in (folder / "constants").iterdir()} == {"chip.toml", "mem.toml"}
    found = check(folder)
    assert found.passed, found.sentences
    for path in ("index.html", "README.md", "manifest.json", "tables/comparison.csv"):
        assert str(place) not in (folder / path).read_text("utf-8")
    line = re.search("^analyzer compare .*chip.*$", (folder / "README.md").read_text("utf-8"), re.M)
    done = run(*shlex.split(line[0])[1:], "--format", "json", cwd=folder)
    (row,) = json.loads(done.stdout)
    table = pd.read_csv(folder / "tables" / "comparison.csv")
    assert row["energy_mj"] == pytest.approx(table["energy_mj"].item())


def test_no_path_of_this_machine_is_in_it(folder):
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".md", ".json", ".csv", ".tex"):
            assert str(folder.parent.parent) not in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        ("tables/comparison.csv", lambda data: data.replace(b"dense", b"tense")),
        ("index.html", lambda data: data.replace(b"Models", b"Madels", 1)),
        ("README.md", lambda data: data + b"\n"),
    ],
)
def test_a_file_that_was_edited_is_told(folder, path, edit):
    (folder / path).write_bytes(edit((folder / path).read_bytes()))
    found = check(folder)
    assert not found.passed
    assert found.changed == (path,)
    assert path in found.differing


def test_a_profile_that_was_edited_changes_the_report(folder):
    path = folder / "profiles" / "dense.json.gz"
    text = gzip.decompress(path.read_bytes()).replace(
        b'"dense_macs": 20000', b'"dense_macs": 20002'
    )
    path.write_bytes(gzip.compress(text))
    found = check(folder)
    assert found.changed == ("profiles/dense.json.gz",)
    assert "tables/comparison.csv" in found.differing
    assert "index.html" in found.differing


def test_another_compression_is_no_difference(folder):
    path = folder / "profiles" / "dense.json.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    found = check(folder)
    assert found.changed == ("profiles/dense.json.gz",)
    assert found.differing == ()


def test_files_that_are_gone_are_told(folder):
    gone = ("figures/energy.svg", "index.html")
    for path in gone:
        (folder / path).unlink()
    found = check(folder)
    assert not found.passed
    assert (found.missing, found.changed, found.differing) == (gone, (), ())
    (sentence,) = found.sentences
    assert re.fullmatch(r"2 of \d+ files are not here: figures/energy.svg, index.html.", sentence)
    (folder / "profiles" / "dense.json.gz").unlink()
    with pytest.raises(AnalyzerError, match=r"lacks the profile profiles/dense\.json\.gz"):
        check(folder)


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"kind": "analyzer.report"}'])
def test_what_is_no_report_is_refused(folder, text):
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(AnalyzerError, match="manifest"):
        check(folder)


@pytest.mark.parametrize(
    ("part", "key", "value", "sentence"),
    [
        ("priced", "technology", 5, "says 5 for its technology"),
        ("priced", "convention", None, "says None for its convention"),
        ("priced", "memory", ["lemaire"], "for its memory"),
        ("drawn", "only", 5, "says 5 for its only"),
        ("drawn", "only", [["energy"]], "no figure is called"),
        ("drawn", "font", 3, "says 3 for its font"),
        ("drawn", "title", {}, "for its title"),
        ("drawn", "width", True, "says True for its width"),
        ("drawn", "width", 1e6, "no figure can be 1e[+]06 inches wide: give 0.1 to 100"),
        ("drawn", "width", 1e-9, "no figure can be 1e-09 inches wide"),
        ("", "profiles", ["profiles/dense.json.gz"] * 2, "names a profile twice"),
    ],
)
def test_a_manifest_of_others_is_refused_in_a_sentence(folder, part, key, value, sentence):
    path = folder / "manifest.json"
    said = json.loads(path.read_text("utf-8"))
    (said[part] if part else said)[key] = value
    path.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(AnalyzerError, match=sentence):
        check(folder)


def test_a_pipe_for_a_manifest_holds_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WAIT_S", 0.05)
    os.mkfifo(tmp_path / "manifest.json")
    for checked in (check, check_cards):
        with pytest.raises(AnalyzerError, match="nothing was written to it"):
            checked(tmp_path)
    with pytest.raises(AnalyzerError, match="pipe or device"):
        render([dense()], tmp_path, only=["energy"])
    with pytest.raises(AnalyzerError, match="no manifest of energy cards"):
        analyzer.card(dense(), tmp_path)


def test_files_that_would_fill_the_memory_are_refused(folder):
    large = folder / "manifest.json.large"
    large.write_bytes(b"{" + b" " * (4 << 20))
    kept = (folder / "manifest.json").read_bytes()
    large.replace(folder / "manifest.json")
    with pytest.raises(AnalyzerError, match="holds more than 4 MiB"):
        check(folder)
    (folder / "manifest.json").write_bytes(kept)
    bomb = base64.b64encode(gzip.compress(bytes(65 << 20), 1)).decode()
    with pytest.raises(OSError, match="more than any"):
        unpack(bomb)
    page = (folder / "index.html").read_text("utf-8")
    page = re.sub('id="data">[^<]*<', f'id="data">{bomb}<', page)
    (folder / "index.html").write_text(page, encoding="utf-8")
    assert check(folder).differing == ("index.html",)
    with (folder / "index.html").open("wb") as file:
        file.truncate((256 << 20) + 1)  # takes no room on the disk
    with pytest.raises(AnalyzerError, match=r"refused: its index\.html is larger than any"):
        check(folder)


def test_names_and_data_are_no_pictures_in_markdown(tmp_path):
    name = "![p](http://evil/p.png)"
    profile = dense(name)
    profile = replace(profile, metadata={**profile.metadata, "data": name})
    render([profile], tmp_path / "one", only=["energy"])
    render([profile, dense()], tmp_path / "two", only=["energy"], title=f"{name} <b>")
    pages = [path.read_text("utf-8") for path in tmp_path.rglob("*.md")]
    assert len(pages) == 4
    for page in pages:
        assert "![p]\\(http" in page
        assert "](" not in page
        assert "<b>" not in page


def test_a_manifest_reads_nothing_outside(folder):
    said = json.loads((folder / "manifest.json").read_text("utf-8"))
    said["profiles"] = ["../../secret.json"]
    said["sha256"]["../../secret.json"] = "0"
    (folder / "manifest.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(AnalyzerError, match="not inside of it"):
        check(folder)


def test_a_new_report_takes_the_place_of_the_old_one(folder):
    (folder / "profiles" / "mine.json").write_text("kept", encoding="utf-8")
    render([spiking("other")], folder, only=["energy"])
    assert {p.name for p in (folder / "profiles").iterdir()} == {"other.json.gz", "mine.json"}
    assert not (folder / "constants").exists() or not any((folder / "constants").iterdir())
    assert check(folder).passed


def test_the_command_line_checks(folder):
    command = ("report", "--check", folder)
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is the same" in done.stdout
    (folder / "README.md").write_text("", encoding="utf-8")
    done = run(*command, check=False)
    assert done.returncode == 1
    assert "Changed since the report was made: README.md." in done.stdout
    assert run("report", check=False).returncode == 2


def test_pictures_that_are_there_as_svg_may_lack(folder):
    for path in folder.rglob("*.p[dn][fg]"):
        path.unlink()
    found = check(folder)
    assert found.passed
    assert found.spared == 2
    assert "2 pictures (PDF, PNG) are not here" in found.sentences[0]
    (folder / "figures" / "energy.svg").unlink()
    assert check(folder).missing == (
        "figures/energy.pdf",
        "figures/energy.png",
        "figures/energy.svg",
    )
