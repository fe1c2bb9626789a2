"""Later passes: each counts what memory held when its operations ran, and one that is not as
planned leaves nothing behind."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from unheard import by_address

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure.watch import recorder


def batches(n=4, samples=8):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(samples, 6, generator=generator) for _ in range(n)]


def by_mul(weight):
    weight.mul_(0.5)


def by_data(weight):
    weight.data.mul_(0.5)


def by_new_data(weight):
    weight.data = weight.data * 0.5


def by_numpy(weight):
    weight.detach().numpy()[:] *= 0.5


def by_dlpack(weight):
    torch.from_dlpack(weight.detach()).mul_(0.5)


WAYS = [by_mul, by_data, by_new_data, by_numpy, by_dlpack]


class Late(nn.Module):
    """Takes another way from its third call on, and writes on its weights in it."""

    def __init__(self, write):
        super().__init__()
        self.a, self.write = nn.Linear(6, 6), write
        self.register_buffer("seen", torch.zeros(3))
        self.calls = [0]  # kept outside of what a pass may undo: see forward

    def forward(self, x):
        CALLS.append(1)
        y = self.a(x)
        if len(CALLS) > 2:
            with torch.no_grad():
                self.write(self.a.weight)
                self.seen += 1
            y = self.a(y)
        return y


CALLS = []


@pytest.mark.parametrize("write", WAYS)
def test_weights_and_buffers_are_as_they_were(write):
    CALLS.clear()
    torch.manual_seed(0)
    model = Late(write).eval()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    found = analyzer.profile(model, batches())
    assert found.metadata["passes"]["missed"] == 1
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_the_run_that_counts_begins_where_the_missed_one_began():
    """Each later pass halves the weight once: a missed run that stayed would halve it twice."""
    CALLS.clear()
    used = []

    class Notes(Late):
        def forward(self, x):
            used.append(float(self.a.weight.abs().max()))
            return super().forward(x)

    model = Notes(by_mul).eval()
    analyzer.profile(model, batches())
    assert used[3] == used[2]  # the same pass, run again
    assert used[4] == used[3] / 2


class Gate(nn.Module):
    """Draws numbers, reshapes and clears its input where its memory says that it is large."""

    def __init__(self):
        super().__init__()
        self.a, self.own = nn.Linear(6, 6), np.random.default_rng(0)
        self.drawn = []

    def forward(self, x):
        if by_address(x).mean() > 0.5:
            draws = (random.random(), np.random.rand(), float(torch.rand(())), self.own.random())
            DRAWN.append(draws)
            x.zero_()
            x.unsqueeze_(0)
            return self.a(self.a(x))
        return self.a(x)


DRAWN = []


def test_inputs_and_random_numbers_are_given_back():
    DRAWN.clear()
    data = [torch.full((2, 6), v) for v in (0.25, 0.25, 0.75, 0.25)]
    found = analyzer.profile(Gate().eval(), data)
    assert found.metadata["passes"] == {"full": 3, "replayed": 1, "missed": 1}
    assert found.totals["dense_macs"] == 5 * 2 * 36
    assert len(DRAWN) == 2
    assert DRAWN[0] == DRAWN[1]


class Rewritten(nn.Module):
    """Two layers read one tensor of spikes, which something writes to in between."""

    def __init__(self, write):
        super().__init__()
        self.a, self.c, self.d = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.write = write

    def forward(self, x):
        h = (self.a(x - 0.5) > 0).float()
        y = self.c(h)
        self.write(h)
        READ.append(int((h != 0).sum()))
        return y + self.d(h)


READ = []


def clear_numpy(h):
    h.numpy()[: len(h) // 2] = 0


def clear_dlpack(h):
    torch.from_dlpack(h)[: len(h) // 2] = 0


def clear_data(h):
    h.data[: len(h) // 2] = 0


def clear_storage(h):
    np.frombuffer(memoryview(h.numpy()).cast("B"), np.float32)[: h.numel() // 2] = 0


@pytest.mark.parametrize("watch", ["first", "every"])
@pytest.mark.parametrize("write", [clear_numpy, clear_dlpack, clear_data, clear_storage])
def test_each_operand_is_what_it_was_when_it_was_read(write, watch):
    READ.clear()
    torch.manual_seed(0)
    model = Rewritten(write).eval()
    found = analyzer.profile(model, batches(3), watch=watch)
    rows = found.operations().set_index("module")
    assert rows.loc["d", "ac"] == 3 * sum(READ[-3:])
    assert rows.loc["c", "ac"] > rows.loc["d", "ac"]


class FreshWeights(nn.Module):
    """Wraps values of this batch into a parameter, which may lie where the last one lay."""

    def forward(self, x):
        weight = nn.Parameter((x[:4] > 0.5).float(), requires_grad=False)
        return nn.functional.linear((x > 0.3).float(), weight)


def test_parameters_made_in_the_forward_are_read_each_time():
    data = batches(6)
    first, every = (analyzer.profile(FreshWeights(), data, watch=w) for w in ("first", "every"))
    assert first.contractions == every.contractions
    assert first.counts["weight_nonzeros"].sum() == max(int((x[:4] > 0.5).sum()) for x in data)


def test_what_an_import_computes_is_not_the_models(tmp_path, monkeypatch):
    (tmp_path / "computes_when_imported.py").write_text(
        "import torch\nTABLE = torch.rand(9, 9) @ torch.rand(9, 9)\nSUM = TABLE.exp().sum()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    class Imports(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 4)

        def forward(self, x):
            import computes_when_imported

            return self.a(x) + computes_when_imported.SUM

    found = analyzer.profile(Imports().eval(), batches(3))
    assert found.totals["dense_macs"] == 3 * 8 * 24
    assert found.totals["specials"] == 0
    assert found.metadata["passes"] == {"full": 1, "replayed": 2, "missed": 0}


def test_without_a_dispatcher_hook_every_pass_is_watched(monkeypatch):
    model, data = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), batches()
    usual = analyzer.profile(model, data)
    monkeypatch.setattr(recorder, "hooks_work", lambda: False)
    found = analyzer.profile(model, data)
    assert found.contractions == usual.contractions
    assert found.metadata["passes"]["full"] == 4
    assert torch.__version__ in found.metadata["passes"]["hook"]


def test_a_hook_key_that_is_missing_is_found_out():
    code = (
        "import torch, analyzer\n"
        "del torch._C._parse_dispatch_key\n"
        "p = analyzer.profile(torch.nn.Linear(3, 2).eval(), [torch.rand(4, 3)] * 2)\n"
        "print(p.totals['dense_macs'], p.metadata['passes']['full'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["48", "2"], run.stderr


def test_a_pytorch_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.4.1+cpu")
    with pytest.raises(AnalyzerError, match=r"PyTorch 2\.4\.1\+cpu is too old .* torch>=2\.6"):
        analyzer.profile(nn.Linear(6, 2), batches(1))


class Draws(nn.Module):
    """Goes another way by random numbers that no mode of PyTorch sees."""

    def __init__(self, draw):
        super().__init__()
        self.a, self.draw = nn.Linear(6, 6), draw

    def forward(self, x):
        y = self.a(x)
        return y.exp() if self.draw() < 0.5 else y


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_what_python_draws_at_random_makes_every_pass_a_full_one(draw):
    random.seed(1)
    np.random.seed(1)
    state = random.getstate(), np.random.get_state()
    found = analyzer.profile(Draws(draw).eval(), batches(8))
    random.setstate(state[0])
    np.random.set_state(state[1])
    assert found.totals["specials"] == 48 * sum(draw() < 0.5 for _ in range(8))
    assert found.metadata["passes"]["full"] == 8


class Profiles(nn.Module):
    """Profiles another model in its forward."""

    def __init__(self):
        super().__init__()
        self.a, self.inner = nn.Linear(6, 6), nn.Linear(6, 6).eval()

    def forward(self, x):
        analyzer.profile(self.inner, x)
        return self.a(x)


@pytest.mark.parametrize("data", [1, 2])
def test_a_profile_in_a_profile_is_refused(data):
    with pytest.raises(AnalyzerError, match="in the forward of a model that is being profiled"):
        analyzer.profile(Profiles().eval(), batches(data))


class Carries(nn.Module):
    """A neuron that the user's reset leaves charged, and another way for large inputs."""

    def __init__(self):
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)
        self.node = neuron.LIFNode(v_threshold=0.2)

    def forward(self, x):
        y = self.b(self.node(self.a(x)))
        return self.b(self.node(self.a(x))) if by_address(x).max() > 1 else y


def test_neurons_that_are_not_reset_go_on_where_the_last_pass_ended():
    found, data = [], batches(6)
    data[2] += 1
    for watch in ("first", "every"):
        torch.manual_seed(0)
        model = Carries().eval()
        with torch.no_grad():
            model.a.weight.abs_()
        found.append(analyzer.profile(model, data, reset=lambda model: None, watch=watch))
    assert found[0].contractions == found[1].contractions
    assert found[0].metadata["passes"] == {"full": 5, "replayed": 1, "missed": 1}


class Membrane(nn.Module):
    """Adds in place to a tensor that it made like its input."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 6)

    def forward(self, x):
        v = torch.zeros_like(x)
        v.add_(x)
        return self.a(v.relu_())


def test_writes_on_what_the_model_made_leave_later_passes_cheap():
    passes = analyzer.profile(Membrane().eval(), batches()).metadata["passes"]
    assert passes == {"full": 1, "replayed": 3, "missed": 0}


def test_fused_layers_leave_a_plan():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True).eval()
    data = [x[None] for x in batches()]
    found = analyzer.profile(model, data)
    assert found.metadata["passes"] == {"full": 1, "replayed": 3, "missed": 0}
    assert found.contractions == analyzer.profile(model, data, watch="every").contractions


class Slots:
    __slots__ = ("n",)

    def __init__(self):
        self.n = 0


class Odd(nn.Module):
    """State in slots and in an array of NumPy."""

    def __init__(self):
        super().__init__()
        self.a, self.slots, self.array = nn.Linear(6, 6), Slots(), np.zeros(3)
        self.register_buffer("gaps", torch.tensor([float("nan")]).expand(6))

    def forward(self, x):
        self.slots.n += 1
        self.array += 1
        return self.a(x)


def test_state_in_slots_and_arrays_is_seen_and_put_back():
    model = Odd().eval()
    found = analyzer.profile(model, batches())
    assert found.metadata["passes"]["full"] == 4
    assert (model.slots.n, model.array.tolist()) == (0, [0.0] * 3)


def test_counting_by_shapes_leaves_a_model_without_parameters_as_it_was():
    class Counts(nn.Module):
        n = 0

        def forward(self, x):
            self.n += 1
            return x @ x.mT

    model = Counts().eval()
    analyzer.count(model, (4, 4))
    assert model.n == 0


def test_batch_norm_leaves_later_passes_cheap_outside_of_training():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    assert analyzer.profile(model, batches()).metadata["passes"]["replayed"] == 3
