"""Reads tensors in a way that neither PyTorch nor the package hears of."""

import ctypes

import numpy as np


def by_address(x):
    """The values of a contiguous tensor of float32, read where they lie in memory."""
    return np.array((ctypes.c_float * x.numel()).from_address(x.data_ptr())).reshape(x.shape)
