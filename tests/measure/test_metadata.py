"""Size and digest of a model's weights, also of tensors that have no storage to measure."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map

import analyzer
from analyzer.measure.metadata import metadata_of


class Wrapper(torch.Tensor):
    """A tensor without storage that hands every operation to another one."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        args = tree_map(lambda x: x.inner if isinstance(x, Wrapper) else x, args)
        if func is torch.ops.aten.detach.default:
            return Wrapper(args[0])
        return func(*args, **(kwargs or {}))


def model_with(weight=None, buffer=None):
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2, 3) if weight is None else weight, False)
    model.register_buffer("buffer", buffer)
    return model


def said(model):
    return metadata_of(model, None, 1, [1])


def test_shared_storages_are_measured_once():
    base = torch.ones(4, 3)
    model = model_with(base, base[:2])
    model.tied = model.weight
    model.view = nn.Parameter(model.weight.detach()[1:])
    found = said(model)
    assert (found["parameters_bytes"], found["buffers_bytes"]) == (48, 48)
    assert found["versions"]["analyzer"] == analyzer.__version__


WITHOUT_STORAGE = {
    "sparse": (lambda: torch.eye(3).to_sparse(), 3 * (4 + 2 * 8)),  # values and two indices
    "compressed": (lambda: torch.eye(3).to_sparse_csr(), 3 * (4 + 2 * 8) + 4 * 8),  # and rows
    "wrapper": (lambda: Wrapper(torch.eye(3)), None),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(("make", "size"), WITHOUT_STORAGE.values(), ids=WITHOUT_STORAGE)
def test_what_has_no_storage_has_the_size_of_its_parts_or_none(make, size):
    """Such a parameter ended the profile with an error of PyTorch's."""
    found = said(model_with(buffer=make()))
    assert (found["parameters_bytes"], found["buffers_bytes"]) == (24, size)
    found = said(model_with(weight=make()))
    assert (found["parameters_bytes"], found["buffers_bytes"]) == (size, 0)


def test_weights_that_can_not_be_read_have_no_digest():
    assert said(model_with())["weights_digest"] == said(model_with())["weights_digest"]
    assert said(model_with())["weights_digest"] != said(model_with(torch.zeros(2, 3)))
    assert said(model_with(torch.eye(3).to_sparse()))["weights_digest"] is None
    assert said(model_with(torch.empty(3, device="meta")))["weights_digest"] is None
