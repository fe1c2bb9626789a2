"""Figures for papers: one function a figure, drawn with matplotlib on axes of yours or new ones.

Each takes profiles, or what a question such as :func:`analyzer.explain` returned, and returns the
axes, so that titles and limits can be changed before the figure is saved. :func:`style` sets width,
font and text size for a journal; figures are saved inside of its block. Reports draw with the same
functions.

Example:
    >>> import io
    >>> import analyzer
    >>> ann, snn = (
    ...     analyzer.from_rates(
    ...         {"module": ["fc"], "op": ["linear"], "dense_macs": [1000], "firing_rate": [rate]},
    ...         name=name,
    ...     )
    ...     for name, rate in (("ann", 1.0), ("snn", 0.2))
    ... )
    >>> with analyzer.plot.style("ieee"):
    ...     ax = analyzer.plot.energy([ann, snn], convention="rate")
    ...     ax.figure.savefig(io.BytesIO(), format="pdf")  # in practice, to a file
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['ann', 'snn']
"""

try:
    from analyzer.plot.answers import chips, fit, memory, tornado, waterfall
    from analyzer.plot.bars import energy, layers
    from analyzer.plot.maps import groups, rates
    from analyzer.plot.style import style
    from analyzer.plot.tradeoffs import break_even, pareto, timesteps
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("matplotlib", "seaborn"):
        raise
    raise ModuleNotFoundError(
        f"analyzer.plot needs {error.name}: pip install 'snn-analyzer[report]'.", name=error.name
    ) from error

__all__ = [
    "break_even",
    "chips",
    "energy",
    "fit",
    "groups",
    "layers",
    "memory",
    "pareto",
    "rates",
    "style",
    "timesteps",
    "tornado",
    "waterfall",
]
