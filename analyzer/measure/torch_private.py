"""Every private name of PyTorch that this package uses, in one place.

PyTorch has no public way to hear of single operations at no cost to the others, to hide the
operations of a block from a user's modes, or to compare how often a tensor was written. The names
below do that. Each was seen in PyTorch 2.6 to 2.13; each is looked up when it is first needed, and
what happens where it lacks is said at its function. Nothing here is needed to load a profile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from analyzer.errors import AnalyzerError

__all__ = [
    "MODULE_TABLES",
    "READ_BY_PYTHON",
    "DispatchMode",
    "OpOverload",
    "OpOverloadPacket",
    "argument_names",
    "base_of",
    "check_version",
    "compiled_module",
    "compiled_modules_quiet",
    "constants_of",
    "cpu_attention",
    "decomposes",
    "dense_parts",
    "dispatcher_hook",
    "dlpack_exports",
    "excluding",
    "has_composite_kernel",
    "hide_from_modes",
    "hook_key",
    "including",
    "intercepted",
    "is_elementwise",
    "is_frozen",
    "is_higher_order",
    "is_random",
    "is_zeros_without_memory",
    "kernel_of",
    "mode_depth",
    "operation_names",
    "overload_of",
    "packs_weights",
    "pushed",
    "qualified_name",
    "run_kernel",
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


READ_BY_PYTHON = "aten::resolve_neg"
"""What ``.tolist()`` and ``.numpy()`` call on every tensor, and little else does."""


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
    """Name of an overload's operation without its overload, of PyTorch's own such as ``add``."""
    return str(schema_of(func).name).removeprefix("aten::").removesuffix("_")


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
def compiled_modules_quiet() -> Iterator[None]:
    """Modules that ``torch.compile`` made run like any other until the block ends.

    They warn where hooks of all modules are set. A filter of warnings would not do: whoever enters
    ``warnings.catch_warnings`` in another thread, as pandas does, may take it away. The compiler
    has to be loaded, and to run functions as they are written.
    """
    kind: Any = torch._dynamo.OptimizedModule
    before = vars(kind).get("__call__")
    if before is not None:
        kind.__call__ = torch.nn.Module.__call__
    try:
        yield
    finally:
        if before is not None:
            kind.__call__ = before


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


def is_frozen(module: torch.nn.Module) -> bool:
    """Whether a module is scripted code that holds its weights as constants."""
    code = getattr(module, "_c", None) if isinstance(module, torch.jit.ScriptModule) else None
    return code is not None and not getattr(code, "hasattr")("training")  # noqa: B009


def packs_weights(module: torch.nn.Module) -> bool:
    """Whether a module keeps quantised weights packed, as its kernel wants them."""
    home = type(module).__module__
    packed = home.startswith("torch.ao.nn.") and ".quantized." in home
    names = ("_packed_params", "_all_weight_values", "_packed_weight_ih")
    return packed and ".reference." not in home and any(hasattr(module, name) for name in names)


def dense_parts(tensor: Tensor) -> list[Tensor]:
    """The tensors with memory of their own that a tensor is made of; itself, if it has some.

    Raises:
        RuntimeError: Where it does not say what it is made of.
        NotImplementedError: The same, of other classes.
    """
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        # Refused where only a shape is declared and nothing allocated.
        tensor.untyped_storage().data_ptr()
        return [tensor]
    return [part for name in flatten()[0] for part in dense_parts(getattr(tensor, name))]


def is_random(func: Any) -> bool:
    """Whether an overload draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())


def is_higher_order(func: Any) -> bool:
    """Whether an operation is given functions, as ``torch.cond`` is."""
    return isinstance(func, torch._ops.HigherOrderOperator)


def kernel_of(operator: Any) -> Callable[..., Any]:
    """What a higher-order operator runs on tensors with values.

    Raises:
        AnalyzerError: Where it has nothing of the kind.
    """
    kernel: Callable[..., Any] | None = operator.py_kernels.get(
        torch._C.DispatchKey.CompositeExplicitAutograd
    )
    if kernel is None:
        raise AnalyzerError(
            f"the operator {operator.name()} runs in a way of its own, in which its operations "
            "can not be counted: write it as plain operations."
        )
    return kernel


def decomposes(func: Any) -> bool:
    """Whether an operation is made of others, which then are counted in its place."""
    can = getattr(func, "_can_decompose", None)
    return bool(can is not None and can())


def run_kernel(func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Runs an operation's kernel past all modes, which then see what the kernel itself calls.

    NotImplemented where PyTorch has no way to, or the tensors do not tell the kernel.
    """
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ordinary = tensors and all(x.layout is torch.strided and not x.is_nested for x in tensors)
    key_of = getattr(torch._C, "_dispatch_key_for_device", None)
    if not ordinary or key_of is None or not hasattr(func, "redispatch"):
        return NotImplemented
    key: Any = torch._C._parse_dispatch_key(key_of(tensors[0].device.type))
    return func.redispatch(torch._C.DispatchKeySet(key), *args, **kwargs)


def has_composite_kernel(func: Any) -> bool:
    """Whether an operation always runs as others do, so that a hook on it would see them twice."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(func.has_kernel_for_dispatch_key(composite))


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
    stack.enter_context(hide_from_functions())
    return stack


_NOTHING = nullcontext()


def hide_from_functions() -> AbstractContextManager[Any]:
    """Hides attributes that a block reads of tensors from function modes and subclasses."""
    return torch._C.DisableTorchFunction()


def mode_depth() -> int:
    """How many dispatch modes are active in this thread."""
    return int(torch._C._len_torch_dispatch_stack())


@contextmanager
def pushed(mode: Any) -> Iterator[None]:
    """Has a mode see the operations of a block, in a thread or a call that it is not active in.

    Its own way to enter notes for all threads at once which modes are active, and leaves that wrong
    where threads leave in another order than they entered.
    """
    torch._C._push_on_torch_dispatch_stack(mode)
    try:
        yield
    finally:
        torch._C._pop_torch_dispatch_stack(None)


def unwind_modes(depth: int) -> None:
    """Takes modes off that an interrupt left active, down to a depth."""
    while mode_depth() > depth:
        torch._C._pop_torch_dispatch_stack(None)


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
                _let_through_operators(key)
                known.key = key
        return known.key


def _let_through_operators(key: Any) -> None:
    """Has the key fall through higher-order operators too, also through those that are made later.

    They are dispatched in Python, by lists of their own.
    """
    passed = getattr(torch._ops, "_HIGHER_ORDER_OP_DEFAULT_FALLTHROUGH_DISPATCH_KEYS", [])
    passed.append(key)
    for operator in getattr(torch._ops, "_higher_order_ops", {}).values():
        operator.fallthrough(key)


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


def dlpack_exports() -> list[tuple[Any, str]]:
    """Where the functions are that export a tensor by DLPack: owners and names."""
    owners = (torch._C, torch, torch.utils.dlpack)
    names = ("_to_dlpack", "_to_dlpack_versioned", "to_dlpack")
    return [(owner, name) for owner in owners for name in names if name in vars(owner)]


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
