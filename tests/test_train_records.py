"""Records of trainings, read back, and the folder of weights that is made of them."""

import csv
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from analyzer.errors import AnalyzerError
from analyzer.train import ship, train
from analyzer.train.records import processor, read_run, read_runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real training of two steps, with its log."""
    path = tmp_path_factory.mktemp("runs") / "some.safetensors"
    train(
        "vit-tiny",
        output=path,
        log=path.with_suffix(".csv"),
        epochs=1,
        images=36,
        batch_size=18,
        patience=1,
        seed=5,
        options={"depth": 1, "pool": "mean"},
        progress=False,
    )
    return path


def written(path, log=True, **changes):
    """A file of weights with the record of a training that was never run."""
    record = {"name": "vit-tiny", "seed": 0, "epochs": 2, "test_accuracy": 0.5, "parameters": 9}
    record |= {"command": "analyzer train vit-tiny --seed 0", "torch": "2", "train_loss": 1.0}
    record |= changes
    metadata = {"training": json.dumps(record)}
    path.write_bytes(save({"w": torch.zeros(3)}, metadata=metadata))
    if log:
        rows = "epoch,held_out_accuracy,cpu_seconds\n1,0.7,10.5\n2,0.6,20\n"
        path.with_suffix(".csv").write_text(rows)
    return path


def test_a_record_is_read_back_as_it_was_trained(trained):
    run = read_run(trained)
    with safe_open(trained, framework="pt") as file:
        record = json.loads(file.metadata()["training"])
    assert (run.name, run.seed, run.epochs) == ("vit-tiny", 5, 1)
    assert run.options == {"depth": 1, "pool": "mean"}
    assert run.synops_weight == 0
    assert run.test_accuracy == record["test_accuracy"]
    assert run.command == record["command"]
    assert run.machine == processor() != ""
    with trained.with_suffix(".csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert run.cpu_seconds == float(row["cpu_seconds"])
    assert run.held_out_accuracy == float(row["held_out_accuracy"])


def test_settings_come_from_the_command(tmp_path):
    command = (
        "analyzer train ge2mst-tiny --seed 3 --synops-weight 1e-07 --set groups=1 "
        "--set max_spikes=None --set form=training -o x.safetensors"
    )
    run = read_run(written(tmp_path / "a.safetensors", log=False, command=command))
    assert run.options == {"groups": 1, "max_spikes": None, "form": "training"}
    assert run.synops_weight == 1e-7
    assert (run.cpu_seconds, run.held_out_accuracy, run.machine) == (None, None, "")


def test_what_holds_no_record_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(save({"w": torch.zeros(3)}))
    with pytest.raises(AnalyzerError, match="holds no record of a training"):
        read_runs(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    with pytest.raises(AnalyzerError, match="holds no record of a training"):
        read_runs(tmp_path)
    for record in ("[]", "5", '{"command": null}', '{"command": 5}', "[" * 100_000):
        content = save({"w": torch.zeros(3)}, metadata={"training": record})
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(AnalyzerError, match="holds no record of a training"):
            read_runs(tmp_path)
    with pytest.raises(AnalyzerError, match="there is no folder"):
        read_runs(tmp_path / "absent")


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("epoch,cpu_seconds\n1,10\n2", r"a line of its log a\.csv has too few"),
        ("epoch,cpu_seconds\n1,10\n2,3,4\n", r"a line of its log a\.csv has too few or too many"),
        ("epoch,cpu_seconds\n1,x\n", "could not convert"),
        ("epoch,cpu_seconds\n1," + "1" * 140_000, "field larger"),
        ("epoch,cpu_seconds\n" + "1,1\n" * 2**24, "holds more than 64 MiB"),
    ],
    ids=["cut", "long", "word", "large cell", "large"],
)
def test_a_log_that_is_none_is_refused(tmp_path, log, says):
    path = written(tmp_path / "a.safetensors")
    path.with_suffix(".csv").write_text(log)
    with pytest.raises(AnalyzerError, match=says):
        read_run(path)


def test_one_plain_run_of_each_model_is_shipped_and_all_are_listed(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    for seed in (2, 1):
        command = f"analyzer train vit-tiny --seed {seed}"
        written(runs / f"v{seed}.safetensors", seed=seed, command=command, test_accuracy=seed / 4)
    command = "analyzer train vit-tiny --seed 0 --set depth=1"
    written(runs / "v0.safetensors", command=command, test_accuracy=0.875, machine="a big one")
    ann = "analyzer train ge2mst-tiny-ann --seed 4"
    written(runs / "b.safetensors", name="ge2mst-tiny-ann", seed=4, command=ann)
    target = tmp_path / "fashion-mnist"
    target.mkdir()
    written(target / "old.safetensors")
    ship.main([str(runs), str(target), "--machine", "a small one"])
    assert {p.name for p in target.iterdir()} == {
        "README.md", "vit-tiny.safetensors", "vit-tiny.csv", "ge2mst-tiny-ann.safetensors",
        "ge2mst-tiny-ann.csv",
    }  # fmt: skip
    assert (target / "vit-tiny.safetensors").read_bytes() == (runs / "v1.safetensors").read_bytes()
    page = (target / "README.md").read_text()
    rows = [[c.strip() for c in line.split("|")] for line in page.splitlines() if "train " in line]
    table = {row[-2].strip("`"): row for row in rows if len(row) > 5}
    assert len(table) == 4
    mine = table["analyzer train vit-tiny --seed 1"]
    assert mine[1:8] == [
        "`vit-tiny.safetensors`",
        "`vit-tiny`",
        "9",
        "1",
        "2",
        "25.00 %",
        "70.00 %",
    ]
    assert mine[8:10] == ["30 s", "a small one"]  # 10.5 + 20, to the even second
    other = table[command]
    assert (other[1], other[6], other[9]) == ("–", "87.50 %", "a big one")
    assert "Weights trained on Fashion-MNIST" in page
    assert "`ge2mst-tiny-converted` takes the weights" in page


def test_weights_without_a_log_or_beyond_the_limit_are_not_shipped(tmp_path, monkeypatch):
    runs, target = tmp_path / "runs", tmp_path / "fashion-mnist"
    runs.mkdir()
    path = written(runs / "a.safetensors", log=False)
    with pytest.raises(AnalyzerError, match=r"no log beside a\.safetensors"):
        ship.ship(runs, target, "")
    shutil.copy(written(tmp_path / "b.safetensors").with_suffix(".csv"), path.with_suffix(".csv"))
    monkeypatch.setattr(ship, "LIMIT_BYTES", 10)
    with pytest.raises(AnalyzerError, match="the weights of vit-tiny take"):
        ship.ship(runs, target, "")
    assert not target.exists()
