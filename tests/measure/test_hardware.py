"""Measured energy: a counter that wraps, a model left alone, and no figure where there is none."""

import pytest
import torch
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure import hardware as hardware
from analyzer.measure.hardware import NVML, RAPL, measure_energy


class Counter:
    """A meter that adds one joule at each reading."""

    name = "a counter"

    def __init__(self):
        self.now = 0

    def reading(self):
        self.now += 1
        return self.now

    def joules_since(self, start):
        return float(self.reading() - start)


@pytest.fixture
def powercap(tmp_path):
    """Two packages and a core zone inside one of them, which must not count twice."""
    for name, uj in (("intel-rapl:0", 900), ("intel-rapl:1", 50), ("intel-rapl:0:0", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{uj}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    return tmp_path


def test_packages_add_up_and_wrap(powercap):
    meter = RAPL(powercap)
    assert meter.name == "RAPL, 2 CPU packages"
    start = meter.reading()
    assert start == [900, 50]
    (powercap / "intel-rapl:0" / "energy_uj").write_text("100")  # over its limit of 1000
    (powercap / "intel-rapl:1" / "energy_uj").write_text("80")
    assert meter.joules_since(start) == pytest.approx((200 + 30) * 1e-6)


def test_energy_is_shared_by_samples():
    counter = Counter()
    found = measure_energy(nn.Linear(3, 2), [torch.rand(5, 3)], seconds=0, meter=counter)
    assert found.samples == 5
    assert found.millijoules == pytest.approx(1000 / 5)
    assert found.milliseconds > 0
    assert str(found).endswith("per sample, a counter, 5 samples")


def test_samples_are_counted_on_the_batch_axis():
    inputs = [torch.rand(4, 2, 3)]
    found = measure_energy(
        nn.Linear(3, 2), inputs, seconds=0, meter=Counter(), timesteps=4, layouts={"": "T B D"}
    )
    assert found.samples == 2


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_energy(model, [(torch.rand(5, 3), torch.zeros(5))], seconds=0, meter=Counter())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(AnalyzerError, match="no batch of tensors"):
        measure_energy(model, [], meter=Counter())


def test_absent_hardware_is_not_measured_and_never_zero(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "meter_of", lambda device: RAPL(tmp_path))
    found = measure_energy(nn.Linear(3, 2), [torch.rand(5, 3)], seconds=0.02)
    assert found.millijoules is None
    assert found.milliseconds > 0
    said = "not measured: this machine shows no energy counter of its CPU (RAPL); "
    assert str(found) == f"{said}{found.milliseconds:.4g} ms per sample"
    assert found.as_metadata()["millijoules"] is None


def test_a_gpu_without_a_driver_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(AnalyzerError, match="no energy counter of its GPU"):
        NVML()


def test_it_is_kept_beside_the_facts(tmp_path):
    profile = analyzer.profile(nn.Linear(3, 2).eval(), torch.rand(5, 3))
    found = measure_energy(nn.Linear(3, 2), [torch.rand(5, 3)], seconds=0, meter=Counter())
    both = {**profile.metadata, "measured_energy": found.as_metadata()}
    kept = analyzer.Profile(**{**vars_of(profile), "metadata": both})
    again = analyzer.load(kept.save(tmp_path / "p.json"))
    assert again.metadata["measured_energy"]["millijoules"] == pytest.approx(200)
    assert again.energy().total_pj == profile.energy().total_pj


def vars_of(profile):
    names = ("samples", "metadata", "contractions", "tallies", "uncounted", "groups", "correct")
    return {name: getattr(profile, name) for name in names}
