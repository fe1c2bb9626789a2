"""Draws what a meter writes in a training by Lightning and in one by transformers' Trainer.

A spiking network of two hidden layers learns the embedded digits, once as a LightningModule and
once in a Trainer, which also pays for accumulates (``analyzer.SynOps``). The meter is at its
default. The figure shows the accumulates of an image and the firing rates by step; what the meter
took of each training is printed.

Usage: python benchmarks/training_curves.py [--epochs N] [-o FILE.svg]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from pathlib import Path

import lightning
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from training_meter import BATCH, Net, digits

import analyzer
from analyzer.callbacks import LightningMeter, Meter, TrainerMeter


class Classifier(lightning.LightningModule):
    """The network for Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)


class Sparing(nn.Module):
    """The network for a Trainer: its loss has a part for accumulates."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        if labels is None:
            return {"logits": self.net(x)}
        with analyzer.SynOps(self.net) as ops:
            logits = self.net(x)
        return {"loss": F.cross_entropy(logits, labels) + 5e-5 * ops.per_sample(), "logits": logits}


class Rows(Dataset):
    """Samples as a Trainer takes them."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": self.y[index]}


def by_lightning(x: Tensor, y: Tensor, epochs: int, folder: str) -> Meter:
    """The meter after a training by Lightning."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    callback = LightningMeter(model="net")
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[callback], accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Classifier(), DataLoader(TensorDataset(x, y), BATCH, shuffle=True))
    return callback.meter


def by_trainer(x: Tensor, y: Tensor, epochs: int, folder: str) -> Meter:
    """The meter after a training by a Trainer."""
    torch.manual_seed(0)
    arguments = transformers.TrainingArguments(
        output_dir=folder, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no",
        learning_rate=1e-3, lr_scheduler_type="constant", num_train_epochs=epochs,
        per_device_train_batch_size=BATCH, logging_strategy="no",
    )  # fmt: skip
    callback = TrainerMeter()
    transformers.Trainer(
        Sparing(), arguments, train_dataset=Rows(x, y), callbacks=[callback]
    ).train()
    return callback.meter


def draw(meters: dict[str, Meter], path: Path) -> None:
    """Accumulates and firing rates by step, a column for each training."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "analyzer"
    with analyzer.plot.style("neurips"):
        figure, axes = plt.subplots(
            2, len(meters), figsize=(5.5, 3.2), sharex="col", sharey="row", layout="constrained"
        )
        for (title, meter), (top, bottom) in zip(meters.items(), axes.T, strict=True):
            steps = [row["step"] for row in meter.history]
            top.plot(steps, [row["analyzer/ac"] / 1000 for row in meter.history], ".-", color="k")
            for name, mark in (
                (n, m) for n, m in zip(("lif1", "lif2"), (".-", "x--"), strict=True)
            ):
                (key,) = (
                    k for k in meter.history[0] if k.endswith((f"rate/{name}", f"rate/net.{name}"))
                )
                bottom.plot(steps, [row[key] for row in meter.history], mark, label=name)
            top.set_title(title)
            bottom.set_xlabel("step")
            bottom.set_ylim(0)
            top.set_ylim(0)
        axes[0][0].set_ylabel("10³ AC per image")
        axes[1][0].set_ylabel("firing rate")
        axes[1][0].legend()
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, default=Path("watch-a-training.svg"))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    x, y = digits()
    with tempfile.TemporaryDirectory() as folder:
        meters = {
            "LightningModule": by_lightning(x, y, chosen.epochs, folder),
            "Trainer, accumulates in the loss": by_trainer(x, y, chosen.epochs, folder),
        }
    for title, meter in meters.items():
        ac = [row["analyzer/ac"] for row in meter.history]
        print(f"{title}: {meter.cost}")
        print(f"  AC of an image: {ac[0]:,.0f} at the begin, {ac[-1]:,.0f} at the end")
    draw(meters, chosen.output)
    print(f"wrote {chosen.output}")


if __name__ == "__main__":
    main()
