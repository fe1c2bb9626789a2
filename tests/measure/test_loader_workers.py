"""Loaders with worker processes, forked and spawned, while their batches are counted."""

import multiprocessing

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import analyzer


class Samples(Dataset):
    """Samples that a worker computes, with a profile of its own if told to."""

    def __init__(self, profiles=False):
        self.profiles = profiles

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if self.profiles:
            found = analyzer.profile(nn.Linear(4, 2).eval(), torch.ones(2, 4))
            assert found.totals["dense_macs"] == 16
        x = torch.rand(3, 4, generator=torch.Generator().manual_seed(index))
        return (nn.functional.linear(x, torch.ones(4, 4)) > 2).float().mean(0)


METHODS = [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]


@pytest.mark.parametrize("profiles", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_batches_of_workers_count_as_others_do(method, profiles):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    expected = analyzer.profile(model, list(DataLoader(Samples(), batch_size=2)))
    loader = DataLoader(
        Samples(profiles), batch_size=2, num_workers=2, multiprocessing_context=method, timeout=120
    )
    assert analyzer.profile(model, loader) == expected
    if method == "fork":
        with analyzer.watch(model) as watched, torch.no_grad():
            for batch in loader:
                model(batch)
        assert watched.profile() == expected


class Fails(Samples):
    def __getitem__(self, index):
        raise ValueError("no such sample")


def test_an_error_of_a_worker_is_the_callers():
    loader = DataLoader(Fails(), batch_size=2, num_workers=2, timeout=120)
    with pytest.raises(ValueError, match="no such sample"):
        analyzer.profile(nn.Linear(4, 2).eval(), loader)
