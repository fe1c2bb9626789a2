"""Networks of other spiking libraries, profiled as they are."""

from collections import Counter

import pytest
import torch
from oracles import counted, rows, watch
from partner_models import PARTNERS, T, forget, rates

import analyzer
from analyzer.measure.neurons.registry import dynamics

BIG = ("sew", "resnet")
"""Whole networks of a fixed width, whose weights take brute force its time."""


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow if n in BIG else ()) for n in PARTNERS],
    scope="module",
)
def partner(request):
    return PARTNERS[request.param].build()


def test_neurons_fire_as_in_trained_networks(partner):
    found = list(rates(*partner).values())
    assert 0.05 < sum(found) / len(found) < 0.3
    assert min(found) > 0.005


def test_counts_equal_brute_force(partner):
    model, x = partner
    forget(model)
    expected = rows(watch(model, x))
    forget(model)
    profile = analyzer.profile(model, x, timesteps=T)
    assert profile.uncovered.empty
    assert counted(profile) == expected
    assert profile.totals["events"] > 0
    assert profile.totals["unary_events"] > 0


def test_verify_agrees_in_every_timestep(partner):
    found = analyzer.verify(*partner, timesteps=T, reset=forget)
    assert not found.unexplained
    assert sum(row.timesteps or 0 for row in found.rows) >= T


def test_neurons_count_by_their_dynamics(partner):
    """One row a neuron, of as many updates as it gave outputs, whatever operations computed it."""
    model, x = partner
    outputs = Counter()

    def note(name, module):
        def hook(module, args, output):
            first = output[0] if isinstance(output, tuple) else output
            outputs[name, dynamics(module).neuron] += first.numel()

        return module.register_forward_hook(hook)

    neurons = {name: m for name, m in model.named_modules() if dynamics(m) is not None}
    handles = [note(name, module) for name, module in neurons.items()]
    forget(model)
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    counts = analyzer.profile(model, x, timesteps=T).counts
    for (name, kind), updates in outputs.items():
        inside = counts[counts["module"].eq(name) & counts["dense_macs"].eq(0)]
        assert list(inside["op"]) == [kind]
        (row,) = inside.to_dict("records")
        work = dynamics(neurons[name]).work.times(updates)
        found = [row[k] for k in ("adds", "multiplies", "compares", "specials")]
        assert found == [work.adds, work.multiplies, work.compares, work.specials]


def test_outputs_and_state_are_left_alone(partner):
    model, x = partner
    forget(model)
    with torch.no_grad():
        before = model(x)
        after_one = {k: v.clone() for k, v in model.state_dict().items()}
        analyzer.profile(model, x, timesteps=T)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in after_one.items())
        forget(model)
        assert torch.equal(model(x), before)


def test_state_is_reset_between_batches(partner):
    model, x = partner
    once = analyzer.profile(model, x, timesteps=T)
    again = analyzer.profile(model, [x, x], timesteps=T)
    assert again.counts.equals((once + once).counts)
    assert again.totals["events"] == 2 * once.totals["events"]


def test_batches_may_be_cut_anywhere(partner):
    model, x = partner
    whole = analyzer.profile(model, x, timesteps=T)
    cut = analyzer.profile(model, list(x.split(1)), timesteps=T)
    # A call for each batch; all else is a sum over samples.
    columns = [c for c in whole.counts.columns if c != "calls"]
    assert cut.counts[columns].equals(whole.counts[columns])


def test_what_layers_send_equals_their_outputs_sample_by_sample(partner):
    """Of one sample all that a neuron module gives is its neurons, T times over."""
    model, x = partner
    neurons = {name: m for name, m in model.named_modules() if dynamics(m) is not None}
    outputs = {name: [] for name in neurons}
    handles = [
        module.register_forward_hook(
            lambda _, args, out, to=outputs[name]: to.append(
                (out[0] if isinstance(out, tuple) else out).flatten()
            )
        )
        for name, module in neurons.items()
    ]
    with torch.no_grad():
        for sample in x.split(1):
            forget(model)
            model(sample)
    for handle in handles:
        handle.remove()
    forget(model)
    whole = analyzer.profile(model, x, timesteps=T)
    cut = analyzer.profile(model, list(x.split(1)), timesteps=T)
    assert cut.sent == whole.sent
    table = whole.spikes().set_index("module")
    assert set(table.index) == {name for name, given in outputs.items() if given}
    for name, row in table.iterrows():
        sent = torch.cat(outputs[name]).reshape(len(x), T, -1)
        assert row["neurons"] == sent.shape[-1]
        assert row["timesteps"] == T
        if row["values"] == "real":
            assert row[["spikes", "silent"]].isna().all()
            continue
        assert row["spikes"] == sent.count_nonzero().item()
        assert row["firing_rate"] == pytest.approx((sent != 0).double().mean().item(), rel=1e-12)
        assert row["silent"] == (sent == 0).all(0).all(0).sum().item()


def test_timesteps_of_a_step_loop_are_told_apart():
    model, x = PARTNERS["single_step"].build()
    steps = analyzer.profile(model, x, timesteps=T).sparsity("timestep")
    assert set(steps["timestep"]) == set(range(T))
    assert set(steps["module"]) == {"net.0", "net.4", "net.8"}
