"""Batches as arguments of a forward, and outputs as classes."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from frame_models import Call, fully_connected, spikes
from spikingjelly.activation_based import functional, neuron
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import analyzer


def test_lists_of_images_of_different_sizes():
    model = Call(lambda m, xs: [m.c(x).mean((1, 2)) for x in xs], c=nn.Conv2d(3, 4, 3)).eval()
    images = [torch.rand(3, 8, 8), torch.rand(3, 9, 7)]
    targets = [{"labels": torch.tensor([1])}, {"labels": torch.tensor([0, 2])}]
    assert analyzer.profile(model, [(images, targets)]).samples == 2
    assert analyzer.profile(model, (images,)).samples == 2


@pytest.mark.parametrize(
    ("wrap", "target"),
    [
        (lambda y: y, lambda y: y.argmax(1)),
        (lambda y: (y, y * 0), lambda y: y.argmax(1)),
        (lambda y: {"logits": y, "loss": y.sum()}, lambda y: y.argmax(1)),
        (lambda y: (y.sum(), y), lambda y: y.argmax(1)),
        (lambda y: [y.sum(), y.mean(), {"logits": y}], lambda y: y.argmax(1)),
        (lambda y: SimpleNamespace(loss=y.sum(), logits=y), lambda y: y.argmax(1)),
        (lambda y: y, lambda y: nn.functional.one_hot(y.argmax(1), 3)),
        (lambda y: y, lambda y: nn.functional.one_hot(y.argmax(1), 3) * 0.9 + 0.1 / 3),
    ],
    ids=["logits", "tuple", "dict", "loss", "losses", "object", "one-hot", "soft"],
)
def test_accuracy_of_usual_outputs_and_targets(wrap, target):
    net, x = nn.Linear(6, 3).eval(), torch.randn(8, 6)
    model = Call(lambda m, x: wrap(m.f(x)), f=net).eval()
    y = target(net(x).detach())
    assert analyzer.profile(model, [(x, y)]).accuracy == 1


def test_accuracy_by_predict_and_why_there_is_none():
    net, x = nn.Linear(6, 3).eval(), torch.randn(8, 6)
    odd = Call(lambda m, x: m.f(x).unsqueeze(-1), f=net).eval()
    y = net(x).argmax(1)
    lacking = analyzer.profile(odd, [(x, y)])
    assert lacking.accuracy is None
    assert "predict=" in lacking.metadata["accuracy"]
    assert analyzer.profile(odd, [(x, y)], predict=lambda o: o[..., 0].argmax(1)).accuracy == 1
    with pytest.raises(analyzer.AnalyzerError, match="class numbers of 8 samples"):
        analyzer.profile(odd, [(x, y)], predict=lambda o: o)


@dataclass
class Pair:
    x: torch.Tensor
    extra: torch.Tensor


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x, extra=None):
        return self.a(x) if extra is None else self.a(x) + self.b(extra)


X, E, Y = torch.rand(8, 6), torch.rand(8, 6), torch.zeros(8, dtype=torch.long)


@pytest.mark.parametrize(
    ("inputs", "macs"),
    [
        ([(X, Y)], 24),
        ([(X, E, Y)], 48),
        ([((X, E), Y)], 48),
        ([{"x": X, "extra": E, "label": Y}], 48),
        ([({"x": X, "extra": E}, Y)], 48),
        ([Pair(X, E)], 48),
        (Pair(X, E), 48),
        ((X, E), 48),
        ({"x": X}, 24),
        (DataLoader(TensorDataset(X, E, Y), 4), 48),
    ],
)
def test_batches_are_read_by_the_signature_of_the_forward(inputs, macs):
    profile = analyzer.profile(TwoInputs().eval(), inputs)
    assert (profile.samples, profile.per_sample()["dense_macs"]) == (8, macs)


def test_batches_that_can_be_read_in_two_ways_or_none_are_refused():
    model = TwoInputs().eval()
    with pytest.raises(analyzer.AnalyzerError, match=r"read in two ways.*forward="):
        analyzer.profile(model, [(X, E)])
    with pytest.raises(analyzer.AnalyzerError, match="4 parts"):
        analyzer.profile(model, [(X, E, X, Y)])
    with pytest.raises(analyzer.AnalyzerError, match="names other"):
        analyzer.profile(model, [{"x": X, "other": E}])
    both = analyzer.profile(model, [(X, E)], forward=lambda m, batch: m(*batch))
    assert both.per_sample()["dense_macs"] == 48


def test_forward_runs_anything():
    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(6, 6)

        def forward(self, x):
            return self.f(x)

        def generate(self, x, steps):
            for _ in range(steps):
                x = self(x)
            return x

    profile = analyzer.profile(
        Generator().eval(), [{"x": X}], forward=lambda m, batch: m.generate(batch["x"], 5)
    )
    assert (profile.samples, profile.per_sample()["dense_macs"]) == (8, 180)


def test_layouts_and_functions_that_are_none_are_refused():
    model, x = fully_connected(), spikes(4, 7, 6)
    with pytest.raises(analyzer.AnalyzerError, match="layouts must be a dict such as"):
        analyzer.profile(model, x, layouts="T B D")
    with pytest.raises(analyzer.AnalyzerError, match=r"no module of .* is called so"):
        analyzer.profile(model, x, layouts={"block": "T B D"})
    with pytest.raises(analyzer.AnalyzerError, match="reset must be a function, not True"):
        analyzer.profile(model, x, reset=True)
    with pytest.raises(analyzer.AnalyzerError, match=r"give torch\.from_numpy"):
        analyzer.profile(model, x.numpy())
    with pytest.raises(analyzer.AnalyzerError, match="no layout names the axes"):
        analyzer.profile(model, x, groups={"temporal": 2})


def test_labels_of_each_position_are_no_samples():
    model = Call(lambda m, x: m.f(m.e(x)).flatten(0, 1), e=nn.Embedding(9, 4), f=nn.Linear(4, 9))
    ids = torch.randint(0, 9, (3, 7))
    assert analyzer.profile(model.eval(), [(ids, ids.flatten())] * 2).samples == 6


@pytest.mark.parametrize("boxes", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("images", [1, 2, 5])
def test_numbers_of_boxes_are_no_samples(boxes, images):
    def detect(m, xs):
        return [{"boxes": torch.zeros(boxes, 4), "map": m.c(x[None])} for x in xs]

    model = Call(detect, c=nn.Conv2d(3, 4, 3)).eval()
    given = [torch.rand(3, 8, 8 + i) for i in range(images)]
    assert analyzer.profile(model, (given,)).samples == images


class Labelled(nn.Module):
    """A classifier that is given its labels and returns its loss, as those of transformers do."""

    def __init__(self, wrap):
        super().__init__()
        self.e, self.f, self.wrap = nn.Embedding(9, 4), nn.Linear(4, 3), wrap

    def forward(self, input_ids, labels=None, **more):
        logits = self.f(self.e(input_ids).mean(1))
        if labels is None:
            return self.wrap(None, logits)
        return self.wrap(nn.functional.cross_entropy(logits, labels), logits)


@pytest.mark.filterwarnings("ignore:no rule covers nll_loss")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda loss, logits: {"loss": loss, "logits": logits},
        lambda loss, logits: (loss, logits) if loss is not None else (logits,),
        lambda loss, logits: SimpleNamespace(loss=loss, logits=logits),
    ],
    ids=["mapping", "tuple", "object"],
)
@pytest.mark.parametrize("sizes", [(4, 2), (7, 3), (3, 3), (1, 4)])
@pytest.mark.parametrize("named", ["labels", "label"])
def test_batches_with_their_labels_among_the_arguments(wrap, sizes, named):
    torch.manual_seed(0)
    model = Labelled(wrap).eval()
    given, right = [], 0
    for n in sizes:
        ids = torch.randint(0, 9, (n, 7))
        logits = model.f(model.e(ids).mean(1))
        labels = logits.argmax(1)
        labels[0] = (labels[0] + 1) % 3
        given.append({"input_ids": ids, named: labels})
        right += n - 1
    profile = analyzer.profile(model, given)
    assert (profile.samples, profile.correct) == (sum(sizes), right)


class Outputs(nn.Module):
    """Rectified steps ``[T, B, classes]``, or with the samples first."""

    def __init__(self, samples_first):
        super().__init__()
        self.layer, self.neuron = nn.Linear(6, 10, bias=False), neuron.IFNode(step_mode="m")
        self.samples_first = samples_first

    def forward(self, x):
        out = self.neuron(self.layer(x))
        return out.transpose(0, 1) if self.samples_first else out


@pytest.mark.parametrize("samples_first", [False, True])
def test_accuracy_of_batches_as_long_as_time_waits_for_one_that_is_not(samples_first):
    torch.manual_seed(1)
    model = Outputs(samples_first).eval()
    x = 3 * torch.rand(4, 7, 6)
    y = model(x).mean(1 if samples_first else 0).argmax(1)
    functional.reset_net(model)

    def cut(*sizes):
        return [*zip(x.split(sizes, 1), y.split(sizes), strict=True)]

    assert analyzer.profile(model, cut(4, 3), timesteps=4, layouts=TIMED).accuracy == 1
    assert analyzer.profile(model, cut(3, 4), timesteps=4, layouts=TIMED).accuracy == 1
    open_ = analyzer.profile(model, cut(4, 3)[:1], timesteps=4, layouts=TIMED)
    assert open_.accuracy is None
    assert "as long as T" in open_.metadata["accuracy"]


TIMED = {"": "T B D"}
