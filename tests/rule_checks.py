"""What the tests of rules share: operands, functions as models, and agreement with the oracle."""

import torch
from oracles import counted, rows, watch
from torch import nn

import analyzer

KINDS = ("adds", "multiplies", "compares", "specials")


class Call(nn.Module):
    """A function as a model, with the modules or parameters it needs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)

    def forward(self, *args):
        return self.function(self, *args)


def real(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spikes(*shape, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def values(kind, *shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    fire = (torch.rand(*shape, generator=g) < 0.2).float()
    sign = torch.randint(0, 2, shape, generator=g) * 2 - 1
    level = torch.randint(0, 5, shape, generator=g).float()
    real = torch.randn(*shape, generator=g)
    return {
        "zero": torch.zeros(shape),
        "negative-zero": -torch.zeros(shape),
        "binary": fire,
        "scaled": fire * 0.3,
        "negative": fire * -1.5,
        "ones": torch.ones(shape),
        "ternary": fire * sign,
        "ternary-scaled": fire * sign * 0.7,
        "graded": level,
        "graded-signed": level * sign,
        "quarters": level / 4,
        "ninths": level / 9,
        "even": level * 2,
        "one-level-of-two": fire * 2 + fire.roll(1) * 2,
        "levels-255": torch.randint(0, 256, shape, generator=g).float(),
        "levels-256": torch.arange(257.0)
        .repeat(fire.numel() // 257 + 1)[: fire.numel()]
        .view(shape),
        "real": real,
        "real-sparse": real * fire,
        "two-reals": fire + fire.roll(1) * 0.31830989,
    }[kind]


def model_of(what):
    """A module as it is, or a function of tensors as a module."""
    return what.eval() if isinstance(what, nn.Module) else Call(lambda m, *args: what(*args)).eval()


def work(profile):
    """All element-wise work, as adds, multiplies, compares, specials."""
    assert profile.uncovered.empty, profile.uncovered
    return tuple(profile.totals[kind] for kind in KINDS)


def sums(table):
    """Dense work, events and unary events of all rows."""
    return [sum(figures) for figures in zip(*table.values(), strict=True)] or [0, 0, 0]


def agree(model, *args):
    """The profile and the oracle agree row by row; returns the profile."""
    model.eval()
    expected = rows(watch(model, *args))
    profile = analyzer.profile(model, args)
    assert counted(profile) == expected
    assert expected
    assert profile.uncovered.empty
    return profile


X = real(2, 4, 6)
"""48 elements: 8 rows of 6, or 12 columns of 4."""

IMAGE = real(2, 3, 8, 8)
"""384 elements, 6 maps of 64."""

VOLUME = real(1, 2, 4, 4, 4)
"""128 elements, 2 maps of 64."""
