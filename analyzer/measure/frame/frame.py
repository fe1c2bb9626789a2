"""The frame of a measurement: what samples, timesteps, resets and inputs are, and what told so.

What the caller declares goes before evidence, and evidence before convention. Evidence is there
only after a pass, so the first batch is counted in an assumed frame, and once more where its
evidence says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.evidence import Evidence
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.layouts import CALLS, SAMPLES_FIRST, TIME_FIRST, Layouts, order_of
from analyzer.measure.frame.samples import (
    DeclaredSamples,
    Samples,
    assumed_samples,
    check_samples,
    decided_samples,
    settled_samples,
)
from analyzer.measure.frame.timesteps import (
    Timesteps,
    check_merged,
    check_timesteps,
    declared_timesteps,
    settled_timesteps,
)
from analyzer.measure.neurons.registry import kind_of
from analyzer.measure.torch_private.trees import tree_map

__all__ = ["Forward", "Frame"]

Forward = Callable[[nn.Module, Any], Any]
"""A function of the caller's that runs the model on a batch and returns the output."""


@dataclass(frozen=True)
class Frame:
    """What is known of samples and timesteps, before or after the first pass.

    Attributes:
        model: The model.
        layouts: Layouts by pattern of module paths.
        groups: Groups to count by.
        declared: T as it was declared, if it was.
        timesteps: T.
        samples: Where the samples of a batch are read; None before the first batch.
        declared_samples: What the caller gave as ``samples=``.
        loop: Whether the model runs one timestep a call, and is called T times.
        forward: Runs the model on a batch, None to call the model itself.
        orders: Where time is in the input of single modules, where a pass showed it.
        follows: Whether passes are followed to see that, operation by operation.
        loops: Whether something with a state goes along the first axis of the input, as over time.
    """

    model: nn.Module
    layouts: Mapping[str, str]
    groups: Mapping[str, int]
    declared: Timesteps
    timesteps: Timesteps
    samples: Samples | None = None
    declared_samples: DeclaredSamples = None
    loop: bool = False
    forward: Forward | None = None
    orders: Mapping[str, str] = field(default_factory=dict)
    follows: bool = False
    loops: bool = False

    @classmethod
    def declare(
        cls,
        model: nn.Module,
        *,
        timesteps: int | None = None,
        loop: bool = False,
        samples: DeclaredSamples = None,
        layouts: Mapping[str, str] | None = None,
        groups: Mapping[str, int] | None = None,
        forward: Forward | None = None,
    ) -> Frame:
        """The frame as the caller declares it, for the rest as the model does.

        Raises:
            AnalyzerError: Where a declaration can not be read.
        """
        _check_mapping("layouts", layouts, '{"": "T B C H W"}')
        _check_mapping("groups", groups, '{"temporal": 2}')
        _check_patterns(model, layouts or {})
        own_layouts = getattr(model, "layouts", None) if layouts is None else layouts
        own_groups = getattr(model, "groups", None) if groups is None else groups
        declared = declared_timesteps(model, timesteps)
        frame = cls(
            model,
            own_layouts if isinstance(own_layouts, Mapping) else {},
            own_groups if isinstance(own_groups, Mapping) else {},
            declared,
            declared,
            declared_samples=samples,
            loop=loop,
            forward=forward,
        )
        frame.axes()  # says at once what is wrong with layouts and groups
        if groups and not frame.layouts:
            raise AnalyzerError(
                "groups are ranges of axes, and no layout names the axes of any module: give "
                'layouts=, such as layouts={"": "T B C H W"}.'
            )
        if loop and forward is not None:
            raise AnalyzerError("give loop= or forward=, not both: forward runs all timesteps.")
        return frame

    def axes(self) -> Layouts:
        """The axes of the model's tensors in this frame, with sums of their own."""
        order = self._order
        return Layouts(
            self.layouts,
            self.groups,
            self.timesteps.number or 1,
            order or TIME_FIRST,
            is_sure=order is not None,
            told=self.orders,
        )

    def followed(self, batch: Batch, number: int) -> tuple[int, int, str | None] | None:
        """T, the samples and their order in the input, where a pass is followed to see orders."""
        samples, steps = self.samples_of(batch, number), self.timesteps.number or 1
        if not self.follows or min(samples, steps) < 2:
            return None
        return steps, samples, order_of(self.layouts.get("", "")) or None

    def following(
        self, batch: Batch, turned: Set[tuple[int, ...]], leading: Set[tuple[int, ...]]
    ) -> Frame:
        """The frame that follows passes, where samples may come first in some tensors.

        That costs half as much as the counting. Time comes first everywhere where neither the input
        nor a view begins with samples and time, and no leading axis of either length is moved.

        Args:
            batch: The first batch.
            turned: The two leading axes of tensors before and after one of them moved.
            leading: The two leading axes of all views, which tell where both lengths differ.
        """
        samples, steps, first = self.samples_of(batch, 0), self.timesteps.number or 1, batch.first
        if self.loop or min(samples, steps) < 2:
            return self
        pair, begins = (samples, steps), () if first is None else tuple(first.shape[:2])
        seen = pair in leading and samples != steps
        either = begins == pair or seen or pair in turned or pair[::-1] in turned
        return replace(self, follows=True) if either else self

    @property
    def order(self) -> str:
        """Where time is in the input of the model, and in modules without a layout."""
        return order_of(self.layouts.get("", "")) or self._order or TIME_FIRST

    @cached_property
    def _order(self) -> str | None:
        """Where time is in modules without a layout, None where nothing tells."""
        if self.loop:
            return CALLS
        orders = {
            SAMPLES_FIRST if found[1].samples_first else TIME_FIRST
            for module in self.model.modules()
            if (found := kind_of(module)) is not None
        }
        if len(orders) == 1:
            return orders.pop()
        return order_of(self.layouts.get("", "")) or None

    @cached_property
    def _of_input(self) -> str | None:
        """The layout of the model's own input, None where there is none."""
        return self.axes().of("")

    def assumed(self, batch: Batch, number: int) -> Frame:
        """The frame in which a batch is counted first.

        Raises:
            AnalyzerError: Where layout and batch do not fit, or T is needed and not known.
        """
        first = batch.first
        axis = None if first is None else self.axes().time_axis(first)
        frame = self
        if first is not None and axis is not None:
            by_layout = declared_timesteps(
                self.model,
                self.declared.number if self.declared.source == "timesteps=" else None,
                first.shape[axis],
            )
            frame = replace(frame, declared=by_layout, timesteps=by_layout)
        if self.loop and frame.timesteps.number is None:
            raise AnalyzerError(
                "loop=True needs to know how often to run the model: give timesteps=, or where an "
                'axis of the input is time, layouts={"": "T B C H W"}.'
            )
        if frame.samples is None:
            samples = assumed_samples(batch, frame.axes(), self.declared_samples, number)
            frame = replace(frame, samples=samples)
        return frame

    def settled(self, batch: Batch, output: Any, evidence: Evidence, *, number: int) -> Frame:
        """The frame by all that the pass over a batch showed.

        Raises:
            AnalyzerError: Where pieces of evidence disagree with each other or with T as declared.
        """
        if self.loop:
            self._check_loop(evidence)
        timesteps = settled_timesteps(self.declared, evidence, number=number)
        samples = self.samples
        if self.declared_samples is None and self._of_input is None:
            samples = settled_samples(batch, output, evidence, timesteps.number, number)
            if self.loop:
                _check_whole(batch, samples.of(batch, number), timesteps.number or 1)
        elif self.declared_samples is None and timesteps.number is not None:
            axes = replace(self, timesteps=timesteps).axes()  # T may be merged with the samples
            samples = assumed_samples(batch, axes, None, number)
        if samples is not None:
            check_merged(batch, samples.of(batch, number), evidence)
        orders = self.orders if evidence.orders is None else evidence.orders
        usual = self._order or TIME_FIRST
        orders = {path: order for path, order in orders.items() if order != usual}
        loops = batch.first is not None and evidence.is_looped(batch.first)
        return replace(self, timesteps=timesteps, samples=samples, orders=orders, loops=loops)

    def counts_as(self, settled: Frame, batch: Batch) -> bool:
        """Whether a first batch that was counted in this frame counts the same in a settled one."""
        return settled.timesteps.number in (None, self.timesteps.number or 1) and (
            settled.samples_of(batch, 0) == self.samples_of(batch, 0)
            and dict(settled.orders) == dict(self.orders)
            and settled.follows == self.follows
        )

    def is_open(self, batch: Batch) -> bool:
        """Whether a batch must tell first which of several places holds the samples.

        As long as two axes are equally long in all batches, such as T and the samples, all that is
        counted is the same in both readings.
        """
        return self.samples is not None and self.samples.is_open(batch)

    def decided(self, batch: Batch, output: Any, evidence: Evidence, number: int) -> Frame:
        """The frame by what a plain pass over such a batch showed.

        Raises:
            AnalyzerError: Where pieces of evidence disagree.
        """
        assert self.samples is not None
        evidence.loops = self.loops
        samples = decided_samples(
            self.samples, batch, output, evidence, self.timesteps.number, number
        )
        return replace(self, samples=samples)

    def without_timesteps(self, why: str) -> Frame:
        """The same with T unknown."""
        return replace(self, timesteps=Timesteps(None, why))

    def check(self, batch: Batch, output: Any, evidence: Evidence, number: int) -> None:
        """Checks that a later batch is like the first one.

        Raises:
            AnalyzerError: Where its neurons, modules, targets or outputs say otherwise.
        """
        evidence.loops = self.loops
        check_timesteps(self.timesteps, evidence, number)
        if self.samples is not None and self._of_input is None:
            check_samples(self.samples, batch, output, evidence, self.timesteps.number, number)

    def samples_of(self, batch: Batch, number: int) -> int:
        """How many samples a batch holds in this frame."""
        assert self.samples is not None
        return self.samples.of(batch, number)

    def shape_of(self, batch: Batch, samples: int) -> list[int]:
        """Shape of the first input without the axis of its samples."""
        first = batch.first
        shape = [] if first is None else list(first.shape)
        place = self.samples
        if place is not None and place.declared is None and place.leaf == 0:
            del shape[place.axis]
        elif samples in shape:
            shape.remove(samples)
        return shape

    def run(self, batch: Batch) -> Any:
        """Runs the model on a batch; with ``loop``, returns the outputs of all timesteps."""
        if self.forward is not None:
            return self.forward(self.model, batch.args[0])
        if not self.loop:
            return self.model(*batch.args, **batch.kwargs)
        return [self.model(*args, **kwargs) for args, kwargs in self._steps(batch)]

    def hint(self, batch: Batch) -> str:
        """What may be meant where a pass fails: time in the input that no layout names."""
        first = next((x for x in batch.tensors if x.ndim > 2), None)
        if first is None or self.forward is not None or self._of_input is not None:
            return ""
        shape = tuple(first.shape)
        if self.loop:
            return (
                f"loop=True gave the model its whole input of shape {shape} in each timestep; "
                'where an axis of it is time, name it: layouts={"": "T B C H W"}'
            )
        if any(getattr(module, "step_mode", "") == "s" for module in self.model.modules()):
            return (
                f"its neurons take one timestep a call; where an axis of its input of shape "
                f'{shape} is time, give loop=True and layouts={{"": "T B C H W"}}'
            )
        return ""

    def joined(self, output: Any) -> Any:
        """The output of a pass; of a loop the mean over its timesteps."""
        if not self.loop:
            return output
        first, *rest = output

        def mean(*steps: Any) -> Any:
            if not (isinstance(steps[0], Tensor) and steps[0].is_floating_point()):
                return steps[0]
            return sum(steps) / len(steps)

        return tree_map(mean, first, *rest)

    @property
    def place(self) -> tuple[int, ...] | None:
        """Tensor, axis and merged timesteps where samples are read.

        It is empty where no axis of a tensor tells, and None where several places may still do.
        """
        samples = self.samples
        assert samples is not None
        if samples.tied:
            return None
        told = samples.declared is None and samples.leaf is not None
        return (samples.leaf or 0, samples.axis, samples.steps) if told else ()

    def as_metadata(self, resets: str) -> dict[str, Any]:
        """What the profile says of its frame."""
        assert self.samples is not None
        return {
            "samples": self.samples.source,
            "samples_assumed": self.samples.assumed,
            "timesteps": self.timesteps.source,
            "reset": resets,
            **({"loop": True} if self.loop else {}),
        }

    def _check_loop(self, evidence: Evidence) -> None:
        several = [path for path, n in evidence.steps.items() if n > evidence.calls[path]]
        if several:
            raise AnalyzerError(
                f"neuron {several[0]!r} runs over several timesteps in one call, so the model has "
                "its own loop over time: leave loop=True out."
            )
        number = self.timesteps.number or 1
        runs = set((evidence.calls | evidence.runs).values())
        if evidence.calls and number > 1 and runs == {number * number}:
            path = next(iter(evidence.calls))
            raise AnalyzerError(
                f"neuron {path!r} and all layers run {number} times in one call, so the model has "
                "its own loop over time: leave loop=True out."
            )

    def _steps(self, batch: Batch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Arguments of each timestep: slices along the time axis of the input, or the same."""
        number = self.timesteps.number or 1
        first = batch.first
        axes = self.axes()

        def step(at: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
            def cut(value: Any) -> Any:
                is_first = isinstance(value, Tensor) and value is first
                return axes.at_step(value, at) if is_first else value

            args, kwargs = tree_map(cut, (batch.args, batch.kwargs))
            return args, kwargs

        return [step(at) for at in range(number)]


def _check_mapping(name: str, given: Any, example: str) -> None:
    if given is not None and not isinstance(given, Mapping):
        raise AnalyzerError(f"{name} must be a dict such as {example}, not {given!r}.")


def _check_patterns(model: nn.Module, layouts: Mapping[str, str]) -> None:
    """Refuses a layout for modules that the model does not have."""
    # A module that stands in two places runs under either name.
    paths = [path for path, _ in model.named_modules(remove_duplicate=False)]
    for pattern in layouts:
        if not any(fnmatchcase(path, pattern) for path in paths):
            near = get_close_matches(pattern, paths, 1)
            hint = f"did you mean {near[0]!r}?" if near else 'the model itself is "".'
            raise AnalyzerError(
                f"layouts names {pattern!r}, and no module of {type(model).__name__} is called so: "
                f"{hint}"
            )


def _check_whole(batch: Batch, samples: int, timesteps: int) -> None:
    """Refuses an input that looks like a sequence, and that a loop gave whole in each timestep."""
    first = next((x for x in batch.tensors if x.ndim > 2), None)
    if first is None:
        return
    shape = tuple(first.shape)
    rest = " ".join(_NAMES_OF_REST.get(first.ndim, ()))
    if shape[:2] == (timesteps, samples):
        layout = f"T B {rest}"
    elif first.ndim == 3 and shape[:2] == (samples, timesteps):
        layout = f"B T {rest}"
    else:
        return
    raise AnalyzerError(
        f"loop=True gave the model its whole input of shape {shape} in each of {timesteps} "
        f'timesteps: give layouts={{"": "{layout}"}} where an axis of it is time, or one without '
        "T where it is not."
    )


_NAMES_OF_REST = MappingProxyType({3: ("D",), 4: ("C", "N"), 5: ("C", "H", "W")})
"""Names of the axes behind time and samples, by how many axes there are."""
