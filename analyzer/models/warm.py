"""Sets batch norm statistics of an untrained network from one batch, before it is measured.

With the initial statistics most spiking neurons of an untrained network never fire, and its
activity figures would mean nothing. The command line and the studies call :func:`warm`.
"""

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError

__all__ = ["warm"]

_Norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def warm(model: nn.Module, images: Tensor) -> bool:
    """Sets batch norm and running firing rates to the statistics of one batch.

    The initial statistics (mean 0, variance 1) do not fit untrained weights: potentials hardly
    reach a threshold. With those of a batch, 5 to 30 % of the neurons of the models here fire.
    Weights do not change. A model with a method ``calibrate`` is given the batch instead.

    Args:
        model: Any model. If its neurons keep state from call to call, reset it afterwards.
        images: A batch [B, ...] as the model takes it.

    Returns:
        Whether there was anything to set.

    Raises:
        AnalyzerError: If the batch has only one value per channel.
    """
    calibrate = getattr(model, "calibrate", None)
    if callable(calibrate):
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
            norm.momentum = None  # a plain mean over all batches, here of this one
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
