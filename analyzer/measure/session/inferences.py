"""Which forwards of a block of the caller's belong to one inference: those without a reset between.

Neurons begin an inference at rest. A forward that reads what the one before left in its neurons
goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.neurons.state import is_spiking
from analyzer.measure.tensors.arguments import has_memory
from analyzer.measure.tensors.carried import Place, Reads, Seen, changed, places_of
from analyzer.measure.tensors.held import Guard

__all__ = ["Inferences"]


class Inferences:
    """Tells forwards that go on with an inference from those that begin one."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        self._known = [path for path, module in self._modules.items() if is_spiking(module)]
        self._left: dict[Place, Seen] = {}
        self._lengths: list[int] = []
        self._going_on: dict[str, None] = {}

    @contextmanager
    def forward(self, unknown: Iterable[str]) -> Iterator[None]:
        """One forward, in the block.

        Args:
            unknown: Modules that are neurons of no known kind, as far as it is known by now.
        """
        before, left, neurons = places_of(self._modules), self._left, {*self._known, *unknown}
        self._left = {}
        kept = {
            place: seen.value
            for place, seen in left.items()
            if place[0] in neurons and place in before and before[place].is_still(seen)
        }
        reads = Reads(kept.values(), Guard())
        with reads:
            yield
        after = places_of(self._modules)
        self._left = {
            place: after[place]
            for place in changed(before, after)
            if isinstance(after[place].value, Tensor) and has_memory(after[place].value)
        }
        found = [
            place[0]
            for place, x in kept.items()
            if reads.carried(x, after.get(place), of_input=True)
        ]
        self._going_on |= dict.fromkeys(found)
        if found:
            self._lengths[-1] += 1
        else:
            self._lengths.append(1)

    def check(self, timesteps: int) -> None:
        """Refuses a declared T where each forward is one timestep and the block says otherwise.

        Raises:
            AnalyzerError: Where all inferences but the last, which may have been cut short, have
                another number of forwards.
        """
        *whole, last = self._lengths
        if not self._going_on or not whole or set(whole) != {whole[0]} or last > whole[0]:
            return
        if whole[0] != timesteps:
            raise AnalyzerError(
                f"timesteps= says T = {timesteps}, and the block resets its neurons after every "
                f"{whole[0]} forwards of one timestep: give watch(timesteps={whole[0]})."
            )

    def lacks(self, forwards: int) -> list[str]:
        """Modules with state that are not reset where an inference ends."""
        return list(self._going_on) if any(n > forwards for n in self._lengths) else []
