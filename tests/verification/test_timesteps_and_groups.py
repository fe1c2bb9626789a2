"""What a profile says of timesteps and groups is compared too: faults are found, truth is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from verified_models import Runs, spikes

import analyzer
import analyzer.measure.read.groups as groups_module
import analyzer.measure.watch.dispatch as dispatch_module
import analyzer.measure.watch.observe as observe_module
import analyzer.measure.watch.sites as sites_module
import analyzer.measure.watch.timesteps as timesteps_module
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.read.groups import Grouping
from analyzer.measure.rules.convolutions import Convolution
from analyzer.measure.rules.geometry import Side
from analyzer.measure.rules.matrices import MatMul
from analyzer.measure.watch.observe import Observer

T, B = 3, 2
RISING = torch.tensor([1.0, 2.0, 3.0])


class Net(nn.Module):
    """Reads spikes of another size in each timestep, spikes of one size, and reals.

    Its input has merged leading axes: nothing in it depends on where time is.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.scores = Scores()
        self.head = nn.Linear(4, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        x = self.again((self.conv(x) > 0.1).float())
        tokens = (x > 0.1).float().flatten(2).mT
        tokens = self.scores(tokens).relu()
        return self.last((self.head(tokens) > 0.2).float()).mean(1)


class Scores(nn.Module):
    def forward(self, tokens):
        return (tokens @ tokens.mT) @ tokens


class Merged(nn.Module):
    """The network on all timesteps at once."""

    def __init__(self, *, apart):
        super().__init__()
        self.net, self.apart = Net(), apart

    def forward(self, x):
        return self.net(x.flatten(0, 1)) if self.apart else self.net(x)


class Loops(nn.Module):
    """The network on one timestep after another, each as often as given."""

    def __init__(self, axis, times=1):
        super().__init__()
        self.net, self.axis, self.times = Net(), axis, times

    def forward(self, x):
        return sum(self.net(step) for step in x.unbind(self.axis) for _ in range(self.times))


def sized(axis):
    """Spikes ``[T, B, 2, 6, 6]``, larger and more in later timesteps, with time on some axis."""
    more = spikes(T, B, 2, 6, 6) + spikes(T, B, 2, 6, 6, share=0.5) * (RISING > 1).view(
        -1, 1, 1, 1, 1
    )
    x = (more > 0).float() * RISING.view(-1, 1, 1, 1, 1)
    return x.transpose(0, axis).contiguous()


FIRST, SECOND = "(T B) C H W", "(B T) C H W"
INSIDE = {"net.scores": "B N D", "net.head": "B N D", "net.last": "B N D"}


def layouts(model, order):
    merged = {name: layout.replace("B", f"({order})") for name, layout in INSIDE.items()}
    return {"": model, "net": f"({order}) C H W", "net.conv": f"({order}) C H W", **merged}


GROUPS = {"temporal": 2, "spatial": 2, "structural": 3}
FORMS = {
    "time first": (
        lambda: Merged(apart=True), sized(0), {"layouts": layouts("T B C H W", "T B")}
    ),
    "time second": (
        lambda: Merged(apart=True), sized(1), {"layouts": layouts("B T C H W", "B T")}
    ),
    "time merged first": (
        lambda: Merged(apart=False), sized(0).flatten(0, 1),
        {"layouts": layouts(FIRST, "T B"), "timesteps": T},
    ),
    "time merged second": (
        lambda: Merged(apart=False), sized(1).flatten(0, 1),
        {"layouts": layouts(SECOND, "B T"), "timesteps": T},
    ),
    "a loop": (
        lambda: Loops(0), sized(0), {"layouts": {"": "T B C H W", "net": "B C H W", **INSIDE}}
    ),
    "a loop over the second axis": (
        lambda: Loops(1), sized(1), {"layouts": {"": "B T C H W", "net": "B C H W", **INSIDE}}
    ),
    "two runs a step": (
        lambda: Loops(0, 2), sized(0), {"layouts": {"": "T B C H W", "net": "B C H W", **INSIDE}}
    ),
    "loop=True": (
        Net, sized(0),
        {"layouts": {"": "T B C H W", "scores": "B N D"}, "loop": True},
    ),
    "loop=True, time second": (
        Net, sized(1),
        {"layouts": {"": "B T C H W", "scores": "B N D"}, "loop": True},
    ),
}  # fmt: skip


def verified(name):
    make, x, given = FORMS[name]
    return analyzer.verify(make().eval(), x, groups=GROUPS, **given)


@pytest.mark.parametrize("name", FORMS)
def test_right_timesteps_and_groups_agree(name):
    found = verified(name)
    assert not found.unexplained
    each = {row.module.removeprefix("net."): row.timesteps for row in found.rows if row.dense_macs}
    assert each == {"conv": T, "again": T, "scores": T, "head": T, "last": T}
    assert found.groups > 0
    assert found.summary.endswith(
        f"; {5 * T} timesteps of operations and {found.groups} groups of activity compared"
    )


def next_step(monkeypatch):
    """Each timestep is read where the next one lies."""
    honest = timesteps_module.timestep
    wrong = lambda x, side, steps, step: honest(x, side, steps, (step + 1) % steps)  # noqa: E731
    monkeypatch.setattr(observe_module, "timestep", wrong)


def time_first(monkeypatch):
    """The first axis is taken for ``(T B)`` wherever it holds time."""
    honest = Observer.observe

    def wrong(self, product, at, *args, **kwargs):
        return honest(self, product, at._replace(outer=(1, 1)), *args, **kwargs)

    monkeypatch.setattr(Observer, "observe", wrong)


def samples_first(monkeypatch):
    """The first axis is taken for ``(B T)`` wherever it holds time."""
    honest = Observer.observe

    def wrong(self, product, at, *args, **kwargs):
        outer = tuple(B if steps > 1 else 1 for steps in at.steps)
        return honest(self, product, at._replace(outer=outer), *args, **kwargs)

    monkeypatch.setattr(Observer, "observe", wrong)


def rolled(name, owner):
    """Figures of each timestep are those of the one before."""

    def inject(monkeypatch):
        honest = getattr(owner, name)

        def wrong(*args):
            found = honest(*args)
            if isinstance(found, np.ndarray):
                return np.roll(found, 1)
            return type(found)(*(np.roll(x, 1) if isinstance(x, np.ndarray) else x for x in found))

        monkeypatch.setattr(owner, name, wrong)

    inject.__name__ = f"{owner.__name__}.{name}"
    return inject


def of_the_whole(monkeypatch):
    """Timesteps are of the class of all of them."""
    honest = sites_module.parts_of

    def wrong(whole, by_step):
        return honest(whole, by_step._replace(values=None))

    monkeypatch.setattr(sites_module, "parts_of", wrong)


def dense_of_all(monkeypatch):
    """Each timestep has the dense work of all."""
    honest = sites_module.parts_of

    def wrong(whole, by_step):
        return tuple(replace(part, dense_macs=whole.dense_macs) for part in honest(whole, by_step))

    monkeypatch.setattr(sites_module, "parts_of", wrong)


def later_calls(monkeypatch):
    """Each call of a loop belongs to the timestep after its own."""
    honest = dispatch_module.steps_of_calls

    def wrong(tags, timesteps, *args):
        found = honest(tags, timesteps, *args)
        return None if found is None else [(step + 1) % timesteps for step in found]

    monkeypatch.setattr(dispatch_module, "steps_of_calls", wrong)


def calls_in_turn(monkeypatch):
    """Calls are dealt to the timesteps in turn, however often a step runs a module."""
    wrong = lambda tags, timesteps, *args: [at % timesteps for at in range(len(tags))]  # noqa: E731
    monkeypatch.setattr(dispatch_module, "steps_of_calls", wrong)


def other_cells(name):
    """Positions along one axis of groups are in the next group."""

    def inject(monkeypatch):
        honest = Grouping.fold

        def wrong(self, counts):
            found = honest(self, counts)
            return {k: np.roll(v, 1) if k == name else v for k, v in found.items()}

        monkeypatch.setattr(Grouping, "fold", wrong)

    inject.__name__ = f"other_{name}_cells"
    return inject


def uneven_ranges(monkeypatch):
    """The last range along an axis is the longer one, and not the first."""
    honest = groups_module._ranges

    def wrong(size, number):
        ranges = honest(size, number)
        return ranges.max() - ranges[::-1]

    monkeypatch.setattr(groups_module, "_ranges", wrong)


def calls_backwards(monkeypatch):
    """The calls of a loop are grouped from the last to the first."""
    honest = Layouts.commit

    def wrong(self):
        for calls in self._calls.values():
            calls.reverse()
        honest(self)

    monkeypatch.setattr(Layouts, "commit", wrong)


def injected(faults):
    """Runs a test with each fault in each of the forms that it must be found in."""
    cases = [(fault, name) for fault, names in faults for name in names]
    ids = [f"{fault.__name__}-{name}" for fault, name in cases]
    return pytest.mark.parametrize(("fault", "name"), cases, ids=ids)


MERGED = [name for name in FORMS if name.startswith("time")]
LOOPS = [name for name in FORMS if name not in MERGED]
STEP_FAULTS = [
    (next_step, MERGED),
    (time_first, [name for name in MERGED if name.endswith("second")]),
    (samples_first, [name for name in MERGED if name.endswith("first")]),
    (rolled("nonzeros_by_step", Side), MERGED),
    (rolled("events_by_step", MatMul), MERGED),
    (rolled("events_by_step", Convolution), MERGED),
    (of_the_whole, MERGED),
    (dense_of_all, MERGED),
    (later_calls, LOOPS),
    (calls_in_turn, ["two runs a step"]),
]


@injected(STEP_FAULTS)
def test_a_wrong_timestep_is_found(monkeypatch, fault, name):
    fault(monkeypatch)
    found = verified(name).unexplained
    assert found
    for row in found:
        assert row.dense_macs == row.brute_force  # as a whole it is right
        assert row.events == row.brute_force_events
        assert "timestep " in row.explanation


GROUP_FAULTS = [
    (other_cells("temporal"), MERGED),
    (other_cells("spatial"), ["time second", "a loop", "loop=True"]),
    (other_cells("structural"), ["time merged second", "a loop", "loop=True"]),
    (uneven_ranges, ["time first", "two runs a step"]),
    (calls_backwards, LOOPS),
]


@injected(GROUP_FAULTS)
def test_a_wrong_group_is_found(monkeypatch, fault, name):
    fault(monkeypatch)
    found = verified(name)
    assert found.unexplained
    for row in found.unexplained:
        assert (row.operation, row.dense_macs) == ("groups", None)
        assert " group " in row.explanation
    assert "unexplained" in found.summary


@pytest.mark.parametrize("mode", ["m", "s"])
def test_both_step_modes_of_spikingjelly_agree(mode):
    layer, neuron, functional = (
        pytest.importorskip(f"spikingjelly.activation_based.{name}")
        for name in ("layer", "neuron", "functional")
    )
    torch.manual_seed(0)
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        neuron.LIFNode(),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(36, 6),
        neuron.IFNode(v_reset=None),
        layer.Linear(6, 3),
    )
    functional.set_step_mode(model, mode)
    found = analyzer.verify(
        model.eval(), 2 * sized(0), layouts={"": "T B C H W"}, groups=GROUPS, loop=mode == "s"
    )
    assert not found.unexplained
    assert {r.module: r.timesteps for r in found.rows if r.dense_macs} == {"0": T, "4": T, "6": T}


def test_timesteps_that_nothing_else_tells_are_a_dash():
    """A recurrent kernel is one operation here, and one for each step there."""

    model = Runs(lambda part, x: part(x)[0].mean(0), nn.LSTM(8, 4)).eval()
    x, given = spikes(T, B, 8), {"layouts": {"": "T B D", "parts.0": "T B D"}}
    assert "parts.0" in analyzer.profile(model, x, **given).sparsity("timestep")["module"].tolist()
    found = analyzer.verify(model, x, **given)
    assert not found.unexplained
    assert [row.timesteps for row in found.rows if row.dense_macs] == [None]
    assert found.table["timesteps"].isna().all()


class Turns(nn.Module):
    """Swaps samples and time, and sums spikes up over time: more levels in each timestep."""

    def __init__(self, flat):
        super().__init__()
        self.layer, self.flat = nn.Linear(6, 5), flat

    def forward(self, x):
        sums = x.transpose(0, 1).cumsum(0)
        if self.flat:
            return self.layer(sums.flatten(0, 1)).unflatten(0, (T, -1)).mean(0)
        return self.layer(sums).mean(0)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("samples", [2, 3])
def test_axes_that_a_pass_swaps_lie_alike_for_both(flat, samples):
    model = Turns(flat).eval()
    x = spikes(samples, T, 6)
    classes = analyzer.profile(model, x, layouts={"": "B T D"}).operations()["input_class"]
    assert set(classes) == {"binary", "graded"}
    found = analyzer.verify(model, x, layouts={"": "B T D"})
    assert (found.rows[0].timesteps, found.unexplained) == (T, ())


def test_targets_tell_samples_as_they_do_in_a_profile():
    class Stacks(nn.Module):
        layer = nn.Linear(6, 5)

        def forward(self, x):
            v, out = 0.0, []
            for step in x:
                v = v * 0.5 + self.layer(step)
                out.append((v > 0.2).float())
            return torch.stack(out)

    data = [(spikes(T, 2, 6), torch.zeros(2, dtype=torch.long))]
    assert analyzer.verify(Stacks().eval(), data).samples == 2


def test_groups_without_a_layout_are_refused():
    with pytest.raises(analyzer.AnalyzerError, match="groups are ranges of axes"):
        analyzer.verify(nn.Linear(6, 5), torch.rand(2, 6), groups={"temporal": 2})
