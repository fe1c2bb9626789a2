"""Every neuron of the registry, built by its own library, with the way to run it over time."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import sinabs.activation as sa
import sinabs.layers as sl
import snntorch as snn
import torch
from neuron_runs import (
    Case,
    as_images,
    at_once,
    batch_first,
    by_steps,
    handed_over,
    listed,
    one_batch,
    one_batch_by_steps,
    one_feature,
    one_feature_by_steps,
    one_pixel_by_steps,
    squeezed,
    stack,
    transposed,
    unsqueezed,
    whole,
)
from spikingjelly.activation_based import neuron
from torch import nn

from analyzer.models.neurons import IF, LIF
from analyzer.models.spikezip import STBIF, Memory

try:
    import norse.torch as norse
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract
except ImportError:  # an optional library
    norse = None


def spikingjelly_cases():
    both = []
    rest = {"v_reset": None}
    for label, kind, settings, start in (
        ("SimpleIF", neuron.SimpleIFNode, {}, (0.0,)),
        ("IF", neuron.IFNode, {}, (0.0,)),
        ("IF soft", neuron.IFNode, rest | {"v_threshold": 0.5}, (0.0,)),
        ("IF to -0.25", neuron.IFNode, {"v_reset": -0.25}, (-0.25,)),
        ("HalfThresholdIF", neuron.HalfThresholdIFNode, {"v_threshold": 0.8}, (0.4,)),
        (
            "ActivationAwareIF",
            neuron.ActivationAwareIFNode,
            {"v_threshold": 0.7, "v_offset": 0.1},
            (0.0,),
        ),
        ("SimpleLIF", neuron.SimpleLIFNode, {"tau": 2.0, "decay_input": True}, (0.0,)),
        ("LIF", neuron.LIFNode, {}, (0.0,)),
        ("LIF undecayed", neuron.LIFNode, {"decay_input": False}, (0.0,)),
        ("LIF soft", neuron.LIFNode, rest | {"tau": 1.5}, (0.0,)),
        ("LIF to -0.1", neuron.LIFNode, {"v_reset": -0.1, "tau": 3.0}, (-0.1,)),
        ("PLIF", neuron.ParametricLIFNode, {"init_tau": 2.5}, (0.0,)),
        ("PLIF undecayed", neuron.ParametricLIFNode, rest | {"decay_input": False}, (0.0,)),
        ("ILIF", neuron.ILIFNode, {"v_threshold": 0.5}, (0.0,)),
        ("QIF", neuron.QIFNode, {"a0": 0.5}, (-0.1,)),
        ("EIF", neuron.EIFNode, {}, (-0.1,)),
        ("Izhikevich", neuron.IzhikevichNode, {"a": 0.1, "b": 0.2}, (0.0, 0.0)),
        ("Izhikevich uncoupled", neuron.IzhikevichNode, {}, (0.0, 0.0)),
        ("RAF", neuron.RAFNode, {"v_threshold": 0.7}, (0.0, 0.0)),
        ("TernaryIF", neuron.TernaryIFNode, {}, (0.0,)),
        ("TernaryIF soft", neuron.TernaryIFNode, rest | {"v_threshold": 0.6}, (0.0,)),
        ("TernaryLIF", neuron.TernaryLIFNode, {}, (0.0,)),
        ("KLIF", neuron.KLIFNode, {}, (0.0,)),
        ("KLIF scaled", neuron.KLIFNode, rest | {"scale_reset": True}, (0.0,)),
        ("ComplementaryLIF", neuron.ComplementaryLIFNode, {}, (0.0, 0.0)),
        (
            "LIAF",
            neuron.LIAFNode,
            {"act": torch.relu, "threshold_related": True, "tau": 2.0},
            (0.0,),
        ),
        ("STBIF", neuron.STBIFNode, {"q_threshold": 0.5, "level": 5, "sym": True}, (0.5, 0.0)),
        ("SLTTLIF", neuron.SLTTLIFNode, {}, (0.0,)),
        ("OTTTLIF", neuron.OTTTLIFNode, {}, (0.0,)),
    ):

        def make(kind=kind, settings=settings, mode="s"):
            module = kind(**settings, step_mode=mode).eval()
            if isinstance(module, neuron.KLIFNode):
                module.k.data.fill_(1.25)
            return module.double()

        case = Case(f"{label} s", make, by_steps, stack, start, scale=2.0)
        both.append(case)
        if kind not in (neuron.SLTTLIFNode, neuron.OTTTLIFNode):

            def make_m(make=make):
                return make(mode="m")

            both.append(replace(case, name=f"{label} m", make=make_m, calls=at_once, join=whole))

    def cuba():
        return neuron.CUBALIFNode()

    def gated():
        torch.manual_seed(0)
        return neuron.GatedLIFNode(8, init_linear_decay=0.1).double()

    def ilc(kind):
        def make():
            module = kind(6, 1)
            module.conn.weight.data.fill_(0.25)
            module.conn.bias.data.fill_(0.125)
            return module.double()

        return make

    def noisy(kind, *size):
        def make():
            torch.manual_seed(0)
            module = kind(*size, is_training=False, T=8)
            if hasattr(module, "conn"):
                module.conn.weight.data.fill_(0.25)
                module.conn.bias.data.fill_(0.125)
            return module.double()

        return make

    def ilc_calls(module, x):
        # The node writes to its input.
        x = x[:, None].clone()
        return [((x,), module(x))]

    def conn(output):
        return 0.25 * output + 0.125

    def normalising(mode, *, folded=False, **more):
        def make():
            module = neuron.MPBNLIFNode(out_features=6, step_mode=mode, **more)
            if isinstance(module.vbn, nn.BatchNorm1d):
                module.vbn.running_mean.fill_(0.1)
                module.vbn.running_var.fill_(0.3)
                module.vbn.weight.data.fill_(0.9)
                module.vbn.bias.data.fill_(0.2)
            if folded:
                module.re_parameterize_v_threshold()
            return module.double().eval()

        return make

    def psn():
        torch.manual_seed(0)
        return neuron.SlidingPSN(3).double()

    def masked():
        module = neuron.MaskedPSN(3, 8, lambda_init=1.0)
        module.weight.data = sum(
            w * torch.diag(torch.ones(8 - i), -i) for i, w in enumerate((0.9, 0.4, 0.3))
        )
        return module.double()

    one_call = [
        Case("CUBALIF", cuba, by_steps, stack, (0.0, 0.0)),
        Case("NonSpikingIF", neuron.NonSpikingIFNode, at_once, listed),
        Case("NonSpikingLIF", neuron.NonSpikingLIFNode, at_once, listed),
        Case("GatedLIF", gated, as_images, whole, (0.0, 0.0)),
        Case("SlidingPSN s", psn, by_steps, stack, (0.0, 0.0), scale=2.0),
        Case("MaskedPSN s", masked, by_steps, stack, (0.0, 0.0), scale=2.0),
        Case("DSRIF", lambda: neuron.DSRIFNode(8, 2.0), at_once, whole),
        Case(
            "DSRLIF",
            lambda: neuron.DSRLIFNode(8, delta_t=1.0, alpha=0.5),
            at_once,
            whole,
            scale=2.0,
        ),
        Case("NoisyCUBALIF", noisy(neuron.NoisyCUBALIFNode, 6), at_once, whole, (0.0, 0.0)),
        Case("NoisyNonSpikingIF", noisy(neuron.NoisyNonSpikingIFNode, 6), at_once, listed),
    ]
    one_call += [
        Case(f"MPBNLIF {label} {mode}", normalising(mode, **more), calls, join)
        for mode, calls, join in (("s", one_batch_by_steps, stack), ("m", one_batch, whole))
        for label, more in (
            ("normalising", {}),
            ("plain", {"mpbn": False}),
            ("folded", {"folded": True}),
            ("learning", {"learnable_vth": True}),
        )
    ]
    ilc_cases = [
        Case(name, make, ilc_calls, whole, (0.0,) * n, lateral=conn)
        for name, make, n in (
            ("ILCIF", ilc(neuron.ILCIFNode), 2),
            ("ILCLIF", ilc(neuron.ILCLIFNode), 2),
            ("ILCCUBALIF", ilc(neuron.ILCCUBALIFNode), 3),
            ("NoisyILCCUBALIF", noisy(neuron.NoisyILCCUBALIFNode, 6, 1), 3),
        )
    ]
    return both + one_call + ilc_cases


def snntorch_cases():
    cases = []
    for label, kind, settings, states in (
        ("Leaky", snn.Leaky, {"beta": 0.9}, 2),
        ("Lapicque", snn.Lapicque, {"R": 2.0, "C": 3.0}, 2),
        ("Lapicque of beta", snn.Lapicque, {"beta": 0.7}, 2),
        ("Synaptic", snn.Synaptic, {"alpha": 0.8, "beta": 0.9}, 3),
        ("Alpha", snn.Alpha, {"alpha": 0.9, "beta": 0.8}, 4),
    ):
        for reset in ("subtract", "zero", "none"):
            for more in ({}, {"reset_delay": False}):
                if more and kind not in (snn.Leaky, snn.Synaptic):
                    continue

                def make(kind=kind, settings=settings | more, reset=reset):
                    return kind(**settings, threshold=0.6, reset_mechanism=reset, init_hidden=True)

                name = f"{label} {reset}{' at once' if more else ''}"
                scale = 8.0 if kind is snn.Alpha else 1.0
                cases.append(Case(name, make, by_steps, stack, (0.0,) * states, scale=scale))
    single = {"dtype": torch.float32}
    for reset in ("subtract", "zero", "none"):

        def rleaky(reset=reset):
            return snn.RLeaky(0.9, V=0.4, all_to_all=False, reset_mechanism=reset, init_hidden=True)

        def rsynaptic(reset=reset):
            return snn.RSynaptic(
                0.7, 0.8, V=0.4, all_to_all=False, reset_mechanism=reset, init_hidden=True
            )

        def slstm(reset=reset):
            module = snn.SLSTM(1, 1, threshold=0.3, reset_mechanism=reset, init_hidden=True)
            for name, p in module.lstm_cell.named_parameters():
                p.data.fill_(1.0 if name.startswith("weight") else 0.0)
            return module

        def sconv(reset=reset):
            module = snn.SConv2dLSTM(
                1, 1, 1, threshold=0.3, reset_mechanism=reset, init_hidden=True
            )
            module.conv.weight.data.fill_(1.0)
            module.conv.bias.data.fill_(0.0)
            return module

        cases += [
            Case(f"RLeaky {reset}", rleaky, by_steps, stack, (0.0,) * 3),
            Case(f"RSynaptic {reset}", rsynaptic, by_steps, stack, (0.0,) * 4),
            Case(f"SLSTM {reset}", slstm, one_feature_by_steps, stack, (0.0,) * 3, **single),
            Case(
                f"SConv2dLSTM {reset}",
                sconv,
                one_pixel_by_steps,
                stack,
                (0.0,) * 3,
                feed=lambda x, state: x + state[1],
                **single,
            ),
        ]

    def parallel():
        module = snn.LeakyParallel(1, 1, beta=1.0, bias=False, threshold=0.6)
        module.rnn.weight_ih_l0.data.fill_(1.0)
        return module

    def delta():
        return snn.DeltaLeaky(0.4, beta=0.9, init_hidden=True)

    def graded():
        return snn.Leaky(0.9, threshold=0.6, graded_spikes_factor=2.5, init_hidden=True)

    return [
        *cases,
        Case("Leaky graded", graded, by_steps, stack, (0.0, 0.0)),
        Case("LeakyParallel", parallel, one_feature, whole, dtype=torch.float32),
        Case("DeltaLeaky", delta, by_steps, stack),
    ]


def sinabs_cases():
    cases = []
    for label, fires in (("one", sa.SingleSpike), ("many", sa.MultiSpike), ("2", sa.MaxSpike(2))):
        for reset_label, reset in (
            ("soft", sa.MembraneSubtract()),
            ("by 0.3", sa.MembraneSubtract(0.3)),
            ("hard", sa.MembraneReset()),
            ("to 0.1", sa.MembraneReset(0.1)),
        ):
            settings = {
                "spike_fn": fires,
                "reset_fn": reset,
                "spike_threshold": torch.tensor(0.4),
            }
            for name, kind, more, start in (
                ("IAF", sl.IAF, {}, (0.0,)),
                ("LIF", sl.LIF, {"tau_mem": 5.0, "norm_input": False}, (0.0,)),
                (
                    "LIF with current",
                    sl.LIF,
                    {"tau_mem": 3.0, "tau_syn": 2.0, "min_v_mem": -0.2},
                    (0.0, 0.0),
                ),
            ):

                def make(kind=kind, settings=settings | more):
                    return kind(**settings)

                full = f"{name} {label} {reset_label}"
                cases.append(Case(full, make, batch_first, transposed, start))

    def alif(**more):
        return lambda: sl.ALIF(4.0, 6.0, spike_threshold=torch.tensor(0.2), **more)

    def recurrent(kind, *taus, **more):
        def make():
            return kind(
                *taus,
                rec_connect=nn.Identity(),
                spike_threshold=torch.tensor(0.5),
                spike_fn=sa.SingleSpike,
                **more,
            )

        return make

    def trained():
        return sl.LIF(5.0, spike_threshold=torch.tensor(0.2), train_alphas=True)

    lateral = {"lateral": lambda output: output}
    return [
        *cases,
        Case("LIF trained", trained, batch_first, transposed),
        Case("ALIF", alif(), batch_first, transposed, (0.0, 0.0)),
        Case("ALIF with current", alif(tau_syn=2.0), batch_first, transposed, (0.0, 0.0, 0.0)),
        Case("ExpLeak", lambda: sl.ExpLeak(5.0, min_v_mem=-0.3), batch_first, transposed),
        Case("IAFSqueeze", lambda: sl.IAFSqueeze(num_timesteps=8), squeezed, unsqueezed),
        Case(
            "LIFSqueeze",
            lambda: sl.LIFSqueeze(tau_mem=2.0, batch_size=6),
            squeezed,
            unsqueezed,
            scale=3.0,
        ),
        Case(
            "ALIFSqueeze",
            lambda: sl.alif.ALIFSqueeze(tau_mem=2.0, tau_adapt=3.0, batch_size=6),
            squeezed,
            unsqueezed,
            (0.0, 0.0),
            scale=4.0,
        ),
        Case(
            "ExpLeakSqueeze",
            lambda: sl.ExpLeakSqueeze(batch_size=6, tau_mem=3.0),
            squeezed,
            unsqueezed,
        ),
        Case(
            "IAFRecurrent",
            recurrent(sl.IAFRecurrent),
            batch_first,
            transposed,
            (0.0, 0.0),
            **lateral,
        ),
        Case(
            "LIFRecurrent",
            recurrent(sl.LIFRecurrent, 3.0),
            batch_first,
            transposed,
            (0.0, 0.0),
            scale=2.0,
            **lateral,
        ),
        Case(
            "ALIFRecurrent",
            recurrent(sl.ALIFRecurrent, 3.0, 4.0),
            batch_first,
            transposed,
            (0.0, 0.0, 0.0),
            scale=2.0,
            **lateral,
        ),
    ]


def norse_cases():
    if norse is None:
        return []
    box = {"p": LIFBoxParameters(reset_method=reset_subtract)}
    tonic = {"spiking_method": norse.tonic_spiking}
    cases = []
    for name, start, settings, scale in (
        ("IAF", (0.0,), {}, 0.8),
        ("LIF", (0.0, 0.0), {}, 8.0),
        ("LIFBox", (0.0,), {}, 20.0),
        ("LIFBox", (0.0,), box, 20.0),
        ("LIFRefrac", (0.0, 0.0, 0.0), {}, 8.0),
        ("LIFEx", (0.0, 0.0), {}, 5.0),
        ("LIFAdEx", (0.0, 0.0, 0.0), {}, 5.0),
        ("LSNN", (0.0, 0.0, 1.0), {}, 8.0),
        ("Izhikevich", tuple(map(float, norse.tonic_spiking.s)), tonic, 500.0),
        ("LI", (0.0, 0.0), {}, 1.0),
        ("LIBox", (0.0,), {}, 1.0),
    ):
        for suffix, calls, join in (("Cell", handed_over, stack), ("", one_batch, whole)):
            kind = getattr(norse, name + suffix, None)
            if kind is not None:
                label = f"norse {name}{suffix}{' soft' if settings is box else ''}"
                make = functools.partial(kind, **settings)
                cases.append(Case(label, make, calls, join, start, scale=scale))
            kind = getattr(norse, f"{name}Recurrent{suffix}", None)
            if kind is not None:

                def make(kind=kind, settings=settings):
                    module = kind(6, 6, autapses=True, **settings)
                    module.input_weights.data = torch.eye(6)
                    module.recurrent_weights.data = torch.eye(6) * 0.5
                    return module

                cases.append(
                    Case(
                        f"norse {name}Recurrent{suffix}",
                        make,
                        calls,
                        join,
                        (0.0, *start),
                        lateral=lambda output: 0.5 * output,
                        dtype=torch.float32,
                        scale=scale,
                    )
                )

    def linear():
        module = norse.LILinearCell(6, 6)
        module.input_weights.data = torch.eye(6)
        return module

    state = (0.0, 0.0)
    cases.append(Case("norse LILinearCell", linear, handed_over, stack, state, dtype=torch.float32))
    return cases


def remembered(module, x):
    """One call a timestep, the state in a memory beside it."""
    memory = Memory()
    return [((x_t,), module(x_t, memory)) for x_t in x]


def bipolar():
    module = STBIF(-3, 4, peak=1.0).double()
    module.form = "spikes"
    return module


def own_cases():
    cases = [
        Case(
            f"{kind.__name__} {reset}",
            lambda k=kind, r=reset: k(0.8, reset=r),
            at_once,
            whole,
            scale=2.0,
        )
        for kind in (IF, LIF)
        for reset in ("hard", "soft")
    ]
    return [*cases, Case("STBIF", bipolar, remembered, stack, (0.125, 0.0))]


CASES = [*own_cases(), *spikingjelly_cases(), *snntorch_cases(), *sinabs_cases(), *norse_cases()]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
