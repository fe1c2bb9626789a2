"""Errors raised at one moment of a profile, and the check that none of them leaves a trace.

A fault has a place (where the error is raised), an error and a number. The number is the seed of
everything random about it: the model, its training flags, the moment.
"""

import gc
import random
import weakref

import pytest
import torch
from fault_models import built, data, models
from snapshots import everything

import analyzer
from analyzer.errors import AnalyzerError


class UnexpectedError(BaseException):
    """An error that nobody expects."""


ERRORS = (
    RuntimeError, ValueError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit,
    MemoryError, AnalyzerError, torch.OutOfMemoryError, UnexpectedError,
)  # fmt: skip
PLACES = (
    "operation around", "operation inside", "function around", "function inside", "pre-hook",
    "hook", "hook always", "reset", "iterator", "argument",
)  # fmt: skip
"""Where an error is raised. The order numbers the faults, so it decides the seed of each."""


class Fuse:
    """Raises an error when it is touched for the n-th time."""

    def __init__(self, error, after):
        self.error = error
        self.left = after
        self.blown = False

    def touch(self, *_, **__):
        self.left -= 1
        if self.left == 0:
            self.blown = True
            raise self.error("blown")


def faults_at(*places):
    """A pytest parameter ``(place, error, number)`` for every error at each of the places."""
    return [
        pytest.param(
            place,
            error,
            PLACES.index(place) + len(PLACES) * i,
            id=f"{place}-{error.__name__}".replace(" ", "-"),
        )
        for i, error in enumerate(ERRORS)
        for place in places
    ]


def check_that_nothing_is_left(profile, error, number, moments, may_be_swallowed=False):
    """One error at one random moment of one random model leaves nothing behind.

    Args:
        profile: Called with a fuse, a model, batches and a source of random numbers; profiles the
            model in such a way that something touches the fuse.
        error: Class of what is raised.
        number: Seed.
        moments: The error is raised at the latest when the fuse is touched this many times.
        may_be_swallowed: Whether the error has a meaning of its own at this place.
    """
    chance = random.Random(number)
    name = chance.choice([*models()])
    training = chance.random() < 0.5
    model = built(name, number, training)
    batches = data(number)
    first = analyzer.profile(model, [b.clone() for b in batches])
    before = everything(model)
    fuse = Fuse(error, chance.randint(1, moments))
    blown = None
    try:
        profile(fuse, model, [b.clone() for b in batches], chance)
    except BaseException as raised:
        blown = type(raised)
    if fuse.blown and not may_be_swallowed:
        assert blown in (error, RuntimeError) if error is StopIteration else blown is error
    else:
        assert blown is None
    assert everything(model) == before
    assert analyzer.profile(model, [b.clone() for b in batches]) == first
    assert everything(model) == before
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
