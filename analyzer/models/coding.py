"""What stands between two weight layers, in any paradigm: potentials in, a code out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Neuron", "SpikeConv", "per_image"]


class Neuron(nn.Module):
    """Codes potentials for the linear map that follows; as it stands, a code without a time axis.

    A paradigm is a kind of neuron: the network around it is the same. Potentials and codes are
    [B, C, H, W], or [T, B, C, H, W] where they have a time axis.
    """

    @property
    def timed(self) -> bool:
        """Whether its code has a time axis."""
        return False

    def drive(self, linear: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        """The potential that `linear`, free of bias, reaches on this neuron's output."""
        return per_image(linear, code)

    def charge(self, u: Tensor) -> Tensor:
        """What the results `u` of a product with a code amount to: themselves."""
        return u

    def unit(self, code: Tensor) -> Tensor | None:
        """What one unit of the code is worth; None where the code is the value itself."""
        return None


class SpikeConv(nn.Module):
    """A layer, potentials to potentials: neuron, convolution, batch norm.

    [..., C, H, W] -> [..., C', H', W'].
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
        # Apart from the convolution: codes add up in it once a timestep, the bias once.
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, a: Tensor) -> Tensor:
        """[..., C, H, W] -> [..., C', H', W']."""
        potential: Tensor = self.neuron.drive(self.conv, self.neuron(a))
        if self.bias is not None:
            potential = potential + self.bias.view(-1, 1, 1)
        return per_image(self.norm, potential)


def per_image(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of images [B, C, H, W], on images with any axes before them."""
    if x.dim() == 4:
        return function(x)
    out: Tensor = function(x.flatten(0, -4)).unflatten(0, x.shape[:-3])
    return out
