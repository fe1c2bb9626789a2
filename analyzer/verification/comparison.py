"""``analyzer.verify``: a profile compared with fvcore, PyTorch's flop counter and brute force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import pandas as pd
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.frame import Forward, Frame
from analyzer.measure.frame.inputs import Batch, batches_of
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.session.checks import check_model
from analyzer.measure.session.profiling import counted_batch, warn_of_training
from analyzer.measure.tensors.restore import preserved
from analyzer.measure.torch_private.trees import tree_map
from analyzer.measure.undoing import undone
from analyzer.verification.brute_force import BruteForce, brute_force
from analyzer.verification.groups import GroupKey, GroupsOfPass
from analyzer.verification.references import Reference, by_fvcore, by_torch
from analyzer.verification.rows import Row, Table

__all__ = ["Row", "Verification", "verify"]

T = TypeVar("T")
Given = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of one pass, and arguments by name."""


@dataclass(frozen=True)
class Verification:
    """The counts of four counters for one model and the same samples.

    Attributes:
        rows: One per module and kind of operation; and one per module whose groups differ.
        samples: How many samples were counted.
        groups: How many groups of activity (temporal, spatial, structural) were compared.
    """

    rows: tuple[Row, ...]
    samples: int
    groups: int = 0

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a table of integers, missing where a counter could not follow the model."""
        columns = list(Row.__annotations__)
        table = pd.DataFrame([asdict(row) for row in self.rows], columns=columns)
        return table.astype(dict.fromkeys(columns[2:-2], "Int64"))

    @property
    def unexplained(self) -> tuple[Row, ...]:
        """The rows that differ, and not because of a reference."""
        return tuple(row for row in self.rows if row.verdict == "differs")

    @property
    def summary(self) -> str:
        """How many operations agree, in one line."""
        agree, unchecked = (
            sum(row.verdict == verdict for row in self.rows) for verdict in ("agrees", "unchecked")
        )
        differ, open_ = len(self.rows) - agree - unchecked, len(self.unexplained)
        text = f"{agree} operation{'s agree' if agree != 1 else ' agrees'}"
        if differ:
            text += f"; {differ} differ{'s' if differ == 1 else ''}, "
            text += f"{open_} unexplained" if open_ else "all explained"
        text += f"; {unchecked} unchecked" if unchecked else ""
        steps = sum(row.timesteps or 0 for row in self.rows)
        numbers = {"timesteps of operations": steps, "groups of activity": self.groups}
        parts = [f"{number:,} {what}" for what, number in numbers.items() if number]
        return text + (f"; {' and '.join(parts)} compared" if parts else "")


def verify(
    model: nn.Module,
    inputs: Any,
    *,
    timesteps: int | None = None,
    loop: bool = False,
    samples: DeclaredSamples = None,
    layouts: Mapping[str, str] | None = None,
    groups: Mapping[str, int] | None = None,
    forward: Forward | None = None,
    reset: Callable[[nn.Module], object] | None = None,
) -> Verification:
    """Counts a model in four ways and compares them, module by module and to the last integer.

    Use it before you trust the profile of a new network, and after you wrote a rule. Dense work is
    compared with fvcore, ``torch.utils.flop_counter`` and brute force; events and unary events, of
    each value class on its own, with brute force, which is slow. So are the parts that a profile
    shows: work and activity in each timestep, be it an axis or a call, and activity by group; which
    axis is time is taken from the profile's own reading of layouts. A reference says nothing on
    operations that it does not know, and is dropped where it alone contradicts all others. Every
    pass starts from reset state, and the model is left as it was found. Value classes are those of
    each batch by itself.

    Args:
        model: Any module, in ``eval()`` for the counts of inference.
        inputs: One tensor, a tuple or dict of arguments, or an iterable of batches, as for
            :func:`analyzer.profile`.
        timesteps: As for :func:`analyzer.profile`.
        loop: As for :func:`analyzer.profile`; fvcore then says nothing.
        samples: As for :func:`analyzer.profile`; a function is given the arguments.
        layouts: As for :func:`analyzer.profile`.
        groups: As for :func:`analyzer.profile`.
        forward: As for :func:`analyzer.profile`; fvcore then says nothing.
        reset: As for :func:`analyzer.profile`.

    Returns:
        One row for each module and kind of operation; ``unexplained`` should be empty.

    Raises:
        AnalyzerError: Where the model can not be profiled on these inputs.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3)).eval()
        >>> found = analyzer.verify(model, torch.eye(4, 6))
        >>> found.summary, found.unexplained
        ('1 operation agrees', ())
    """
    check_model(model)
    warn_of_training(model)
    declared = Frame.declare(
        model, timesteps=timesteps, loop=loop, samples=samples, layouts=layouts, groups=groups,
        forward=forward,
    )  # fmt: skip
    forget = reset or reset_state
    table = Table(model)
    number = 0
    device = next((p.device for p in model.parameters()), None)
    for read in batches_of(inputs, model, forward):
        batch = read.on(device)
        given = batch.args, batch.kwargs
        args, kwargs = _copied(given)
        whole = args[0] if forward is not None else kwargs or args
        run = counted_batch(declared, Batch(args, kwargs, batch.target, whole), forget)
        own = run.profile(None)
        table.add(own, *_witnesses(run.frame, given, forget, own.samples))
        number += own.samples
    if not number:
        raise AnalyzerError("there is nothing to verify: the inputs hold no sample.")
    return Verification(table.rows(), number, table.groups)


def _witnesses(
    frame: Frame, given: Given, forget: Callable[[nn.Module], object], samples: int
) -> tuple[BruteForce, Mapping[GroupKey, tuple[int, int]] | None, list[Reference]]:
    """What brute force and the references make of one pass, or why they could not follow it."""
    model, rules, layouts = frame.model, default_rules(), frame.axes()
    contractions = {*rules.products, *rules.fused}
    run = partial(_run, frame) if frame.loop or frame.forward is not None else None
    groups = GroupsOfPass(model, layouts, frame.groups, samples, loop=frame.loop)

    def tried(name: str, count: Callable[..., T], failed: Callable[..., T]) -> T:
        def counted() -> T:
            with preserved(model) as guard:
                guard.save()  # tracers see the operations of a pass, and no guard beside them
                forget(model)
                return count(model, *_copied(given))

        try:
            return undone(counted)
        except Exception as error:  # tracers and modes fail in many ways on models that run
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return failed(failure=f"{name} can not follow this model ({text[:120]})")

    def force(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BruteForce:
        with groups.listening():
            return brute_force(
                model, args, kwargs, contractions, before, layouts, samples, run, loop=frame.loop
            )

    before = list(model.buffers())
    found = tried("brute force", force, BruteForce)
    traced = partial(by_fvcore, rules=rules, run=run)
    formulas = partial(by_torch, contractions=contractions, run=run)
    references = [
        tried("fvcore", traced, partial(Reference, "fvcore")),
        tried("torch", formulas, partial(Reference, "torch")),
    ]
    return found, None if found.failure else groups.counts, references


def _run(frame: Frame, *args: Any, **kwargs: Any) -> Any:
    """Runs a model in its frame."""
    return frame.run(Batch(args, kwargs))


def _copied(given: Given) -> Given:
    """Arguments of a pass of their own: a model may write to what it is given, or reshape it."""
    copies: dict[int, Tensor] = {}

    def copy(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in copies:
            copies[id(value)] = value.detach().clone().requires_grad_(value.requires_grad)
        return copies[id(value)]

    copied: Given = tree_map(copy, given)
    return copied
