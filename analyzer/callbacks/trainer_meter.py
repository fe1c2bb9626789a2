"""``analyzer.callbacks.TrainerMeter``: the meter as a callback of transformers' Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from analyzer.callbacks.bases import Callback
from analyzer.callbacks.meter import Meter
from analyzer.callbacks.probing import samples_of, unwrapped

__all__ = ["TrainerMeter"]


class TrainerMeter(Callback):
    """A :class:`.Meter` for the ``Trainer`` of transformers.

    Figures go to ``trainer.state.log_history``. With ``logger=trainer.log`` they go there and to
    all that the Trainer reports to, such as TensorBoard and W&B, for which the callback is added
    once there is a trainer.

    Args:
        probe: As for :class:`.Meter`; by default a batch of evenly spaced samples of the data that
            is trained on, without the labels that the model can do without, for its loss is no
            part of an inference.
        options: Options of :class:`.Meter`.

    Attributes:
        meter: The meter, from the begin of the training on; None before.

    Raises:
        AnalyzerError: Where transformers is not installed, or an argument does not fit.

    Example:
        A picture of its curves is in the how-to "Watch a training"::

            trainer = transformers.Trainer(model, arguments, train_dataset=data)
            callback = TrainerMeter(timesteps=4, logger=trainer.log)
            trainer.add_callback(callback)
            trainer.train()
            print(callback.meter.cost)
    """

    base = "TrainerCallback"
    homes = ("transformers",)
    install = "transformers"

    def __init__(self, probe: Any = None, **options: Any) -> None:
        super().__init__()
        self.meter: Meter | None = None
        self._probe = probe
        self._options = options

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Makes the meter and has the first probe run, before the first step."""
        self.meter = None
        if not state.is_world_process_zero:
            return
        model, probe = kwargs["model"], self._probe
        if probe is None:
            loader = kwargs["train_dataloader"]
            probe = _without_labels(samples_of(loader, args.per_device_train_batch_size), model)
        self.meter = Meter(model, probe, **self._options)
        self._probed(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Has a probe run where one is due."""
        if self.meter is not None:
            self._probed(state)

    def _probed(self, state: Any) -> None:
        assert self.meter is not None
        figures = self.meter.step(state.global_step)
        if figures is not None and self._options.get("logger") is None:
            state.log_history.append({**figures, "step": state.global_step})


def _without_labels(batch: Any, model: Any) -> Any:
    """A batch without labels, but for models that need them, such as an encoder-decoder."""
    needs = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if needs or not isinstance(batch, Mapping):
        return batch
    parameters = inspect.signature(unwrapped(model).forward).parameters
    optional = {n for n, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return {
        name: value
        for name, value in batch.items()
        if not ("label" in name and (name in optional or name not in parameters))
    }
