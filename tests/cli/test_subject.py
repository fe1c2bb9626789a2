"""What a command is given: factories of the user's, their arguments, and layouts."""

import math
import struct
import textwrap

import pytest

from analyzer import models
from analyzer.cli.options import SubjectOptions
from analyzer.cli.subject import open_model, open_subject
from analyzer.errors import AnalyzerError


@pytest.fixture
def nets(tmp_path):
    """A user's file with factories of several kinds, named like a loaded module (random.py)."""
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
    assert (loaded.name, loaded.weights, loaded.model.training) == (
        "mlp",
        "as the factory made them",
        False,
    )
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


def test_a_subject_puts_its_layout_before_those_of_the_model(tmp_path):
    path = tmp_path / "declared.py"
    path.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    model = nn.Linear(4, 2)\n"
        "    model.layouts = {'': 'B D', 'inner.*': 'B N D'}\n"
        "    return model\n"
    )
    given = SubjectOptions(
        data="random", input_shape="3,4", timesteps=2, samples=3, layout=["T B N D"]
    )
    subject = open_subject(f"{path}:net", given)
    assert list(subject.frame["layouts"].items()) == [("", "T B N D"), ("inner.*", "B N D")]
    (batch,) = subject.batches
    assert batch[0].shape == (2, 3, 3, 4)
    assert subject.about == {"data": "random", "seed": 0, "weights": "as the factory made them"}


@pytest.mark.parametrize(
    ("name", "folder", "weights"),
    [
        ("ge2mst-tiny-ann", "fashion-mnist", "shipped, trained on fashion-mnist"),
        ("ge2mst-tiny-converted", "fashion-mnist", "shipped, trained on fashion-mnist"),
        ("vit-tiny", "fashion-mnist", "untrained"),
        ("ge2mst-tiny-ann", "mnist", "shipped"),
    ],
)
def test_fashion_mnist_takes_only_weights_that_were_trained_on_it(
    tmp_path, monkeypatch, name, folder, weights
):
    found = models.weights_path
    absent = {("vit-tiny", "fashion-mnist"): tmp_path / "absent"}
    monkeypatch.setattr(
        models,
        "weights_path",
        lambda name, data="digits": absent.get((name, data)) or found(name, data),
    )
    place = tmp_path / folder
    place.mkdir()
    for split in ("train", "t10k"):
        for kind, shape in (("images-idx3", (2, 28, 28)), ("labels-idx1", (2,))):
            header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
            content = header + bytes(range(2)) * (math.prod(shape) // 2)
            (place / f"{split}-{kind}-ubyte").write_bytes(content)
    subject = open_subject(name, SubjectOptions(data=str(place)))
    assert subject.about["weights"] == weights
    assert (subject.about["data"], subject.about["split"]) == (folder, "test")
    assert next(iter(subject.batches))[0].shape == (2, 1, 32, 32)
