"""ExpG-IF, the neuron of Ge²mS-T: it codes a value as spikes whose weights are powers of two.

Hao et al., Ge²mS-T (arXiv:2604.08894), name the neuron and its properties; the equations are this
package's reading of them. T = G·K timesteps form G groups of K steps. A spike in step k of a group
weighs 2^(K-1-k), so a neuron sends one of the levels 0 .. L with L = G·(2^K - 1); one level has the
value theta/L.

The neuron has two forms with the same parameters. The training form returns the level itself and
has no time axis, so memory and time do not grow with T. The inference form returns T binary spikes
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
    """How levels become spikes over T timesteps.

    Attributes:
        groups: G, the number of groups of timesteps.
        steps: K, the timesteps in a group.
        max_spikes: Most spikes that a neuron may fire in a group, None for no limit.
    """

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
        """Whether `max_spikes` makes some levels unreachable."""
        return self.max_spikes is not None and self.max_spikes < self.steps

    @property
    def weights(self) -> tuple[int, ...]:
        """The weight of each of the K steps of a group, most significant first."""
        return tuple(1 << (self.steps - 1 - k) for k in range(self.steps))

    def reachable(self, n: int) -> int:
        """The level that the spikes amount to if the potential is the integer `n`."""
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

        A step fires where v is at least its weight and the group has fired fewer spikes than
        allowed; its weight is then subtracted from v. The subtraction is exact in floating point,
        so that without a limit the weighted sum of the spikes is floor(v), clipped to 0 .. L.
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

        Inside a group Horner's rule v <- 2·v + u is used, a shift and an addition per step; then
        the groups are summed.
        """
        grouped = u.unflatten(0, (self.groups, self.steps))
        v = grouped[:, 0]
        for k in range(1, self.steps):
            v = torch.add(grouped[:, k], v, alpha=2)
        return torch.sum(v, 0)


class _StraightThrough(torch.autograd.Function):
    """Returns `levels` in the forward pass; the gradient goes to `u`, of which they are rounded."""

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

    The level is q(a) = clip(floor(a·L/theta + 1/2), 0, L), rounded down to a level that at most
    `max_spikes` per group can reach; the value sent is q·theta/L. Both forms leave out the factor
    theta/L. The next layer multiplies by :meth:`unit` after its linear map, so that spikes stay
    binary, levels stay integers, and both forms do the same float arithmetic. Only the training
    form passes gradients.

    Args:
        coding: How levels become spikes.
        theta: Initial value of the largest level.
        form: The initial form; :func:`set_form` changes it.
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
        """Whether the code has a time axis: only in the inference form."""
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
        """`scale`, by which the next layer multiplies; with the gradient of LSQ."""
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

        LSQ (Esser et al., ICLR 2020) scales the gradients of step sizes so, to balance them against
        those of the weights.
        """
        n = max(activations[0].numel(), 1)
        theta: Tensor = _GradientScale.apply(self.theta, 1 / math.sqrt(n * self.coding.levels))
        return theta

    def drive(self, linear: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        """The potential [B, ...] that a linear map makes of a code of this neuron.

        In the inference form `linear` reads binary spikes [(T B), ...] and its outputs are summed
        over time by their weights; in the training form it reads levels [B, ...] once.

        Args:
            linear: A map of images [B, C, H, W] without a bias.
            code: What this neuron returned.
        """
        return self.charge(super().drive(linear, code)) * self.unit(code)

    def charge(self, u: Tensor) -> Tensor:
        """The weighted sum over time, [T, ...] -> [...]; `u` itself in the training form."""
        return self.coding.charge(u) if self.timed else u

    def extra_repr(self) -> str:
        """How the neuron codes, for `repr`."""
        c = self.coding
        regulation = "" if c.max_spikes is None else f", max_spikes={c.max_spikes}"
        return f"groups={c.groups}, steps={c.steps}{regulation}, form={self.form!r}"


def set_form(model: nn.Module, form: Form) -> None:
    """Switches every ExpG-IF neuron of a model to one form; parameters and buffers do not change.

    Raises:
        AnalyzerError: If there is no such form.
    """
    if form not in get_args(Form):
        raise AnalyzerError(f"Unknown form {form!r}: a model has the forms {get_args(Form)}.")
    for module in model.modules():
        if isinstance(module, ExpGIF):
            module.form = form


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Rounds the convolutions of a model of ExpG-IF neurons to multiples of 2^-10, in place.

    Sums of such weights over integer levels are exact in float32 in any order, so that the form,
    the batch size and the kernel do not change a single spike. Other models stay as they are.
    """
    modules = list(model.modules())
    if any(isinstance(module, ExpGIF) for module in modules):
        for module in modules:
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(2.0**10).round_().mul_(2.0**-10)
