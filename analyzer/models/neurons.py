"""Integrate-and-fire neurons in plain PyTorch, which the reference networks are built from.

They map input currents [T, ...] to spikes [T, ...] in one call (multi-step), keep no state from
call to call, and train by a surrogate gradient. No other library is needed to run them.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["IF", "LIF", "Reset", "spike"]

Reset = Literal["hard", "soft"]
Surrogate = Literal["sigmoid", "arctan"]


class _Spike(torch.autograd.Function):
    """A step function in the forward pass, the derivative of a smooth one in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope, ctx.surrogate = slope, surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.surrogate == "sigmoid":  # the derivative of sigmoid(slope · x)
            s = torch.sigmoid(ctx.slope * x)
            return grads[0] * ctx.slope * s * (1 - s), None, None
        # The derivative of atan(π/2 · slope · x) / π.
        slope = ctx.slope
        return grads[0] * slope / 2 / (1 + (math.pi / 2 * slope * x) ** 2), None, None


def spike(x: Tensor, slope: float = 4.0, surrogate: Surrogate = "sigmoid") -> Tensor:
    """1 where `x` >= 0, else 0, with a surrogate gradient.

    Args:
        x: Potentials minus the threshold, of any shape.
        slope: Steepness of the surrogate.
        surrogate: The smooth function whose derivative is the gradient.

    Returns:
        A tensor of the shape and dtype of `x`.
    """
    spikes: Tensor = _Spike.apply(x, slope, surrogate)
    return spikes


class _Integrator(nn.Module):
    """Base class of IF and LIF: the loop over time, firing and reset.

    Args:
        v_threshold: The neuron fires where the potential is at least this.
        reset: What a spike does to the potential: "hard" sets it to 0, "soft" subtracts the
            threshold.
        slope: Steepness of the surrogate gradient.
        surrogate: Its function.
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        *,
        reset: Reset = "hard",
        slope: float = 4.0,
        surrogate: Surrogate = "sigmoid",
    ) -> None:
        super().__init__()
        self.v_threshold = v_threshold
        self.reset = reset
        self.slope = slope
        self.surrogate = surrogate

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """The potential after input `x`; `v` and `x` are [...]."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        """Input currents [T, ...] -> spikes in {0, 1} of the same shape."""
        v = torch.zeros_like(inputs[0])
        spikes = []
        for x in inputs:
            v = self.charge(v, x)
            s = spike(v - self.v_threshold, self.slope, self.surrogate)
            # No gradient flows through the reset, as in the published models.
            fired = s.detach()
            v = v * (1 - fired) if self.reset == "hard" else v - self.v_threshold * fired
            spikes.append(s)
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        """The constants, for `repr`."""
        return f"v_threshold={self.v_threshold}, reset={self.reset!r}"


class IF(_Integrator):
    """Integrate-and-fire neuron: v <- v + x; it fires where v >= v_threshold.

    The potential starts at 0 in every forward, so nothing has to be reset between batches.
    """

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """Returns v + x."""
        return v + x


class LIF(_Integrator):
    """Leaky integrate-and-fire neuron with decayed input: v <- v + (x - v) / tau.

    It fires where v >= v_threshold. The potential starts at 0 in every forward, so nothing has to
    be reset between batches. Spikformer and its successors use tau = 2.
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        *,
        tau: float = 2.0,
        reset: Reset = "hard",
        slope: float = 4.0,
        surrogate: Surrogate = "sigmoid",
    ) -> None:
        super().__init__(v_threshold, reset=reset, slope=slope, surrogate=surrogate)
        self.tau = tau

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """Returns v + (x - v) / tau."""
        return v + (x - v) / self.tau

    def extra_repr(self) -> str:
        """The constants, for `repr`."""
        return f"tau={self.tau}, {super().extra_repr()}"
