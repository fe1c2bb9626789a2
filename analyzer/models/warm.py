"""Statistics for networks that nobody trained: without them most spiking neurons stay silent."""

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError

__all__ = ["warm"]

_Norm = nn.modules.batchnorm._BatchNorm


def warm(model: nn.Module, images: Tensor) -> bool:
    """Sets batch norm (and running firing rates) to the statistics of one batch, weights untouched.

    Fresh statistics (mean 0, variance 1) do not fit fresh weights: potentials hardly reach a
    threshold, and activity figures would mean nothing. With those of a batch, 5 to 30 % of the
    neurons of the models here fire.

    Args:
        model: Any model; of one whose state lasts, reset it afterwards.
        images: A batch [B, ...] as the model takes it.

    Returns:
        Whether there was anything to set. A model with a method ``calibrate`` is given the batch.
    """
    calibrate = getattr(model, "calibrate", None)
    if callable(calibrate):  # its steps, where it has no batch norm
        calibrate(images)
        return True
    norms = [module for module in model.modules() if isinstance(module, _Norm)]
    if not norms:
        return False
    flags = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches: of this one
        model.train()
        with torch.no_grad():
            model(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise AnalyzerError(
            "batch norm has one value a channel to take statistics of: give a larger batch or "
            "larger images."
        ) from None
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in flags:
            module.training = training
    return True
