"""``analyzer card`` in processes of its own: it writes, checks, refuses, and needs no torch."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from .running import run, runs_without_torch

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "profiles"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    output = tmp_path_factory.mktemp("cards") / "out"
    done = run("card", PROFILES, "-o", output, "--memory", "spyx", "--precision", "int8")
    assert done.stdout == f"wrote 3 cards in {output / 'cards'} and {output / 'energy-cards.zip'}\n"
    return output


def test_a_folder_gives_a_card_of_each_profile(made):
    names = {path.name for path in (made / "cards").iterdir()}
    models = ("ge2mst-tiny", "spikformer-tiny", "vit-tiny")
    assert names == {f"{model}.{kind}" for model in models for kind in ("md", "tex", "html")}
    said = json.loads((made / "manifest.json").read_text("utf-8"))
    assert said["priced"] == {
        "technology": "45nm", "convention": "exact", "precision": "int8", "memory": "spyx",
    }  # fmt: skip


def test_the_archive_passes_elsewhere(made, tmp_path):
    shutil.copy(made / "energy-cards.zip", tmp_path / "a.zip")
    done = run("card", "--check", "a.zip", cwd=tmp_path)
    assert done.stdout == (
        "a.zip: 13 files are what the manifest says, and the archive made again from the profiles "
        "is the same.\n"
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        file.extractall(tmp_path / "here")
    assert run("card", "--check", ".", cwd=tmp_path / "here").stdout.startswith(".: 13 files are")


def test_what_differs_is_said_with_exit_code_1(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    path = folder / "cards" / "vit-tiny.md"
    text = path.read_text("utf-8")
    assert "99.72 %" in text
    path.write_text(text.replace("99.72 %", "99.92 %"), encoding="utf-8")
    done = run("card", "--check", folder, check=False)
    assert done.returncode == 1
    assert "Changed since the archive was made: cards/vit-tiny.md." in done.stdout
    assert "99.92 % (359 of 360)" in done.stdout
    assert "computed again '| Accuracy | 99.72 % (359 of 360) |'" in done.stdout


@pytest.mark.parametrize(
    "words", [("--check", "none.zip"), ("--check", "here.zip"), ("none.json", "-o", "x")]
)
def test_a_refusal_is_one_sentence(words, tmp_path):
    (tmp_path / "here.zip").write_text("no zip")
    done = run("card", *words, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("a.json",), ("-o", "x"), ("a.json", "--check", "x")])
def test_wrong_usage_ends_with_2(words, tmp_path):
    assert run("card", *words, cwd=tmp_path, check=False).returncode == 2


def test_it_loads_no_torch(made, tmp_path):
    runs_without_torch(["card", PROFILES / "vit-tiny.json.gz", "-o", tmp_path / "out"])
    runs_without_torch(["card", "--check", made / "energy-cards.zip"])
