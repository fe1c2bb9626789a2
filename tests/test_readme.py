"""README is one screen, and its table is that of the demo; ``test_docs.py`` runs its blocks."""

import re
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


def test_it_is_short():
    assert len(README.splitlines()) <= 70
    (code,) = fenced("python")
    assert len(code.splitlines()) <= 11  # ten lines, and an empty one after the imports


def test_the_table_is_that_of_the_committed_profiles():
    profiles = [analyzer.load(ROOT / "profiles" / f"{name}.json.gz") for name in SHOWN]
    table = comparison(collect(profiles, "45nm", "exact"))
    (text,) = fenced("text")
    shown = [re.split(r"\s{2,}", line.strip()) for line in text.strip().splitlines()]
    assert shown == [[str(c) for c in table.shown.columns], *table.rows]


def test_named_models_exist():
    assert set(SHOWN) <= set(names())
