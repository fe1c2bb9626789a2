"""What is known of finished trainings: the record in each file of weights, and its log."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import platform
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, read_text

__all__ = ["TrainedRun", "processor", "read_run", "read_runs"]


_KEPT = ("name", "seed", "epochs", "test_accuracy", "parameters", "command", "torch")


@dataclass(frozen=True)
class TrainedRun:
    """A finished training, as its file of weights tells it.

    Attributes:
        path: The file of weights.
        digest: Of the bytes of the file.
        name: The model.
        seed: The seed.
        epochs: Epochs that were run.
        test_accuracy: Accuracy on all test images, in [0, 1].
        parameters: Number of parameters.
        command: The command line that repeats the training.
        options: Options of the model, read off the command.
        synops_weight: The weight of an accumulate in the loss, 0 for none.
        torch: Version of PyTorch.
        machine: The processor, empty where the record does not say.
        cpu_seconds: Time of the processor, None without a log.
        held_out_accuracy: The best one, None without a log or where nothing was held out.
    """

    path: Path
    digest: str
    name: str
    seed: int
    epochs: int
    test_accuracy: float
    parameters: int
    command: str
    options: dict[str, Any]
    synops_weight: float
    torch: str
    machine: str = ""
    cpu_seconds: float | None = None
    held_out_accuracy: float | None = None


def read_run(path: Path) -> TrainedRun:
    """Reads what a file of weights that ``analyzer train`` wrote says of its training.

    Args:
        path: The file; its log is looked for beside it, with the suffix ``.csv``.

    Raises:
        AnalyzerError: If the file can't be read or holds no such record.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["training"])
        content = path.read_bytes()
        options, weight = _settings(record["command"])
        log = _log(path.with_suffix(".csv"))
        reached = [float(row["held_out_accuracy"]) for row in log if "held_out_accuracy" in row]
        return TrainedRun(
            path=path,
            digest=hashlib.sha256(content).hexdigest()[:16],
            **{key: record[key] for key in _KEPT},
            options=options,
            synops_weight=weight,
            machine=record.get("machine", ""),
            cpu_seconds=sum(float(row["cpu_seconds"]) for row in log) if log else None,
            held_out_accuracy=max(reached, default=None),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError,
            RecursionError, csv.Error) as error:  # fmt: skip
        raise AnalyzerError(
            f"{path} holds no record of a training ({type(error).__name__}: {reason_of(error)}): "
            "give files that `analyzer train` wrote, with their logs."
        ) from None


def read_runs(folder: Path) -> list[TrainedRun]:
    """Reads all files of weights of a folder, in the order of their names.

    Raises:
        AnalyzerError: If there is none, one can't be read, or two are of the same training.
    """
    if not folder.is_dir():
        raise AnalyzerError(f"there is no folder {folder} of trained weights.")
    runs = [read_run(path) for path in sorted(folder.glob("*.safetensors"))]
    if not runs:
        raise AnalyzerError(
            f"{folder} holds no file of weights: *.safetensors of `analyzer train`."
        )
    seen: dict[str, Path] = {}
    for run in runs:
        training = run.command.partition(" -o ")[0]
        if training in seen:
            raise AnalyzerError(
                f"{seen[training]} and {run.path} are of the same training, {training!r}: keep one."
            )
        seen[training] = run.path
    return runs


def _settings(command: str) -> tuple[dict[str, Any], float]:
    """Options of the model and the weight of accumulates, from a command line."""
    if not isinstance(command, str):  # of None, shlex would read standard input
        raise TypeError(f"its command is {command!r}")
    words = shlex.split(command)
    pairs = list(pairwise(words))
    options = {}
    for flag, text in pairs:
        if flag == "--set":
            key, _, value = text.partition("=")
            try:
                options[key] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                options[key] = value
    weights = [float(text) for flag, text in pairs if flag == "--synops-weight"]
    return options, weights[-1] if weights else 0.0


def _log(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    reader = csv.DictReader(io.StringIO(read_text(path, 64 * MIB), newline=""))
    rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise ValueError(f"a line of its log {path.name} has too few or too many cells")
    return rows


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()
