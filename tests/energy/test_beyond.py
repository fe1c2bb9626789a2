"""Spiking against dense under every memory model."""

import math

import pandas as pd
import pytest
import torch
from torch import nn

import analyzer
from analyzer import models
from analyzer.energy.paradigms.beyond import VARIANTS
from analyzer.errors import AnalyzerError
from analyzer.report.answers import write


@pytest.fixture(scope="module")
def profiles():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    return [
        analyzer.profile(models.build(name, pretrained=True).eval(), x, name=name)
        for name in ("ge2mst-tiny-ann", "ge2mst-tiny", "ge2mst-tiny-stbp")
    ]


def test_every_row_is_a_break_even(profiles, tmp_path):
    dense, *spiking = profiles
    found = analyzer.beyond_arithmetic(dense, spiking, precision="int8")
    assert len(found.rows) == len(VARIANTS) * 2
    for row in found.rows.to_dict("records"):
        memory = None if row["memory"] == "arithmetic alone" else row["memory"]
        one = next(p for p in spiking if p.name == row["model"])
        alone = analyzer.break_even(one, dense, precision="int8", memory=memory)
        assert row["energy_pj"] == alone.spiking.total_pj
        assert row["ratio"] == pytest.approx(row["energy_pj"] / row["dense_pj"])
        never = alone.break_even_rate is None
        assert math.isnan(row["break_even_rate"]) if never else True
        assert (row["ratio"] < 1) == (not never and alone.break_even_rate > alone.rate)
    page = write(found, tmp_path / "out").read_text("utf-8")
    assert found.summary in page
    assert all(note in page for note in found.notes)
    read = pd.read_csv(tmp_path / "out" / "memory.csv")
    assert read["energy_pj"].tolist() == pytest.approx(found.rows["energy_pj"].tolist())


def test_it_takes_a_dense_and_a_spiking_profile(profiles):
    with pytest.raises(AnalyzerError, match="at least one spiking"):
        analyzer.beyond_arithmetic(profiles[0], [])
    plain = analyzer.profile(nn.Linear(3, 2).eval(), torch.rand(1, 3))
    with pytest.raises(AnalyzerError, match="it takes a spiking model here"):
        analyzer.beyond_arithmetic(profiles[0], [plain], memories=[None])


def test_other_technologies_leave_out_what_they_have_no_memory_for(profiles):
    found = analyzer.beyond_arithmetic(profiles[0], profiles[1:], "7nm")
    assert [note.split(" is left out")[0] for note in found.skipped] == ["state"]
    assert "knows no level 'sram_32KiB'" in found.notes[0]
    with pytest.raises(AnalyzerError, match="knows no level"):
        analyzer.beyond_arithmetic(profiles[0], profiles[1:], "7nm", memories=["state"])


def test_models_of_one_name_stay_apart(profiles):
    found = analyzer.beyond_arithmetic(profiles[0], [profiles[1], profiles[1]], memories=[None])
    assert found.rows["model"].tolist() == ["ge2mst-tiny", "ge2mst-tiny (2)"]
