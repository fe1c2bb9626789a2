"""The profile: what a model did on some data, as users hold it.

It puts together what the packages beside it do: facts add and group (``analyzer.facts``), and are
read by a convention and priced (``analyzer.energy``). Neither of the two imports this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analyzer.energy.declared.convention import READING, read
from analyzer.energy.intervals.spread import Spread, check_sampled, intervals_of, samples_of
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.tables.summary import Summary, summarise
from analyzer.errors import AnalyzerError
from analyzer.facts import file, identity, sparsity
from analyzer.facts.layers import Layer
from analyzer.facts.records import AXES, Contraction, GroupCount, Shape, Tally, merge
from analyzer.facts.reservoir import LARGEST, joined
from analyzer.facts.sampled import Sampled
from analyzer.facts.sent import Sent, never_fired, table_of
from analyzer.facts.shards import KEY
from analyzer.facts.table import (
    ELEMENTWISE,
    INTERNAL,
    WORK,
    frame,
    rows_of,
    rows_of_samples,
)

__all__ = ["Profile", "load"]


@dataclass(frozen=True, eq=False)
class Profile:
    """What a model did on the samples that it was given: its work and its activity.

    It comes from :func:`analyzer.profile`, :func:`analyzer.count`, :func:`analyzer.from_rates` or
    :func:`load`. What counts as an accumulate (AC) or a multiply-accumulate (MAC), and what these
    cost, is no part of it: :meth:`operations` and :meth:`energy` decide that from the stored facts,
    without running the model again.

    Everything is a total over all samples, so figures do not depend on how the data was batched,
    and profiles of the same model on different data add up with ``+``. ``calls`` counts samples
    that passed a layer, so that ``calls / samples`` is how often one inference runs it.

    Attributes:
        samples: Number of samples seen.
        metadata: Model, input shape, timesteps, dtype, device, versions, data and the like.
        contractions: Facts of every counted product, one per site.
        tallies: Element-wise and other covered work, one per module and operation.
        uncounted: Arithmetic that no rule covers.
        groups: Activity per temporal, spatial and structural group.
        correct: Samples classified correctly, None where there were no labels.
        shapes: Products of which only shapes, and perhaps published rates, are known.
        sent: What each spiking layer sent, None where that was not measured.
        layers: All modules of the model, each behind the one that holds it, None where they are
            not known, as of published figures.
        sampled: What single samples did, None where that was not measured; see :meth:`spread`.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> snn.totals["dense_macs"]
        1100
        >>> print(snn.operations("rate")[["module", "ac", "mac"]])
          module     ac    mac
        0   conv  200.0    0.0
        1   head    0.0  100.0
        >>> f"{snn.energy(convention='rate').total_pj:.0f} pJ per sample"
        '640 pJ per sample'
        >>> (snn + snn).samples
        2
    """

    samples: int
    metadata: Mapping[str, Any]
    contractions: tuple[Contraction, ...] = ()
    tallies: tuple[Tally, ...] = ()
    uncounted: tuple[Tally, ...] = ()
    groups: tuple[GroupCount, ...] = ()
    correct: int | None = None
    shapes: tuple[Shape, ...] = ()
    sent: tuple[Sent, ...] | None = None
    layers: tuple[Layer, ...] | None = None
    sampled: Sampled | None = None

    @property
    def name(self) -> str:
        """How the profile is called in tables and figures."""
        return str(self.metadata.get("name") or self.metadata.get("model") or "model")

    @property
    def parameters(self) -> int | None:
        """Number of parameters, shared ones once; None where it is not known."""
        number: int | None = self.metadata["parameters"]
        return number

    @property
    def accuracy(self) -> float | None:
        """Share of samples classified correctly, None where it was not measured."""
        if self.correct is None or not self.samples:
            return None
        return self.correct / self.samples

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds per sample on the device that it ran on, None where not measured."""
        measured = self.metadata.get("measured_energy")
        found = measured.get("milliseconds") if isinstance(measured, Mapping) else None
        return float(found) if isinstance(found, (int, float)) else None

    @property
    def counts(self) -> pd.DataFrame:
        """The facts as a table, with one row per module, operation and class of what it reads.

        All columns are integer totals over all samples. What is not known of an operation that was
        counted by its shapes is missing, not zero.
        """
        return self.rows.drop(columns=list(INTERNAL))

    @property
    def uncovered(self) -> pd.DataFrame:
        """Arithmetic that no rule covers, with its calls and the size of its outputs."""
        rows = [(t.module, t.op, t.calls, t.output_elements) for t in self.uncounted]
        return frame(rows, ["module", "op", "calls", "output_elements"], text=("module", "op"))

    @property
    def memory(self) -> dict[str, int | None]:
        """Sizes in bytes, None where they were not measured.

        Parameters and buffers, with shared storage counted once; and per sample of the first batch
        the state of the neurons, all activations written, and the most that were alive at once.
        """
        keys = (
            "parameters_bytes",
            "buffers_bytes",
            "neuron_state_bytes",
            "activations_bytes",
            "peak_activations_bytes",
        )
        return {key: self.metadata.get(key) for key in keys}

    @property
    def totals(self) -> dict[str, int]:
        """The columns of :attr:`counts`, with ``ac`` and ``mac`` under ``exact``, summed up.

        Columns that are not known of every row, as of operations that were counted by their shapes,
        are left out.
        """
        rows = self.counts
        known = [c for c in (*WORK, *ELEMENTWISE) if rows[c].notna().all()]
        totals = {column: sum(rows[column].tolist()) for column in known}
        if not self.shapes:
            read = self.operations("exact")
            totals |= {column: sum(read[column].tolist()) for column in ("ac", "mac", "mac_events")}
        totals["uncovered_elements"] = sum(t.output_elements for t in self.uncounted)
        return totals

    def per_sample(self) -> dict[str, float]:
        """:attr:`totals` divided by the number of samples."""
        if not self.samples:
            raise AnalyzerError(f"profile {self.name!r} holds no sample, so nothing per sample.")
        return {key: value / self.samples for key, value in self.totals.items()}

    def operations(self, convention: str = "exact", *, reasons: bool = False) -> pd.DataFrame:
        """The products of :attr:`counts` as a convention reads them.

        Args:
            convention: Name or file of a convention; see :func:`analyzer.conventions`.
            reasons: Whether to add the columns ``reason``, why a row is read as it is, and
                ``is_driven``, whether spikes drive it.

        Returns:
            Rows of :attr:`counts` with ``ac``, ``mac`` and ``mac_events``, multiply-accumulates if
            zeros were skipped.

        Raises:
            AnalyzerError: Where the convention is not known, or needs facts that are not there.
        """
        rows = self.rows
        rows = rows[rows["contraction"]].drop(columns=list(ELEMENTWISE))
        found = read(rows.reset_index(drop=True), convention, self.name)
        shown = {"reason", "is_driven"} if reasons else set()
        return found.drop(columns=[*INTERNAL, *(c for c in READING if c not in shown)])

    @property
    def folds_batch_norm(self) -> bool:
        """Whether a batch norm right behind a layer with weights is taken to cost nothing."""
        return bool(self.metadata.get("fold_batch_norm", True))

    def folding(self, on: bool) -> Profile:
        """The same facts, with batch norms right behind a layer with weights free or counted.

        At inference such a norm can be folded into the weights. Only element-wise work differs
        between the two, never AC or MAC.

        Args:
            on: Whether these norms are free.

        Raises:
            AnalyzerError: Where the profile was measured before the work of such norms was kept.
        """
        lost = [t.module for t in self.tallies if _lost_work(t)]
        if lost and not on:
            raise AnalyzerError(
                f"profile {self.name!r} does not say what the batch norm {lost[0]!r} takes where "
                "it is not folded: measure it again."
            )
        metadata = {k: v for k, v in self.metadata.items() if k != "fold_batch_norm"}
        return replace(self, metadata=metadata if on else metadata | {"fold_batch_norm": False})

    def sparsity(self, by: str = "module") -> pd.DataFrame:
        """Share of zeros among the activations that linear layers, convolutions and products read.

        Args:
            by: ``module``; ``timestep`` (where time is known); ``temporal``, ``spatial`` or
                ``structural`` (where the model or the caller declared layouts and groups).

        Returns:
            A table with ``elements``, ``nonzeros`` and ``sparsity = 1 - nonzeros / elements``.

        Raises:
            AnalyzerError: Where the profile holds no such activity; says how to measure it.
        """
        if by == "module":
            rows = sparsity.by_module(self.contractions)
        elif by == "timestep":
            timesteps = self.metadata.get("timesteps") or 1
            rows = sparsity.by_timestep(self.contractions, timesteps)
        elif by in AXES:
            rows = sparsity.by_group(self.groups, by)
        else:
            choices = ", ".join(("module", "timestep", *AXES))
            raise AnalyzerError(f"sparsity by {by!r} is not known: choose one of {choices}.")
        if rows.empty and by != "module":
            needs = (
                "profile it with timesteps=T and tensors whose first axis is time"
                if by == "timestep"
                else "give the model layouts, or pass layouts= and groups= to analyzer.profile"
            )
            raise AnalyzerError(f"profile {self.name!r} holds no {by} activity: {needs}.")
        elements = rows["elements"].where(rows["elements"] > 0)
        rows["sparsity"] = 1 - rows["nonzeros"] / elements
        return rows

    def spikes(self) -> pd.DataFrame:
        """What each spiking layer sends: its spikes, its firing rate and its silent neurons.

        A layer is a module whose neurons are known or were taught by :func:`analyzer.neuron`. Its
        output is read where the module returns, whether a later operation reads it or not.
        Modules that fire by a threshold and are neurons of no known kind come last, with a note
        and without figures.

        Returns:
            One row per layer, in order of execution, with the columns

            - ``module`` and ``neuron``, its kind;
            - ``values``: the class of all values that it sent. Where they are ``real``, as those of
              an integrator that shows its potential, they are no spikes, and the columns below that
              speak of spikes are empty;
            - ``neurons`` of one sample;
            - ``timesteps``: how many values each neuron sent for one sample; empty where it sent
              one and nothing tells whether the model is run over time from outside;
            - ``spikes``: values that are not zero, over all samples. A graded spike is one;
            - ``firing_rate``: spikes per neuron, timestep and sample, which is the share of values
              that are not zero;
            - ``silent``: neurons that never fired, in no timestep of any sample;
            - ``note``: why something is empty.

        Raises:
            AnalyzerError: Where the profile does not say what layers sent.

        Example:
            >>> import torch
            >>> import analyzer
            >>> from analyzer.models.neurons import IF
            >>> layer = torch.nn.Linear(2, 3, bias=False)
            >>> layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
            >>> model = torch.nn.Sequential(layer, IF()).eval()
            >>> x = torch.tensor([[[1.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])  # [T, B, 2]
            >>> profile = analyzer.profile(model, x, timesteps=2, layouts={"": "T B D"})
            >>> row = profile.spikes().iloc[0]
            >>> int(row["neurons"]), int(row["timesteps"]), int(row["spikes"]), int(row["silent"])
            (3, 2, 4, 1)
            >>> print(f"{row['firing_rate']:.3f}")  # of 3 neurons, 2 timesteps and 2 samples
            0.333
        """
        if self.sent is None:
            reason = "was written by an earlier version, which did not read it: measure it again"
            if self.shapes:
                reason = "was counted without running the model: profile it on data"
            raise AnalyzerError(
                f"profile {self.name!r} does not say what its layers sent: it {reason}."
            )
        unknown = self.metadata.get("unknown_neurons") or ()
        return table_of(self.sent, self.metadata.get("timesteps"), unknown)

    @property
    def silent_layers(self) -> tuple[str, ...]:
        """Spiking layers that never fired, as far as it is known what layers sent."""
        return never_fired(self.sent or ())

    def summary(
        self,
        depth: int | None = None,
        *,
        technology: str = "45nm",
        convention: str | None = None,
        precision: str = "fp32",
        memory: str | None = None,
    ) -> Summary:
        """The tree of the layers, with shapes, parameters, work, energy and firing rates.

        Print it, or make it the last line of a notebook's cell. Each line includes those below it.

        Args:
            depth: How many levels below the model are shown; what lies deeper is in the sums. All
                by default.
            technology: Name or file of the constants.
            convention: Name or file of the reading of the facts; ``exact`` by default, ``rate`` of
                published rates. A model that was counted by its shapes has neither.
            precision: Number format that is priced.
            memory: Name or file of a memory model; None prices arithmetic alone.

        Raises:
            AnalyzerError: Where a name is not known, or the profile lacks facts that are needed.

        Example:
            >>> import analyzer
            >>> table = {"module": ["block.fc", "head"], "op": ["linear", "linear"]}
            >>> table |= {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}
            >>> profile = analyzer.from_rates(table, name="paper")
            >>> print(profile.summary())
            paper: 1 sample, T = –
            <BLANKLINE>
            Layer     Dense MACs   AC  MAC  Energy   Share
            paper         1.10 k  200  100  640 pJ   100 %
            ├─ block      1.00 k  200    0  180 pJ  28.1 %
            │  └─ fc      1.00 k  200    0  180 pJ  28.1 %
            └─ head          100    0  100  460 pJ  71.9 %
            <BLANKLINE>
            Per sample: 45nm fp32 (0.9 pJ/AC, 4.6 pJ/MAC), convention rate.
        """
        return summarise(self, depth, technology, convention, precision, memory)

    def _repr_html_(self) -> str:
        return self.summary(2)._repr_html_()

    def __rich__(self) -> Any:
        return self.summary(2)

    @property
    def redundancy(self) -> pd.DataFrame:
        """Products that timesteps repeat with equal operands, and what caching them would save.

        Such is the first convolution of an image that is presented at every timestep. Only what all
        samples repeat is counted.

        Returns:
            One row per module and operation that has such work, with its ``dense_macs`` and
            ``events`` and how much of each is repetition: ``saved_macs`` and ``saved_events``.
        """
        return sparsity.redundancy(self.contractions)

    def energy(
        self,
        technology: str = "45nm",
        convention: str = "exact",
        precision: str = "fp32",
        memory: str | None = None,
    ) -> EnergyReport:
        """Prices the profile.

        Args:
            technology: Name or file of the constants.
            convention: Name or file of the reading of the facts.
            precision: Number format that is priced.
            memory: Name or file of a memory model, perhaps with settings of its own
                (``"spyx(weight_bits=4)"``); None prices arithmetic alone.

        Returns:
            The energy per sample, row by row.

        Raises:
            AnalyzerError: Where a name is not known, or the profile lacks facts that are needed.
        """
        report = price(self, technology, convention, precision, memory)
        if self.sampled is None:
            return report
        return replace(report, intervals=intervals_of(report, samples_of(self, report)))

    def spread(
        self,
        technology: str = "45nm",
        convention: str = "exact",
        precision: str = "fp32",
        memory: str | None = None,
    ) -> Spread:
        """How AC, MAC and energy differ from sample to sample, and how sure their means are.

        The mean of each has a 95 % interval: a bootstrap over samples (BCa), which says how far
        the mean would differ on other data of the same kind. It says nothing of other weights of
        the same network, nor of errors of the prices.

        Args:
            technology: Name or file of the constants.
            convention: Name or file of the reading of the facts.
            precision: Number format that is priced.
            memory: Name or file of a memory model; None prices arithmetic alone.

        Raises:
            AnalyzerError: Where the profile was measured without ``per_sample=True``, or lacks
                facts that are needed.

        Example:
            >>> import torch
            >>> import analyzer
            >>> model = torch.nn.Linear(4, 5).eval()
            >>> spikes = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 0]])
            >>> found = analyzer.profile(model, spikes, per_sample=True).spread()
            >>> found.samples["ac"].tolist()
            [5.0, 15.0]
        """
        check_sampled(self)
        report = price(self, technology, convention, precision, memory)
        samples = samples_of(self, report)
        return Spread(report, samples, intervals_of(report, samples))

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Profile):
            return NotImplemented
        if KEY in self.metadata or KEY in other.metadata:
            raise AnalyzerError(
                f"{(self if KEY in self.metadata else other).name!r} is a shard of a run, and "
                "shards do not add up with +: give all shards of the run to analyzer.merge."
            )
        key = identity.first_difference(self.metadata, other.metadata)
        if key is not None:
            what = "weights" if key == "weights_digest" else "runs"
            raise AnalyzerError(
                f"profiles of different {what} do not add up: {key} is "
                f"{self.metadata.get(key)!r} in {self.name!r} and {other.metadata.get(key)!r} in "
                f"{other.name!r}."
            )
        known = self.correct is not None and other.correct is not None
        contractions = merge((*self.contractions, *other.contractions))
        tallies = merge((*self.tallies, *other.tallies))
        return Profile(
            samples=self.samples + other.samples,
            metadata=identity.joined(self.metadata, other.metadata),
            contractions=contractions,
            tallies=tallies,
            uncounted=merge((*self.uncounted, *other.uncounted)),
            groups=merge((*self.groups, *other.groups)),
            shapes=merge((*self.shapes, *other.shapes)),
            correct=(self.correct or 0) + (other.correct or 0) if known else None,
            sent=None
            if self.sent is None or other.sent is None
            else merge((*self.sent, *other.sent)),
            layers=self.layers,
            sampled=self._sampled_with(other, contractions, tallies),
        )

    def _sampled_with(
        self, other: Profile, contractions: Sequence[Contraction], tallies: Sequence[Tally]
    ) -> Sampled | None:
        """What single samples of a sum did; None where not all of both are known, or too many."""
        one, two = self.sampled, other.sampled
        if one is None or two is None or len(one) + len(two) > LARGEST:
            return None
        if len(one) < self.samples or len(two) < other.samples:
            return None
        records = self.contractions, other.contractions, contractions
        return joined(one, two, records, (self.tallies, other.tallies, tallies))

    def __radd__(self, other: int) -> Profile:
        """Lets ``sum`` begin with its 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Whether both hold equal facts of the same run, wherever and whenever it was measured."""
        if not isinstance(other, Profile):
            return NotImplemented
        return self._compared() == other._compared()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        totals = self.totals
        work = ["dense_macs"] if self.shapes else ["ac", "mac"]
        figures = ", ".join(f"{key}={totals[key]}" for key in work)
        return (
            f"Profile({self.name!r}, samples={self.samples}, {figures}, "
            f"uncovered={len(self.uncounted)})"
        )

    def save(self, path: str | Path) -> Path:
        """Writes the profile as JSON; a file that exists is replaced whole or stays as it was.

        Args:
            path: Where to. What ends in ``.gz`` is compressed, about twenty times smaller for a
                large model. The same profile gives the same bytes.

        Returns:
            The path.

        Raises:
            AnalyzerError: Where the file can not be written.
        """
        return file.write(self._parts, path)

    def to_bytes(self) -> bytes:
        """What :meth:`save` writes under a name that ends in ``.json.gz``."""
        return file.to_bytes(self._parts, packed=True)

    @property
    def _parts(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def _compared(self) -> tuple[Any, ...]:
        return (
            self.samples,
            self.correct,
            {key: self.metadata.get(key) for key in identity.IDENTITY},
            *(
                {fact.key: fact for fact in facts}
                for facts in (
                    self.contractions,
                    self.shapes,
                    self.tallies,
                    self.uncounted,
                    self.groups,
                )
            ),
            None if self.sent is None else {sent.key: sent for sent in self.sent},
        )

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All facts by row, with the columns that conventions and memory models read.

        They are described in ``analyzer.facts.table``; :attr:`counts` is what users are shown.
        """
        return rows_of(self.contractions, self.shapes, self._folded(self.tallies), self._steps)

    def rows_of_samples(self) -> Iterator[pd.DataFrame]:
        """The rows of the single samples that are kept, some samples at a time.

        They are :attr:`rows` with a sample in place of the sum over all, and a column ``profile``
        with the number of the sample.
        """
        for part in () if self.sampled is None else self.sampled.parts(len(self.rows)):
            yield rows_of_samples(
                self.rows,
                part.contractions(self.contractions),
                self._folded(part.work(self.tallies)),
                self._steps,
                part.indices,
            )

    def _folded(self, tallies: Iterable[Tally]) -> list[Tally]:
        """The tallies, those of batch norms that fold without their work."""
        free = self.folds_batch_norm
        return [
            replace(t, adds=0, multiplies=0, compares=0, specials=0) if free and t.folds else t
            for t in tallies
        ]

    @property
    def _steps(self) -> int:
        return self.metadata.get("timesteps") or 1


def _lost_work(tally: Tally) -> bool:
    """Whether this is a batch norm without its work, which the first files did not store."""
    return tally.op == "batch_norm" and bool(tally.output_elements) and not tally.multiplies


def load(path: str | Path) -> Profile:
    """Reads a profile that :meth:`.Profile.save` or the command line wrote.

    Args:
        path: A JSON file, also compressed; its content and not its name says which.

    Raises:
        AnalyzerError: Where there is no such file, or it is no profile of this version.

    Example:
        >>> import analyzer
        >>> from tempfile import TemporaryDirectory
        >>> table = {"module": ["a"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
        >>> profile = analyzer.from_rates(table, name="paper")
        >>> with TemporaryDirectory() as folder:
        ...     path = profile.save(f"{folder}/paper.json.gz")
        ...     again = analyzer.load(path)
        >>> again == profile
        True
    """
    return Profile(**file.read(path))
