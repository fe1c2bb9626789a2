"""The interface of neurons in networks that exist with several kinds of neurons (Ge²mS-T, SDT V3).

A :class:`Neuron` turns real-valued potentials into the code that the next layer reads: the value
itself (ReLU), an integer level, or spikes over T timesteps. A :class:`SpikeConv` is a neuron with
the convolution behind it. The networks are written with these two, so that one definition serves
an ANN, its conversion and the spiking forms.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Neuron", "SpikeConv", "per_image"]


class Neuron(nn.Module):
    """Base class of neurons: ``forward`` maps potentials to a code for the next linear layer.

    Potentials and codes are [B, C, H, W], or [T, B, C, H, W] if they have a time axis. The
    defaults below are for a code without a time axis whose entries are the values themselves.
    """

    @property
    def timed(self) -> bool:
        """Whether the code has a time axis."""
        return False

    def drive(self, linear: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        """The potential that a linear map makes of a code of this neuron.

        Args:
            linear: A map of images [B, C, H, W] without a bias.
            code: A code of this neuron, with or without a time axis.
        """
        return per_image(linear, code)

    def charge(self, u: Tensor) -> Tensor:
        """Combines the results of a product with a code over its time axis, if it has one.

        Args:
            u: The product with the code of each timestep, [T, ...], or with the value, [...].
        """
        return u

    def unit(self, code: Tensor) -> Tensor | None:
        """The value of one unit of the code; None if the code is the value itself."""
        return None


class SpikeConv(nn.Module):
    """Neuron, convolution and batch norm: potentials [..., C, H, W] -> [..., C', H', W'].

    Args:
        in_channels: C.
        out_channels: C'.
        kernel: Side of the kernel; the padding is half of it.
        neuron: Makes the neuron.
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        bias: Whether a bias is added behind the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        neuron: Callable[[], Neuron],
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.neuron = neuron()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        # Not a bias of the convolution: that runs at every timestep and would add it T times.
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, a: Tensor) -> Tensor:
        """[..., C, H, W] -> [..., C', H', W']."""
        potential: Tensor = self.neuron.drive(self.conv, self.neuron(a))
        if self.bias is not None:
            potential = potential + self.bias.view(-1, 1, 1)
        return per_image(self.norm, potential)


def per_image(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a function of images [B, C, H, W] to a tensor [..., B, C, H, W]."""
    if x.dim() == 4:
        return function(x)
    out: Tensor = function(x.flatten(0, -4)).unflatten(0, x.shape[:-3])
    return out
