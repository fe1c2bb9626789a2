"""The quantised twin of a spiking profile, held against the network itself run on integers."""

import math

import pytest
import torch
from cli.running import run
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based.neuron import IFNode
from torch import nn

import analyzer
from analyzer.energy.pricing.price import price
from analyzer.models.neurons import LIF
from analyzer.report.page import render
from analyzer.twins.quantised import bits_of, levels_of

T = 4


class Attention(nn.Module):
    """Convolution, layers and both products of attention: [*, B, C, H, W] -> [*, B, D]."""

    def __init__(self, make):
        super().__init__()
        self.act = nn.ModuleList(make() for _ in range(5))
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3, bias=False)

    def forward(self, x):
        time = x.shape[:-3]
        x = self.act[0](self.conv(x.flatten(0, -4)).unflatten(0, time))
        x = x.flatten(-2).transpose(-1, -2)
        q, k, v = (a(y) for a, y in zip(self.act[1:4], self.qkv(x).chunk(3, -1), strict=True))
        return self.out(self.act[4](q @ k.transpose(-1, -2) @ v)).mean(-2)


class Positive(nn.Module):
    """Reals that are nowhere zero, as far as a profile is concerned."""

    def forward(self, x):
        return x.abs() + torch.rand_like(x)


@pytest.fixture(scope="module")
def both():
    torch.manual_seed(0)
    snn, ann = Attention(LIF).eval(), Attention(Positive).eval()
    ann.load_state_dict(snn.state_dict(), strict=False)
    x = torch.randn(5, 2, 4, 4)
    spiking = analyzer.profile(
        snn, x.expand(T, *x.shape).contiguous(), timesteps=T, layouts={"": "T B C H W"}, name="snn"
    )
    return spiking, analyzer.profile(ann, x, name="ann")


def test_the_twin_has_the_work_and_the_moves_of_the_network_run_once(both):
    spiking, ann = both
    twin = analyzer.quantised_twin(spiking)
    work = ["module", "op", "dense_macs"]
    ours = twin.counts.groupby(work[:2], sort=False)["dense_macs"].sum()
    theirs = ann.counts[ann.counts["dense_macs"] > 0]
    assert ours.to_dict() == theirs.groupby(work[:2], sort=False)["dense_macs"].sum().to_dict()
    read = twin.operations("exact")
    assert (read["mac"].sum(), read["ac"].sum()) == (ann.totals["mac"], 0)
    assert (twin.samples, twin.parameters) == (5, spiking.parameters)


@pytest.mark.parametrize(
    "memory",
    [
        "yan",
        "yan(hops=2)",
        "spyx(neurons=none)",
        "spyx(weight_reads=step, neurons=none)",
        "bit-serial",
        "lemaire(neurons=none)",
        "yan(output_writes=once, bias_reads=bias, neurons=none)",
        "yan(bias_reads=output, input_reads=window, neurons=none)",
    ],
)
def test_memory_models_charge_the_twin_what_they_charge_the_network(both, memory):
    spiking, ann = both
    twin = analyzer.quantised_twin(spiking)
    ours, theirs = (price(p, "45nm", "exact", "w8a3", memory).components for p in (twin, ann))
    assert ours == pytest.approx({**theirs, "neurons_pj": ours["neurons_pj"]})
    assert ours["weights_pj"] > 0


def test_a_loop_over_time_has_the_same_twin(both):
    class Looped(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)
            self.act = LIF()

        def forward(self, x):
            return self.second(self.act(self.first(x)))

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Looped()

        def forward(self, x):
            return torch.stack([self.net(x[t : t + 1]) for t in range(len(x))]).mean(0)

    x = torch.rand(3, 7, 6)
    whole = analyzer.profile(Looped().eval(), x, timesteps=3, layouts={"": "T B D"})
    looped = analyzer.profile(Loop().eval(), x, timesteps=3, layouts={"": "T B D"})
    dense = [analyzer.quantised_twin(p, 3).totals["dense_macs"] for p in (whole, looped)]
    assert dense == [7 * (6 * 5 + 5 * 3)] * 2


def test_a_layer_that_runs_once_is_not_divided():
    class Static(nn.Module):
        """The first layer sees the image once, and what it gives is repeated."""

        def __init__(self):
            super().__init__()
            self.first, self.head, self.act = nn.Linear(6, 5), nn.Linear(5, 3), LIF()

        def forward(self, x):
            return self.head(self.act(self.first(x).expand(T, -1, -1))).mean(0)

    profile = analyzer.profile(Static().eval(), torch.rand(7, 6), timesteps=T)
    dense = analyzer.quantised_twin(profile).counts.set_index("module")["dense_macs"]
    assert dense.to_dict() == {"first": 7 * 30, "head": 7 * 15}


@given(st.integers(1, 10_000))
def test_bits_are_the_logarithm_rounded_up(levels):
    assert bits_of(levels) == math.ceil(math.log2(levels + 1))


@pytest.mark.parametrize(("sends", "levels"), [("binary", 4), ("ternary", 8), ("graded", 12)])
def test_levels_follow_from_what_spikes_tell(sends, levels):
    high = {"binary": (0, 1), "ternary": (-1, 1), "graded": (0, 3)}[sends]

    class Spikes(nn.Module):
        def forward(self, x):
            return (
                torch.arange(x.numel()).reshape(x.shape).remainder(high[1] - high[0] + 1)
                + high[0].__float__()
            )

    model = nn.Sequential(Spikes(), nn.Linear(6, 3)).eval()
    profile = analyzer.profile(model, torch.rand(T, 5, 6), timesteps=T, layouts={"": "T B D"})
    assert levels_of(profile) == levels
    assert f"{bits_of(levels)}-bit twin" in analyzer.quantised_twin(profile).name


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.sampled_from([2, 4, 8]))
def test_widths_of_both_are_those_that_are_asked_for(both, levels, weights):
    found = analyzer.against_twin(both[0], levels=levels, weight_bits=weights)
    precision = f"w{weights}a{bits_of(levels)}"
    row = found.rows.set_index("memory").loc["arithmetic alone"]
    assert row["energy_pj"] == price(both[0], "45nm", "exact", precision).total_pj
    assert row["dense_pj"] == price(found.twin, "45nm", "exact", precision).total_pj
    serial = found.rows.set_index("memory").loc["arithmetic alone, bit by bit"]
    add = price(found.twin, "45nm", "exact", precision).constants["ac_pj"]
    macs = found.twin.totals["dense_macs"] / found.twin.samples
    assert serial["dense_pj"] == pytest.approx(macs * bits_of(levels) * add)


def test_an_accuracy_is_kept_and_shown(both):
    spiking, _ = both
    assert analyzer.quantised_twin(spiking, accuracy=0.6).accuracy == 0.6
    assert analyzer.quantised_twin(spiking).accuracy is None
    told = analyzer.against_twin(spiking, accuracy=0.8).notes
    assert "Accuracy: unknown spiking, 80.0 % as the twin." in told
    assert any("is not known" in note for note in analyzer.against_twin(spiking).notes)


def test_the_twin_is_saved_compared_and_reported(both, tmp_path):
    twin = analyzer.quantised_twin(both[0])
    assert analyzer.load(twin.save(tmp_path / "twin.json")) == twin
    table = analyzer.compare([both[0], twin], precision="w8a3").frame
    assert table["dense_macs"].tolist()[0] == T * table["dense_macs"].tolist()[1]
    even = analyzer.break_even(both[0], twin, precision="w8a3")
    assert even.dense.total_pj == twin.energy(precision="w8a3").total_pj
    page = render([both[0], twin], tmp_path / "report", precision="w8a3", only=["energy"])
    assert "snn, 3-bit twin" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"levels": 0}, "levels is 0: give a whole number from 1"),
        ({"levels": 2.5}, "levels is 2.5"),
        ({"levels": True}, "levels is True"),
        ({"accuracy": 93}, "accuracy is 93: give a share from 0 to 1"),
        ({"accuracy": float("nan")}, "accuracy is nan"),
    ],
)
def test_figures_that_can_not_be_are_refused(both, given, message):
    with pytest.raises(analyzer.AnalyzerError, match=message):
        analyzer.quantised_twin(both[0], **given)


def test_a_network_without_spikes_has_no_twin(both):
    with pytest.raises(analyzer.AnalyzerError, match="no layer of 'ann' reads spikes"):
        analyzer.quantised_twin(both[1])
    with pytest.raises(analyzer.AnalyzerError, match="weight_bits is 0"):
        analyzer.against_twin(both[0], weight_bits=0)


def test_rates_alone_do_not_tell_what_a_timestep_does():
    table = {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    with pytest.raises(analyzer.AnalyzerError, match="dense work and rates alone"):
        analyzer.quantised_twin(analyzer.from_rates(table))


def test_the_command_line_writes_the_twin(both, tmp_path):
    both[0].save(tmp_path / "snn.json")
    asked = ["twin", "snn.json", "--accuracy", "0.8", "--save", "twin.json", "-o", "out"]
    said = run(*asked, cwd=tmp_path)
    assert "arithmetic alone, bit by bit" in said.stdout
    assert "saved twin.json" in said.stdout
    assert analyzer.load(tmp_path / "twin.json").accuracy == 0.8
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"memory.md", "memory.svg"}
    wrong = run("twin", "twin.json", cwd=tmp_path, check=False)
    assert wrong.returncode == 1
    assert "reads spikes, so it has no quantised twin" in wrong.stderr


def test_timesteps_that_do_other_work_have_no_twin():
    class Narrowing(nn.Module):
        """Reads fewer tokens in each timestep, as pruning does."""

        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(6, 3), LIF()

        def forward(self, x):
            spikes = self.act(3 * x)
            return sum(self.fc(spikes[t, :, : 8 - 2 * t]).sum(1) for t in range(T))

    profile = analyzer.profile(
        Narrowing().eval(), torch.rand(T, 5, 8, 6), timesteps=T, layouts={"": "T B N D"}
    )
    with pytest.raises(analyzer.AnalyzerError, match="'fc' of 'Narrowing' does other work"):
        analyzer.quantised_twin(profile)


def test_a_loop_that_nothing_tells_is_taken_for_time_and_said_so():
    class Again(nn.Module):
        """Reads one image twice a timestep, and does so before any neuron runs."""

        def __init__(self):
            super().__init__()
            self.first, self.act, self.fc = nn.Linear(6, 6), IFNode(), nn.Linear(6, 3)

        def forward(self, x):
            read = [self.first(x) + 1 for _ in range(2 * T)]
            return sum(self.fc(self.act(read[t] + read[t + T])) for t in range(T))

    profile = analyzer.profile(Again().eval(), 3 * torch.rand(5, 6), timesteps=T)
    found = analyzer.against_twin(profile, memories=(None,))
    assert found.twin.totals["dense_macs"] == 5 * (2 * 36 + 18)
    assert any("Nothing says when first ran" in note for note in found.notes)


def test_both_sides_have_the_widths_that_the_note_names(both):
    found = analyzer.against_twin(both[0])
    for report in found.reports:
        if report.memory is not None:
            assert (report.memory.state_bits, report.memory.spike_bits) == (8, 1)
            assert report.memory.weight_bits == 8
            assert report.memory.activation_bits == found.activation_bits
    assert "potentials have 8 bits" in found.notes[0]
