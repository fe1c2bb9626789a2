"""Other counters, each run as its documentation shows, on one forward pass."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

from torch import Tensor, nn

Figures = dict[str, int]
"""What a peer says of one pass: ``dense``, ``ac``, ``mac`` or ``synops``."""


def fvcore(model: nn.Module, x: Tensor) -> Figures:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    counted = FlopCountAnalysis(model, x).unsupported_ops_warnings(False)
    counted.uncalled_modules_warnings(False)
    by_op = counted.by_operator()
    return {"dense": int(sum(by_op[op] for op in ("conv", "linear", "matmul", "einsum")))}


def flop_counter(model: nn.Module, x: Tensor) -> Figures:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as mode:
        model(x)
    return {"dense": mode.get_total_flops() // 2}


def spikingjelly(model: nn.Module, x: Tensor) -> Figures:
    from spikingjelly.activation_based import op_counter

    mac, ac, synop = op_counter.MACCounter(), op_counter.ACCounter(), op_counter.SynOpCounter()
    with op_counter.DispatchCounterMode([mac, ac, synop]):
        model(x)
    return {"ac": ac.get_total(), "mac": mac.get_total(), "synops": synop.get_total()}


def spikingjelly_synop(model: nn.Module, x: Tensor) -> Figures:
    from spikingjelly.activation_based import op_counter

    synop = op_counter.SynOpCounter()
    with op_counter.DispatchCounterMode([synop]):
        model(x)
    return {"synops": synop.get_total()}


def neurobench(model: nn.Module, x: Tensor) -> Figures:
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel

    wrapped, metric = TorchModel(model), SynapticOperations()
    wrapped.register_hooks()
    try:
        metric(wrapped, wrapped(x), (x, None))
    finally:
        wrapped.cleanup_hooks()
    return {"ac": int(metric.AC), "mac": int(metric.MAC), "dense": int(metric.total_synops)}


def sinabs(model: nn.Module, x: Tensor) -> Figures:
    from sinabs.synopcounter import SNNAnalyzer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analyzer = SNNAnalyzer(model)
        try:
            model(x)
            return {"synops": int(analyzer.get_model_statistics()["synops"])}
        finally:
            for handle in analyzer.handles:
                handle.remove()


PEERS: dict[str, Callable[[nn.Module, Tensor], Figures]] = {
    "SpikingJelly MAC+AC+SynOp": spikingjelly,
    "SpikingJelly SynOp": spikingjelly_synop,
    "NeuroBench SynapticOperations": neurobench,
    "sinabs SNNAnalyzer": sinabs,
    "fvcore FlopCountAnalysis": fvcore,
    "torch FlopCounterMode": flop_counter,
}
