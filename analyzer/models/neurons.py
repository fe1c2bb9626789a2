"""Multi-step integrate-and-fire neurons in plain PyTorch, trained with a surrogate gradient."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["IF", "LIF", "Reset", "spike"]

Reset = Literal["hard", "soft"]
Surrogate = Literal["sigmoid", "arctan"]


class _Spike(torch.autograd.Function):
    """Heaviside step forward, the derivative of a surrogate backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope, ctx.surrogate = slope, surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.surrogate == "sigmoid":  # of sigmoid(slope · x)
            s = torch.sigmoid(ctx.slope * x)
            return grads[0] * ctx.slope * s * (1 - s), None, None
        # of atan(π/2 · slope · x) / π
        slope = ctx.slope
        return grads[0] * slope / 2 / (1 + (math.pi / 2 * slope * x) ** 2), None, None


def spike(x: Tensor, slope: float = 4.0, surrogate: Surrogate = "sigmoid") -> Tensor:
    """1 where `x` >= 0, else 0, of the shape and dtype of `x`; surrogate gradient."""
    spikes: Tensor = _Spike.apply(x, slope, surrogate)
    return spikes


class _Integrator(nn.Module):
    """What IF and LIF share: the loop over time, firing and reset; each only charges its way."""

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
        """The potential after input `x`, both [...]."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        """Spikes in {0, 1}, of the shape [T, ...] of the input currents."""
        v = torch.zeros_like(inputs[0])
        spikes = []
        for x in inputs:
            v = self.charge(v, x)
            s = spike(v - self.v_threshold, self.slope, self.surrogate)
            # The reset carries no gradient, as in the published models.
            fired = s.detach()
            v = v * (1 - fired) if self.reset == "hard" else v - self.v_threshold * fired
            spikes.append(s)
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        """The constants, for `repr`."""
        return f"v_threshold={self.v_threshold}, reset={self.reset!r}"


class IF(_Integrator):
    """Integrate-and-fire: v <- v + x; fires where v >= v_threshold.

    A hard reset sets v to 0, a soft one subtracts the threshold. The potential starts at 0 in
    every forward, so nothing has to be reset between images.
    """

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """V + x, both [...]."""
        return v + x


class LIF(_Integrator):
    """Leaky integrate-and-fire with decayed input: v <- v + (x - v) / tau (Spikformer, tau = 2).

    Fires where v >= v_threshold; the potential starts at 0 in every forward, so nothing has to
    be reset between images.
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
        """V + (x - v) / tau, both [...]."""
        return v + (x - v) / self.tau

    def extra_repr(self) -> str:
        """The constants, for `repr`."""
        return f"tau={self.tau}, {super().extra_repr()}"
