"""The study that rebuilds published energies: each figure, and the committed page."""

from pathlib import Path

import pandas as pd
import pytest
from cli.running import main_in_process

import analyzer
from analyzer.study import reproduction

REPORT = Path(__file__).parents[2] / "reports" / "reproduction"


@pytest.fixture(scope="module")
def cases():
    return {case.model: case for case in reproduction.cases()}


def test_the_log_of_spikingformer():
    """Source: Spikingformer-8-512_log.txt, run of the whole validation set."""
    profile = reproduction.spikingformer_8_512()
    read = profile.operations("rate")
    assert read["mac"].sum() == 347_329_512
    assert read["ac"].sum() / 1e9 == pytest.approx(6.51754094076244, rel=1e-9)
    energy = profile.energy("45nm", "rate")
    assert energy.total_mj == pytest.approx(7.463502601886196, rel=1e-9)
    assert len(read) == 54 + 16
    assert set(read.loc[read["mac"] > 0, "module"]) == {"patch_embed.proj_conv", "head"}


def test_what_is_reproduced_and_what_is_not(cases):
    assert [name for name, case in cases.items() if not case.fits] == [
        "Spikformer 8-512, recomputed"
    ]
    assert len(cases) == 15
    for case in cases.values():
        assert case.source
        assert case.finding


@pytest.mark.parametrize("size", ["8-384", "8-768"])
def test_spikformer_figures_take_the_first_convolution_of_another_size(cases, size):
    """Each figure has 4.6 pJ times the MACs of a first convolution of width 64 in it."""
    case = cases[f"Spikformer {size}"]
    rows = analyzer.count(f"spikformer-{size}").counts
    own = int(rows.loc[rows["module"] == "stem.units.0.layer", "dense_macs"].item())
    sops = case.rebuilt.table.loc[
        case.rebuilt.table["module"] == "synaptic operations", "ac"
    ].item()
    with_own = (0.9 * sops + 4.6 * own) * 1e-9
    assert abs(case.difference) < 1e-4
    assert abs(with_own / case.published_mj - 1) > 0.03


def test_the_committed_page_is_what_is_rendered(tmp_path):
    main_in_process(["study", "reproduction", "-o", str(tmp_path)])
    for path in REPORT.rglob("*.*"):
        assert (tmp_path / path.relative_to(REPORT)).read_bytes() == path.read_bytes()
    table = pd.read_csv(tmp_path / "tables" / "reproduction.csv")
    assert table["reproduced"].sum() == 14
    log = analyzer.load(tmp_path / "profiles" / "spikingformer-8-512.json")
    assert log == reproduction.spikingformer_8_512()
