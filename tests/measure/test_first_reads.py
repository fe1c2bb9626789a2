"""Which operands a contraction is the first to read of what the model itself made."""

import pytest
import torch
from torch import nn

import analyzer


class Reads(nn.Module):
    """A layer that reads what a function makes of the input."""

    def __init__(self, make):
        super().__init__()
        self.make, self.layer = make, nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(self.make(self, x))


def first_reads(make):
    profile = analyzer.profile(Reads(make).eval(), torch.rand(5, 4) + 1)
    return sum(o.elements for site in profile.contractions for o in site.first_read_operands)


def filled(x):
    out = torch.zeros_like(x)
    out[:, :2] = x[:, :2]
    return out


def partly_made(x):
    out = torch.zeros_like(x)
    out[:, :2] = x[:, :2]
    out[:, 2:] = x[:, 2:] * 2
    return out


MADE = {
    "zeros": lambda m, x: torch.zeros_like(x),
    "ones": lambda m, x: torch.ones_like(x),
    "noise": lambda m, x: torch.rand_like(x),
    "full": lambda m, x: torch.full_like(x, 2.0),
    "new": lambda m, x: x.new_zeros(5, 4),
    "drawn": lambda m, x: torch.bernoulli(x / 4),
    "state": lambda m, x: torch.zeros_like(x).add_(x.relu()),
    "in place": lambda m, x: x.relu_(),
    "written into": lambda m, x: torch.empty_like(x).copy_(x * 2),
    "partly": lambda m, x: partly_made(x),
}

COPIES = {
    "input": lambda m, x: x,
    "copy": lambda m, x: x.clone(),
    "copied into": lambda m, x: torch.empty_like(x).copy_(x),
    "padded": lambda m, x: filled(x),
    "flipped": lambda m, x: x.flip(1),
    "overwritten": lambda m, x: x.copy_(x.flip(0)),
}


@pytest.mark.parametrize("name", MADE)
def test_what_the_model_made_is_read_for_the_first_time(name):
    assert first_reads(MADE[name]) == 5 * 4


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_the_input_are_the_input(name):
    assert first_reads(COPIES[name]) == 0


@pytest.mark.parametrize("buffer", [False, True])
def test_a_state_that_is_written_in_place_is_written_once(buffer):
    """An attribute counted as a new activation, too."""

    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            state = torch.zeros(5, 4)
            self.register_buffer("v", state) if buffer else setattr(self, "v", state)

        def forward(self, x):
            self.v.add_(x)
            self.v.mul_(2)
            return self.v + x

    memory = analyzer.profile(Adds().eval(), torch.rand(5, 4), reset=lambda m: None).memory
    assert memory["activations_bytes"] == 3 * 4 * 4
    assert memory["peak_activations_bytes"] == 4 * 4
