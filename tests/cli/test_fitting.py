"""``analyzer fit`` and ``analyzer hardware``, as processes of their own."""

from pathlib import Path

import analyzer

from .running import run, runs_without_torch

PROFILE = Path(__file__).parents[2] / "profiles" / "spikformer-tiny.json.gz"


def test_an_answer_is_that_of_python_and_needs_no_torch():
    found = analyzer.fit(analyzer.load(PROFILE), "loihi", weight_bits=4)
    printed = runs_without_torch(["fit", PROFILE, "--chip", "loihi", "--weight-bits", "4"])
    assert found.summary in printed
    for note in found.notes:
        assert note in printed
    starts = {line.split()[0] for line in printed.splitlines() if line}
    assert set(found.rows["module"]) <= starts


def test_a_file_of_ones_own_that_began_as_a_shipped_one(tmp_path):
    (tmp_path / "mine.toml").write_text(run("hardware", "--toml", "loihi").stdout, "utf-8")
    run("fit", PROFILE, "--chip", "mine.toml", "-o", "out", cwd=tmp_path)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"fit.md", "fit.csv", "fit.svg"}
    page = (tmp_path / "out" / "fit.md").read_text("utf-8")
    assert analyzer.fit(analyzer.load(PROFILE), "loihi").summary in page


def test_chips_are_listed_figure_by_figure():
    listed = run("hardware").stdout.splitlines()
    row = next(line for line in listed if line.startswith("truenorth") and " cores " in line)
    assert "4,096" in row
    assert "Akopyan" in row
    assert {line.split()[0] for line in listed[1:]} == set(analyzer.hardware())


def test_wrong_words_end_in_one_sentence():
    refused = run("fit", PROFILE, "--chip", "loihy", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: unknown chip 'loihy': did you mean 'loihi'")
    assert "Traceback" not in refused.stderr
    assert run("fit", PROFILE, check=False).returncode == 2
    assert run("fit", PROFILE, "--chip", "loihi", "--weight-bits", "x", check=False).returncode == 2
