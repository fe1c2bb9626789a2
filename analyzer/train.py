"""Training of the reference models on the embedded data."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from analyzer import models
from analyzer.data import batches, digits
from analyzer.errors import AnalyzerError
from analyzer.files import write_atomically
from analyzer.models.expg_if import round_weights, set_form

__all__ = ["TrainResult", "accuracy", "train"]

_WARMUP_EPOCHS = 2
_WEIGHT_DECAY = 0.05
_LABEL_SMOOTHING = 0.1
_EVAL_BATCH = 128


@dataclass(frozen=True)
class TrainResult:
    """What training left behind; `test_accuracy` is in [0, 1], of the saved weights."""

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
    epochs: int = 40,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    log: str | Path | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train a reference model on the digits and save its weights as safetensors.

    AdamW, linear warm-up and cosine decay, label smoothing, small random affine distortions. The
    last epoch is saved: the test split chooses nothing. Ge²mS-T is saved with weights rounded to
    multiples of 2^-10, which makes its spikes exact. The same seed gives the same file on the
    same machine, and the caller's random state is left alone. `log` names a file for one JSON line
    an epoch. `progress` shows a bar where stderr is a terminal.
    """
    if epochs < 1 or batch_size < 2 or lr <= 0:
        raise AnalyzerError(
            f"Training needs epochs >= 1, batch size >= 2 and a positive learning rate, got "
            f"{epochs}, {batch_size} and {lr}."
        )
    shape = models.describe(name).input_shape
    if shape[0] != 1:
        raise AnalyzerError(
            f"{name} cannot be trained here: it takes images of {'x'.join(map(str, shape))}, and "
            "the embedded digits have one channel."
        )
    output = Path(output)
    if output.is_dir():
        raise AnalyzerError(f"Weights are written to a file, and {output} is a folder.")
    output.parent.mkdir(parents=True, exist_ok=True)
    train_split, test_split = digits(shape[-1])
    images, labels = train_split.tensors

    with torch.random.fork_rng(devices=[]), _log_file(log) as lines, _bar(progress) as bar:
        torch.default_generator.manual_seed(seed)
        model = models.build(name)
        # Ge²mS-T learns without a time axis; the other models have no second form.
        set_form(model, "training")
        optimizer = torch.optim.AdamW(_parameter_groups(model), lr=lr)
        steps = math.ceil(len(images) / batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, _WarmupCosine(steps * min(_WARMUP_EPOCHS, epochs), steps * epochs)
        )
        task = bar.add_task(name, total=steps * epochs)
        for epoch in range(1, epochs + 1):
            model.train()
            total = torch.zeros(())
            for index in torch.randperm(len(images)).split(batch_size):
                logits = model(_distort(images[index]))
                loss = F.cross_entropy(logits, labels[index], label_smoothing=_LABEL_SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.detach() * len(index)
                bar.advance(task)
            train_loss = float(total) / len(images)
            if lines is not None:
                row = {
                    "epoch": epoch,
                    "train_loss": train_loss,
                    "test_accuracy": accuracy(model, test_split),
                }
                lines.write(json.dumps(row) + "\n")
                lines.flush()

    round_weights(model)
    set_form(model, "inference")
    result = TrainResult(
        name=name,
        output=output,
        epochs=epochs,
        seed=seed,
        parameters=sum(p.numel() for p in model.parameters()),
        train_loss=train_loss,
        test_accuracy=accuracy(model, test_split),
    )
    command = (
        f"analyzer train {name} --epochs {epochs} --batch-size {batch_size} --lr {lr:g} "
        f"--seed {seed} -o {output.name}"
    )
    record = asdict(result) | {"command": command, "torch": torch.__version__}
    del record["output"]
    _save(model, output, record)
    return result


@torch.no_grad()
def accuracy(model: nn.Module, dataset: Dataset[tuple[Tensor, ...]]) -> float:
    """The share of `dataset` that `model` classifies right, in evaluation mode, in [0, 1].

    The root's training flag is put back; batch norm statistics do not change.
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
    """Weights decay; biases, norms and neuron scales do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


class _WarmupCosine:
    """The learning rate's factor: linear up over `warmup` steps, half a cosine down to zero."""

    def __init__(self, warmup: int, total: int) -> None:
        self.warmup = warmup
        self.total = total

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.total - self.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * done))


def _distort(images: Tensor) -> Tensor:
    """Rotate by up to 10°, scale by up to 10 % and shift by up to 2 of 32 pixels, each its own."""
    B = len(images)
    uniform = torch.rand(4, B) * 2 - 1
    angle = uniform[0] * math.radians(10)
    zoom = 1 + 0.1 * uniform[1]
    # The grid spans [-1, 1], so two of 32 pixels are 2/16.
    shift_x, shift_y = uniform[2:] * 2 / 16
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    affine = torch.stack(
        [torch.stack([cos, -sin, shift_x], 1), torch.stack([sin, cos, shift_y], 1)], 1
    )
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@contextmanager
def _log_file(path: str | Path | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lines:
        yield lines


def _bar(progress: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (progress and console.is_terminal),
    )


def _save(model: nn.Module, path: Path, record: dict[str, object]) -> None:
    """Write the weights whole or not at all."""
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    # One key, because safetensors does not keep several in a fixed order.
    payload = save(tensors, metadata={"training": json.dumps(record)})
    write_atomically(path, payload)
