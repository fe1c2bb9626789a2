"""The command ``profile``: models, weights and data of the user's, and the profile it writes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import analyzer

from .running import main_in_process, refused, run


def test_profile_compare_and_report_of_a_users_model(tmp_path, own_model, data):
    path, x, _ = data
    profile = tmp_path / "out" / "mine.json"
    done = run("profile", f"{own_model}:small", "--data", path, "--batch-size", 5, "-o", profile)
    assert done.stdout == ""
    loaded = analyzer.load(profile)
    assert loaded.samples == 12
    assert loaded.totals["ac"] == int(np.count_nonzero(x)) * 10
    assert loaded.metadata["data"] == "data.npz"
    assert loaded.metadata["weights"] == "as the factory made them"
    assert loaded.accuracy is not None

    text = run("compare", profile, profile).stdout
    assert "small" in text
    assert "small (2)" in text
    rows = json.loads(run("compare", profile, "--format", "json").stdout)
    table = analyzer.compare([loaded]).frame
    assert rows[0] == {k: None if v != v else v for k, v in table.iloc[0].to_dict().items()}
    columns = run("compare", profile, "--format", "csv").stdout.splitlines()[0].split(",")
    assert columns == list(rows[0]) == list(table.columns)
    assert run("compare", profile, "--format", "markdown").stdout.startswith("| Model")
    assert r"\begin{tabular}" in run("compare", profile, "--format", "latex").stdout

    run("report", profile, "-o", tmp_path / "report")
    assert (tmp_path / "report" / "index.html").stat().st_size > 10_000


def test_a_factory_with_arguments_a_checkpoint_and_a_folder_of_images(tmp_path, own_model):
    for folder in ("cat", "dog"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for i in range(2):
            image = Image.new("L", (9, 7), 255 * (folder == "dog"))
            image.save(tmp_path / "images" / folder / f"{i}.png")
    weights = torch.zeros(2, 16)
    weights[1] = 1
    torch.save(
        {"model": {"1.weight": weights, "1.bias": torch.tensor([8.0, 0])}}, tmp_path / "w.pt"
    )
    profile = tmp_path / "p.json"
    run(
        "profile", f"{own_model}:sized(width=16, classes=2)", "--checkpoint", tmp_path / "w.pt",
        "--data", tmp_path / "images", "--input", "1,4,4", "-o", profile,
    )  # fmt: skip
    loaded = analyzer.load(profile)
    assert (loaded.name, loaded.samples, loaded.accuracy) == ("sized", 4, 1.0)
    assert (loaded.metadata["data"], loaded.metadata["weights"]) == ("images", "w.pt")
    assert loaded.totals["ac"] == 2 * 16 * 2  # the two white images
    main_in_process(
        ["profile", f"{own_model}:sized(width=16, classes=2)", "--data", str(tmp_path / "images"),
         "--input", "1,4,4", "--mean", "0.5", "--std", "0.5", "-o", str(profile)]
    )  # fmt: skip
    (row,) = analyzer.load(profile).counts.itertuples()
    assert row.input_class == "ternary"  # black and white are -1 and 1 now


def test_a_broken_image_names_the_file_and_nothing_is_written(tmp_path, own_model):
    (tmp_path / "images").mkdir()
    Image.new("L", (9, 7)).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").write_bytes(b"not an image")
    profile = tmp_path / "p.json"
    done = run(
        "profile", f"{own_model}:sized(width=16)", "--data", tmp_path / "images", "--input",
        "1,4,4", "--batch-size", 1, "-o", profile, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot read image {tmp_path / 'images' / 'b.png'}: ")
    assert list(tmp_path.glob("*.json")) == []
    assert done.stdout == ""


def test_event_frames_are_laid_out_in_time(tmp_path, capsys):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Conv2d(2, 3, 3)\n"
        "    def forward(self, x):\n"
        "        assert x.shape[0] == 5, x.shape\n"
        "        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])\n"
    )
    frames = np.random.default_rng(0).integers(0, 2, (4, 5, 2, 6, 6), dtype=np.uint8)
    for i, frame in enumerate(frames):
        np.save(tmp_path / f"{i}.npy", frame)
    profile = tmp_path / "p.json"
    given = ["--data", tmp_path, "--layout", "T B C H W", "--timesteps", 5]
    run("profile", f"{tmp_path}/net.py:Net", *given, "-o", profile)
    loaded = analyzer.load(profile)
    assert (loaded.samples, loaded.metadata["timesteps"]) == (4, 5)
    assert loaded.metadata["input_shape"] == [5, 2, 6, 6]
    assert loaded.sparsity("timestep").nonzeros.tolist() == frames.sum((0, 2, 3, 4)).tolist()
    main_in_process(["verify", f"{tmp_path}/net.py:Net", *map(str, given), "--samples", "4"])
    said = "Net, 4 samples: 1 operation agrees; 10 timesteps of operations compared.\n"
    assert capsys.readouterr().out.endswith(said)


def test_arrays_whose_first_axis_the_model_takes_for_time_are_refused(tmp_path, capsys):
    (tmp_path / "net.py").write_text(
        "from spikingjelly.activation_based import layer, neuron\n"
        "from torch import nn\n"
        "def make():\n"
        "    first = layer.Linear(4, 3, step_mode='m')\n"
        "    return nn.Sequential(first, neuron.IFNode(step_mode='m'))\n"
    )
    np.save(tmp_path / "x.npy", np.ones((6, 5, 4), np.float32))
    given = [f"{tmp_path}/net.py:make", "--data", f"{tmp_path}/x.npy", "-o", f"{tmp_path}/p.json"]
    error = refused(capsys, "profile", *given)
    assert "holds 6 samples on its first axis, and the model took them as 5" in error
    error = refused(capsys, "profile", *given, "--loop")
    assert "give --timesteps, or where an axis of the input is time, --layout 'T B C H W'" in error
    main_in_process(["profile", *given, "--layout", "T B D"])
    assert analyzer.load(tmp_path / "p.json").samples == 6


@pytest.mark.parametrize("wrap", ["safetensors", "plain", "nested", "parallel"])
def test_checkpoints(tmp_path, own_model, data, wrap):
    state = {"1.weight": torch.ones(10, 16), "1.bias": torch.zeros(10)}
    path = tmp_path / ("w.safetensors" if wrap == "safetensors" else "w.pth")
    if wrap == "safetensors":
        save_file(state, path)
    elif wrap == "plain":
        torch.save(state, path)
    elif wrap == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, path)
    output = tmp_path / "p.json"
    main_in_process(
        ["profile", f"{own_model}:small", "--checkpoint", str(path), "--data", str(data[0]),
         "-o", str(output)]
    )  # fmt: skip
    loaded = analyzer.load(output)
    assert loaded.metadata["weights"] == path.name
    assert loaded.counts.loc[loaded.counts.module == "1", "weight_class"].item() == "binary"


def test_checkpoint_that_does_not_fit(tmp_path, own_model, data, capsys):
    path = tmp_path / "w.pth"
    torch.save({"1.weight": torch.ones(10, 16), "head.bias": torch.zeros(3)}, path)
    message = refused(
        capsys, "profile", f"{own_model}:small", "--checkpoint", path, "--data", data[0]
    )
    assert "missing 1.bias" in message
    assert "unexpected head.bias" in message


def test_checkpoint_with_code_is_not_run(tmp_path, own_model, data, capsys):
    path = tmp_path / "w.pth"
    torch.save(nn.Linear(2, 2), path)  # a pickled object, not tensors
    message = refused(
        capsys, "profile", f"{own_model}:small", "--checkpoint", path, "--data", data[0]
    )
    assert "no checkpoint of plain tensors" in message


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (["none.py:Net"], "file none.py to take a model from"),
        (["vit-tiny", "--checkpoint", "none.pth"], "checkpoint none.pth"),
        (["vit-tiny", "--data", "none.npz"], "file none.npz to measure on"),
    ],
)
def test_files_that_are_not_there_are_named_before_pytorch_is_loaded(words, lacks):
    code = "import sys; sys.modules['torch'] = None; from analyzer.cli import main; main()"
    command = [sys.executable, "-c", code, "profile", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"error: there is no {lacks}.\n")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("spikformer-tinny", "did you mean 'spikformer-tiny'"),
        ("no.such.module:factory", "can not be imported"),
        ("missing.py:factory", "no file missing.py"),
        ("{own}:nothing", "has no 'nothing'; it defines:"),
        ("{own}:NeedsWidth", "needs arguments (width)"),
        ("{own}:number", "is int"),
    ],
)
def test_models_that_can_not_be_built(own_model, data, capsys, model, says):
    model = model.format(own=own_model)
    assert says in refused(capsys, "profile", model, "--data", data[0])


def test_an_option_that_a_model_lacks_is_refused_with_what_it_takes(capsys):
    message = refused(capsys, "profile", "vit-tiny", "--timesteps", 4, "--data", "random")
    assert message.startswith("error: vit-tiny takes no 'timesteps'; it takes: image_size, ")


def test_a_model_that_raises_is_named(own_model, data, capsys):
    message = refused(capsys, "profile", f"{own_model}:Raises", "--data", data[0])
    assert "wrong shape of things" in message
    assert "(the model itself)" in message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.npz", "there is no file nowhere.npz"),
        ("imagenet", "is not known"),
        ("random", "needs a shape"),
    ],
)
def test_data_that_can_not_be_read(own_model, capsys, source, says):
    assert says in refused(capsys, "profile", f"{own_model}:small", "--data", source)


def test_nothing_is_written_where_the_profile_fails(tmp_path, own_model, data, capsys):
    refused(capsys, "profile", f"{own_model}:Raises", "--data", data[0], "-o", tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


def test_random_data_is_seeded(tmp_path, own_model):
    profiles = []
    for n in (0, 1):
        output = tmp_path / f"{n}.json"
        main_in_process(
            ["profile", f"{own_model}:small", "--data", "random", "--input", "1,4,4",
             "--samples", "3", "-o", str(output)]
        )  # fmt: skip
        profiles.append(analyzer.load(output))
    assert profiles[0] == profiles[1]
    assert profiles[0].samples == 3


def test_batch_norm_is_folded_unless_asked(tmp_path):
    for flag in ("--fold", "--no-fold"):
        target = tmp_path / f"{flag}.json"
        main_in_process(["profile", "spikformer-tiny", "--samples", "1", flag, "-o", str(target)])
    folded, counted = (analyzer.load(tmp_path / f"{f}.json") for f in ("--fold", "--no-fold"))
    assert folded.folding(False) == counted
    work = [p.counts.groupby("op")["multiplies"].sum()["batch_norm"] for p in (folded, counted)]
    assert work[0] == 0 < work[1]


def test_an_untrained_model_gets_statistics(tmp_path):
    spec = "spikingformer-4-384(embed_dim=48, depth=1, heads=4)"
    main_in_process(["profile", spec, "--samples", "1", "-o", str(tmp_path / "p.json")])
    profile = analyzer.load(tmp_path / "p.json")
    assert profile.metadata["weights"] == "untrained, statistics of the first batch"
    assert profile.sparsity("module")["nonzeros"].min() > 0
