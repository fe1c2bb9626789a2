"""A published table held against dense work, its own operations and its other lines."""

import csv
from pathlib import Path

import pytest

import analyzer
from analyzer.auditing.audit import audit
from analyzer.auditing.networks import Network, network_of, networks
from analyzer.auditing.rows import Given, Row, read_rows
from analyzer.study.dense_work import COLUMNS, dense_work

HEAD = "model,variant,resolution,T,params_M,operations_G,energy_mJ\n"


@pytest.fixture
def found(tmp_path):
    """Audits some lines; returns them by model."""

    def of(*lines, **settings):
        path = tmp_path / "table.csv"
        path.write_text(HEAD + "\n".join(lines), encoding="utf-8")
        frame = audit(path, **settings).frame
        assert frame["line"].tolist() == list(range(2, 2 + len(lines)))
        return [(row.verdict, row.because) for row in frame.itertuples()]

    return of


def test_energies_of_dense_networks_that_are_of_others(found):
    """Lines of tables that were published, each with the energy of another network."""
    lines = found(
        "Swin (ANN),Swin-T,224,1,,,70.84",
        "Swin (ANN),Swin-S,224,1,,,216.20",
        "ViT (ANN),ViT-L/16,224,1,304.3,,80.96",
        "Swin (ANN),Swin-B,224,1,87.77,,70.84",
        "DeiT (ANN),DeiT-B,224,1,86.59,,80.50",
    )
    assert [verdict for verdict, _ in lines] == ["impossible"] * 3 + ["plausible"] * 2
    for (_, because), of in zip(
        lines, ("swin-b at 224", "swin-b at 384", "vit-b-16 at 224"), strict=False
    ):
        assert of in because


def test_a_figure_of_another_network_of_the_same_size(found):
    lines = found("Spikingformer,8-384,224,4,,,4.69", "Spikformer V2,8-384,224,4,,,4.69")
    assert lines[0] == ("doubtful", "the same figure as line 3, Spikformer V2 8-384")
    assert lines[1] == ("doubtful", "the same figure as line 2, Spikingformer 8-384")


def test_three_equal_digits_of_networks_of_other_sizes_are_an_accident(found):
    lines = found("SEW-ResNet,SEW-ResNet-34,224,4,,,4.89", "Max-Former,Max-10-384,224,4,,,4.89")
    assert [verdict for verdict, _ in lines] == ["unknown", "plausible"]


def test_the_first_layer_of_another_network(found):
    """All sizes of one table have the first layer of the middle one."""
    lines = found(
        "Spikformer,8-384,224,4,16.81,6.82,7.734",
        "Spikformer,8-512,224,4,29.68,11.09,11.577",
        "Spikformer,8-768,224,4,66.34,22.09,21.477",
    )
    assert [verdict for verdict, _ in lines] == ["doubtful", "plausible", "doubtful"]
    assert "first layer of spikformer-8-512, not its own" in lines[0][1]
    assert "its first layer as MACs in 4 timesteps" in lines[1][1]


def test_operations_that_take_less_than_an_accumulate(found):
    ((verdict, because),) = found("Spikformer,8-384,,4,16.81,6.82,0.525")
    assert verdict == "impossible"
    assert because.startswith("0.077 pJ for each of its 6.82 G operations")


def test_operations_that_are_all_accumulates(found):
    ((verdict, because),) = found("SpikingResformer,Ti,224,4,11.14,2.73,2.46")
    assert (verdict, "all are accumulates" in because) == ("plausible", True)


def test_more_than_all_its_work(found):
    network = networks()["spikformer-8-512", 224]
    most = 4.6e-9 * network.dense_macs(4)
    lines = found(f"Spikformer,8-512,224,4,,,{most * 1.01:.3f}")
    assert lines[0][0] == "impossible"
    assert found(f"Spikformer,8-512,224,4,,,{most * 0.99:.3f}")[0] == (
        "plausible", "only if layers that read sums of spikes are MACs",
    )  # fmt: skip


def test_rates_that_give_an_energy(found):
    """The energy at a rate of 20 %, with the first layer dense in each timestep, and with none."""
    network = networks()["spikingformer-8-512", 224]
    first, dense = 4 * network.first_macs, network.dense_macs(4)
    energy = 1e-9 * (4.6 * first + 0.9 * 0.2 * (dense - first))
    ((_, because),) = found(f"Spikingformer,8-512,224,4,,,{energy:.9f}")
    assert "20.0 % with a first layer of MACs in each timestep" in because
    ((_, because),) = found(f"Spikingformer,8-512,224,4,,,{1e-9 * 0.9 * 0.2 * dense:.9f}")
    assert "20.0 % with accumulates alone" in because


def test_lines_that_contradict_each_other(found):
    lines = found(
        "Net,8-512,224,4,,,7.46", "Net,8-512,224,4,,,7.4635", "Net,8-512,224,4,,,7.9",
        "Net,8-512,224,1,,,2.1",
    )  # fmt: skip
    verdicts = [verdict for verdict, _ in lines]
    assert verdicts == ["contradicted", "contradicted", "contradicted", "unknown"]
    assert lines[0][1] == "line 4 gives 7.9 mJ for the same network"
    assert lines[1][1] == "line 4 gives 7.9 mJ for the same network"  # 7.46 is 7.4635, rounded


def test_lines_without_timesteps_do_not_contradict_each_other(found):
    lines = found("My SNN,,224,,,,3.0", "My SNN,,224,,,,5.0")
    assert [verdict for verdict, _ in lines] == ["unknown", "unknown"]
    dense = found("DeiT (ANN),DeiT-B,224,,,,80.50", "DeiT (ANN),DeiT-B,224,,,,90.00")
    assert dense[0][0] == "contradicted"


def test_numbers_in_other_forms(tmp_path):
    path = tmp_path / "t.csv"
    text = 'Swin-T,,384x384,1,28.3 M,,2.066e1\n"Net,\n8",,224,4,,,~7.4 mJ\nA,,224,4,,,1.5\n'
    path.write_text(HEAD + text, encoding="utf-8")
    first, second, third = read_rows(path)
    assert (first.resolution, first.energy.value) == (384, 20.66)
    assert first.energy.rounding == pytest.approx(0.005)
    assert first.energy.digits == 4
    assert (second.number, second.energy.value, third.number) == (3, 7.4, 5)
    for cell, says in (("224x384", "resolution '224x384'"), ("two", "resolution 'two'")):
        path.write_text(f"{HEAD}A,,{cell},4,,,1.5\n")
        with pytest.raises(analyzer.AnalyzerError, match=f"line 2 has {says}: give a number"):
            read_rows(path)


def test_parameters_of_another_size(found):
    ((verdict, because),) = found("DeiT (ANN),DeiT-S,224,1,86.59,,21.2")
    assert verdict == "doubtful"
    assert "22.05 M parameters, not 86.59 M" in because


def test_other_constants(found):
    line = "Swin (ANN),Swin-T,224,1,,,6.7359"  # at 1.5 pJ
    assert found(line)[0][0] == "impossible"
    assert found(line, precision="fp16")[0][0] == "plausible"


def test_what_can_not_be_read(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(analyzer.AnalyzerError, match="can not be read as a table"):
        audit(path)
    path.write_text("name,energy_mJ\na,1\n")
    with pytest.raises(analyzer.AnalyzerError, match="no column 'model': it has name, energy_mj"):
        audit(path)
    path.write_text(HEAD)
    with pytest.raises(analyzer.AnalyzerError, match="no multiply-accumulates"):
        audit(path, technology="loihi")
    assert audit(path).frame.empty


def test_lines_without_an_energy_are_counted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"\ufeff{HEAD}a,,,,,,\n\nb,,,,,0.3 MAC + 6.5 AC,\nc,,,,,,1.5\n", "utf-8")
    result = audit(path)
    assert (len(result.frame), result.without_energy) == (1, 2)
    assert "2 lines give none" in result.summary
    assert result.frame["line"].tolist() == [5]
    assert "| c " in result.to_markdown()
    assert "<table>" in result._repr_html_()


def test_numbers_know_their_rounding():
    assert Given(7.46, "7.46").rounding == pytest.approx(0.005)
    assert (Given(0.525, "0.525").digits, Given(70.0, "70").digits) == (3, 2)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("Spikformer 8-384", "spikformer-8-384"),
        ("Spikformer V2 8-512", None),
        ("Spikingformer-CML CML + Spikformer-8-512", None),
        ("Spike-driven Transformer V1 8-768", "sdt-8-768"),
        ("Spike-driven Transformer V2 (Meta-SpikeFormer) 31.3M", "meta-spikeformer-31m"),
        ("Spike-driven Transformer V3 (E-SpikeFormer) 10M", "sdt-v3-10m"),
        ("Spike-driven Transformer V3 (E-SpikeFormer) 173M", "sdt-v3-173m"),
        ("Spike-driven Transformer V3 (E-SpikeFormer) 83M", None),
        ("QKFormer HST-10-768", "qkformer-10-768"),
        ("MS-QKFormer HST-10-384", None),
        ("SpikingResformer Ti", "spikingresformer-ti"),
        ("SEW-ResNet SEW-ResNet-34", None),
        ("ResNet-34", "resnet-34"),
        ("Transformer (ANN baseline of Spikformer) 8-512", None),
        ("SDT V1 + STAtten 8-768", "statten-8-768"),
        ("SDT V1 + MD-Mixer 8-768", None),
        ("Max-Former Max-10-384", "max-former-10-384"),
        ("MSViT MSViT-10-512", "msvit-10-512"),
        ("Swin-T", "swin-t"),
        ("MST (ANN-to-SNN) Swin-T", None),
    ],
)
def test_names_of_networks(name, network):
    row = Row(2, name, "", 224, 4, None, None, None)
    found = network_of(row)
    assert (found.name if found else None) == network


def test_the_order_of_columns_does_not_matter(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Energy_mJ,T,Network\n1.5,4,Net\n")
    assert read_rows(path) == [Row(2, "Net", "", None, 4, None, None, Given(1.5, "1.5"))]


@pytest.mark.parametrize(
    "name", ["spikformer-8-384", "statten-8-768", "swin-b", "vit-l-16", "resnet-50"]
)
@pytest.mark.slow
def test_the_work_of_networks_is_what_counting_gives(name):
    assert dense_work(name, 224) == _listed(name, 224)


def test_the_list_of_networks_is_sound():
    path = Path(analyzer.__file__).parent / "auditing" / "networks.csv"
    with path.open(encoding="utf-8") as file:
        assert tuple(csv.DictReader(file).fieldnames) == COLUMNS
    assert {name for name, _ in networks()} >= {"swin-s", "swin-b", "vit-l-16", "qkformer-10-768"}
    for network in networks().values():
        assert isinstance(network, Network)
        assert 0 < network.first_macs < network.step_macs
    # Published counts of torchvision and timm: 4.4906 G and 61.6 G multiply-accumulates.
    assert networks()["swin-t", 224].step_macs == pytest.approx(4.4906e9, rel=1e-3)
    assert networks()["vit-l-16", 224].step_macs == pytest.approx(61.6e9, rel=5e-3)


def _listed(name, resolution):
    path = Path(analyzer.__file__).parent / "auditing" / "networks.csv"
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["network"], row["resolution"]) == (name, str(resolution)):
                text = ("network", "spiking")
                return {key: value if key in text else int(value) for key, value in row.items()}
    raise AssertionError(f"{name} at {resolution} is not listed")
