"""Small networks of other spiking libraries as their users build them, firing as trained ones do.

Each entry makes a model and an input; the model's batch-norm statistics are those of this input
and thresholds are scaled until 5 to 30 % of the neurons fire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sinabs.activation
import sinabs.layers as sl
import snntorch as snn
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.layer.attention import SpikingSelfAttention
from spikingjelly.activation_based.model import (
    ms_resnet,
    qkformer,
    spike_driven_transformer,
    spikformer,
)
from torch import Tensor, nn

from analyzer.measure.neurons.registry import dynamics

try:
    from spikingjelly.activation_based.model import sew_resnet, spiking_resnet
except (ImportError, RuntimeError):  # they need a torchvision that is built for this torch
    sew_resnet = spiking_resnet = None

try:
    import norse.torch as norse
except ImportError:
    norse = None

T = 3


class Steps(nn.Module):
    """Calls a network once a timestep."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.net(x) for _ in range(T)) / T


class Sequence(nn.Module):
    """Hands a network all timesteps at once, time first."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(T, *(1,) * x.ndim)).mean(0)


class Squeezed(nn.Module):
    """sinabs: time folded into the batch."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.repeat_interleave(T, 0)).unflatten(0, (-1, T)).mean(1)


class BatchFirst(nn.Module):
    """sinabs: time is the second axis."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1).unsqueeze(1).repeat(1, T, 1)).mean(1)


class HandedOver(nn.Module):
    """snnTorch without hidden state: the caller keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.first = snn.Synaptic(alpha=0.7, beta=0.8, threshold=1.0)
        self.fc = nn.Linear(6 * 16, 10)
        self.last = snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        syn, mem = self.first.reset_mem()
        out = self.last.reset_mem()
        total = 0
        for _ in range(T):
            spikes, syn, mem = self.first(nn.functional.avg_pool2d(self.conv(x), 2), syn, mem)
            spikes, out = self.last(self.fc(spikes.flatten(1)), out)
            total = total + out
        return total


def single_step():
    return Steps(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        neuron.IFNode(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        neuron.ParametricLIFNode(v_reset=None),
        nn.Flatten(),
        nn.Linear(12 * 16, 10),
        neuron.LIFNode(),
    )


def multi_step():
    net = nn.Sequential(
        layer.Conv2d(1, 8, 3, padding=1, bias=False),
        layer.BatchNorm2d(8),
        neuron.LIFNode(),
        layer.AvgPool2d(2),
        layer.Conv2d(8, 12, 3, stride=2, padding=1, groups=4, bias=False),
        layer.BatchNorm2d(12),
        neuron.KLIFNode(),
        layer.Flatten(),
        layer.Linear(12 * 4, 10),
        neuron.CUBALIFNode(),
    )
    functional.set_step_mode(net, "m")
    return Sequence(net)


def parallel():
    """Neurons that are a matrix over time."""
    return Sequence(
        nn.Sequential(
            layer.Conv2d(1, 8, 3, padding=1, bias=False, step_mode="m"),
            layer.BatchNorm2d(8, step_mode="m"),
            neuron.PSN(T),
            layer.Conv2d(8, 8, 3, stride=2, bias=False, step_mode="m"),
            layer.BatchNorm2d(8, step_mode="m"),
            neuron.PSN(T),
            layer.Flatten(step_mode="m"),
            layer.Linear(72, 10, step_mode="m"),
        )
    )


class SpikeElementWise(nn.Module):
    """A residual block that adds spikes, so that what follows reads 0, 1, 2, ..."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            layer.Conv2d(channels, channels, 3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron.IFNode(),
            layer.Conv2d(channels, channels, 3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron.IFNode(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def sew_blocks():
    net = nn.Sequential(
        layer.Conv2d(3, 16, 3, padding=1, bias=False),
        layer.BatchNorm2d(16),
        neuron.IFNode(),
        SpikeElementWise(16),
        layer.MaxPool2d(2),
        SpikeElementWise(16),
        layer.AdaptiveAvgPool2d(1),
        layer.Flatten(),
        layer.Linear(16, 10),
    )
    functional.set_step_mode(net, "m")
    return Sequence(net)


def sew():
    """SpikingJelly's own network of such blocks."""
    net = sew_resnet.SEWResNet(
        sew_resnet.BasicBlock, [2, 1, 1, 1], num_classes=10, cnf="ADD", spiking_neuron=neuron.IFNode
    )
    functional.set_step_mode(net, "m")
    return Sequence(net)


def resnet():
    """Residuals add to the current, so convolutions read spikes."""
    net = spiking_resnet.SpikingResNet(
        spiking_resnet.BasicBlock, [1, 1, 1, 1], num_classes=10, spiking_neuron=neuron.IFNode
    )
    functional.set_step_mode(net, "m")
    return Sequence(net)


def membrane_resnet():
    return ms_resnet.MSResNet(T=T, num_classes=10, layers=(1, 1, 1), base_channels=16)


def recurrent():
    """Both recurrent containers of SpikingJelly, one timestep a call."""
    return Steps(
        nn.Flatten(),
        nn.Linear(64, 24),
        neuron.IFNode(),
        layer.LinearRecurrentContainer(neuron.LIFNode(), 24, 24),
        layer.ElementWiseRecurrentContainer(neuron.IFNode(), torch.add),
        nn.Linear(24, 10),
    )


def recurrent_snntorch():
    return Steps(
        nn.Flatten(),
        nn.Linear(64, 24),
        snn.RLeaky(beta=0.8, linear_features=24, init_hidden=True),
        nn.Linear(24, 16),
        snn.RSynaptic(alpha=0.5, beta=0.8, linear_features=16, init_hidden=True),
        nn.Linear(16, 16),
        snn.RLeaky(beta=0.8, V=0.5, all_to_all=False, init_hidden=True),
        nn.Linear(16, 10),
    )


def rnn_snntorch():
    """An LSTM and a network over time as neurons, their gates and recurrence contractions."""
    return nn.Sequential(
        Steps(
            nn.Flatten(),
            nn.Linear(64, 16),
            snn.SLSTM(16, 16, threshold=0.1, init_hidden=True),
        ),
        Sequence(snn.LeakyParallel(16, 12, beta=0.5, threshold=1.0, weight_hh_enable=True)),
        nn.Linear(12, 10),
    )


def convolutional_snntorch():
    return Steps(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        snn.Synaptic(alpha=0.5, beta=0.8, init_hidden=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        snn.RLeaky(beta=0.7, conv2d_channels=8, kernel_size=3, init_hidden=True),
        nn.Flatten(),
        nn.Linear(128, 10),
        snn.Lapicque(beta=0.8, init_hidden=True),
    )


def convolutional_sinabs():
    return Squeezed(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        sl.IAFSqueeze(num_timesteps=T),
        sl.SumPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8),
        sl.LIFSqueeze(
            tau_mem=2.0, num_timesteps=T, spike_fn=sinabs.activation.SingleSpike, norm_input=False
        ),
        nn.Flatten(),
        nn.Linear(32, 10),
        sl.IAFSqueeze(num_timesteps=T),
    )


def recurrent_sinabs():
    return BatchFirst(
        nn.Linear(64, 24),
        sl.LIFRecurrent(tau_mem=5.0, rec_connect=nn.Linear(24, 24), norm_input=False),
        nn.Linear(24, 16),
        sl.ALIF(tau_mem=5.0, tau_adapt=10.0, norm_input=False),
        nn.Linear(16, 10),
        sl.ExpLeak(tau_mem=5.0),
    )


def spikformer_small():
    return spikformer.Spikformer(
        T=T, img_size_h=16, img_size_w=16, patch_size=4, num_classes=10, embed_dims=32,
        num_heads=4, mlp_ratio=2.0, depths=2,
    )  # fmt: skip


def spike_driven():
    return spike_driven_transformer.SpikeDrivenTransformer(
        T=T, num_classes=10, embed_dims=32, num_heads=4, depths=2, mlp_ratio=2.0
    )


def qkformer_small():
    return qkformer.QKFormer(
        T=T, num_classes=10, embed_dims=32, num_heads=(1, 2, 2), depths=(1, 1, 1), mlp_ratio=2.0
    )


class NorseNetwork(nn.Module):
    """norse: the state of all layers is handed over from timestep to timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.net = norse.SequentialState(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            norse.LIFCell(norse.LIFParameters(tau_mem_inv=torch.tensor(500.0))),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 24),
            norse.LIFRecurrentCell(24, 16, norse.LIFParameters(tau_mem_inv=torch.tensor(500.0))),
            nn.Linear(16, 10),
            norse.LICell(),
        )

    def forward(self, x: Tensor) -> Tensor:
        state, total = None, 0
        for _ in range(T):
            output, state = self.net(x, state)
            total = total + output
        return total


@dataclass(frozen=True)
class Partner:
    """A network.

    Attributes:
        make: Builds it.
        shape: Of one sample.
        batch: Samples.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 8, 8)
    batch: int = 3

    def build(self) -> tuple[nn.Module, Tensor]:
        """The network, firing as a trained one does, and its input."""
        torch.manual_seed(0)
        model = self.make()
        x = torch.rand(self.batch, *self.shape)
        settle(model, x)
        return model.eval(), x


PARTNERS = {
    partner.make.__name__: partner
    for partner in (
        Partner(single_step),
        Partner(multi_step),
        Partner(parallel),
        Partner(sew_blocks, (3, 12, 12), 2),
        *([Partner(sew, (3, 32, 32), 1), Partner(resnet, (3, 32, 32), 2)] if sew_resnet else []),
        Partner(membrane_resnet, (3, 16, 16), 2),
        Partner(recurrent),
        Partner(recurrent_snntorch),
        Partner(rnn_snntorch),
        Partner(convolutional_snntorch),
        Partner(HandedOver),
        Partner(convolutional_sinabs),
        Partner(recurrent_sinabs),
        *([Partner(NorseNetwork)] if norse else []),
        Partner(spikformer_small, (3, 16, 16), 2),
        Partner(spike_driven, (3, 32, 32), 2),
        Partner(qkformer_small, (3, 32, 32), 2),
    )
}


def forget(model: nn.Module) -> None:
    """Resets neurons by the means of each library, not of the package."""
    functional.reset_net(model)
    for module in model.modules():
        if isinstance(module, snn.SpikingNeuron):
            module.reset_mem()
        if isinstance(module, sl.StatefulLayer):
            module.reset_states()


def rates(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Share of neurons that fire in a timestep, by neuron module."""
    fired: dict[str, list[float]] = {}

    def note(name):
        def hook(module, args, output):
            spikes = output[0] if isinstance(output, tuple) else output
            fired.setdefault(name, []).append((spikes != 0).float().mean().item())

        return hook

    handles = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if dynamics(module) is not None and type(module).__name__ not in ("ExpLeak", "LICell")
    ]
    forget(model)
    with torch.no_grad():
        model(x)
    forget(model)
    for handle in handles:
        handle.remove()
    return {name: sum(values) / len(values) for name, values in fired.items()}


def settle(model: nn.Module, x: Tensor) -> None:
    """Sets batch-norm statistics to those of the input, and gains until every layer fires.

    Untrained, most layers are nearly silent, which would leave little to count.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kinds = nn.Linear if norms else (nn.Linear, nn.Conv2d)
    scaled = norms + [m for m in model.modules() if isinstance(m, kinds)]
    for module in model.modules():
        if isinstance(module, SpikingSelfAttention):
            module.scale = 2.0  # for as few tokens as here
    for _ in range(16):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        model.train()
        forget(model)
        with torch.no_grad():
            model(x)
        model.eval()
        found = rates(model, x).values()
        if min(found) > 0.005 and sum(found) / len(found) > 0.1:
            return
        for module in scaled:
            module.weight.data *= 1.15
    raise AssertionError(f"{type(model).__name__} stays silent")
