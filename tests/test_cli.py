"""The command line as a user runs it: real processes for the main way, in process for refusals."""

import json
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import analyzer
from analyzer.cli import main
from analyzer.facts.records import Contraction, Operand
from analyzer.facts.values import Values
from analyzer.profiles import Profile


def run(*arguments, cwd=None, check=True, env=None):
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=300,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def refused(capsys, *arguments):
    """Standard error of a command that must end with exit code 1 and no traceback."""
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert message.startswith("error: ")
    return message


@pytest.fixture
def own_model(tmp_path):
    """A user's file with a factory, a class that needs arguments, and a value that is no model."""
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn
            import neighbour

            def small():
                return nn.Sequential(nn.Flatten(), nn.Linear(neighbour.WIDTH, 10))

            class NeedsWidth(nn.Module):
                def __init__(self, width):
                    super().__init__()

            class Sorts(nn.Module):
                def forward(self, x):
                    return torch.special.bessel_j0(x.flatten(1).cumsum(1))

            def sized(width, *, classes=10):
                return nn.Sequential(nn.Flatten(), nn.Linear(width, classes))

            class Raises(nn.Module):
                def forward(self, x):
                    raise ValueError("wrong shape of things")

            number = 3
            """
        )
    )
    (tmp_path / "neighbour.py").write_text("WIDTH = 16\n")
    return path


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)
    x = (generator.random((12, 1, 4, 4)) < 0.25).astype(np.float64)
    y = generator.integers(0, 10, 12)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return tmp_path / "data.npz", x, y


def test_profile_compare_and_report_of_a_users_model(tmp_path, own_model, data):
    path, x, _ = data
    profile = tmp_path / "out" / "mine.json"
    done = run("profile", f"{own_model}:small", "--data", path, "--batch-size", 5, "-o", profile)
    assert done.stdout == ""
    loaded = analyzer.load(profile)
    assert loaded.samples == 12
    assert loaded.totals["ac"] == int(np.count_nonzero(x)) * 10
    assert loaded.metadata["data"] == "data.npz"
    assert loaded.metadata["weights"] == "untrained"
    assert loaded.accuracy is not None

    text = run("compare", profile, profile).stdout
    assert "small" in text
    assert "small (2)" in text
    rows = json.loads(run("compare", profile, "--format", "json").stdout)
    table = analyzer.compare([loaded])
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
    assert capsys.readouterr().out.endswith("Net, 4 samples: 1 operation agrees.\n")


def test_verify_prints_each_observer_and_explains(tmp_path):
    done = run("verify", "vit-tiny", cwd=tmp_path)
    lines = done.stdout.splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert cells[0] == [
        "Module", "Operation", "Dense MACs", "fvcore", "torch", "Brute force", "Events",
        "Brute force", "Unary events", "Brute force", "Verdict", "Why",
    ]  # fmt: skip
    rows = {(row[0], row[1]): row[2:] for row in cells[1:-1]}
    assert rows["head", "linear"] == ["1,280"] * 6 + ["0", "0", "agrees"]
    assert rows["blocks.0.attention", "attention_qk, attention_av"][-1] == (
        "fvcore skips scaled_dot_product_attention; "
        "torch's counter has no rule for the CPU flash kernel of attention"
    )
    verdicts = [row[8] for row in rows.values()]
    agree, explained = verdicts.count("agrees"), verdicts.count("explained")
    assert lines[-1] == (
        f"vit-tiny, 2 samples: {agree} operations agree; {explained} differ, all explained."
    )
    assert agree + explained == len(rows)
    assert list(tmp_path.iterdir()) == []


def test_compare_does_not_load_torch(tmp_path, own_model, data):
    profile = tmp_path / "mine.json"
    main_in_process(["profile", f"{own_model}:small", "--data", str(data[0]), "-o", str(profile)])
    code = (
        "import sys; from analyzer.cli import main\n"
        f"try: main(['compare', {str(profile)!r}])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def main_in_process(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0


def test_lists(capsys):
    for command, word in (
        ("models", "spikformer-tiny"),
        ("technologies", "4.6 pJ"),
        ("conventions", "exact"),
    ):
        main_in_process([command])
        assert word in capsys.readouterr().out


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
    ("model", "says"),
    [
        ("spikformer-tinny", "did you mean 'spikformer-tiny'"),
        ("no.such.module:factory", "can not be imported"),
        ("missing.py:factory", "no file missing.py"),
        ("{own}:nothing", "has no 'nothing'; it has"),
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


def test_json_keeps_every_digit_and_has_null(tmp_path, capsys):
    """pandas wrote ten digits after the point, which left few of a small energy."""
    values = Values(1.0, 0, 1, 1e-7)
    lhs, rhs = Operand(False, values, 9, 7, 7, 7), Operand(True, Values(real=True), 1, 1, 7, 0)
    site = Contraction("a", "linear", 0, 3, 9, lhs, rhs, 7, 7)
    metadata = {"model": "m", "parameters": 1, "input_shape": [9], "timesteps": 1}
    path = Profile(3, metadata | {"dtype": "float32"}, (site,)).save(tmp_path / "p.json")
    main_in_process(["compare", str(path), "--format", "json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["ac"] == 7 / 3
    assert row["energy_mj"] == analyzer.load(path).energy().total_mj
    assert row["accuracy"] is None
    assert row["parameters_bytes"] is None


def test_warnings_are_one_line_and_uncovered_work_is_marked(tmp_path, own_model, data):
    profile = tmp_path / "p.json"
    done = run("profile", f"{own_model}:Sorts", "--data", data[0], "-o", profile)
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert warned[0].startswith("warning: no rule covers ")
    assert ".py" not in done.stderr
    assert "warnings.warn" not in done.stderr
    names = ", ".join(sorted(set(analyzer.load(profile).uncovered["op"])))
    note = f"Sorts: no rule covers {names}, so its figures are lower bounds."
    for style in ("table", "markdown"):
        lines = run("compare", profile, "--format", style).stdout.splitlines()
        assert lines[-1] == note
        assert "≥ 0 pJ" in "\n".join(lines)
    latex = run("compare", profile, "--format", "latex").stdout
    assert r"$\geq$ 0 pJ" in latex
    assert "so its figures are lower bounds.}" in latex


def test_a_model_that_raises_is_named(own_model, data, capsys):
    message = refused(capsys, "profile", f"{own_model}:Raises", "--data", data[0])
    assert "wrong shape of things" in message
    assert "(the model itself)" in message


def test_debug_shows_the_traceback(own_model, data):
    done = run("profile", f"{own_model}:Raises", "--data", data[0], "--debug", check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.npz", "cannot read arrays"),
        ("imagenet", "is not known"),
        ("random", "needs a shape"),
    ],
)
def test_data_that_can_not_be_read(own_model, capsys, source, says):
    assert says in refused(capsys, "profile", f"{own_model}:small", "--data", source)


def test_nothing_is_written_where_the_profile_fails(tmp_path, own_model, data, capsys):
    refused(capsys, "profile", f"{own_model}:Raises", "--data", data[0], "-o", tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["compare"],
        ["verify"],
        ["profile", "vit-tiny", "--input", "3,x"],
        ["verify", "vit-tiny", "--mean", "0.5;0.5"],
        ["verify", "vit-tiny", "--batch-size", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


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


def test_counting_prints_what_shapes_and_rates_tell(tmp_path, capsys):
    done = run("count", "spikformer-tiny", "-o", tmp_path / "c.json", cwd=tmp_path)
    shown = done.stdout.splitlines()
    assert shown[0].split() == ["spikformer-tiny", "one", "sample", "of", "1×32×32,", "T", "=", "4"]
    assert shown[1].split() == ["parameters", "164,418"]
    assert shown[2].split() == ["dense", "MACs", "81,560,192"]
    counted = analyzer.load(tmp_path / "c.json")
    assert counted.totals["dense_macs"] == 81_560_192
    rates = tmp_path / "rates.csv"
    modules = counted.counts.loc[counted.counts["dense_macs"] > 0, "module"].drop_duplicates()
    rates.write_text("module,firing_rate\n" + "".join(f"{m},0.1\n" for m in modules))
    main_in_process(["count", "spikformer-tiny", "--rates", str(rates)])
    shown = capsys.readouterr().out
    assert "AC                8.16 M" in shown
    assert "energy            7.34 µJ (45nm fp32 (0.9 pJ/AC, 4.6 pJ/MAC), convention rate)" in (
        shown
    )
    main_in_process(["count", "spikformer-tiny(depth=1)", "--input", "1,16,16"])
    assert "1×16×16" in capsys.readouterr().out


def test_the_models_are_listed_with_what_was_published(capsys):
    main_in_process(["models"])
    listed = capsys.readouterr().out.splitlines()
    row = next(line for line in listed if line.startswith("spikingformer-8-512 "))
    for cell in ("29,705,768", "74.79 %", "7.46 mJ", "224 T=4", "arXiv:2304.11954"):
        assert cell in row


def test_an_untrained_model_gets_statistics(tmp_path):
    spec = "spikingformer-4-384(embed_dim=48, depth=1, heads=4)"
    main_in_process(["profile", spec, "--samples", "1", "-o", str(tmp_path / "p.json")])
    profile = analyzer.load(tmp_path / "p.json")
    assert profile.metadata["weights"] == "untrained, statistics of the first batch"
    assert profile.sparsity("module")["nonzeros"].min() > 0
