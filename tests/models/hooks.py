"""Finds the weight layers of a model and records what they read, for the tests of this folder."""

from torch import nn


def weight_layers(model):
    """Every convolution and linear layer by path."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    return {path: module for path, module in model.named_modules() if isinstance(module, kinds)}


def record_inputs(model):
    """A mapping that the next forward fills with what each weight layer reads, by path."""
    inputs = {}

    def keep(path):
        def hook(_, args):
            inputs[path] = args[0]

        return hook

    for path, layer in weight_layers(model).items():
        layer.register_forward_pre_hook(keep(path))
    return inputs
