"""The state of random generators: those of Python, NumPy and torch, and a model's own."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np
import torch

from analyzer.errors import undo_all

__all__ = [
    "GENERATORS",
    "generator_state",
    "numbers_of",
    "random_numbers_of_python",
    "random_state",
]

GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def generator_state(generator: Any) -> Callable[[], object]:
    """What puts a random generator back to its state of now."""
    if isinstance(generator, np.random.Generator):
        bits: Any = generator.bit_generator
        return partial(setattr, bits, "state", bits.state)
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    return partial(generator.set_state, generator.get_state())


def numbers_of(generator: Any) -> bytes:
    """Tells states of a generator of Python or NumPy apart."""
    if isinstance(generator, np.random.Generator):
        return pickle.dumps(generator.bit_generator.state)
    if isinstance(generator, random.Random):
        return pickle.dumps(generator.getstate())
    return pickle.dumps(generator.get_state(legacy=False))


def random_numbers_of_python() -> Hashable:
    """Tells whether Python or NumPy drew random numbers, which no mode sees."""
    numpy = np.random.get_state(legacy=False)["state"]
    return random.getstate(), numpy["key"].tobytes(), numpy["pos"]


def random_state() -> Callable[[], None]:
    """What puts the random state of Python, NumPy and torch back to what it is now."""
    python = random.getstate()
    numpy = np.random.get_state()
    cpu = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    steps: list[Callable[[], object]] = [
        partial(random.setstate, python),
        partial(np.random.set_state, numpy),
        partial(torch.set_rng_state, cpu),
    ]
    if gpus:
        steps.append(partial(torch.cuda.set_rng_state_all, gpus))
    return partial(undo_all, steps)
