"""Random spikes, the same for the same arguments."""

import torch


def random_spikes(*shape, rate=0.3, seed=0):
    """A tensor of zeros and ones, of which a share of about ``rate`` are ones."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()
