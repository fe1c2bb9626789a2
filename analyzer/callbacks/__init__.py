"""A meter for trainings: AC, MAC, energy, firing rates and silent layers in the course of it.

:class:`.Meter` is for a loop of your own, :class:`.LightningMeter` for Lightning's trainer, and
:class:`.TrainerMeter` for the Trainer of transformers. Every now and then they run the model on one
fixed batch, the probe, and hand what was counted to a logger. The training goes on as if nothing
had been run: weights, gradients, statistics and random numbers are those of a training without it.
Importing this loads neither Lightning nor transformers.

Example:
    >>> import torch
    >>> from analyzer.callbacks import Meter
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> x = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    >>> meter = Meter(model, x, every=2, logger=lambda figures: print(figures["analyzer/ac"]))
    >>> for step in range(4):
    ...     loss = model(x).square().sum()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     figures = meter.step(step)
    4.0
    4.0
    >>> meter.cost.probes
    2
"""

from analyzer.callbacks.cadence import Cost
from analyzer.callbacks.lightning_meter import LightningMeter
from analyzer.callbacks.meter import Meter
from analyzer.callbacks.trainer_meter import TrainerMeter

__all__ = ["Cost", "LightningMeter", "Meter", "TrainerMeter"]
