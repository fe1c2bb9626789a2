"""A meter counts what a profile counts, and leaves the training as it was, bit for bit."""

import copy
import pickle
import random
import re
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)
from training_models import Spiking, T, data, draws, same, seed, train

import analyzer
from analyzer.callbacks import Meter
from analyzer.errors import AnalyzerError, AnalyzerWarning

PROBE = data(8)[0]


def model():
    seed()
    return Spiking()


def test_figures_are_those_of_a_profile_of_the_same_weights():
    net = model()
    seen = []
    meter = Meter(net, PROBE, every=4, convention="syops", technology="45nm", precision="int8")

    def watch(step):
        figures = meter.step(step)
        if figures is not None:
            seen.append((step, figures, copy.deepcopy(net).eval()))

    train(net, 9, watch)
    assert [step for step, _, _ in seen] == [0, 4, 8]
    for _, figures, then in seen:
        profile = analyzer.profile(then, PROBE)
        report = profile.energy(convention="syops", precision="int8")
        rows = profile.operations("syops")
        spikes = profile.spikes().iloc[0]
        assert figures["analyzer/ac"] == rows["ac"].sum() / 8
        assert figures["analyzer/mac"] == rows["mac"].sum() / 8
        assert figures["analyzer/energy_mj"] == pytest.approx(report.total_mj, rel=1e-12)
        assert figures["analyzer/firing_rate"] == spikes["firing_rate"]
        assert figures["analyzer/rate/neurons"] == spikes["firing_rate"]
        assert figures["analyzer/silent/neurons"] == 0
        assert figures["analyzer/silent_layers"] == 0
        assert figures["analyzer/layer_mac/inner"] == 12 * 20
        each = [v for k, v in figures.items() if k.startswith("analyzer/layer_energy_mj/")]
        assert sum(each) == pytest.approx(figures["analyzer/energy_mj"], rel=1e-12)
    assert seen[0][1]["analyzer/ac"] != seen[2][1]["analyzer/ac"]
    assert [row["step"] for row in meter.history] == [0, 4, 8]
    assert meter.profile == profile


def test_a_silent_layer_is_told():
    net = model().eval()
    nn.init.zeros_(net.norm.weight)
    nn.init.zeros_(net.norm.bias)
    figures = Meter(net, PROBE).step(0)
    assert figures["analyzer/silent/neurons"] == 1
    assert figures["analyzer/silent_layers"] == 1
    assert figures["analyzer/firing_rate"] == 0


def test_a_network_that_does_not_spike_has_no_rate():
    figures = Meter(nn.Linear(12, 3), PROBE, layers=False).step(0)
    assert figures == {
        "analyzer/ac": 0.0,
        "analyzer/mac": 36.0,
        "analyzer/energy_mj": pytest.approx(36 * 4.6e-9),
    }


class Odd(nn.ModuleDict):
    """Modules by names that MLflow refuses, or that the root and others could be given too."""

    def __init__(self):
        super().__init__({n: nn.Linear(12, 12) for n in ("model", "a(1)", "a_1_", "a", "a/b")})

    def forward(self, x):
        return F.linear(sum(module(x) for module in self.values()), torch.ones(7, 12))


def test_names_are_paths_of_files_as_mlflow_keeps_them(tmp_path):
    figures = Meter(Odd(), PROBE).step(0)
    assert len([name for name in figures if name.startswith("analyzer/layer_mac/")]) == 6
    assert figures["analyzer/layer_mac/model"] == 144
    assert figures["analyzer/layer_mac/model_"] == 12 * 7
    both = [*figures, *Meter(model(), PROBE).step(0), *Meter(nn.Linear(12, 3), PROBE).step(0)]
    for name in dict.fromkeys(both):
        assert re.fullmatch(r"[/\w.\- ]+", name)
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(exist_ok=False)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("options", [{"every": 2}, {"share": 1.0}], ids=["every", "share"])
def test_weights_with_and_without_are_bit_identical(accumulate, options):
    without, drawn = train(model(), 12, accumulate=accumulate)
    net = model()
    meter = Meter(net, PROBE, **options)

    def watch(step):
        if "share" in options:
            time.sleep(0.1)  # a step that takes longer than a probe
        meter.step(step)

    found, drawn_too = train(net, 12, watch, accumulate=accumulate)
    assert meter.cost.probes > 1
    assert same(without, found)
    assert drawn == drawn_too


class Overwriting(nn.Module):
    """Writes to its input, and its weights are merged by ``eval()``, as adapters' are."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(12, 3)
        self.merged = False

    def train(self, mode=True):
        if self.merged == mode:
            self.inner.weight.data += -1.0 if mode else 1.0
            self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        return self.inner(x.mul_(2))


def test_what_eval_and_forward_overwrite_is_put_back():
    net = Overwriting()
    probe = PROBE.clone()
    weight = net.inner.weight.detach().clone()
    Meter(net, probe).step(0)
    assert torch.equal(net.inner.weight, weight)
    assert not net.merged
    assert net.training
    assert torch.equal(probe, PROBE)


def test_flags_gradients_buffers_hooks_and_the_graph_stay():
    net = model()
    net.norm.eval()  # frozen, as in fine-tuning
    heard = []
    hook = net.head.register_forward_hook(lambda module, args, out: heard.append(1))
    x, y = data()
    loss = F.cross_entropy(net(x), y)
    loss.backward(retain_graph=True)
    gradients = [p.grad for p in net.parameters()]
    values = [g.clone() for g in gradients]
    buffers = [b.clone() for b in net.buffers()]
    flags = [m.training for m in net.modules()]
    hooks = dict(net.head._forward_hooks)
    Meter(net, PROBE).step(0)
    assert all(p.grad is g for p, g in zip(net.parameters(), gradients, strict=True))
    assert same(values, gradients)
    assert same(buffers, list(net.buffers()))
    assert flags == [m.training for m in net.modules()]
    assert net.head._forward_hooks == hooks
    loss.backward()  # the graph from before the probe still works
    assert same([2 * g for g in values], gradients)
    hook.remove()


def test_gradients_stay_where_the_probe_raises():
    net = model()
    net(data()[0]).sum().backward()
    gradients = [p.grad for p in net.parameters()]
    with pytest.raises(AnalyzerError):
        Meter(net, torch.randn(2, 5)).step(0)
    assert all(p.grad is g for p, g in zip(net.parameters(), gradients, strict=True))
    assert net.training


def test_state_of_neurons_that_a_training_carries_stays():
    """Truncated backpropagation through time: the probe lies between two windows of a sequence."""
    sj = pytest.importorskip("spikingjelly.activation_based")
    from spikingjelly.activation_based import functional, layer, neuron

    assert sj

    def run(probing):
        seed()
        net = nn.Sequential(layer.Linear(12, 8), neuron.LIFNode(), layer.Linear(8, 3))
        functional.set_step_mode(net, "m")
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        meter = Meter(net, torch.rand(T, 4, 12), timesteps=T, every=1)
        for step in range(4):
            net(torch.rand(T, 4, 12)).square().sum().backward()
            potential = net[1].v
            if probing:
                meter.step(step)
            assert net[1].v is potential
            optimizer.step()
            optimizer.zero_grad()
            functional.detach_net(net)
        return list(net.state_dict().values()), draws()

    (without, drawn), (found, drawn_too) = run(False), run(True)
    assert same(without, found)
    assert drawn == drawn_too


def test_probing_within_autocast_does_not_cost_gradients():
    """A cache of autocast could hand the probe's weights, without a gradient, to the training."""
    kinds = []

    def run(probing):
        kinds.clear()
        net = model()
        meter = Meter(net, PROBE)
        net.head.register_forward_hook(lambda module, args, out: kinds.append(out.dtype))
        with torch.autocast("cpu", torch.bfloat16):
            if probing:
                meter.step(0)
                assert set(kinds) == {torch.float32}  # and the figures do not depend on the place
            loss = net(data()[0]).float().square().mean()
            assert torch.is_autocast_enabled("cpu")
        loss.backward()
        return [p.grad for p in net.parameters()]

    assert same(run(False), run(True))


def test_random_numbers_of_a_probe_are_the_same_each_time():
    """So that only the weights move the curve of a network that codes its input at random."""

    class Poisson(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 3)

        def forward(self, x):
            return self.head((torch.rand_like(x) < 0.3).float())

    meter = Meter(Poisson(), PROBE, every=1)
    counts = []
    for step in range(3):
        torch.rand(5)
        counts.append(meter.step(step)["analyzer/ac"])
    assert len(set(counts)) == 1
    assert counts[0] > 0


def test_the_first_probe_of_a_process_draws_nothing():
    """What loads only then once drew from Python's generator."""
    code = """
import random
import numpy as np
import torch
from analyzer.callbacks import Meter

def state():
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()

meter = Meter(torch.nn.Linear(3, 3), torch.ones(2, 3))
before = state()
meter.step(0)
assert state() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_compiled_models_are_looked_through_and_compiled_once():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    net = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    compiled = torch.compile(net, backend=backend)
    meter = Meter(compiled, PROBE, every=1)
    for step in range(3):
        compiled(data()[0]).sum().backward()
        figures = meter.step(step)
    assert len(graphs) == 1
    assert figures["analyzer/layer_mac/0"] == 48


def test_data_parallel_models_are_looked_through(tmp_path):
    distributed = torch.distributed
    store = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        net = model()
        parallel = nn.parallel.DistributedDataParallel(net)
        meter = Meter(parallel, PROBE, every=2)
        found, _ = train(parallel, 6, meter.step)
    finally:
        distributed.destroy_process_group()
    assert same(train(model(), 6)[0], found)
    assert "analyzer/layer_mac/inner" in meter.history[0]


def test_only_the_first_process_probes(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    meter = Meter(model(), PROBE, every=1)
    assert meter.step(0) is None
    assert meter.measure(0) is None


def test_which_process_is_the_first_is_asked_in_each_step(monkeypatch):
    """A meter may be made before the processes know of each other."""
    meter = Meter(model(), PROBE, every=1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert meter.step(0) is None
    assert meter.measure(0) is None


def test_sharded_weights_are_refused():
    net = nn.Linear(2, 2)
    net.weight.ds_id = 1  # as ZeRO-3 marks them
    with pytest.raises(AnalyzerError, match=r"shared out among processes .* profile a checkpoint"):
        Meter(net, PROBE)


def test_an_energy_that_is_a_lower_bound_is_told_once():
    meter = Meter(nn.Linear(12, 3), PROBE, technology="loihi", every=1)  # which has no MAC
    with pytest.warns(AnalyzerWarning, match="energy that .* Linear logs is a lower bound: "):
        assert meter.step(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert meter.step(1)


def test_a_meter_can_be_pickled(tmp_path):
    meter = Meter(model(), PROBE, every=1, logger=[tmp_path / "curve.csv"])
    meter.step(0)
    again = pickle.loads(pickle.dumps(meter))
    assert again.history == meter.history
    assert again.step(1)["analyzer/ac"] == meter.history[0]["analyzer/ac"]
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 3


def test_a_logger_that_can_not_be_pickled_stays_behind(tmp_path):
    rows = []
    loggers = [lambda figures: rows.append(figures), [tmp_path / "curve.csv"]]
    meter = Meter(model(), PROBE, every=1, logger=loggers)
    meter.step(0)
    with pytest.warns(AnalyzerWarning, match=r"can not be pickled \(.*lambda"):
        pickled = pickle.dumps(meter)
    again = pickle.loads(pickled)
    assert again.step(1)
    assert len(rows) == 1
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 3
    assert meter.step(2)
    assert len(rows) == 2


class Shifted:
    """A transform that draws from a generator of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(4)

    def __call__(self, x):
        return x + float(self.rng.random())


class Augmented(Dataset):
    def __init__(self):
        self.x = data(96)[0]
        self.transforms = [Shifted()]
        self.generators = [torch.Generator().manual_seed(1), random.Random(2)]
        self.legacy = np.random.RandomState(3)
        self.secure = random.SystemRandom()
        self.itself = self

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.transforms[0](self.x[index]) + sum(self.drawn())

    def drawn(self):
        drawn, python = self.generators
        return [float(torch.rand((), generator=drawn)), python.random(), self.legacy.rand()]


class TestProbe:
    @pytest.mark.parametrize("wrap", [lambda d: d, lambda d: ConcatDataset([Subset(d, [0, 5])])])
    def test_generators_of_a_dataset_are_as_they_were(self, wrap):
        rows, others = Augmented(), Augmented()
        Meter(model(), DataLoader(wrap(rows), 2))
        assert rows.drawn() == others.drawn()
        assert rows.transforms[0](0) == others.transforms[0](0)

    def test_of_a_loader_evenly_spaced_samples_are_taken_and_nothing_is_drawn(self):
        x, y = data(96)
        generator = torch.Generator().manual_seed(3)
        loader = DataLoader(TensorDataset(x, y), 6, shuffle=True, generator=generator)
        before = generator.get_state()
        seed()
        net = Spiking()
        seed()
        meter = Meter(net, loader)
        meter.step(0)
        after = draws()
        seed()
        assert after == draws()
        assert torch.equal(generator.get_state(), before)
        expected = analyzer.profile(net.eval(), (x[::16], y[::16]))
        assert meter.profile == expected
        assert meter.profile.correct == expected.correct

    def test_a_list_of_batches_adds_up(self):
        net = model()
        one = Meter(net, PROBE).step(0)
        assert Meter(net, [PROBE[:4], PROBE[4:]]).step(0)["analyzer/ac"] == one["analyzer/ac"]

    def test_iterators_and_streams_are_refused(self):
        with pytest.raises(AnalyzerError, match="empty after one pass: give one batch"):
            Meter(model(), iter([PROBE]))

        class Stream(IterableDataset):
            def __iter__(self):
                yield from PROBE

        with pytest.raises(AnalyzerError, match="of a Stream, whose samples have no number: give"):
            Meter(model(), DataLoader(Stream(), 4))


class TestErrors:
    def test_a_probe_that_does_not_fit_is_told_in_one_sentence(self):
        with pytest.raises(AnalyzerError) as caught:
            Meter(model(), torch.randn(2, 5)).step(7)
        said = str(caught.value)
        assert said.startswith("the probe of Spiking failed at step 7; give the meter a probe ")
        assert "inner" in said
        assert "\n" not in said

    def test_on_request_it_warns_and_goes_on(self):
        meter = Meter(model(), torch.randn(2, 5), every=1, on_error="warn")
        for step in range(2):
            with pytest.warns(AnalyzerWarning, match=f"failed at step {step}; "):
                assert meter.step(step) is None
        assert meter.history == []

    def test_after_the_first_probe_it_warns_by_default(self):
        net = model()
        meter = Meter(net, PROBE, every=1)
        assert meter.step(0)
        net.head.weight.data[0, 0] = torch.nan  # the training diverges
        with pytest.warns(AnalyzerWarning, match="NaN"):
            assert meter.step(1) is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net.head.weight.data[0, 0] = 0.0
            assert meter.step(2)

    def test_a_logger_that_fails_does_not_end_the_training(self):
        def logger(figures):
            if figures["analyzer/step"]:
                raise OSError("disk full")

        meter = Meter(model(), PROBE, every=1, logger=logger)
        assert meter.step(0)
        said = r"^a logger failed to take .* of Spiking at step 1; mend it.*: OSError: disk full\.$"
        with pytest.warns(AnalyzerWarning, match=said):
            assert meter.step(1)["analyzer/ac"] > 0
        assert [row["step"] for row in meter.history] == [0, 1]

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"every": 0}, "every must be a number of steps"),
            ({"every": True}, "every must be a number of steps"),
            ({"share": 0}, "share must be a share of the time"),
            ({"share": 2}, "share must be a share of the time"),
            ({"convention": "exactt"}, "did you mean 'exact'"),
            ({"technology": "46nm"}, "unknown technology"),
            ({"precision": "fp31"}, "has no addition in 'fp31'"),
            ({"precision": "w4a64"}, "has no integers that wide"),
            ({"memory": "lemair"}, "did you mean 'lemaire'"),
            ({"memory": "lemaire(depth=2)"}, "takes no 'depth'"),
            ({"on_error": "pass"}, "on_error must be"),
            ({"logger": 3}, "the logger is a int"),
        ],
    )
    def test_arguments_are_checked_at_once(self, options, sentence):
        with pytest.raises(AnalyzerError, match=sentence):
            Meter(model(), PROBE, **options)

    def test_whole_numbers_of_numpy_and_tensors_are_whole_numbers(self):
        meter = Meter(model(), PROBE, every=np.int64(2), logger=(rows := []).append)
        assert [meter.step(step) is None for step in np.arange(3)] == [False, True, False]
        assert meter.step(torch.tensor(4))
        assert [(row["analyzer/step"], type(row["analyzer/step"])) for row in rows] == [
            (0, int), (2, int), (4, int),
        ]  # fmt: skip

    def test_other_arguments_are_checked_too(self):
        with pytest.raises(AnalyzerError, match=r"needs a torch\.nn\.Module, not str"):
            Meter("model", PROBE)
        with pytest.raises(AnalyzerError, match=r"the number of a step, such as 3, not 1\.5"):
            Meter(model(), PROBE).step(1.5)
