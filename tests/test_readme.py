"""What README shows is what happens; ``test_docs.py`` checks its links."""

import re
import subprocess
import sys
from pathlib import Path

import analyzer
from analyzer.entries import collect
from analyzer.models import names
from analyzer.report.tables import comparison

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = ("vit-tiny", "spikformer-tiny", "ge2mst-tiny")


def fenced(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_examples_run(tmp_path):
    profile, watch, figures, rule = fenced("python")
    (tmp_path / "profiles").mkdir()
    run(profile + watch, tmp_path)
    run(
        f"import analyzer, pathlib\nfolder = pathlib.Path({str(ROOT / 'profiles')!r})\n{figures}",
        tmp_path,
    )
    drawn = {path.stem for path in tmp_path.glob("*.pdf")}
    assert drawn == {"energy", "layers", "rates", "pareto"}
    assert analyzer.load(tmp_path / "profiles" / "mine.json").samples == 360
    assert re.search(r"linear +binary +72 ", run(rule, tmp_path))  # 4 samples of 6 times 3


def test_the_table_is_that_of_the_committed_profiles():
    profiles = [analyzer.load(ROOT / "profiles" / f"{name}.json.gz") for name in SHOWN]
    table = comparison(collect(profiles, "45nm", "exact"))
    (text,) = fenced("text")
    shown = [re.split(r"\s{2,}", line.strip()) for line in text.strip().splitlines()]
    assert shown == [[str(c) for c in table.shown.columns], *table.rows]


def test_named_models_exist():
    assert set(SHOWN) <= set(names())
