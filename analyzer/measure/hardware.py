"""Energy as hardware measures it, around plain forward passes of a model.

Reports show it next to modelled energies, which it never changes. CPUs are read through RAPL
on Linux, GPUs through the driver of Nvidia.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from analyzer.errors import AnalyzerError, reason_of
from analyzer.measure.frame.frame import Forward, Frame
from analyzer.measure.frame.inputs import Batch, batches_of
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.session.profiling import counted_batch
from analyzer.measure.tensors.restore import preserved
from analyzer.measure.undoing import undone

__all__ = ["NVML", "RAPL", "Measured", "Meter", "measure_energy", "meter_of"]

_POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """A counter of energy that only grows."""

    @property
    def name(self) -> str:
        """What it measures."""

    def joules_since(self, start: Any) -> float:
        """Energy since a reading."""

    def reading(self) -> Any:
        """The counter now, in units of its own."""


@dataclass(frozen=True)
class Measured:
    """Energy and time of some forward passes.

    Attributes:
        millijoules: Per sample, of the whole device and with its idle power. None, not 0, where
            there is no meter.
        milliseconds: Per sample, in passes of the given batches.
        samples: Samples in the time of the measurement.
        meter: What was read, or why nothing was.
    """

    millijoules: float | None
    milliseconds: float | None
    samples: int
    meter: str

    def as_metadata(self) -> dict[str, Any]:
        """The figures for the metadata of a profile, with the sentence that reports show."""
        return asdict(self) | {"text": str(self)}

    def __str__(self) -> str:
        if self.millijoules is None:
            time = f"; {self.milliseconds:.4g} ms per sample" if self.milliseconds else ""
            return f"not measured: {self.meter}{time}"
        return (
            f"{self.millijoules:.4g} mJ and {self.milliseconds:.4g} ms per sample, {self.meter}, "
            f"{self.samples} samples"
        )


class RAPL:
    """The packages of a CPU, through the running average power limit (RAPL) of Linux.

    Args:
        root: Folder in which the kernel shows the counters.

    Raises:
        AnalyzerError: Where there is no counter, or it may not be read.
    """

    def __init__(self, root: Path = _POWERCAP) -> None:
        zones = [z for z in sorted(root.glob("*-rapl:*")) if z.name.count(":") == 1]
        self._zones = [zone for zone in zones if (zone / "energy_uj").exists()]
        if not self._zones:
            raise AnalyzerError("this machine shows no energy counter of its CPU (RAPL)")
        try:
            self.reading()
        except OSError as error:
            raise AnalyzerError(
                f"the energy counter of the CPU may not be read ({reason_of(error)}): ask for read "
                f"access to {self._zones[0] / 'energy_uj'}"
            ) from None

    @property
    def name(self) -> str:
        """What it measures."""
        count = len(self._zones)
        return f"RAPL, {count} CPU package{'' if count == 1 else 's'}"

    def reading(self) -> list[int]:
        """Microjoules of every package."""
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]

    def joules_since(self, start: list[int]) -> float:
        """Energy since a reading; a counter may have wrapped around its limit once since."""
        total = 0
        for zone, before, now in zip(self._zones, start, self.reading(), strict=True):
            limit = int((zone / "max_energy_range_uj").read_text()) if now < before else 0
            total += now - before + limit
        return total * 1e-6


class NVML:
    """One Nvidia GPU, through the energy counter of its driver (NVML).

    Args:
        index: Of the GPU.

    Raises:
        AnalyzerError: Where the driver or its Python binding is missing, or keeps no counter.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            import pynvml  # type: ignore[import-not-found, unused-ignore]

            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            self._nvml: Any = pynvml
            self.reading()
        except Exception as error:  # the binding has an error class for each of the driver's codes
            raise AnalyzerError(
                f"this machine shows no energy counter of its GPU (NVML: {error})"
            ) from None

    @property
    def name(self) -> str:
        """What it measures."""
        name = self._nvml.nvmlDeviceGetName(self._handle)
        return f"NVML, {name.decode() if isinstance(name, bytes) else name}"

    def reading(self) -> int:
        """Millijoules since the driver was loaded."""
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def joules_since(self, start: int) -> float:
        """Energy since a reading."""
        return (self.reading() - start) * 1e-3


def meter_of(device: torch.device) -> Meter:
    """The meter of a device.

    Raises:
        AnalyzerError: Where it has none, with the reason.
    """
    return NVML(device.index or 0) if device.type == "cuda" else RAPL()


def measure_energy(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    seconds: float = 2.0,
    meter: Meter | None = None,
    timesteps: int | None = None,
    loop: bool = False,
    samples: DeclaredSamples = None,
    layouts: Mapping[str, str] | None = None,
    forward: Forward | None = None,
) -> Measured:
    """Repeats plain forward passes over some batches and reads the meter before and after.

    Args:
        model: In evaluation mode; it is left as it was.
        batches: Batches of inputs, or of ``(x, target)``. All are kept in memory meanwhile.
        seconds: Least time to run for: counters advance in steps of milliseconds.
        meter: By default that of the model's device.
        timesteps: As for :func:`analyzer.profile`.
        loop: As for :func:`analyzer.profile`.
        samples: As for :func:`analyzer.profile`.
        layouts: As for :func:`analyzer.profile`.
        forward: As for :func:`analyzer.profile`.

    Raises:
        AnalyzerError: Where there is no batch of tensors.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    lacking = ""
    try:
        meter = meter or meter_of(device)
    except AnalyzerError as error:
        lacking = str(error)
    frame = Frame.declare(
        model, timesteps=timesteps, loop=loop, samples=samples, layouts=layouts, forward=forward
    )
    inputs = [batch.on(device) for batch in batches_of(batches, model, forward)]
    inputs = [batch for batch in inputs if all(x.numel() for x in batch.tensors)]
    if not inputs:
        raise AnalyzerError("there is no batch of tensors to measure energy on.")

    def measured() -> Measured:
        with preserved(model) as guard, torch.no_grad():
            settled = counted_batch(frame, inputs[0], None).frame
            guard.save()  # as nothing may watch the passes that are timed
            each = sum(settled.samples_of(batch, at) for at, batch in enumerate(inputs))
            _pass(settled, inputs, device)  # allocations and code paths are warm afterwards
            start = meter.reading() if meter else None
            done, begin = 0, time.perf_counter()
            while done == 0 or time.perf_counter() - begin < seconds:
                _pass(settled, inputs, device)
                done += each
            elapsed = time.perf_counter() - begin
            joules = meter.joules_since(start) if meter else None
        return Measured(
            None if joules is None else 1e3 * joules / done,
            1e3 * elapsed / done,
            done,
            meter.name if meter else lacking,
        )

    return undone(measured)


def _pass(frame: Frame, inputs: list[Batch], device: torch.device) -> None:
    for batch in inputs:
        reset_state(frame.model)
        frame.run(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
