"""A spiking model against its quantised twin, multiplied densely and bit by bit."""

from __future__ import annotations

from dataclasses import dataclass, field

from analyzer.energy.paradigms.beyond import ALONE, Beyond, set_against
from analyzer.errors import refuse_unless_whole
from analyzer.facts.sent import listed
from analyzer.profiles import Profile
from analyzer.twins.quantised import bits_of, quantised_twin, repeated
from analyzer.units import format_share

__all__ = ["AgainstTwin", "against_twin"]

_STATE_BITS = 8
"""Width of a membrane potential in memory, as the models have it that say one for integers."""


@dataclass(frozen=True, eq=False, repr=False)
class AgainstTwin(Beyond):
    """A spiking model against its quantised twin: what :func:`analyzer.against_twin` returns.

    Attributes:
        spiking: The spiking profile.
        twin: Its quantised twin, which can be saved, compared and reported as any profile.
        weight_bits: Width of the weights of both.
        activation_bits: Width of the activations of the twin.
    """

    against = "its quantised twin"

    spiking: Profile = field(kw_only=True)
    twin: Profile = field(kw_only=True)
    weight_bits: int = field(kw_only=True)
    activation_bits: int = field(kw_only=True)

    @property
    def notes(self) -> list[str]:
        """What the twin is, and what limits the figures."""
        said = (
            f"The twin runs the same layers once, with {self.activation_bits}-bit activations "
            f"({self.twin.metadata['levels']} levels above the lowest) and {self.weight_bits}-bit "
            "weights; both models are priced in these widths. In memory, potentials have "
            f"{_STATE_BITS} bits and spikes as many as their levels need."
        )
        told_of = repeated(self.spiking)
        again = f"Nothing says when {listed(told_of)} ran, which is taken to be once a timestep."
        accuracies = [p.accuracy for p in (self.spiking, self.twin)]
        if accuracies[1] is None:
            told = "The accuracy of the twin is not known, and can be given."
        else:
            ours, theirs = (format_share(a) if a is not None else "unknown" for a in accuracies)
            told = f"Accuracy: {ours} spiking, {theirs} as the twin."
        return [said, told, *([again] if told_of else []), *super().notes]


def against_twin(
    spiking: Profile,
    technology: str = "45nm",
    convention: str = "exact",
    *,
    levels: int | None = None,
    weight_bits: int = 8,
    accuracy: float | Profile | None = None,
    memories: tuple[str | None, ...] | None = None,
) -> AgainstTwin:
    """Sets a spiking model against the same network as a quantised ANN of as many levels.

    Use it where a reviewer asks for a baseline that is quantised as far as the spikes are. The twin
    multiplies densely, and bit by bit, an accumulate for each bit of an activation; what moves is
    priced by each memory model with the same widths.

    Args:
        spiking: A spiking profile.
        technology: Constants to price with; it needs integers.
        convention: Reading of the facts.
        levels: As for :func:`analyzer.quantised_twin`.
        weight_bits: Width of the weights of both.
        accuracy: As for :func:`analyzer.quantised_twin`.
        memories: Memory models to price with, None for arithmetic alone; by default a choice, in
            the widths of the twin.

    Raises:
        AnalyzerError: As :func:`analyzer.quantised_twin`, and where it can not be priced.

    Example:
        >>> import torch
        >>> import analyzer
        >>> from analyzer.models.neurons import LIF
        >>> model = torch.nn.Sequential(LIF(), torch.nn.Linear(6, 3)).eval()
        >>> snn = analyzer.profile(model, 9 * torch.ones(4, 10, 6), timesteps=4, name="snn")
        >>> found = analyzer.against_twin(snn, memories=(None,))  # every neuron fires every time
        >>> found.activation_bits, found.rows["ratio"].round(2).tolist()
        (3, [2.29])
    """
    refuse_unless_whole("weight_bits", weight_bits)
    twin = quantised_twin(spiking, levels, accuracy=accuracy)
    bits = bits_of(twin.metadata["levels"])
    timesteps = int(spiking.metadata.get("timesteps") or 1)
    models = _variants(weight_bits, bits, bits_of(-(-twin.metadata["levels"] // timesteps)))
    if memories is not None:
        models = {memory or ALONE: memory for memory in memories}
    prices = technology, convention, f"w{weight_bits}a{bits}"
    found = set_against(twin, [spiking], prices, models, strict=memories is not None)
    return AgainstTwin(
        *found, spiking=spiking, twin=twin, weight_bits=weight_bits, activation_bits=bits
    )


def _variants(weight_bits: int, bits: int, spike_bits: int) -> dict[str, str | None]:
    """Memory models in the widths of a twin, by what tables call them."""
    widths = (
        f"weight_bits={weight_bits}, activation_bits={bits}, spike_bits={spike_bits}, "
        f"state_bits={_STATE_BITS}"
    )
    return {
        ALONE: None,
        f"{ALONE}, bit by bit": (
            f"bit-serial({widths}, weight_reads=none, input_reads=none, state=none)"
        ),
        "bit-serial": f"bit-serial({widths})",
        "yan": f"yan({widths})",
        "yan, 4.75 hops": f"yan({widths}, hops=4.75)",
        "lemaire": f"lemaire({widths})",
    }
