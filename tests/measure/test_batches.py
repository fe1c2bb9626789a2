"""Batches as loaders give them: of unknown length, or in memory that is filled again."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import analyzer


def test_a_batch_that_numpy_fills_again_is_read_again():
    """PyTorch can not see that change, so statistics must not be kept by storage."""
    buffer = np.zeros((2, 4), dtype=np.float32)

    def batches():
        for n in (1, 2, 3):
            buffer[:] = 0
            buffer[:, :n] = 1
            yield torch.from_numpy(buffer)

    assert analyzer.profile(nn.Linear(4, 3).eval(), batches()).totals["events"] == 2 * 6 * 3


def test_a_loader_of_unknown_length_is_profiled_to_its_end():
    """``len`` of a loader over an iterable dataset raises."""

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(torch.ones(6, 8))

    loader = DataLoader(Stream(), batch_size=4)
    assert analyzer.profile(nn.Linear(8, 2).eval(), loader).samples == 6
