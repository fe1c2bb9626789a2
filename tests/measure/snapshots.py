"""Snapshots of a model and of the process, to be compared before and after a profile."""

import gc
import random
import sys
import threading
import warnings
from array import array
from collections import UserList, deque
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as nn_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack


class UserState:
    """An object of a user's own class, as a neuron might keep its state in."""

    def __init__(self):
        self.spikes = []


def snapshot(model):
    """All of a model and of the process that a forward might change, as plain values."""
    seen = []

    def plain(value):
        if isinstance(value, (int, float, str)):
            return value
        if any(value is known for known in seen):
            return id(value)
        seen.append(value)
        if isinstance(value, torch.Tensor):
            return (id(value), value.requires_grad, str(value.dtype), value.detach().tolist())
        if isinstance(value, torch.Generator):
            return value.get_state().tolist()
        if isinstance(value, (list, tuple, deque, UserList, array)):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (SimpleNamespace, UserState)):
            return plain(vars(value))
        return id(value)

    state = {name: plain(vars(module)) for name, module in model.named_modules()}
    grads = {name: plain(p.grad) for name, p in model.named_parameters()}
    hooks = [
        len(v)
        for k, v in vars(nn_module).items()
        if k.startswith("_global_") and isinstance(v, dict)
    ]
    process = [
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        hooks,
        len(_get_current_dispatch_mode_stack()),
        torch.is_grad_enabled(),
    ]
    return state, grads, process


def surroundings():
    """Settings of the process and of this thread that a profile must not change."""
    hooks = {
        key: list(value.items())
        for key, value in vars(nn_module).items()
        if key.startswith("_global_") and isinstance(value, dict)
    }
    return {
        "hooks": hooks,
        "dispatch modes": [*map(id, _get_current_dispatch_mode_stack())],
        "function modes": [*map(id, _get_current_function_mode_stack())],
        "included keys": str(torch._C._dispatch_tls_local_include_set()),
        "excluded keys": str(torch._C._dispatch_tls_local_exclude_set()),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "saved": saved_hooks(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "denormals": float(torch.tensor(1e-310, dtype=torch.float64) * 1),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "warnings": [*warnings.filters],
        "collector": gc.isenabled(),
        "traces": (sys.gettrace(), sys.getprofile(), threading.active_count()),
        "forward": nn.Module.__call__,
        "patched": [torch.mm, torch.matmul, nn.functional.linear, nn.functional.conv2d],
    }


def saved_hooks():
    """What autograd calls for a tensor that it saves; PyTorch before 2.8 does not say."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda _: None)
    return top(True)


def tensor_memory(model):
    """Address, strides and identity of each tensor of a model."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    grads = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    return [
        (name, id(x), x.data_ptr(), x.untyped_storage()._cdata, tuple(x.stride()), x.requires_grad)
        for name, x in (*tensors, *grads)
    ]


def everything(model):
    """What a profile must leave as it was: the model, the memory of its tensors, the process."""
    return snapshot(model), tensor_memory(model), surroundings()
