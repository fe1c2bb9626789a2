"""The command ``summary``: the tree of layers of a saved profile, without torch."""

from pathlib import Path

import analyzer

from .running import main_in_process, runs_without_torch

PROFILE = Path(__file__).parents[2] / "profiles" / "ge2mst-tiny.json.gz"


def test_it_prints_the_tree_and_loads_no_torch():
    lines = runs_without_torch(["summary", PROFILE, "--depth", "1"]).splitlines()
    summary = analyzer.load(PROFILE).summary(1)
    assert lines[0] == summary.title
    assert [line.split("  ")[0] for line in lines[3:-2] if line][: len(summary.frame)] == [
        layer.rstrip() for layer in summary.shown()["Layer"]
    ]


def test_prices_reach_it(capsys):
    main_in_process(["summary", str(PROFILE), "--technology", "7nm", "--memory", "spikingjelly"])
    out = capsys.readouterr().out
    summary = analyzer.load(PROFILE).summary(technology="7nm", memory="spikingjelly")
    assert summary.basis in out
    assert summary.shown()["Energy"].iloc[0] in out
