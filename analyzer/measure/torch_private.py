"""Every private name of PyTorch that this package uses, in one place.

PyTorch has no public way to hear of single operations at no cost to the others, to hide the
operations of a block from a user's modes, or to compare how often a tensor was written. The names
below do that. Each was seen in PyTorch 2.6 to 2.13; each is looked up when it is first needed, and
what happens where it lacks is said at its function. Nothing here is needed to load a profile.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from analyzer.errors import AnalyzerError

__all__ = [
    "MODULE_TABLES",
    "DispatchMode",
    "OpOverload",
    "OpOverloadPacket",
    "argument_names",
    "base_of",
    "check_version",
    "compiled_module",
    "constants_of",
    "cpu_attention",
    "decomposes",
    "dispatcher_hook",
    "excluding",
    "has_composite_kernel",
    "hide_from_modes",
    "hook_key",
    "including",
    "intercepted",
    "is_elementwise",
    "is_zeros_without_memory",
    "mode_depth",
    "operation_names",
    "outside_of_compiler",
    "overload_of",
    "qualified_name",
    "safe_softmax",
    "schema_of",
    "short_name",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "unwind_modes",
    "version_of",
    "written_arguments",
]

OLDEST = (2, 6)
"""The oldest PyTorch that is known to work."""

_KEY = "TESTING_ONLY_GenericMode"
"""A dispatch key that no tensor ever carries, so that nothing but this package's hook uses it."""


def check_version() -> None:
    """Refuses a PyTorch that lacks what can not be done without.

    Raises:
        AnalyzerError: Names the version that is there and the one that is needed.
    """
    found = torch.__version__
    parts = found.split("+")[0].split(".")
    if tuple(int(part) for part in parts[:2] if part.isdigit()) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise AnalyzerError(
            f"PyTorch {found} is too old to profile with: install torch>={wanted}. Saved profiles "
            "can be read, priced and compared with any version."
        )


class DispatchMode(TorchDispatchMode):
    """Base class of modes that see every operation of a block.

    PyTorch's own is documented, but lives in a private module.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would load its compiler, for a second and more, to leave the mode out of it."""
        return False


MODULE_TABLES = ("_parameters", "_buffers", "_modules")
"""Attributes in which a module keeps its parameters, buffers and children."""

OpOverload: Any = torch._ops.OpOverload
"""Class of one overload of an operation, such as ``torch.ops.aten.add.Tensor``."""

OpOverloadPacket: Any = torch._ops.OpOverloadPacket
"""Class of an operation with all its overloads, such as ``torch.ops.aten.add``."""


def schema_of(func: Any) -> Any:
    """The schema of an overload; None of a higher-order operator, which has none."""
    return getattr(func, "_schema", None)


def qualified_name(packet: Any) -> str:
    """Name of an operation with its namespace, such as ``aten::add``."""
    return str(packet._qualified_op_name)


def written_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    """Position and name of each argument that an overload writes to, as its schema says."""
    schema = schema_of(func)
    if schema is None or not schema.is_mutable:
        return ()
    return tuple(
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


def is_elementwise(func: Any) -> bool:
    """Whether an overload makes one new tensor, each element of it from elements at its place."""
    schema = schema_of(func)
    return (
        schema is not None
        and torch.Tag.pointwise in func.tags
        and len(schema.returns) == 1
        and not schema.is_mutable
    )


def short_name(func: Any) -> str:
    """Name of an overload's operation without namespace and overload, such as ``add``."""
    return str(schema_of(func).name.split("::")[1]).removesuffix("_")


def argument_names(func: Any) -> list[str]:
    """Names of the arguments of an overload, in order."""
    return [argument.name for argument in schema_of(func).arguments]


def operation_names() -> Iterable[str]:
    """Qualified names of all operations that are registered; none where PyTorch lists none."""
    every = getattr(torch._C, "_dispatch_get_all_op_names", list)
    names: Iterable[str] = every()
    return names


def overload_of(function: Any) -> Any:
    """The overload behind what ``torch.library.custom_op`` returns; None of anything else."""
    overload = getattr(function, "_opoverload", None)
    return overload if isinstance(overload, OpOverload) else None


def safe_softmax(scores: Tensor, dim: int) -> Tensor:
    """A softmax that is zero where all scores are minus infinity."""
    own = getattr(torch, "_safe_softmax", None)
    if own is not None:
        result: Tensor = own(scores, dim)
        return result
    return scores.softmax(dim).nan_to_num(0.0)


def cpu_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
) -> Tensor | None:
    """Attention in the one kernel that the CPU has for it; None where PyTorch has none."""
    own = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if own is None:
        return None
    result: Tensor = own(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
    return result


def is_zeros_without_memory(tensor: Tensor) -> bool:
    """Whether a tensor stands for zeros that PyTorch never wrote; False where it can not tell."""
    own = getattr(torch, "_is_zerotensor", None)
    return own is not None and bool(own(tensor))


def constants_of(module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dictionaries in which a module keeps its parameters and its buffers."""
    return module._parameters, module._buffers


def compiled_module(module: torch.nn.Module) -> torch.nn.Module | None:
    """The module that ``torch.compile`` made another of, None of any other module."""
    return getattr(module, "_orig_mod", None)


@contextmanager
def intercepted(
    module: torch.nn.Module, call: Callable[[Callable[..., Any], tuple[Any, ...], Any], Any]
) -> Iterator[None]:
    """Hands every call of a module to a function until the block ends.

    PyTorch has this place for ``Module.compile``: copies and pickles of the module do not take it
    along, and hooks of the module run inside of it.

    Args:
        module: The module.
        call: Is given what calls the module, and the arguments.
    """
    attributes, name = vars(module), "_compiled_call_impl"
    before = attributes.get(name)
    inner = before or module._call_impl
    attributes[name] = lambda *args, **kwargs: call(inner, args, kwargs)
    try:
        yield
    finally:
        if before is None:
            attributes.pop(name, None)
        else:
            attributes[name] = before


def decomposes(func: Any) -> bool:
    """Whether an operation is made of others, which then are counted in its place."""
    can = getattr(func, "_can_decompose", None)
    return bool(can is not None and can())


def has_composite_kernel(func: Any) -> bool:
    """Whether an operation always runs as others do, so that a hook on it would see them twice."""
    return bool(func.has_kernel_for_dispatch_key(_composite_key()))


@cache
def _composite_key() -> Any:
    return torch._C.DispatchKey.CompositeImplicitAutograd


def version_of(tensor: Tensor) -> int:
    """How often PyTorch wrote to a tensor in place; -1 of inference tensors, which do not count."""
    return -1 if tensor.is_inference() else tensor._version


def base_of(tensor: Tensor) -> Tensor:
    """The tensor that a view was taken of; the tensor itself where it is no view."""
    base = tensor._base
    return tensor if base is None else base


def hide_from_modes() -> AbstractContextManager[Any]:
    """Hides the operations of a block from modes of the user's that are active, if any are."""
    if not (torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()):
        return _NOTHING
    from torch.utils._python_dispatch import _disable_current_modes

    stack = ExitStack()
    stack.enter_context(_disable_current_modes())
    stack.enter_context(torch._C.DisableTorchFunction())
    return stack


_NOTHING = nullcontext()


def mode_depth() -> int:
    """How many dispatch modes are active in this thread."""
    return int(torch._C._len_torch_dispatch_stack())


def unwind_modes(depth: int) -> None:
    """Takes modes off that an interrupt left active, down to a depth."""
    while mode_depth() > depth:
        torch._C._pop_torch_dispatch_stack(None)


def outside_of_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that PyTorch's compiler leaves alone, also where it compiles what calls it.

    The compiler is not loaded for that: where nobody loaded it, nothing is compiled.
    """
    compiler = sys.modules.get("torch._dynamo")
    disabled: Callable[..., Any] = function if compiler is None else compiler.disable(function)
    return disabled


class _Registered:
    """The hook's registrations, which last as long as these objects do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.libraries: list[Any] = []
        self.names: set[str] = set()
        self.key: Any = None
        self.lacks: str | None = None


_REGISTERED = _Registered()


def hook_key() -> Any:
    """The dispatch key under which hooked operations are registered; None where hooks lack.

    Every operation without a hook falls through it. Without the key, every pass is watched by the
    dispatch mode: slower, with the same numbers.
    """
    known = _REGISTERED
    with known.lock:
        if known.key is None and known.lacks is None:
            try:
                key: Any = torch._C._parse_dispatch_key(_KEY)
                library = torch.library.Library("_", "IMPL")
                library.fallback(torch.library.fallthrough_kernel, _KEY)
                for name in ("_IncludeDispatchKeyGuard", "_ExcludeDispatchKeyGuard"):
                    getattr(torch._C, name)
                torch._C.DispatchKeySet(key)
            except (AttributeError, RuntimeError) as error:
                known.lacks = f"{type(error).__name__}: {error}"
            else:
                known.libraries.append(library)
                known.key = key
        return known.key


def dispatcher_hook(name: str, overloads: list[Any], kernel: Callable[[Any], Any]) -> None:
    """Puts a Python kernel before an operation, once for the life of the process.

    Args:
        name: Name with its namespace, such as ``aten::mm``.
        overloads: Its overloads that get a kernel.
        kernel: From an overload to what is called in its place.
    """
    key, known = hook_key(), _REGISTERED
    if key is None:
        return
    with known.lock:
        if name in known.names:
            return
        library = torch.library.Library(name.split("::")[0], "IMPL")
        for overload in overloads:
            library.impl(overload, kernel(overload), _KEY)
        known.libraries.append(library)
        known.names.add(name)


def including() -> AbstractContextManager[Any]:
    """Lets hooked operations of this thread reach their hook, in a block."""
    guard: AbstractContextManager[Any] = torch._C._IncludeDispatchKeyGuard(hook_key())
    return guard


def excluding() -> AbstractContextManager[Any]:
    """Lets the operations of a block pass without their hook."""
    keys = _key_set()
    if keys is None:
        return _NOTHING
    guard: AbstractContextManager[Any] = torch._C._ExcludeDispatchKeyGuard(keys)
    return guard


@cache
def _key_set() -> Any:
    key = hook_key()
    return None if key is None else torch._C.DispatchKeySet(key)
