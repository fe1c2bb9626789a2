"""One training from the first epoch to the file of weights."""

import io
import json
import math
import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from analyzer import models
from analyzer.data.augmentation import augmentation
from analyzer.data.digits import batches
from analyzer.data.splits import Splits, open_splits
from analyzer.errors import AnalyzerError
from analyzer.files import write_atomically
from analyzer.measure.training.synops import SynOps
from analyzer.models.checkpoints import why_unreadable
from analyzer.models.conversion import Rectifier, calibrate
from analyzer.models.expg_if import ExpGIF, round_weights, set_form
from analyzer.terminal import Steps
from analyzer.terminal import progress as progress_of
from analyzer.train.log import log_file
from analyzer.train.records import processor
from analyzer.train.settings import Settings

__all__ = ["TrainResult", "accuracy", "train"]

_WARMUP_EPOCHS = 2
"""The learning rate rises for so many epochs, in short trainings for a fifth of them."""

_WEIGHT_DECAY = 0.05
_LABEL_SMOOTHING = 0.1
_EVAL_BATCH = 128
_CALIBRATION = 1024
"""About how many training images the thresholds of a conversion are taken from."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a training.

    Attributes:
        name: The model.
        output: The file of weights.
        epochs: Epochs that were run.
        seed: The seed.
        parameters: Number of parameters.
        train_loss: Mean loss of the last epoch.
        test_accuracy: Accuracy of the saved weights on the test images, in [0, 1].
    """

    name: str
    output: Path
    epochs: int
    seed: int
    parameters: int
    train_loss: float
    test_accuracy: float


def train(
    name: str,
    *,
    output: str | Path,
    data: str = "digits",
    epochs: int = 40,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    patience: int | None = None,
    images: int | None = None,
    augment: Sequence[str] | None = None,
    synops_weight: float = 0.0,
    resume: bool = False,
    log: str | Path | None = None,
    progress: bool | str | None = None,
    options: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Trains a reference model and saves its weights as safetensors, in half precision.

    AdamW with linear warm-up and cosine decay, label smoothing, and small random changes of the
    images. The test images are never used to choose anything: the weights of the last epoch are
    saved or, with `patience`, the best ones on a tenth of the training images that is held out.
    The convolutions of networks of ExpG-IF neurons are rounded to multiples of 2^-10, which makes
    their spikes exact. An ANN of rectifiers is saved with the thresholds that its conversion needs.
    The same seed gives the same file on the same machine, and the caller's random state does not
    change.

    Args:
        name: A name of :func:`analyzer.models.names`.
        output: File to write (safetensors).
        data: The data, as :func:`analyzer.data.splits.open_splits` takes it.
        epochs: Most passes over the training images.
        batch_size: Images in a step.
        lr: Peak learning rate.
        seed: Seed of weights, order and distortions.
        patience: Stop after so many epochs without a better held-out accuracy; None never stops.
        images: Train on so many of the training images, evenly spaced; all by default.
        augment: How images are changed at random: names of ``flip``, ``shift`` and ``affine``
            (:mod:`analyzer.data.augmentation`). By default affine, and flip where a mirrored image
            keeps its class.
        synops_weight: The loss grows by this much for each accumulate of an image, as
            :class:`analyzer.SynOps` counts them; of ExpG-IF neurons, which are trained without a
            time axis, a level of three is three spikes. A network of a few million accumulates
            needs some 1e-7.
        resume: Continue an interrupted training of the same settings, from the checkpoint that
            every epoch writes beside `output` and that the end removes.
        log: CSV file with one row per epoch, None for no log: the loss, the accuracy on the images
            held out (on the test images where none are), the accumulates of an image where they
            have a weight, the learning rate at the end and the time of the processor, in which
            pauses do not count.
        progress: Whether to show a bar with images per second, loss and accuracy, also in a
            notebook; ``"log"`` prints a line after each epoch and every ten seconds. By default a
            bar on a terminal.
        options: Options of the model, as :func:`analyzer.models.build` takes them.

    Raises:
        AnalyzerError: If a setting, the data or the checkpoint does not fit.
    """
    settings = Settings(
        name=name,
        data=data,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        patience=patience,
        images=images,
        augment=None if augment is None else tuple(augment),
        synops_weight=synops_weight,
        options=dict(options or {}),
    )
    settings.check()
    output = Path(output)
    if output.is_dir():
        raise AnalyzerError(f"Weights are written to a file, and {output} is a folder.")
    splits = open_splits(data, settings.shape)
    settings.check_classes(splits)
    output.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        run = _Run(settings, splits, output)
        if resume:
            run.resume()
        try:
            with (
                log_file(log, run.epoch) as noted,
                progress_of(name, run.steps * epochs, progress) as steps,
            ):
                steps.completed(run.steps * run.epoch)
                while not run.finished:
                    steps.name(f"{name}, epoch {run.epoch + 1} of {epochs}")
                    noted(run.one_epoch(steps))
                    run.save()
                    steps.print()
            return run.finish()
        except (KeyboardInterrupt, SystemExit) as stop:  # signals end a command by SystemExit
            stop.add_note(run.kept(log))
            raise


class _Run:
    """The state of one training: model, data, optimizer, schedule and best weights so far."""

    def __init__(self, settings: Settings, splits: Splits, output: Path) -> None:
        self.epoch = 0
        self._settings = settings
        self._output = output
        self._checkpoint = output.with_name(f"{output.name}.checkpoint")
        if settings.images is not None:
            splits = splits.part(settings.images)
        fit, self._held_out = splits.train, None
        if settings.patience is not None:
            fit, self._held_out = splits.held_out()
        names = settings.augment
        if names is None:
            names = ("affine", "flip") if splits.mirrored else ("affine",)
        self._augmented = augmentation(names)
        self._splits = splits
        channels, size, _ = splits.shape
        sizes = {"in_channels": channels, "image_size": size, "num_classes": splits.classes}
        self._model = models.build(settings.name, **(sizes | settings.options))
        # Ge²mS-T is trained in the form without a time axis; other models do not change.
        set_form(self._model, "training")
        self._loader = DataLoader(
            fit, settings.batch_size, shuffle=True, generator=torch.default_generator
        )
        self.steps = len(self._loader)
        epochs = settings.epochs
        self._optimizer = torch.optim.AdamW(_parameter_groups(self._model), lr=settings.lr)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            _WarmupCosine(int(self.steps * min(_WARMUP_EPOCHS, epochs / 5)), self.steps * epochs),
        )
        self._best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0, "model": {}}
        self._loss = math.nan
        self._reached = ""
        self._saved_epochs = 0
        self._synops = 0.0

    @property
    def finished(self) -> bool:
        """Whether all epochs are run, or the held-out accuracy has not improved for too long."""
        patience = self._settings.patience
        idle = patience is not None and self.epoch - self._best["epoch"] >= patience
        return self.epoch >= self._settings.epochs or (idle and self.epoch > 0)

    def one_epoch(self, steps: Steps) -> dict[str, Any]:
        """Trains on all images once.

        Returns:
            The metrics of this epoch.
        """
        begin = time.process_time()
        self.epoch += 1
        model = self._model.train()
        total, count = torch.zeros(()), 0
        self._synops = 0.0
        for images, labels in self._loader:
            loss = self._loss_of(self._augmented(images), labels)
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            total += loss.detach() * len(images)
            count += len(images)
            said = f"loss {float(total) / count:.3f}{self._reached}"
            steps.done(units=len(images), unit="images", said=said)
        self._loss = float(total) / count
        row: dict[str, Any] = {"epoch": self.epoch, "train_loss": self._loss}
        if self._settings.synops_weight:
            row["synops"] = self._synops / count
        if self._held_out is None:
            row["test_accuracy"] = reached = accuracy(model, self._splits.test)
        else:
            row["held_out_accuracy"] = reached = accuracy(model, self._held_out)
            if reached > self._best["accuracy"]:
                state = {key: value.clone() for key, value in model.state_dict().items()}
                self._best = {"accuracy": reached, "epoch": self.epoch, "model": state}
        self._reached = f", accuracy {reached:.1%}"
        row["lr"] = self._schedule.get_last_lr()[0]
        row["cpu_seconds"] = round(time.process_time() - begin, 1)
        return row

    def _loss_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, and the accumulates of an image times their weight."""
        model, weight = self._model, self._settings.synops_weight
        if not weight:
            return F.cross_entropy(model(images), labels, label_smoothing=_LABEL_SMOOTHING)
        has_levels = any(isinstance(module, ExpGIF) for module in model.modules())
        with SynOps(model, convention="unary" if has_levels else "exact") as ops:
            logits = model(images)
        if not ops.by_module():
            raise AnalyzerError(
                f"no spikes drive an operation of {self._settings.name}, so a weight on accumulates"
                " does nothing: train it without."
            )
        self._synops += float(ops.total().detach())
        loss = F.cross_entropy(logits, labels, label_smoothing=_LABEL_SMOOTHING)
        return loss + weight * ops.per_sample().to(loss.dtype)

    def save(self) -> None:
        """Writes a checkpoint beside the output, from which :meth:`resume` continues."""
        content = io.BytesIO()
        torch.save(
            {
                "settings": asdict(self._settings),
                "epoch": self.epoch,
                "loss": self._loss,
                "best": self._best,
                "model": self._model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
                "random": torch.default_generator.get_state(),
            },
            content,
        )
        write_atomically(self._checkpoint, content.getvalue())
        self._saved_epochs = self.epoch

    def kept(self, log: str | Path | None) -> str:
        """What is there if the training ends now, and how it goes on."""
        number = self._saved_epochs
        if not number:
            return "nothing was written, as no epoch was finished"
        epochs = f"{number} epoch{'s' if number > 1 else ''}"
        logged = "" if log is None else f" --log {log}"
        return (
            f"{epochs} of {self._settings.epochs} are kept in {self._checkpoint}; go on with: "
            f"{self._settings.command} -o {self._output}{logged} --resume"
        )

    def resume(self) -> None:
        """Loads the checkpoint beside the output.

        Raises:
            AnalyzerError: If there is none, or it is broken or of other settings.
        """
        if not self._checkpoint.exists():
            raise AnalyzerError(f"there is nothing to resume: no checkpoint {self._checkpoint}.")
        try:
            state = torch.load(self._checkpoint, weights_only=True)
        except Exception as error:  # a broken pickle may raise anything
            reason = why_unreadable(error)
            raise AnalyzerError(
                f"{self._checkpoint} is no checkpoint of a training ({reason}): remove it."
            ) from None
        try:
            theirs = Settings(**state["settings"])
            if theirs == self._settings:
                self._model.load_state_dict(state["model"])
                self._optimizer.load_state_dict(state["optimizer"])
                self._schedule.load_state_dict(state["schedule"])
                torch.default_generator.set_state(state["random"])
                self.epoch, self._loss, self._best = state["epoch"], state["loss"], state["best"]
                self._saved_epochs = self.epoch
                return
            command = theirs.command
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise AnalyzerError(
                f"{self._checkpoint} is no checkpoint that this version of analyzer can go on "
                "with: go on with the version that wrote it, or begin anew with another output."
            ) from error
        raise AnalyzerError(
            f"{self._checkpoint} is of another training: go on with {command!r}, or remove it."
        )

    def finish(self) -> TrainResult:
        """Saves the final weights and measures the accuracy of what was saved."""
        model, settings = self._model, self._settings
        if self._held_out is not None:
            model.load_state_dict(self._best["model"])
        if any(isinstance(module, Rectifier) for module in model.modules()):
            count = len(cast(Sized, self._splits.train))
            every = max(1, count // _CALIBRATION)
            calibrate(
                model, batches(Subset(self._splits.train, range(0, count, every)), _EVAL_BATCH)
            )
        round_weights(model)
        tensors = {
            key: value.half() if value.is_floating_point() else value
            for key, value in model.state_dict().items()
        }
        model.load_state_dict(tensors)
        set_form(model, "inference")
        result = TrainResult(
            name=settings.name,
            output=self._output,
            epochs=self.epoch,
            seed=settings.seed,
            parameters=sum(p.numel() for p in model.parameters()),
            train_loss=self._loss,
            test_accuracy=accuracy(model, self._splits.test),
        )
        command = f"{settings.command} -o {self._output.name}"
        record = asdict(result) | {"command": command, "torch": torch.__version__}
        record["machine"] = processor()
        del record["output"]
        # One key of metadata, because safetensors writes several in random order.
        write_atomically(self._output, save(tensors, metadata={"training": json.dumps(record)}))
        self._checkpoint.unlink(missing_ok=True)
        return result


@torch.no_grad()
def accuracy(model: nn.Module, dataset: Dataset[tuple[Tensor, ...]]) -> float:
    """The accuracy of a classifier on a data set, in evaluation mode.

    Afterwards all modules have the training flag that `model` had. Batch norm statistics do not
    change.

    Args:
        model: Maps images [B, C, H, W] to logits [B, classes].
        dataset: Pairs of an image and a label.

    Returns:
        The share of images that are classified right, in [0, 1].
    """
    training = model.training
    model.eval()
    right = count = 0
    for images, labels in batches(dataset, _EVAL_BATCH):
        right += int((model(images).argmax(1) == labels).sum())
        count += len(labels)
    model.train(training)
    return right / count


def _parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Parameter groups of the optimizer: weights decay; biases, norms and scales do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


class _WarmupCosine:
    """Factor of the learning rate: a linear rise over `warmup` steps, then a cosine to zero."""

    def __init__(self, warmup: int, total: int) -> None:
        self.warmup = warmup
        self.total = total

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.total - self.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * done))
