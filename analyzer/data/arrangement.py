"""How samples become the input of a model: joined, normalised, with their axes in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import einops
import torch
from torch import Tensor

from analyzer.errors import AnalyzerError

__all__ = ["Arrangement", "Sample"]


Sample = tuple[Tensor, int | Tensor] | tuple[Tensor]


@dataclass(frozen=True)
class Arrangement:
    """How samples become the input of a model.

    Attributes:
        layout: Axes of the model's input in einops notation, such as ``T B C H W`` or
            ``(T B) C H W``. If it is empty, a batch is ``[B, *sample]``. If it has T and samples
            have no time axis, they are repeated T times.
        timesteps: T, needed if samples have no time axis.
        mean: Subtracted from the channels (third axis from the end): one number for each, or one
            for all.
        std: Divides the channels after that, in the same way.
    """

    layout: str = ""
    timesteps: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def collate(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Joins samples of one shape to a batch.

        Raises:
            AnalyzerError: If the layout or the numbers of mean or std do not fit the samples.
        """
        x = self._normalised(torch.stack([sample[0] for sample in samples]))
        x = self._laid_out(x) if self.layout else x
        targets = [torch.as_tensor(sample[1]) for sample in samples if len(sample) == 2]
        return [x, torch.stack(targets)] if targets else [x]

    def _normalised(self, x: Tensor) -> Tensor:
        for values, word in ((self.mean, "mean"), (self.std, "std")):
            if not values:
                continue
            channels = x.shape[-3] if x.ndim > 3 else 0
            if len(values) not in (1, channels):
                raise AnalyzerError(
                    f"{len(values)} figures of --{word} do not fit samples of shape "
                    f"{tuple(x.shape[1:])}: give one, or one a channel."
                )
            by_channel = torch.tensor(values, device=x.device).reshape(
                -1, *([1] * min(x.ndim - 1, 2))
            )
            x = x - by_channel if word == "mean" else x / by_channel
        return x

    def _laid_out(self, x: Tensor) -> Tensor:
        axes = self.layout.replace("(", " ").replace(")", " ").split()
        rest = [axis for axis in axes if axis != "B"]
        if x.ndim == len(rest) and "T" in rest:
            rest.remove("T")
        repeated = "T" in axes and "T" not in rest
        if repeated and not self.timesteps:
            raise AnalyzerError(
                f"samples of shape {tuple(x.shape[1:])} have no time axis: give --timesteps to "
                f"repeat them over the T of the layout {self.layout!r}."
            )
        sizes = {"T": self.timesteps} if "T" in axes and self.timesteps else {}
        try:
            return einops.repeat(x, f"{' '.join(['B', *rest])} -> {self.layout}", **sizes)
        except einops.EinopsError:
            at = f" at {self.timesteps} timesteps" if sizes else ""
            raise AnalyzerError(
                f"the layout {self.layout!r} does not fit samples of shape {tuple(x.shape[1:])}"
                f"{at}: name B and each axis of a sample once, such as T B C H W."
            ) from None
