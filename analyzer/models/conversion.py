"""The neurons that turn the Ge²mS-T network into an ANN, a converted SNN or one trained by STBP.

The network is the same in all four cases; :func:`neurons` says which neuron each of them has. To
convert an ANN, :func:`calibrate` sets thresholds from its activations, and the weights are loaded
into the network with integrate-and-fire neurons.
"""

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

_SAMPLE = 1 << 14
"""Activations of one layer and batch that are enough to estimate a quantile."""


class Rectifier(Neuron):
    """ReLU in full precision, the neuron of the ANN, [B, C, H, W] -> the same.

    The buffer `log_theta` is the logarithm of its largest activation without outliers, which
    :func:`calibrate` sets. It has the name of the scale of an ExpG-IF neuron, so that the state
    dict of a trained ANN loads into its conversion.
    """

    log_theta: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_theta", torch.tensor(math.log(2.0)))

    def forward(self, a: Tensor) -> Tensor:
        """The positive part."""
        return F.relu(a)


class LIFNeuron(Neuron):
    """Leaky integrate-and-fire over T steps with a surrogate gradient, see `neurons.LIF`.

    Potentials [T, B, C, H, W] -> spikes of that shape. Potentials without a time axis, as the stem
    gives them, are taken as a constant current for all T steps.
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.lif = LIF()

    @property
    def timed(self) -> bool:
        """Always True."""
        return True

    def forward(self, a: Tensor) -> Tensor:
        """Spikes in {0, 1}."""
        currents = a.expand(self.timesteps, *a.shape) if a.dim() == 4 else a
        spikes: Tensor = self.lif(currents)
        return spikes


def neurons(paradigm: Paradigm, coding: GroupedCoding) -> Callable[[], Neuron]:
    """A function that makes the neurons of a paradigm.

    Args:
        paradigm: ``ge2mst`` (ExpG-IF neurons), ``ann`` (ReLU), ``converted`` (rate coding by
            integrate-and-fire neurons: T groups of one step) or ``stbp`` (LIF neurons).
        coding: The coding of ExpG-IF neurons. ``converted`` and ``stbp`` use only its T.

    Raises:
        AnalyzerError: If there is no such paradigm.
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

    With the maximum instead of a quantile, a few outliers would make all levels coarse (Rueckauer
    et al., Frontiers in Neuroscience, 2017).

    Args:
        model: A trained network with rectifiers; it is run in evaluation mode.
        batches: Tuples whose first entry is a batch of images [B, C, H, W].
        quantile: The quantile, in (0, 1].

    Raises:
        AnalyzerError: If the model has no rectifiers or there is no data.
    """
    rectifiers = {name: m for name, m in model.named_modules() if isinstance(m, Rectifier)}
    found: dict[str, list[Tensor]] = {name: [] for name in rectifiers}
    generator = torch.Generator().manual_seed(0)
    handles = [
        module.register_forward_hook(
            lambda module, args, out, name=name: found[name].append(_sampled(out, generator))
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
        if top > 0:  # a rectifier that is always zero keeps its threshold
            rectifier.log_theta.copy_(top.log())


def _sampled(activations: Tensor, generator: torch.Generator) -> Tensor:
    """All activations of a batch, or a random sample if there are many."""
    flat = activations.flatten()
    if len(flat) <= _SAMPLE:
        return flat.clone()
    return flat[torch.randint(len(flat), (_SAMPLE,), generator=generator)]
