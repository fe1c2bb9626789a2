"""What is to be known of a model before it is watched: whether it can be, and its mode."""

from __future__ import annotations

from torch import fx, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.modules import constants_of, is_frozen, packs_weights

__all__ = ["check_watchable", "in_training"]


def in_training(model: nn.Module) -> bool:
    """Whether a model acts as in training, and would not after ``model.eval()``.

    An exported program acts as it did when it was exported, whatever its flag says.
    """
    exported = isinstance(model, fx.GraphModule) and "eval" in vars(model)
    return bool(getattr(model, "training", False)) and not exported


def check_watchable(model: nn.Module, *, computes: bool = True) -> None:
    """Refuses a model of which some weights are out of sight.

    Args:
        model: The model.
        computes: Whether it will run on values, and not on shapes alone.

    Raises:
        AnalyzerError: Names the module, and what to profile in its place.
    """
    for path, module in model.named_modules():
        reason = _reason(module)
        own = constants_of(module)[0].values() if computes and reason is None else ()
        if any(p is not None and p.is_meta for p in own):
            reason = _WITHOUT_VALUES
        if reason is not None:
            place = f"module {path!r}" if path else "the model"
            raise AnalyzerError(f"{place}, a {type(module).__name__}, {reason}.")


_WITHOUT_VALUES = (
    "has parameters on the meta device, without values: load its weights, all of them if they are "
    "offloaded, or use analyzer.count, which needs none"
)


def _reason(module: nn.Module) -> str | None:
    if is_frozen(module):
        return (
            "was frozen by torch.jit, so that its weights are part of its code and can not be told "
            "from data: profile the model from before torch.jit.freeze"
        )
    if packs_weights(module):
        return (
            "is quantised by torch.ao, with weights that only its kernel reads: profile the model "
            'before that, and price it in the precision that it was quantised to, such as "int8"'
        )
    if isinstance(module, nn.DataParallel) and len(module.device_ids or ()) > 1:
        return (
            "runs copies of its model on several devices, in which modules and weights are not "
            "those of the model: profile its .module"
        )
    return None
