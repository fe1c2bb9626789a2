"""Factories, checkpoints and data as the command line takes them."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from analyzer.cli.subject import open_model, open_subject
from analyzer.data.sources import Arrangement, open_data
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint, read_checkpoint


@pytest.fixture
def nets(tmp_path):
    """A file called like a module that is loaded, with factories of several kinds."""
    path = tmp_path / "random.py"
    path.write_text(
        textwrap.dedent(
            """
            from torch import nn

            def mlp(width=4, *, classes, act="relu", sizes=()):
                layers = [nn.Linear(width, n) for n in sizes]
                return nn.Sequential(*layers, nn.Linear(width, classes), nn.ReLU())

            def anything(**options):
                return nn.Linear(len(options), 1)

            def late():
                import late_neighbour
                return nn.Linear(late_neighbour.WIDTH, 1)

            def broken():
                raise KeyError("no such size")

            ready = nn.Linear(2, 3)
            """
        )
    )
    (tmp_path / "late_neighbour.py").write_text("WIDTH = 7\n")
    return path


def test_a_factory_takes_literals_by_keyword(nets):
    loaded = open_model(f"{nets}:mlp(classes=10, width=6, sizes=[6, 6], act='a:b(c)')")
    shapes = [tuple(p.shape) for p in loaded.model.parameters() if p.ndim == 2]
    assert shapes == [(6, 6), (6, 6), (10, 6)]
    assert (loaded.name, loaded.weights, loaded.model.training) == ("mlp", "untrained", False)
    assert open_model(f"{nets}:anything(a={{'b': 1}}, c=-1.5)").model.in_features == 2
    assert open_model(f"{nets}:late").model.in_features == 7
    assert open_model(f"{nets}:ready").model.out_features == 3
    import random

    assert hasattr(random, "shuffle")  # the user's random.py did not take its place


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("mlp", "needs arguments (classes): give them as in "),
        ("mlp(classes=3, depth=2)", "takes no depth; it takes width, classes, act, sizes"),
        ("mlp(classes=__import__('os').getcwd())", "are not understood"),
        ("mlp(3)", "are not understood"),
        ("mlp(**{'classes': 3})", "are not understood"),
        ("mlp(classes=3", "names no model"),
        ("mlp(classes='x')", "raised TypeError"),
        ("broken", "raised KeyError: 'no such size'"),
        ("ready(a=1)", "is Linear: name a function or a class"),
    ],
)
def test_calls_that_are_refused(nets, call, says):
    with pytest.raises(AnalyzerError) as refusal:
        open_model(f"{nets}:{call}")
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def two_layers():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pt", "bin", "old"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": state},
        lambda state: {"net": {"model": state}},
        lambda state: {"ema": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
    ],
)
def test_a_checkpoint_is_found_however_it_is_wrapped(tmp_path, kind, wrap):
    torch.manual_seed(1)
    source, target = two_layers(), two_layers()
    state = wrap(source.state_dict())
    path = tmp_path / f"w.{'pth' if kind == 'old' else kind}"
    if kind == "safetensors":
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            pytest.skip("safetensors holds tensors alone")
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind != "old")
    load_checkpoint(target, path)
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_all_that_does_not_fit_is_listed(tmp_path):
    path = tmp_path / "w.pth"
    state = {"0.weight": torch.zeros(4, 3), "1.weight": torch.zeros(2, 5), "head": torch.zeros(1)}
    torch.save(state, path)
    with pytest.raises(AnalyzerError) as refusal:
        load_checkpoint(two_layers(), path)
    assert str(refusal.value) == (
        f"{path} does not fit Sequential: missing 0.bias, 1.bias; unexpected head; "
        "of another shape 1.weight (2×5 in the file, 2×4 in the model)."
    )


def test_weights_that_share_memory_may_be_stored_once(tmp_path):
    model = two_layers()
    model[1].weight = model[0].weight
    state = model.state_dict()
    del state["1.weight"]
    state = {key: torch.ones_like(value) for key, value in state.items()}
    torch.save(state, tmp_path / "w.pth")
    load_checkpoint(model, tmp_path / "w.pth")
    assert model[1].weight.eq(1).all()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.pth", None, "there is no checkpoint"),
        ("w.pth", b"not a pickle", "is no checkpoint of plain tensors"),
        ("w.safetensors", b"short", "is no readable safetensors file"),
        ("list.pth", [1, 2], "holds list, not a state dict"),
        ("other.pth", {"epoch": 3, "weights": [1]}, "no tensor under its keys epoch, weights"),
        ("code.pth", nn.Linear(2, 2), "is no checkpoint of plain tensors"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, name, content, says):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(AnalyzerError) as refusal:
        read_checkpoint(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_loading_needs_little_more_memory_than_the_model(tmp_path, suffix):
    """The file is mapped: a process that loads 128 MB grows by the model, not by the file too."""
    state = {"weight": torch.ones(8, 4 * 2**20)}
    path = tmp_path / f"w.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from torch import nn\n"
        "from analyzer.models.checkpoints import load_checkpoint\n"
        "def private():\n"
        "    text = Path('/proc/self/status').read_text()\n"
        "    return int(text.split('RssAnon:')[1].split()[0]) * 1024\n"
        "model = nn.Linear(4 * 2**20, 8, bias=False)\n"
        "before = private()\n"
        "import analyzer.models.checkpoints as c\n"
        "kept = c.read_checkpoint(sys.argv[1])\n"
        "load_checkpoint(model, sys.argv[1])\n"
        "assert model.weight.min() == 1\n"
        "print(private() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 2**20


def picture(path, color, size=(20, 12), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def everything(spec, arrangement=None, **options):
    given = {"shape": None, "batch_size": 2, "samples": None} | options
    loader, about = open_data(str(spec), arrangement=arrangement, **given)
    batches = list(loader)
    assert len(loader) == len(batches)
    targets = [batch[1] for batch in batches if len(batch) == 2]
    return torch.cat([b[0] for b in batches]), torch.cat(targets) if targets else None, about


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "JPEG"])
def test_images_in_class_folders(tmp_path, suffix):
    root = tmp_path / "images"
    for name, color in (("n02", (255, 0, 0)), ("n01", (0, 0, 255)), ("n10", (0, 255, 0))):
        for i in range(2):
            picture(root / name / f"{i}.{suffix}", color)
    (root / "n01" / "notes.txt").write_text("not an image")
    x, y, about = everything(root, shape=(3, 8, 6))
    assert x.shape == (6, 3, 8, 6)
    assert x.dtype == torch.float32
    assert y.tolist() == [0, 0, 1, 1, 2, 2]
    colors = torch.tensor([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])[y]
    assert (x - colors[:, :, None, None]).abs().max() < 0.06  # JPEG and WebP round colours
    assert about == {"data": "images"}
    _, y, _ = everything(root, shape=(3, 8, 6), samples=3)
    assert y.tolist() == [0, 1, 2]


def test_an_image_is_cut_from_its_middle_without_stretching(tmp_path):
    image = Image.new("RGB", (30, 10), (0, 0, 0))
    image.paste((255, 255, 255), (10, 0, 20, 10))
    image.save(tmp_path / "wide.png")
    x, y, _ = everything(tmp_path, shape=(1, 10, 10))
    assert y is None
    assert x.eq(1).all()
    x, _, _ = everything(tmp_path, shape=(3, 10, 30))
    assert x[0, 0].mean(0).tolist() == [0.0] * 10 + [1.0] * 10 + [0.0] * 10


def test_images_are_normalised_by_channel(tmp_path):
    picture(tmp_path / "a.png", (255, 51, 0))
    arrangement = Arrangement(mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 2.0))
    x, _, _ = everything(tmp_path, arrangement, shape=(3, 4, 4))
    assert torch.allclose(x[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
    with pytest.raises(AnalyzerError, match="2 figures of --mean do not fit"):
        everything(tmp_path, Arrangement(mean=(0.5, 0.2)), shape=(3, 4, 4))


def test_an_image_is_read_only_when_it_is_needed(tmp_path):
    picture(tmp_path / "a.png", 3, mode="L")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    loader, _ = open_data(str(tmp_path), shape=(1, 4, 4), batch_size=1, samples=None)
    batches = iter(loader)
    next(batches)
    with pytest.raises(AnalyzerError, match=r"cannot read image .*b\.png"):
        next(batches)


@pytest.mark.parametrize(
    ("layout", "sample", "timesteps", "shape"),
    [
        ("", (5, 2, 4, 4), None, (3, 5, 2, 4, 4)),
        ("T B C H W", (5, 2, 4, 4), None, (5, 3, 2, 4, 4)),
        ("(T B) C H W", (5, 2, 4, 4), None, (15, 2, 4, 4)),
        ("T B C H W", (2, 4, 4), 6, (6, 3, 2, 4, 4)),
        ("(T B) C H W", (2, 4, 4), 6, (18, 2, 4, 4)),
        ("B C H W", (2, 4, 4), 6, (3, 2, 4, 4)),
        ("T B N D", (7, 2), 6, (6, 3, 7, 2)),
    ],
)
def test_samples_are_laid_out_as_the_model_wants(tmp_path, layout, sample, timesteps, shape):
    x = np.random.default_rng(0).random((3, *sample)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    arranged, _, _ = everything(tmp_path / "x.npy", Arrangement(layout, timesteps), batch_size=3)
    assert arranged.shape == shape
    first = arranged[0, 1] if layout.startswith("T B") else arranged[1]
    expected = torch.from_numpy(x)[1]
    if layout and "T" in layout and len(sample) == 4:
        expected = expected[0]
    assert torch.equal(first, expected)


def test_layouts_that_do_not_fit(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 2, 4, 4)))
    with pytest.raises(AnalyzerError, match="does not fit samples of shape"):
        everything(tmp_path / "x.npy", Arrangement("B N D"))
    with pytest.raises(AnalyzerError, match=r"\(2, 4, 4\) at 4 timesteps"):
        everything(tmp_path / "x.npy", Arrangement("T B N D", 4))  # the 2 is not time
    with pytest.raises(AnalyzerError, match="give --timesteps to repeat them"):
        everything(tmp_path / "x.npy", Arrangement("T B C H W"), batch_size=3)


def test_a_folder_of_event_frames(tmp_path):
    frames = np.random.default_rng(0).integers(0, 5, (4, 6, 2, 8, 8), dtype=np.uint8)
    np.save(_made(tmp_path / "1_wave" / "a.npy"), frames[0])
    np.savez(_made(tmp_path / "1_wave" / "b.npz"), frames=frames[1], label=9)
    np.save(_made(tmp_path / "0_clap" / "c.npy"), frames[2])
    x, y, _ = everything(tmp_path, Arrangement("T B C H W"), shape=(2, 8, 8), batch_size=3)
    assert x.shape == (6, 3, 2, 8, 8)
    assert x.dtype == torch.float32
    assert y.tolist() == [0, 1, 1]  # folders say the class, not the files
    assert torch.equal(x[:, 0], torch.from_numpy(frames[2]).float())
    with pytest.raises(AnalyzerError, match="does not end in the input shape"):
        everything(tmp_path, shape=(2, 9, 9))


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_flat_arrays_with_labels_of_their_own(tmp_path):
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=np.full((2, 3), i, np.int64), y=i + 4)
    x, y, _ = everything(tmp_path)
    assert x[:, 0, 0].tolist() == [0, 1, 2]
    assert x.dtype == torch.int64  # indices stay indices
    assert y.tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("files", "shape", "says"),
    [
        ({}, (3, 4, 4), "holds no samples"),
        ({"a.png": "image", "b.npy": "array"}, (3, 4, 4), "both images and arrays"),
        ({"a.png": "image", "c/b.png": "image"}, (3, 4, 4), "samples beside subfolders"),
        ({"a.png": "image"}, None, "images need a size"),
        ({"a.png": "image"}, (2, 4, 4), "images can not have shape (2, 4, 4)"),
        ({"a.png": "text"}, (3, 4, 4), "a.png"),
        ({"a.npy": "text"}, None, "a.npy"),
        ({"a.npy": "array", "b.npy": "wider"}, None, "b.npy has shape (3, 4)"),
        ({"a.npy": "words"}, None, "not numbers"),
        ({"a.npz": "text"}, None, "a.npz"),
    ],
)
def test_folders_that_can_not_be_read_name_the_file(tmp_path, files, shape, says):
    for name, kind in files.items():
        path = _made(tmp_path / name)
        if kind == "image":
            picture(path, (1, 2, 3))
        elif kind == "text":
            path.write_text("neither an image nor an array")
        else:
            arrays = {"array": np.zeros((2, 4)), "wider": np.zeros((3, 4)), "words": np.array("a")}
            np.save(path, arrays[kind])
    with pytest.raises(AnalyzerError) as refusal:
        everything(tmp_path, shape=shape)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_images_of_more_than_8_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(AnalyzerError, match=r"deep\.png holds .* with 8 bits a channel"):
        everything(tmp_path, shape=(1, 4, 4))


def test_arrays_of_a_file_are_not_read_at_once(tmp_path):
    """A sparse file of 64 GB, which no machine here could hold, gives its first samples."""
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(16_000, 1_000_000))
    x, _, about = everything(path, samples=2)
    assert x.shape == (2, 1_000_000)
    assert about == {"data": "large.npy"}


def test_loading_data_leaves_the_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    everything("random", shape=(3,), samples=5)
    everything("digits", samples=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_subject_puts_its_layout_before_those_of_the_model(tmp_path):
    path = tmp_path / "declared.py"
    path.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    model = nn.Linear(4, 2)\n"
        "    model.layouts = {'': 'B D', 'inner.*': 'B N D'}\n"
        "    return model\n"
    )
    subject = open_subject(
        f"{path}:net", "random", shape=(3, 4), timesteps=2, samples=3, layout="T B N D"
    )
    assert list(subject.layouts.items()) == [("", "T B N D"), ("inner.*", "B N D")]
    (batch,) = subject.batches
    assert batch[0].shape == (2, 3, 3, 4)
    assert subject.about == {"data": "random", "seed": 0, "weights": "untrained"}
