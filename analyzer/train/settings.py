"""What a training depends on, apart from the machine."""

import math
from dataclasses import dataclass
from typing import Any

from analyzer import models
from analyzer.data.augmentation import augmentation
from analyzer.data.splits import Splits
from analyzer.errors import AnalyzerError

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings on which the weights depend, apart from the machine."""

    name: str
    data: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    patience: int | None
    images: int | None
    augment: tuple[str, ...] | None
    synops_weight: float
    options: dict[str, Any]

    @property
    def command(self) -> str:
        """The command line that repeats this training."""
        data = "" if self.data == "digits" else f" --data {self.data}"
        further: dict[str, object] = {"patience": self.patience, "images": self.images}
        if self.augment is not None:
            further["augment"] = ",".join(self.augment) or "none"
        if self.synops_weight:
            further["synops-weight"] = f"{self.synops_weight:g}"
        return (
            f"analyzer train {self.name}{data} --epochs {self.epochs} "
            f"--batch-size {self.batch_size} --lr {self.lr:g} --seed {self.seed}"
            + "".join(f" --{key} {value}" for key, value in further.items() if value is not None)
            + "".join(f" --set {key}={value}" for key, value in self.options.items())
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the images that the model reads by default, with its options."""
        card = models.describe(self.name)
        if card.takes_tokens:
            raise AnalyzerError(f"{self.name} takes tokens: analyzer train has only images.")
        channels, size, _ = card.input_shape
        channels = self.options.get("in_channels", channels)
        size = self.options.get("image_size", size)
        return channels, size, size

    def check(self) -> None:
        """Refuses settings that do not fit, before any work.

        Raises:
            AnalyzerError: Names the setting.
        """
        if self.epochs < 1 or self.batch_size < 2 or not 0 < self.lr < math.inf:
            raise AnalyzerError(
                f"Training needs epochs >= 1, batch size >= 2 and a positive learning rate, got "
                f"{self.epochs}, {self.batch_size} and {self.lr}."
            )
        if not 0 <= self.synops_weight < math.inf:
            raise AnalyzerError(
                f"the weight of accumulates must be at least 0, not {self.synops_weight}."
            )
        if self.images is not None and self.images < self.batch_size:
            raise AnalyzerError(
                f"{self.images} training images are fewer than a step of {self.batch_size}."
            )
        augmentation(self.augment or ())
        if self.patience is not None and self.patience < 1:
            raise AnalyzerError(f"patience is a number of epochs from 1 on, not {self.patience}.")
        if models.weights_path(self.name).stem != self.name:
            raise AnalyzerError(
                f"{self.name} is not trained: its weights are those of "
                f"{models.weights_path(self.name).stem}."
            )

    def check_classes(self, splits: Splits) -> None:
        """Refuses a head with fewer classes than the data."""
        asked = self.options.get("num_classes", splits.classes)
        if asked < splits.classes:
            raise AnalyzerError(
                f"num_classes={asked} is too few: {self.data} has {splits.classes} classes."
            )
