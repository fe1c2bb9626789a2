"""The study of trained runs: measured on a few images, resumed, compared and rendered."""

import dataclasses
import shutil

import pandas as pd
import pytest
import torch
from tiny_runs import IMAGES, train_runs, write_images
from typer.testing import CliRunner

from analyzer import models
from analyzer.cli import app
from analyzer.data.splits import open_splits
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint
from analyzer.plot import canvas
from analyzer.profiles import load
from analyzer.study.runs import collection, costs, measure, rendering
from analyzer.study.runs.collection import about
from analyzer.study.runs.statistics import holm
from analyzer.train.records import read_runs

pytestmark = pytest.mark.slow

STEPS = (
    "model,timesteps,samples,saved_bytes,measured_peak_bytes,seconds\n"
    "ann,1,16,100,120,0.1\nge2mst,1,16,200,220,0.2\nge2mst,4,16,200,220,0.2\n"
    "stbp,1,16,200,220,0.2\nstbp,4,16,800,820,0.8\n"
)
SETTINGS = {"converted": (2,), "other_steps": (2,), "twin_levels": (2, 6), "steps": False}


@pytest.fixture(scope="module", autouse=True)
def _fewer():
    """Two readings of memory and one format of figures: the others take as long again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "VARIANTS", (None, "state"))
        patch.setattr(canvas, "FORMATS", ("svg",))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("runs")
    train_runs(folder, data)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory, runs, data):
    folder = tmp_path_factory.mktemp("study")
    (folder / "tables").mkdir()
    (folder / "tables" / "training.csv").write_text(STEPS)
    measure.measure(runs, folder, data=data, noted=lambda text: None, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def found(measured):
    return collection.read(measured)


@pytest.fixture(scope="module")
def tables(found):
    return rendering.tables_of(found, "45nm", "exact")


@pytest.fixture(scope="module")
def rendered(found, measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered") / "study"
    shutil.copytree(measured, folder)
    return rendering.render(collection.read(folder), folder)


def test_every_run_is_measured_as_all_that_its_weights_can_be(found):
    assert set(found.series) == {
        "ge2mst-tiny-ann", "ge2mst-tiny-converted T=2",
        "ge2mst-tiny-stbp", "ge2mst-tiny-stbp T=2", "ge2mst-tiny", "ge2mst-tiny T=2",
        "ge2mst-tiny G=2 K=2 m=1", "ge2mst-tiny w=1e-06", "vit-tiny",
    }  # fmt: skip
    assert {s: sorted(found.of(s)) for s in found.series if s.startswith("ge2mst-tiny-")} == {
        s: [0, 1] for s in found.series if s.startswith("ge2mst-tiny-")
    }
    assert found.samples == IMAGES
    steps = {s: p.metadata["timesteps"] for s in found.series for p in found.of(s).values()}
    assert steps["ge2mst-tiny-converted T=2"] == steps["ge2mst-tiny T=2"] == 2
    assert steps["ge2mst-tiny"] == steps["ge2mst-tiny-stbp"] == 4


def test_accuracies_are_those_of_the_networks_themselves(found, runs, data):
    """Those of the training's own record, and of a conversion built by hand."""
    for profile in found.profiles:
        if about(profile)["trained"]:
            assert profile.accuracy == pytest.approx(about(profile)["recorded_accuracy"])
    model = models.build("ge2mst-tiny-converted", timesteps=2).eval()
    load_checkpoint(model, runs / "ge2mst-tiny-ann-s1.safetensors")
    images, labels = zip(*open_splits(data, (1, 32, 32)).test, strict=True)
    with torch.no_grad():
        right = model(torch.stack(images)).argmax(1) == torch.as_tensor(labels)
    assert found.of("ge2mst-tiny-converted T=2")[1].correct == int(right.sum())


def test_a_quantised_ann_of_so_many_levels_is_the_conversion_without_time(found):
    """Its activations are the integers that the conversion counts; only weights are rounded."""
    ann = about(found.of("ge2mst-tiny-ann")[0])["quantised_correct"]
    converted = about(found.of("ge2mst-tiny-converted T=2")[0])
    assert set(ann) == {"2", "6"}
    assert ann["2"] == converted["twin_correct"]


def test_both_forms_of_all_trained_codings_agree(found):
    coded = [p for p in found.profiles if about(p)["model"] == "ge2mst-tiny"]
    assert len(coded) == 6
    assert {about(p)["differing_predictions"] for p in coded} == {0}
    assert max(about(p)["largest_logit_difference"] for p in coded) < 1e-3


def test_windows_are_compared_with_the_whole_map(found):
    """By hand: 4 timesteps, two blocks of 64 channels on 8×8 tokens, one of 80 on 4×4, 4 heads.

    A window of n tokens and d channels a head takes 2·n·d·min(n, d) a head.
    """

    def work(side, windows, channels):
        heads, d = 2, channels // 4  # two heads a scale
        sizes = [w * w for w in windows]
        return sum(side**2 // n * heads * 2 * n * d * min(n, d) for n in sizes)

    note = about(found.of("ge2mst-tiny")[0])
    assert note["attention_macs"] == 4 * (2 * work(8, (4, 8), 64) + work(4, (2, 4), 80))
    assert note["whole_map_macs"] == 4 * (2 * work(8, (8, 8), 64) + work(4, (4, 4), 80))


def test_weights_are_rounded_to_256_steps_a_channel():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(5, 2))
    before = [p.clone() for p in layer.parameters()]
    measure._rounded_weights(layer)
    for module, old in ((layer[0], before[0]), (layer[1], before[2])):
        for channel, was in zip(module.weight.flatten(1), old.flatten(1), strict=True):
            step = was.abs().max() / 127
            levels = channel / step
            assert torch.allclose(levels, levels.round(), atol=1e-3)
            assert levels.abs().max() <= 127.001
            assert (channel - was).abs().max() <= step / 2 * 1.001
    assert torch.equal(layer[0].bias, before[1])


def test_what_is_there_is_not_measured_again(measured, runs, data, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(measured, folder)
    noted = []
    measure.measure(runs, folder, data=data, noted=noted.append, **SETTINGS)
    assert noted == []
    # One that is missing, one that is broken, one of other weights.
    (folder / "profiles" / "vit-tiny-s0.json.gz").unlink()
    (folder / "profiles" / "ge2mst-tiny-s1.json.gz").write_bytes(b"broken")
    path = folder / "profiles" / "ge2mst-tiny-stbp-s0.json.gz"
    old = load(path)
    other = dict(old.metadata) | {"study": dict(about(old)) | {"digest": "other"}}
    dataclasses.replace(old, metadata=other).save(path)
    measure.measure(runs, folder, data=data, noted=noted.append, **SETTINGS)
    assert [line.partition(": ")[2] for line in noted] == [
        "ge2mst-tiny, seed 1", "ge2mst-tiny-stbp, seed 0", "vit-tiny, seed 0",
    ]  # fmt: skip
    assert load(path) == old
    noted.clear()
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(runs / "vit-tiny-s0.safetensors", one)
    measure.measure(one, folder, data=data, samples=7, noted=noted.append, **SETTINGS)
    assert noted == ["1 of 1: vit-tiny, seed 0"]
    assert load(folder / "profiles" / "vit-tiny-s0.json.gz").samples == 7


def test_profiles_of_different_images_are_refused(measured, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(measured, folder)
    path = folder / "profiles" / "vit-tiny-s0.json.gz"
    dataclasses.replace(load(path), samples=7).save(path)
    with pytest.raises(AnalyzerError, match=r"different images \(7 of .*, 20 of .*measure all"):
        collection.read(folder)


def test_a_study_without_its_references_is_refused(measured, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(measured, folder)
    for path in (folder / "profiles").glob("ge2mst-tiny-ann*"):
        path.unlink()
    with pytest.raises(AnalyzerError, match="no profile of ge2mst-tiny-ann, which the others"):
        collection.read(folder)


def test_means_and_deviations_are_those_of_the_profiles(found, tables):
    row = tables["series"].set_index("series").loc["ge2mst-tiny"]
    profiles = list(found.of("ge2mst-tiny").values())
    energy = [p.energy().total_mj for p in profiles]
    assert row["seeds"] == 2
    assert row["energy_mj_mean"] == pytest.approx(sum(energy) / 2)
    assert row["energy_mj_std"] == pytest.approx(abs(energy[0] - energy[1]) / 2**0.5)
    alone = tables["series"].set_index("series").loc["vit-tiny"]
    assert pd.isna(alone["energy_mj_std"])
    spikes = profiles[0].spikes()
    sent = spikes["spikes"].sum() / (spikes["neurons"].sum() * IMAGES)
    first = tables["runs"].set_index("model").loc["ge2mst-tiny, seed 0", "spikes_per_neuron"]
    assert first == pytest.approx(sent)


def test_only_the_same_weights_are_paired(tables):
    tests = tables["differences"].set_index(["figure", "ours", "theirs"])["test"]
    pair = ("ge2mst-tiny-converted T=2", "ge2mst-tiny-ann")
    assert tests["energy_mj", *pair] == "paired"
    assert tests["energy_mj", "ge2mst-tiny", "ge2mst-tiny-stbp"] == "Welch"


def test_twins_are_priced_in_their_bits(found, tables):
    row = tables["twins"].set_index("series").loc["ge2mst-tiny"]
    assert (row["levels"], row["bits"]) == (6, 3)
    ann, ours = found.of("ge2mst-tiny-ann")[0], list(found.of("ge2mst-tiny").values())
    assert row["twin_mj"] == pytest.approx(ann.energy(precision="w8a3").total_mj)
    mine = [p.energy(precision="w8a3").total_mj for p in ours]
    assert row["energy_mj"] == pytest.approx(sum(mine) / 2)
    bits = tables["twins"].set_index("series")["bits"]
    assert bits["ge2mst-tiny-converted T=2"] == 2
    assert bits["ge2mst-tiny-stbp"] == 3


def test_at_its_factor_a_memory_makes_both_take_the_same(found, tables):
    """Priced anew with a memory of that price: the energy of both is equal."""
    some = tables["memories"]
    row = some[(some["memory"] == "state") & (some["theirs"] == "ge2mst-tiny-ann")].iloc[0]
    assert row["access_now_pj"] == pytest.approx(10)
    factor = row["memory_factor"]
    ours, theirs = (
        [_scaled(p, factor) for p in found.of(s).values()]
        for s in ("ge2mst-tiny", "ge2mst-tiny-ann")
    )
    assert sum(ours) / len(ours) == pytest.approx(sum(theirs) / len(theirs))
    assert row["access_pj"] == pytest.approx(10 * factor)


def _scaled(profile, factor):
    report = profile.energy(precision="int8", memory="state")
    parts = report.components
    return report.total_pj + (factor - 1) * parts["state_pj"]


def test_what_memory_decides_is_tested_on_all_readings_together(tables):
    some = tables["memories"]
    assert list(some["adjusted_p"]) == pytest.approx(holm(list(some["p"])))
    assert ((some["verdict"] == "real") == (some["adjusted_p"] < 0.05)).all()
    row = some[(some["memory"] == "state") & (some["theirs"] == "ge2mst-tiny-ann")].iloc[0]
    # Each neuron's state is read and written at every step, an ANN has none.
    assert row["ratio"] > 5
    assert row["dearer"] == "state moves"
    assert row["low"] < row["ratio"] < row["high"]


def test_the_page_says_what_the_tables_say(rendered, tables):
    page = rendered.read_text()
    series = tables["series"].set_index("series")
    ratio = series.loc["ge2mst-tiny", "energy_mj_mean"] / series.loc["vit-tiny", "energy_mj_mean"]
    assert f"Against vit-tiny, another network (206,026 parameters, 1 seed): {ratio:.3g}" in page
    assert (
        "Lossless conversion: holds in this reading. 0 of 80 predictions of the 4 trained" in page
    )
    assert "Constant training overhead: holds in this reading. From T=1 to T=4 the bytes" in page
    assert "(by STBP 4.00 times)" in page
    assert "G=2 K=2 m=1 sends" in page
    assert "With 2 seeds a side" in page
    assert "mostly for state moves under state" in page
    assert "w = 1e-06 takes" in page
    assert "nan" not in page


def test_rendering_again_gives_the_same_files_and_needs_no_weights(rendered):
    folder = rendered.parent
    before = {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    for path in before:
        if path.suffix in (".svg", ".tex"):
            path.unlink()
    result = CliRunner().invoke(app, ["study", "paradigms", "-o", str(folder), "--again"])
    assert result.exit_code == 0, result.output
    assert {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()} == before


def test_options_that_do_not_fit_are_refused(tmp_path, runs):
    for words, message in (
        (["--runs", str(runs), "--train-codings", "1"], "trains no codings"),
        (["--runs", str(runs), "--again"], "renders what is there"),
        (["--runs", str(tmp_path)], "holds no file of weights"),
    ):
        result = CliRunner().invoke(app, ["study", "paradigms", "-o", str(tmp_path), *words])
        assert result.exit_code != 0
        assert message in " ".join((result.output + str(result.exception)).split()), words


def test_the_same_training_twice_is_refused(runs, tmp_path):
    for name in ("a", "b"):
        shutil.copy(runs / "vit-tiny-s0.safetensors", tmp_path / f"{name}.safetensors")
    with pytest.raises(AnalyzerError, match=r"a\.safetensors and .*b\.safetensors are of the same"):
        read_runs(tmp_path)
