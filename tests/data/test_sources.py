"""Opening data to measure on: images, arrays, folders of them, and the input made of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from analyzer.data.arrangement import Arrangement
from analyzer.data.folders import open_folder
from analyzer.data.sources import open_data
from analyzer.errors import AnalyzerError


def save_image(path, color, size=(20, 12), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def everything(spec, arrangement=None, **options):
    given = {"shape": None, "batch_size": 2, "samples": None} | options
    loader, about = open_data(str(spec), arrangement=arrangement, **given)
    batches = list(loader)
    assert len(loader) == len(batches)
    targets = [batch[1] for batch in batches if len(batch) == 2]
    return torch.cat([b[0] for b in batches]), torch.cat(targets) if targets else None, about


def in_new_folder(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "JPEG"])
def test_images_in_class_folders(tmp_path, suffix):
    root = tmp_path / "images"
    for name, color in (("n02", (255, 0, 0)), ("n01", (0, 0, 255)), ("n10", (0, 255, 0))):
        for i in range(2):
            save_image(root / name / f"{i}.{suffix}", color)
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
    save_image(tmp_path / "a.png", (255, 51, 0))
    arrangement = Arrangement(mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 2.0))
    x, _, _ = everything(tmp_path, arrangement, shape=(3, 4, 4))
    assert torch.allclose(x[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
    with pytest.raises(AnalyzerError, match="2 figures of --mean do not fit"):
        everything(tmp_path, Arrangement(mean=(0.5, 0.2)), shape=(3, 4, 4))


def test_an_image_is_read_only_when_it_is_needed(tmp_path):
    save_image(tmp_path / "a.png", 3, mode="L")
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
    np.save(in_new_folder(tmp_path / "1_wave" / "a.npy"), frames[0])
    np.savez(in_new_folder(tmp_path / "1_wave" / "b.npz"), frames=frames[1], label=9)
    np.save(in_new_folder(tmp_path / "0_clap" / "c.npy"), frames[2])
    x, y, _ = everything(tmp_path, Arrangement("T B C H W"), shape=(2, 8, 8), batch_size=3)
    assert x.shape == (6, 3, 2, 8, 8)
    assert x.dtype == torch.float32
    assert y.tolist() == [0, 1, 1]  # folders say the class, not the files
    assert torch.equal(x[:, 0], torch.from_numpy(frames[2]).float())
    with pytest.raises(AnalyzerError, match="does not end in the input shape"):
        everything(tmp_path, shape=(2, 9, 9))


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
        path = in_new_folder(tmp_path / name)
        if kind == "image":
            save_image(path, (1, 2, 3))
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


def test_images_give_their_own_shape_and_must_then_be_alike(tmp_path):
    from PIL import Image

    for name in "ab":
        Image.new("RGB", (6, 4)).save(tmp_path / f"{name}.png")
    batches, _ = open_data(str(tmp_path), shape=None, batch_size=2, samples=None)
    assert next(iter(batches))[0].shape == (2, 3, 4, 6)
    Image.new("RGB", (5, 5)).save(tmp_path / "c.png")
    batches, _ = open_data(str(tmp_path), shape=None, batch_size=3, samples=None)
    with pytest.raises(AnalyzerError, match=r"another size than a\.png.*--input"):
        next(iter(batches))


@pytest.mark.parametrize("as_files", [False, True])
def test_arrays_of_pixels_are_scaled_and_spikes_are_not(tmp_path, as_files):
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    kinds = {
        "pixels": (pixels, 255),
        "spikes": (pixels % 2, 1),
        "events": (pixels[:, :2], 1),
        "floats": (pixels.astype(np.float32), 1),
    }
    for name, (array, by) in kinds.items():
        path = tmp_path / f"{name}.npy"
        if as_files:
            path = tmp_path / name
            path.mkdir()
            for at, sample in enumerate(array):
                np.save(path / f"{at}.npy", sample)
        else:
            np.save(path, array)
        for scale in (True, False):
            batches, about = open_data(
                str(path), shape=None, batch_size=2, samples=None, scale=scale
            )
            expected = torch.from_numpy(array).float() / (by if scale else 1)
            assert torch.equal(next(iter(batches))[0], expected)
            assert ("scaled" in about) == (scale and by > 1)


def test_channels_last_are_named(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(AnalyzerError, match=r"channels last.*C, H, W"):
        open_data(str(tmp_path / "x.npy"), shape=(3, 8, 8), batch_size=2, samples=None)


def test_an_image_starts_no_other_program(tmp_path, monkeypatch):
    """Pillow goes by content: a PostScript file of any name would be handed to Ghostscript."""
    PIL = pytest.importorskip("PIL")
    from PIL import EpsImagePlugin  # noqa: F401 - registers what must not run

    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *words, **more: started.append(words))
    monkeypatch.setattr("subprocess.check_call", lambda *words, **more: started.append(words))
    text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_text(text)
    with PIL.Image.open(tmp_path / "a.png") as image:  # the trap is one
        assert image.format == "EPS"
    for shape in (None, (3, 8, 8)):
        with pytest.raises(AnalyzerError, match=r"cannot read image .*a\.png"):
            list(open_folder(tmp_path, shape))
    assert not started


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    image_class = pytest.importorskip("PIL.Image")
    image_class.new("1", (10_000, 10_000)).save(tmp_path / "a.png")
    for shape in (None, (3, 8, 8)):
        with pytest.raises(AnalyzerError, match="10,000 x 10,000 pixels"):
            list(open_folder(tmp_path, shape))


FORMS = [">f4", ">f8", ">f2", ">i8", ">i4", ">i2", ">u2", "longdouble", "f2", "u2", "u4", "u8", "?"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["npy", "npz", "folder"])
def test_numbers_of_any_format_are_read(tmp_path, form, kind):
    x = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 1]]).astype(form)
    y = np.arange(4).astype(form if form != "?" else "i8")
    path = tmp_path / ("folder" if kind == "folder" else f"data.{kind}")
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez(path, x=x, y=y)
    else:
        path.mkdir()
        for i, row in enumerate(x):
            np.save(path / f"{i}.npy", row)
    batches, _ = open_data(str(path), shape=None, batch_size=4, samples=None)
    ((first, *target),) = batches
    assert first.tolist() == x.astype(float).tolist()
    if target:
        assert target[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("form", ["U5", "S5", "c8", "M8[s]", "V1", [("a", "f4")]])
@pytest.mark.parametrize("which", ["x", "y"])
def test_what_is_no_number_is_refused_in_a_sentence(tmp_path, form, which):
    odd = np.zeros((4, 3) if which == "x" else 4, dtype=form)
    arrays = {"x": np.zeros((4, 3), "f4"), "y": np.zeros(4)} | {which: odd}
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(AnalyzerError, match="not numbers: save them as float32") as refusal:
        open_data(str(tmp_path / "data.npz"), shape=None, batch_size=4, samples=None)
    assert ("its labels 'y' hold" in str(refusal.value)) == (which == "y")


def test_no_refusal_says_how_to_run_code_of_a_file(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object))
    (tmp_path / "noise.npy").write_bytes(bytes(range(200)))
    np.savez(tmp_path / "objects.npz", x=np.array([{}, []], dtype=object))
    for name in ("objects.npy", "noise.npy", "objects.npz"):
        with pytest.raises(AnalyzerError, match="cannot read arrays") as refusal:
            open_data(str(tmp_path / name), shape=None, batch_size=4, samples=None)
        assert "allow_pickle" not in str(refusal.value)
        assert "unsafe" not in str(refusal.value)
