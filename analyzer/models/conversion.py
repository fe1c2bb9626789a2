"""The neurons of the other paradigms, for the topology of Ge²mS-T: only they differ."""

import math
from collections.abc import Callable, Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.errors import AnalyzerError, unknown
from analyzer.models.coding import Neuron
from analyzer.models.expg_if import ExpGIF, GroupedCoding
from analyzer.models.neurons import LIF

__all__ = ["LIFNeuron", "Paradigm", "Rectifier", "calibrate", "neurons"]

Paradigm = Literal["ge2mst", "ann", "converted", "stbp"]


class Rectifier(Neuron):
    """ReLU in full precision, [B, C, H, W] -> the same.

    `log_theta` is the logarithm of its largest activation but for outliers (see :func:`calibrate`).
    It bears the name of ExpG-IF's scale, so that the state of a trained ANN is that of its
    conversion.
    """

    log_theta: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_theta", torch.tensor(math.log(2.0)))

    def forward(self, a: Tensor) -> Tensor:
        """The positive part."""
        return F.relu(a)


class LIFNeuron(Neuron):
    """Leaky integrate-and-fire over T steps with a surrogate gradient (see `neurons.LIF`).

    Potentials [T, B, C, H, W] -> spikes of that shape. Without a time axis they are a constant
    current: the stem's, which is computed once.
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.lif = LIF()

    @property
    def timed(self) -> bool:
        """Always."""
        return True

    def forward(self, a: Tensor) -> Tensor:
        """Spikes in {0, 1}."""
        currents = a.expand(self.timesteps, *a.shape) if a.dim() == 4 else a
        spikes: Tensor = self.lif(currents)
        return spikes


def neurons(paradigm: Paradigm, coding: GroupedCoding) -> Callable[[], Neuron]:
    """What makes the neurons of a paradigm; of the grouped coding, STBP takes the timesteps only.

    Conversion is rate coding by integrate-and-fire neurons: T groups of one step.
    """
    if paradigm == "ann":
        return Rectifier
    if paradigm == "stbp":
        return lambda: LIFNeuron(coding.timesteps)
    if paradigm == "converted":
        return lambda: ExpGIF(GroupedCoding(coding.timesteps, 1))
    if paradigm == "ge2mst":
        return lambda: ExpGIF(coding)
    raise unknown("paradigm", paradigm, list(get_args(Paradigm)))


@torch.no_grad()
def calibrate(
    model: nn.Module, batches: Iterable[tuple[Tensor, ...]], quantile: float = 0.999
) -> None:
    """Sets the `log_theta` of every rectifier to a quantile of its activations on some data.

    A quantile keeps outliers from making levels coarse (Rueckauer et al., Frontiers in
    Neuroscience, 2017).

    Args:
        model: A trained network with rectifiers, used in evaluation mode.
        batches: Tuples whose first entry is a batch of images.
        quantile: In (0, 1].

    Raises:
        AnalyzerError: Without rectifiers or data.
    """
    rectifiers = {name: m for name, m in model.named_modules() if isinstance(m, Rectifier)}
    found: dict[str, list[Tensor]] = {name: [] for name in rectifiers}
    generator = torch.Generator().manual_seed(0)
    handles = [
        module.register_forward_hook(
            lambda module, args, out, name=name: found[name].append(_some(out, generator))
        )
        for name, module in rectifiers.items()
    ]
    training = model.training
    model.eval()
    try:
        for images, *_ in batches:
            model(images)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    if not any(found.values()):
        raise AnalyzerError("conversion needs a network with rectifiers and some data to run.")
    for name, rectifier in rectifiers.items():
        values = torch.cat(found[name]).sort().values
        top = values[min(math.ceil(quantile * len(values)), len(values)) - 1]
        top = values[-1] if top <= 0 else top
        if top > 0:  # one that is always silent needs no threshold
            rectifier.log_theta.copy_(top.log())


def _some(activations: Tensor, generator: torch.Generator) -> Tensor:
    """All activations of a batch, or as many of them at random as a quantile needs."""
    flat = activations.flatten()
    if len(flat) <= _SAMPLED:
        return flat.clone()
    return flat[torch.randint(len(flat), (_SAMPLED,), generator=generator)]


_SAMPLED = 1 << 14
