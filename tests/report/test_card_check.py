"""The check of energy cards: it passes elsewhere, and whatever was changed is told."""

import gzip
import hashlib
import json
import random
import re
import shlex
import shutil
import zipfile

import pytest
from cli.running import run
from report_profiles import HOSTILE, dense, spiking
from test_card_archive import zipped

import analyzer
from analyzer.cards.check import check
from analyzer.errors import AnalyzerError
from analyzer.report.compared import MOST_BYTES
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
    place = tmp_path_factory.mktemp("made")
    (place / "chip.toml").write_text(CHIP, encoding="utf-8")
    profiles = [dense(correct=2), spiking(HOSTILE), spiking(HOSTILE)]
    analyzer.card(profiles, place / "out", technology=f"{place}/chip.toml(add_pj.fp32=0.25)")
    (place / "chip.toml").unlink()
    return place / "out"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy (1)")


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_a_reviewer_needs_nothing_but_the_archive(made, tmp_path):
    path = shutil.copy(made / "energy-cards.zip", tmp_path / "paper 12.zip")
    found = check(tmp_path / "paper 12.zip")
    assert found.passed, found.sentences
    assert re.fullmatch(
        rf"{re.escape(str(path))}: \d+ files are what the manifest says, and the archive made "
        r"again from the profiles is the same\.",
        "\n".join(found.sentences),
    )
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "unpacked")
    assert check(tmp_path / "unpacked").passed
    names = {name.rpartition("/")[0] for name in members(path)}
    assert names == {"", "cards", "constants", "profiles"}


def test_no_path_of_this_machine_is_in_it(made):
    for name, content in members(made / "energy-cards.zip").items():
        if not name.endswith(".gz"):
            assert str(made.parent).encode() not in content, name
    said = json.loads(members(made / "energy-cards.zip")["manifest.json"])
    assert said["priced"]["technology"] == "constants/chip.toml(add_pj.fp32=0.25)"


def test_the_readme_gives_commands_that_make_the_folder_again(folder):
    text = (folder / "README.md").read_text("utf-8")
    lines = re.findall("^analyzer .*$", text, re.M)
    assert len(lines) == 3
    for line in lines:
        run(*shlex.split(line)[1:], cwd=folder)
    one, other = (members(p / "energy-cards.zip") for p in (folder, folder / "again"))
    assert one == other


def test_the_commands_of_a_card_work_in_its_folder(folder):
    text = (folder / "cards" / "dense.md").read_text("utf-8")
    lines = re.findall("^analyzer .*$", text, re.M)
    assert len(lines) == 3
    for line in lines:
        run(*shlex.split(line)[1:], cwd=folder)
    for kind in ("md", "tex", "html"):
        path = folder / "again" / "cards" / f"dense.{kind}"
        assert path.read_bytes() == (folder / "cards" / f"dense.{kind}").read_bytes()


def test_a_card_that_was_edited_is_told_with_its_line(folder):
    path = folder / "cards" / "dense.md"
    path.write_text(path.read_text("utf-8").replace("27.0 nJ", "12.0 nJ"), encoding="utf-8")
    found = check(folder)
    assert not found.passed
    assert (found.found.changed, found.found.differing) == (
        ("cards/dense.md",),
        ("cards/dense.md",),
    )
    assert any(
        "cards/dense.md, line 3" in line and "here 'One inference of dense takes 12.0 nJ" in line
        and "27.0 nJ" in line.partition("computed again")[2]
        for line in found.sentences
    ), found.sentences  # fmt: skip


@pytest.mark.parametrize("kind", ["tex", "html"])
def test_other_formats_that_were_edited_are_told(folder, kind):
    path = folder / "cards" / f"dense.{kind}"
    path.write_bytes(path.read_bytes().replace(b"12,000", b"11,000"))
    assert check(folder).found.differing == (f"cards/dense.{kind}",)


def rewritten(path, edit):
    """The archive again, with a manifest that fits what was edited."""
    files = members(path)
    edit(files)
    said = json.loads(files["manifest.json"])
    for name in said["sha256"]:
        if name in files:
            said["sha256"][name] = hashlib.sha256(files[name]).hexdigest()
    files["manifest.json"] = json.dumps(said).encode()
    path.write_bytes(zipped(files.items()))
    return path


def test_a_card_that_its_manifest_agrees_with_is_still_computed_again(folder):
    def edit(files):
        files["cards/dense.md"] = files["cards/dense.md"].replace(b"12,000", b"11,000")

    found = check(rewritten(folder / "energy-cards.zip", edit))
    assert not found.passed
    assert (found.found.changed, found.found.differing) == ((), ("cards/dense.md",))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("profiles/dense.json.gz", b'"dense_macs": 20000', b'"dense_macs": 20002'),
        ("constants/chip.toml", b"fp32 = 2", b"fp32 = 3"),
    ],
)
def test_facts_and_prices_that_were_edited_change_the_cards(folder, name, old, new):
    path = folder / name
    packed = name.endswith(".gz")
    data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    assert old in data
    data = data.replace(old, new)
    path.write_bytes(gzip.compress(data) if packed else data)
    found = check(folder).found
    assert found.changed == (name,)
    assert {f"cards/dense.{kind}" for kind in ("md", "tex", "html")} <= set(found.differing)


def test_another_compression_is_no_difference(folder):
    path = folder / "profiles" / "dense.json.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    found = check(folder).found
    assert found.changed == ("profiles/dense.json.gz",)
    assert found.differing == ()
    files = members(folder / "energy-cards.zip")
    (folder / "again.zip").write_bytes(zipped(files.items(), zipfile.ZIP_DEFLATED))
    assert check(folder / "again.zip").passed


def test_files_that_lack_and_files_that_are_too_many_are_told(folder):
    path = folder / "energy-cards.zip"
    files = members(path)
    html = files.pop("cards/dense.html")
    path.write_bytes(zipped([*files.items(), ("cards/more.html", html)]))
    found = check(path)
    assert not found.passed
    assert found.found.missing == ("cards/dense.html",)
    assert found.sentences[-1] == "Not in the manifest: cards/more.html."
    del files["profiles/dense.json.gz"]
    path.write_bytes(zipped(files.items()))
    with pytest.raises(AnalyzerError, match=r"lacks the profile profiles/dense\.json\.gz"):
        check(path)


def test_cards_of_another_version_pass_where_the_figures_are_the_same(folder):
    path = folder / "energy-cards.zip"
    version = analyzer.__version__.encode()

    def edit(files):
        said = json.loads(files["manifest.json"])
        said["analyzer"] = "0.0.9"
        files["manifest.json"] = json.dumps(said).encode()
        for name in files:
            if name.startswith("cards/"):
                files[name] = files[name].replace(b"analyzer " + version, b"analyzer 0.0.9")
        files["README.md"] = files["README.md"].replace(b"version " + version, b"version 0.0.9")

    found = check(rewritten(path, edit))
    assert found.passed, found.sentences
    assert f"by version 0.0.9, this is {analyzer.__version__}" in found.sentences[0]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("kind", "analyzer.report", "no manifest of analyzer.cards"),
        ("profiles", ["../../secret.json.gz"], "not inside of it"),
        ("profiles", ["cards/dense.md"], "which is no profile"),
        ("profiles", ["profiles/dense.json.gz"] * 2, "names a profile twice"),
        ("profiles", [3], "no manifest"),
        ("priced", {}, "does not tell its technology"),
        ("priced", {"technology": "../chip.toml", "convention": "exact", "precision": "fp32"},
         "not inside of it"),
        ("priced", {"technology": "/etc/x.toml", "convention": "exact", "precision": "fp32"},
         "not inside of it"),
        ("priced", {"technology": "45nm", "convention": "exact", "precision": "fp32", "memory": 5},
         "says 5 for its memory"),
        ("priced", {"technology": "45nm", "convention": "nonsense", "precision": "fp32"},
         "unknown convention"),
        ("sha256", {"../x": "0"}, "not inside of it"),
        ("sha256", {"x": 0}, "no manifest"),
    ],
)  # fmt: skip
def test_hostile_manifests_are_refused(folder, key, value, sentence):
    path = folder / "manifest.json"
    path.write_text(
        json.dumps(json.loads(path.read_text("utf-8")) | {key: value}), encoding="utf-8"
    )
    with pytest.raises(AnalyzerError, match=sentence) as refused:
        check(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "nonsense", "[" * 10**5, '{"kind": "analyzer.cards"}']
)
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(AnalyzerError, match="manifest"):
        check(folder)


def test_links_to_outside_are_refused(folder, tmp_path):
    (tmp_path / "outside.html").write_text("secret", encoding="utf-8")
    (folder / "cards" / "dense.html").unlink()
    (folder / "cards" / "dense.html").symlink_to(tmp_path / "outside.html")
    with pytest.raises(AnalyzerError, match="a link to outside of it"):
        check(folder)


def test_names_that_differ_in_capitals_alone_are_two(tmp_path):
    archive = analyzer.card([dense("Net"), dense("net")], tmp_path / "out")
    assert check(archive).passed


def test_a_folder_that_would_fill_the_memory_is_refused(folder):
    with (folder / "cards" / "dense.html").open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(AnalyzerError, match="holds more than 256 MiB"):
        check(folder)


def test_priced_keys_that_are_none_are_passed_over(folder):
    path = folder / "manifest.json"
    said = json.loads(path.read_text("utf-8"))
    said["priced"]["surprise"] = {"a": 1}
    path.write_text(json.dumps(said), encoding="utf-8")
    assert check(folder).passed


def test_profiles_that_were_scrambled_end_in_a_sentence(folder):
    """Values of a profile, each exchanged for others: a result or one sentence, nothing else."""
    path = folder / "profiles" / "dense.json.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    spans = [m.span() for m in re.finditer(r'(?<=: )(?:-?\d+|null|true|false|"[^"]*")', text)]
    chosen = random.Random(0)
    sentences = []
    for _ in range(60):
        start, end = chosen.choice(spans)
        value = chosen.choice(
            ["-1", "0", "1e300", "9" * 400, "null", '"\\u0000|$\\\\"', "[]", "{}"]
        )
        path.write_bytes(gzip.compress(f"{text[:start]}{value}{text[end:]}".encode(), 1))
        try:
            found = check(folder)
        except AnalyzerError as error:
            sentences.append(str(error))
        else:
            assert found.found.changed == ("profiles/dense.json.gz",)
    assert 0 < len(sentences) < 60
    assert not any("\n" in sentence for sentence in sentences)


def test_constants_that_nest_without_end_are_refused(folder):
    (folder / "constants" / "chip.toml").write_text("a = " + "[" * 10**5, encoding="utf-8")
    with pytest.raises(AnalyzerError) as refused:
        check(folder)
    assert "\n" not in str(refused.value)


def test_nothing_to_check_is_said(tmp_path):
    with pytest.raises(AnalyzerError, match="there is no"):
        check(tmp_path / "none.zip")
    with pytest.raises(AnalyzerError, match="manifest"):
        check(tmp_path)


def test_new_cards_take_the_place_of_old_ones_and_files_of_yours_stay(folder):
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "cards" / "mine.md").write_text("mine", encoding="utf-8")
    analyzer.card(spiking("other"), folder)
    assert {p.name for p in (folder / "profiles").iterdir()} == {"other.json.gz"}
    assert {p.name for p in (folder / "cards").iterdir()} == {
        "mine.md", "other.md", "other.tex", "other.html"
    }  # fmt: skip
    assert (folder / "notes.txt").read_text("utf-8") == "mine"
    assert check(folder).passed


def test_a_readme_of_something_else_is_kept(tmp_path):
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(AnalyzerError, match=r"holds README\.md and no manifest of energy cards"):
        analyzer.card(spiking(), tmp_path)
    assert (tmp_path / "README.md").read_text("utf-8") == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    render([spiking()], tmp_path / "report", only=["energy"])
    with pytest.raises(AnalyzerError, match="no manifest of energy cards"):
        analyzer.card(spiking(), tmp_path / "report")


def test_nothing_to_write_is_said(tmp_path):
    with pytest.raises(AnalyzerError, match="give at least one profile"):
        analyzer.card([], tmp_path / "out")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(AnalyzerError, match="file"):
        analyzer.card(spiking(), tmp_path / "file")
    with pytest.raises(AnalyzerError, match="unknown technology"):
        analyzer.card(spiking(), tmp_path / "out", technology="46nm")
    assert not (tmp_path / "out").exists()
