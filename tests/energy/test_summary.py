"""The tree of layers: its sums, its shapes, and how it shows itself."""

import io
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from rich.console import Console
from torch import nn

import analyzer
from analyzer.models.neurons import LIF


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(6, 18)
        self.out = nn.Linear(6, 6)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out((q @ k.transpose(-2, -1)).softmax(-1) @ v)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), Attention()])
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 2)
        self.head_again = self.head

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x).mean(1))


@pytest.fixture(scope="module")
def profile():
    torch.manual_seed(0)
    return analyzer.profile(Net().eval(), torch.rand(3, 4, 6), name="net")


def by_module(summary):
    frame = summary.frame
    return frame[frame["op"] == ""].set_index("module")


def test_each_line_holds_the_sum_of_what_is_below_it(profile):
    frame = profile.summary().frame
    for at, row in frame[frame["op"] == ""].iterrows():
        rest = frame.iloc[at + 1 :]
        ends = rest.index[rest["depth"] <= row["depth"]]
        subtree = rest.loc[: ends[0] - 1] if len(ends) else rest
        below = subtree[subtree["depth"] == row["depth"] + 1]
        if not below.empty:
            for column in ("dense_macs", "mac", "energy_mj"):
                assert row[column] == pytest.approx(below[column].sum(), rel=1e-12)


def test_the_first_line_is_the_whole_model(profile):
    total = profile.summary().frame.iloc[0]
    each = profile.per_sample()
    assert total[["dense_macs", "ac", "mac"]].tolist() == [
        each[k] for k in ("dense_macs", "ac", "mac")
    ]
    assert total["energy_mj"] == pytest.approx(profile.energy().total_mj, rel=1e-12)
    assert total["parameters"] == profile.parameters == sum(p.numel() for p in Net().parameters())
    assert total["kind"] == "Net"
    assert total["share"] == 1


def test_shapes_are_those_of_the_first_batch(profile):
    modules = by_module(profile.summary())
    assert modules.loc["blocks.1.qkv", "input"] == (3, 4, 6)
    assert modules.loc["blocks.1.qkv", "output"] == (3, 4, 18)
    assert modules.loc["blocks", "input"] is None
    assert modules.loc["head", "parameters"] == 14


def test_products_beside_modules_have_a_line_of_their_own(profile):
    frame = profile.summary().frame
    own = frame[(frame["module"] == "blocks.0") & (frame["op"] != "")]
    assert own["op"].tolist() == ["matmul"]
    assert own["mac"].tolist() == [2 * 4 * 4 * 6]
    assert frame[frame["module"] == "head"]["op"].tolist() == [""]


def test_products_of_attention_written_with_at_have_a_line_each():
    class Spiking(Attention):
        def forward(self, x):
            q, k, v = ((y > -0.3).float() for y in self.qkv(x).chunk(3, -1))
            return self.out(q @ k.transpose(-2, -1) @ v)

    torch.manual_seed(0)
    profile = analyzer.profile(Spiking().eval(), torch.rand(3, 4, 6))
    frame = profile.summary().frame
    lines = frame[frame["op"] != ""].set_index("op")
    assert list(lines.index) == ["matmul 1", "matmul 2"]
    table = profile.energy().table
    products = table[table["op"] == "matmul"]
    assert list(products["input_class"]) == ["binary*binary", "graded*binary"]
    assert lines["ac"].to_list() == products["ac"].to_list()
    linear = profile.summary().frame.query("kind == 'Linear'")
    assert (linear["op"] == "").all()


def test_what_lies_deeper_is_in_the_sums(profile):
    whole, shallow = profile.summary(), profile.summary(1)
    assert shallow.frame["depth"].max() == 1
    expected = whole.frame[whole.frame["depth"] <= 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(shallow.frame, expected)
    assert len(profile.summary(0).frame) == 1
    for wrong in (-1, True, "2"):
        with pytest.raises(analyzer.AnalyzerError, match="number of levels"):
            profile.summary(wrong)


def test_firing_rates_are_those_of_the_layers_that_spike():
    torch.manual_seed(0)
    first, second = nn.Linear(5, 4), nn.Linear(4, 3)
    model = nn.Sequential(nn.Sequential(first, LIF()), nn.Sequential(second, LIF())).eval()
    x = 3 * torch.rand(4, 2, 5)
    profile = analyzer.profile(model, x, timesteps=4, layouts={"": "T B D"})
    spikes = profile.spikes()
    modules = by_module(profile.summary())
    for row in spikes.itertuples():
        assert modules.loc[row.module, "firing_rate"] == row.firing_rate
    values = (spikes["neurons"] * spikes["timesteps"]).sum() * profile.samples
    assert modules.loc["", "firing_rate"] == pytest.approx(spikes["spikes"].sum() / values)
    assert math.isnan(modules.loc["0.0", "firing_rate"])


def test_a_tree_is_drawn_with_its_branches(profile):
    lines = [line.split("  ")[0].rstrip() for line in repr(profile.summary(2)).splitlines()]
    assert lines[3:7] == ["Net", "├─ blocks: ModuleList", "│", "│"]
    text = repr(profile.summary(2))
    assert "│  ├─ 0: Attention" in text
    assert "│  └─ 1: Attention" in text
    assert "└─ head: Linear" in text
    assert text.startswith("net: 3 samples, T = 1\n")


def test_what_is_not_known_is_left_out():
    table = {"module": ["a.b", "c"], "op": ["linear"] * 2, "dense_macs": [10, 20]}
    rated = analyzer.from_rates(table | {"firing_rate": [0.5, 1]}, name="paper").summary()
    assert list(rated.shown()) == ["Layer", "Dense MACs", "AC", "MAC", "Energy", "Share"]
    assert rated.frame["module"].tolist() == ["", "a", "a.b", "c"]
    counted = analyzer.count(Net(), (4, 6)).summary()
    assert list(counted.shown()) == ["Layer", "Input", "Output", "Parameters", "Dense MACs"]
    assert "shapes alone" in repr(counted)
    empty = analyzer.from_rates(table | {"firing_rate": [0.5, 1]})
    assert "Nothing ran" in repr(replace(empty, samples=0, shapes=()).summary())


def test_profiles_of_earlier_versions_have_a_tree_of_paths(profile):
    early = replace(profile, layers=None).summary()
    assert set(early.frame["module"]) == {
        "", "blocks", "blocks.0", "blocks.0.qkv", "blocks.0.out", "blocks.1", "blocks.1.qkv",
        "blocks.1.out", "head",
    }  # fmt: skip
    assert early.frame.iloc[0]["mac"] == profile.summary().frame.iloc[0]["mac"]


def test_layers_are_saved_and_kept_in_sums(profile, tmp_path):
    again = analyzer.load(profile.save(tmp_path / "p.json.gz"))
    assert again.layers == profile.layers
    assert (profile + again).layers == profile.layers


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_terminal_of_any_width_shows_whole_cells(profile, width):
    console = Console(width=width, record=True, file=io.StringIO())
    summary = profile.summary()
    console.print(summary)
    lines = console.export_text().splitlines()
    assert all(len(line) <= width for line in lines)
    if width >= 60:
        assert "…" not in "\n".join(lines)


def test_objects_show_themselves_in_a_notebook_and_a_terminal(profile):
    shows = DisplayFormatter().format
    for what in (profile, profile.summary(1), profile.energy(), analyzer.compare([profile])):
        data, _ = shows(what)
        assert "<table>" in data["text/html"]
        assert "net" in data["text/html"]
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(what)
        assert "nJ" in console.export_text()


def test_names_are_escaped_in_html(profile):
    hostile = replace(
        profile, metadata={**profile.metadata, "name": "<img src=x onerror=alert(1)>"}
    )
    assert "<img" not in hostile._repr_html_()
