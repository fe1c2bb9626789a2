"""The quantised twin of a spiking profile: the same layers, run once on integers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from analyzer.errors import AnalyzerError, refuse_unless_whole
from analyzer.facts.records import Contraction, Shape, merge
from analyzer.profiles import Profile

__all__ = ["bits_of", "levels_of", "quantised_twin", "repeated"]

_SPIKES = frozenset({"binary", "ternary", "graded"})


def bits_of(levels: int) -> int:
    """Bits of an activation with values from 0 to ``levels``: ⌈log2(levels + 1)⌉."""
    return levels.bit_length()


def levels_of(profile: Profile) -> int:
    """How many levels above the lowest the spikes of an inference can tell: the default of a twin.

    It is the number of timesteps, times the levels of a spike: 1 of a binary one, 2 of a ternary
    one, more of a graded one. Where no neuron is known, what layers with weights read tells it;
    that may be a sum of several spikes.

    Raises:
        AnalyzerError: Where no layer reads spikes.
    """
    read = [
        operand.values
        for site in profile.contractions
        if site.weight is not None
        for operand in site.activations
    ]
    sent = [each.values for each in profile.sent or ()]
    found = [
        max(values.high - values.low for values in several if values.kind in _SPIKES)
        for several in (sent, read)
        if any(values.kind in _SPIKES for values in several)
    ]
    driven = [shape for shape in profile.shapes if shape.driven]
    if not (found or driven or profile.sent):  # known neurons may all be silent
        raise AnalyzerError(
            f"no layer of {profile.name!r} reads spikes, so it has no quantised twin: give a "
            "spiking profile."
        )
    return _timesteps(profile) * (found[0] if found else 1)


def quantised_twin(
    profile: Profile,
    levels: int | None = None,
    *,
    accuracy: float | Profile | None = None,
    name: str | None = None,
) -> Profile:
    """The profile of the same network as a quantised ANN, made of the facts of a spiking one.

    A neuron that sends one of L + 1 sums of spikes over an inference tells as much as an activation
    of ⌈log2(L + 1)⌉ bits. The twin has the same layers, runs each once where the spiking network
    runs it once a timestep, and multiplies. Price both in the same widths, such as ``w8a3`` for
    8-bit weights and 3-bit activations; all activations have one width there, also what the first
    layer reads. :func:`analyzer.against_twin` does so under several memory models.

    Args:
        profile: A spiking profile that was measured, or counted with rates. What it counts for each
            timestep is the same in all of them.
        levels: L; by default timesteps times the levels of a spike.
        accuracy: Of the trained twin, which its facts do not tell: a share from 0 to 1, or the
            profile of the network that was measured. It is kept to the nearest sample.
        name: How tables call the twin.

    Raises:
        AnalyzerError: Where nothing in the profile spikes, it holds too little of an earlier
            version, or a figure can not be.

    Example:
        >>> import torch
        >>> import analyzer
        >>> from analyzer.models.neurons import LIF
        >>> model = torch.nn.Sequential(LIF(), torch.nn.Linear(6, 3)).eval()
        >>> snn = analyzer.profile(model, torch.rand(4, 10, 6), timesteps=4, name="snn")
        >>> twin = analyzer.quantised_twin(snn)
        >>> twin.name, snn.totals["dense_macs"] // twin.totals["dense_macs"]
        ('snn, 3-bit twin', 4)
    """
    most = levels_of(profile) if levels is None else levels
    refuse_unless_whole("levels", most)
    timesteps = _timesteps(profile)
    shapes = merge([*_of_sites(profile, timesteps), *_of_shapes(profile, timesteps)])
    known = profile.metadata
    metadata: dict[str, Any] = {
        **{key: known.get(key) for key in ("model", "parameters", "input_shape", "data")},
        "name": name or f"{profile.name}, {bits_of(most)}-bit twin",
        "timesteps": 1,
        "dtype": None,
        "counted": "twin",
        "levels": most,
        "unknown_neurons": [],
    }
    return Profile(
        profile.samples, metadata, shapes=shapes, correct=_correct(accuracy, profile.samples)
    )


def _timesteps(profile: Profile) -> int:
    return int(profile.metadata.get("timesteps") or 1)


def _of_sites(profile: Profile, timesteps: int) -> Iterator[Shape]:
    for sites in _alike(profile.contractions).values():
        first = sites[0]
        if first.passes is None or first.outputs is None or first.first_read is None:
            raise AnalyzerError(
                f"{profile.name!r} does not say how often {first.module!r} ran in an inference: it "
                "was measured by an earlier version, so measure it again."
            )
        runs = timesteps if _over_time(sites, timesteps, profile) else 1
        weight = first.weight
        yield Shape(
            module=first.module,
            op=first.op,
            calls=first.calls,
            dense_macs=_once((s.dense_macs for s in sites), runs, profile),
            input_elements=_once((o.elements for s in sites for o in s.activations), runs, profile),
            weight_elements=weight.elements if weight else 0,
            rate=1.0,
            driven=False,
            outputs=_once((s.outputs or 0 for s in sites), runs, profile),
            passes=_once((s.passes or 0 for s in sites), runs, profile),
            layer=first.layer,
            first_read_elements=_once(
                (o.elements for s in sites for o in s.first_read_operands), runs, profile
            ),
            first_read_weights=max(s.first_read_weights for s in sites),
        )


def _alike(sites: Iterable[Contraction]) -> dict[Any, list[Contraction]]:
    """The calls of each product: of one place in the code, as far as shapes tell places apart."""
    found: dict[Any, list[Contraction]] = defaultdict(list)
    for site in sites:
        pair = () if site.weight else (site.lhs.elements, site.rhs.elements)
        found[site.module, site.op, site.weight and site.weight.elements, pair].append(site)
    return found


def _over_time(sites: Sequence[Contraction], timesteps: int, profile: Profile) -> bool:
    """Whether calls are those of all timesteps: time is in each, or each is of one."""
    first = sites[0]
    if timesteps == 1:
        return False
    if first.calls and first.passes == timesteps * first.calls:
        return True
    told = Counter(site.step for site in sites if site.step is not None)
    in_time = bool(told) or len(sites) % timesteps == 0
    sizes = {(s.dense_macs, s.lhs.elements, s.rhs.elements) for s in sites}
    whole = not told or (len(told) == timesteps and len(set(told.values())) == 1)
    if in_time and (len(sizes) > 1 or not whole):
        raise AnalyzerError(
            f"{first.module!r} of {profile.name!r} does other work in other timesteps, so there is "
            "no one twin that runs it once."
        )
    return in_time


def repeated(profile: Profile) -> tuple[str, ...]:
    """Modules that ran as often as there are timesteps, or a multiple, and nothing says when.

    A twin takes them to run once a timestep, as models do that are called with one image again and
    again.
    """
    timesteps = _timesteps(profile)
    found = (
        first.module or "(model)"
        for sites in _alike(profile.contractions).values()
        for first in sites[:1]
        if timesteps > 1
        and len(sites) % timesteps == 0
        and first.passes == first.calls
        and all(site.step is None for site in sites)
    )
    return tuple(dict.fromkeys(found))


def _of_shapes(profile: Profile, timesteps: int) -> Iterator[Shape]:
    for shape in profile.shapes:
        passes = shape.passes
        if passes is None or shape.input_elements is None:
            raise AnalyzerError(
                f"{profile.name!r} holds dense work and rates alone, which do not say what "
                f"{shape.module!r} does in one timestep: count the model, or measure it."
            )
        runs = timesteps if passes % (timesteps * max(shape.calls, 1)) == 0 else 1
        parts = {
            key: None if (n := getattr(shape, key)) is None else _once([n], runs, profile)
            for key in ("input_elements", "outputs", "passes", "first_read_elements")
        }
        yield Shape(
            module=shape.module,
            op=shape.op,
            calls=shape.calls,
            dense_macs=_once([shape.dense_macs], runs, profile),
            weight_elements=shape.weight_elements,
            rate=1.0,
            driven=False,
            layer=shape.layer,
            first_read_weights=shape.first_read_weights,
            **parts,
        )


def _once(figures: Iterable[int], runs: int, profile: Profile) -> int:
    """A sum over so many equal runs, of one of them."""
    total = sum(figures)
    if total % runs:
        raise AnalyzerError(
            f"timesteps of {profile.name!r} differ in their dense work, so there is no one twin."
        )
    return total // runs


def _correct(accuracy: float | Profile | None, samples: int) -> int | None:
    share = accuracy.accuracy if isinstance(accuracy, Profile) else accuracy
    if share is None:
        return None
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise AnalyzerError(f"accuracy is {share!r}: give a share from 0 to 1, or a profile.")
    return round(share * samples)
