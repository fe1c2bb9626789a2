"""The command ``summary``: the tree of layers of a saved profile, without torch."""

import subprocess
import sys
from pathlib import Path

import analyzer

from .running import main_in_process

PROFILE = Path(__file__).parents[2] / "profiles" / "ge2mst-tiny.json.gz"


def test_it_prints_the_tree_and_loads_no_torch():
    code = (
        "import sys; from analyzer.cli import main\n"
        f"try: main(['summary', {str(PROFILE)!r}, '--depth', '1'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
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
