"""ExpG-IF: a neuron that codes a value by grouped exponential spikes.

Hao et al., Ge²mS-T (arXiv:2604.08894), name the neuron and its properties; the equations are this
package's reading of them. T = G·K timesteps form G groups of K steps; step k of every group weighs
2^(K-1-k), so a neuron sends one of the levels 0 .. L with L = G·(2^K - 1), worth theta/L each.

The neuron has two forms that share every parameter. The training form emits the level itself and
has no time axis, so neither memory nor time grows with T. The inference form emits T binary spikes
whose weighted sum is the same level.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.coding import Neuron

__all__ = ["ExpGIF", "Form", "GroupedCoding", "round_weights", "set_form"]

Form = Literal["training", "inference"]


@dataclass(frozen=True)
class GroupedCoding:
    """How levels become spikes: `groups` of `steps`, with at most `max_spikes` in each group."""

    groups: int = 2
    steps: int = 2
    max_spikes: int | None = None

    def __post_init__(self) -> None:
        for field in ("groups", "steps", "max_spikes"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise AnalyzerError(f"ExpG-IF needs {field} of at least 1, got {value}.")

    @property
    def timesteps(self) -> int:
        """T = G·K."""
        return self.groups * self.steps

    @property
    def levels(self) -> int:
        """The largest level, L = G·(2^K - 1)."""
        return self.groups * ((1 << self.steps) - 1)

    @property
    def regulated(self) -> bool:
        """Whether `max_spikes` forbids any pattern."""
        return self.max_spikes is not None and self.max_spikes < self.steps

    @property
    def weights(self) -> tuple[int, ...]:
        """The weight of each of the K steps of a group, most significant first."""
        return tuple(1 << (self.steps - 1 - k) for k in range(self.steps))

    def reachable(self, n: int) -> int:
        """The level that firing reaches from the integer potential `n`."""
        left = n
        spikes = 0
        for _, (k, weight) in product(range(self.groups), enumerate(self.weights)):
            spikes = 0 if k == 0 else spikes
            if left >= weight and (self.max_spikes is None or spikes < self.max_spikes):
                left -= weight
                spikes += 1
        return n - left

    def fire(self, v: Tensor) -> Tensor:
        """Spikes [T, ...] in {0, 1} from the potential `v` [...] in units of one level.

        Each step fires where v is at least its weight and the group has spikes left, and takes the
        weight from v. The subtraction is exact in floating point, so the spikes extract floor(v).
        """
        spikes = []
        for _ in range(self.groups):
            fired = torch.zeros_like(v)
            for weight in self.weights:
                s = (v >= weight).to(v.dtype)
                if self.max_spikes is not None:
                    s = s * (fired < self.max_spikes)
                    fired = fired + s
                v = v - weight * s
                spikes.append(s)
        return torch.stack(spikes)

    def charge(self, u: Tensor) -> Tensor:
        """The weighted sum over time: [T, ...] -> [...].

        Horner's rule inside each group, v <- 2·v + u: a shift and an addition per step. The groups
        are added up.
        """
        grouped = u.unflatten(0, (self.groups, self.steps))
        v = grouped[:, 0]
        for k in range(1, self.steps):
            v = torch.add(grouped[:, k], v, alpha=2)
        return torch.sum(v, 0)


class _StraightThrough(torch.autograd.Function):
    """`levels` forward, exactly; the gradient goes to `u`, which they round."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, levels: Tensor) -> Tensor:
        return levels.view_as(levels)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _GradientScale(torch.autograd.Function):
    """Identity forward; the gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None


class ExpGIF(Neuron):
    """The neuron: potentials a [B, ...] to integer levels [B, ...] or spikes [T, B, ...].

    The level is q(a) = clip(floor(a·L/theta + 1/2), 0, L), projected onto the levels that at most
    `max_spikes` per group can reach; the value sent is q·theta/L. Both forms leave out the factor
    theta/L: whoever receives the code multiplies by `unit` after its linear map, so that spikes
    stay binary, levels stay integers, and both forms do the same float arithmetic. Only the
    training form passes gradients.
    """

    reachable: Tensor

    def __init__(self, coding: GroupedCoding, theta: float = 2.0, form: Form = "inference") -> None:
        super().__init__()
        self.coding = coding
        self.form: Form = form
        # The logarithm keeps theta positive whatever the optimizer does.
        self.log_theta = nn.Parameter(torch.tensor(math.log(theta)))
        table = [float(coding.reachable(n)) for n in range(coding.levels + 1)]
        self.register_buffer("reachable", torch.tensor(table), persistent=False)

    @property
    def timesteps(self) -> int:
        """T = G·K."""
        return self.coding.timesteps

    @property
    def timed(self) -> bool:
        """Whether it sends spikes over T steps: in the inference form."""
        return self.form == "inference"

    @property
    def theta(self) -> Tensor:
        """The value of the largest level, a positive scalar."""
        return self.log_theta.exp()

    @property
    def scale(self) -> Tensor:
        """The value of one level, theta/L."""
        return self.theta / self.coding.levels

    def unit(self, code: Tensor) -> Tensor:
        """`scale`, for the receiver of `code` to multiply by; its gradient is that of LSQ."""
        return self._balanced_theta(code) / self.coding.levels

    def forward(self, a: Tensor) -> Tensor:
        """Levels [B, ...] in the training form, spikes [T, B, ...] in the inference form."""
        if self.form == "inference":
            return self.coding.fire(a / self.scale + 0.5)
        return self._levels(a)

    def _levels(self, a: Tensor) -> Tensor:
        L = self.coding.levels
        with torch.no_grad():
            q = torch.floor(a / self.scale + 0.5).clamp(0, L)
            if self.coding.regulated:
                q = self.reachable[q.long()]
        # Backward sees u. With value = q·unit this gives the straight-through gradient, 1 inside
        # [0, theta], and for theta q/L - a/theta inside and q/L outside.
        u = (a / (self._balanced_theta(a) / L)).clamp(0, L)
        levels: Tensor = _StraightThrough.apply(u, q)
        return levels

    def _balanced_theta(self, activations: Tensor) -> Tensor:
        """Theta; its gradient is divided by √(n·L) for n activations a sample.

        The balance of LSQ (Esser et al., ICLR 2020).
        """
        n = max(activations[0].numel(), 1)
        theta: Tensor = _GradientScale.apply(self.theta, 1 / math.sqrt(n * self.coding.levels))
        return theta

    def drive(self, linear: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        """The potential [B, ...] that `linear`, free of bias, reaches on this neuron's output.

        In the inference form `linear` sees binary spikes [(T B), ...] and its outputs are charged
        over time; in the training form it sees levels [B, ...] once.
        """
        return self.charge(super().drive(linear, code)) * self.unit(code)

    def charge(self, u: Tensor) -> Tensor:
        """The weighted sum over time, [T, ...] -> [...], where the code has a time axis."""
        return self.coding.charge(u) if self.timed else u

    def extra_repr(self) -> str:
        """How the neuron codes, for `repr`."""
        c = self.coding
        regulation = "" if c.max_spikes is None else f", max_spikes={c.max_spikes}"
        return f"groups={c.groups}, steps={c.steps}{regulation}, form={self.form!r}"


def set_form(model: nn.Module, form: Form) -> None:
    """Switch every ExpG-IF of `model` to one form; parameters and buffers stay as they are."""
    if form not in get_args(Form):
        raise AnalyzerError(f"Unknown form {form!r}: a model has the forms {get_args(Form)}.")
    for module in model.modules():
        if isinstance(module, ExpGIF):
            module.form = form


@torch.no_grad()
def round_weights(model: nn.Module, bits: int = 10) -> None:
    """Round the convolutions of a model of ExpG-IF neurons to multiples of 2^-`bits`, in place.

    Sums of such weights over integer levels are exact in float32 whatever their order, so neither
    the form nor the batch size nor the kernel moves a spike. Other models stay as they are.
    """
    modules = list(model.modules())
    if any(isinstance(module, ExpGIF) for module in modules):
        for module in modules:
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(2.0**bits).round_().mul_(2.0**-bits)
