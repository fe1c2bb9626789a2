"""``analyzer.callbacks.LightningMeter``: the meter as a callback of Lightning's trainer."""

from __future__ import annotations

from typing import Any

import torch

from analyzer.callbacks.bases import Callback
from analyzer.callbacks.cadence import Cadence
from analyzer.callbacks.figures import Figures
from analyzer.callbacks.meter import Meter
from analyzer.callbacks.probing import copied
from analyzer.errors import AnalyzerError

__all__ = ["LightningMeter"]


class LightningMeter(Callback):
    """A :class:`.Meter` for ``lightning.Trainer(callbacks=[LightningMeter()])``.

    Figures go to all loggers of the trainer, under the number of optimizer steps, and into its
    ``callback_metrics``, so that ``ModelCheckpoint`` and ``EarlyStopping`` can monitor them, such
    as ``analyzer/energy_mj``. With several processes the first alone probes, and tells the others.
    Without `every` they exchange one small message in each step, for only the clock of the first
    says whether a probe is due. Works with ``lightning`` and with ``pytorch_lightning``.

    Args:
        probe: As for :class:`.Meter`; by default the first batch of the training.
        model: Dotted path of the part of the LightningModule to count, such as ``"net"``; by
            default all of it, which needs a ``forward``.
        options: Options of :class:`.Meter`. A `logger` gets figures beside those of the trainer.

    Attributes:
        meter: The meter, from the first batch on; None before. With several processes, that of the
            first holds what was found.

    Raises:
        AnalyzerError: Where Lightning is not installed, or an argument does not fit.

    Example:
        A picture of its curves is in the how-to "Watch a training"::

            trainer = lightning.Trainer(callbacks=[LightningMeter(timesteps=4)])
            trainer.fit(module, loader)
            print(trainer.callbacks[0].meter.cost)
    """

    base = "Callback"
    homes = ("lightning.pytorch", "pytorch_lightning")
    install = "lightning"

    def __init__(self, probe: Any = None, *, model: str = "", **options: Any) -> None:
        super().__init__()
        self.meter: Meter | None = None
        self._probe = probe
        self._path = model
        self._options = options
        self._last = -1
        self._cadence: Cadence | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins anew with each call of ``fit``."""
        self.meter = None

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Makes the meter and has the first probe run, before the first batch is trained on."""
        if self.meter is not None:
            return
        try:
            model = pl_module.get_submodule(self._path)
        except AttributeError:
            kind = type(pl_module).__name__
            raise AnalyzerError(
                f"{kind} has no module {self._path!r}: give LightningMeter(model=) a path of it."
            ) from None
        probe = copied(batch) if self._probe is None else self._probe
        options = self._options
        loggers = [options.get("logger"), *(logger.log_metrics for logger in trainer.loggers)]
        self.meter = Meter(model, probe, **options | {"logger": loggers})
        every = options.get("every")
        self._cadence = None if every is None else Cadence(every, 1.0)
        self._probed(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Has a probe run where one is due after a step of the optimizer."""
        if self.meter is not None and trainer.global_step != self._last:
            self._probed(trainer, pl_module)

    def _probed(self, trainer: Any, pl_module: Any) -> None:
        assert self.meter is not None
        self._last = trainer.global_step
        several = trainer.world_size > 1
        figures = self._told(trainer) if several else self.meter.step(self._last)
        if figures is None:
            return
        trainer.callback_metrics.update(
            {
                name: torch.tensor(value, dtype=torch.float64, device="cpu")
                for name, value in figures.items()
            }
        )

    def _told(self, trainer: Any) -> Figures | None:
        """What the first process found: all of them monitor it, and end where it raises."""
        assert self.meter is not None
        if self._cadence is not None:
            if not self._cadence.is_due(self._last, 0.0):
                return None
            self._cadence.probed(self._last, 0.0, 0.0, 0.0)
        figures: Figures | None = None
        raised: Exception | None = None
        if trainer.is_global_zero:
            try:
                figures = self.meter.step(self._last)
            except Exception as error:  # the others would wait for ever
                raised = error
        figures, reason = trainer.strategy.broadcast((figures, raised and f"{raised}"))
        if raised is not None:
            raise raised
        if reason is not None:
            raise AnalyzerError(reason)
        return figures
