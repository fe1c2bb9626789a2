"""Every private name of PyTorch that this package uses, in one place.

PyTorch has no public way to hear of single operations at no cost to the others, to hide the
operations of a block from a user's modes, or to compare how often a tensor was written. The names
below do that. Each was seen in PyTorch 2.6 to 2.13; each is looked up when it is first needed, and
what happens where it lacks is said at its function. Nothing here is needed to load a profile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
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
    "ThreadState",
    "argument_names",
    "base_of",
    "check_version",
    "compiled_module",
    "compiler_settings",
    "constants_of",
    "cpu_attention",
    "decomposes",
    "dense_parts",
    "dispatcher_hook",
    "dlpack_exports",
    "excluding",
    "forget_module_hooks",
    "has_composite_kernel",
    "hide_from_modes",
    "hook_key",
    "include_hook",
    "intercept",
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
    "run_compiled_modules_plainly",
    "run_kernel",
    "safe_softmax",
    "schema_of",
    "short_name",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
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


def compiler_settings() -> Callable[[], None]:
    """What puts the compiler back as it is now, and may be called twice. It has to be loaded."""
    kind: Any = torch._dynamo.OptimizedModule
    frames: Any = torch._dynamo.eval_frame
    call, stance = vars(kind).get("__call__"), getattr(frames, "_stance", None)

    def back() -> None:
        if call is not None:
            kind.__call__ = call
        if stance is not None:
            frames._stance = stance

    return back


def run_compiled_modules_plainly() -> None:
    """Has modules that ``torch.compile`` made run like any other.

    They warn where hooks of all modules are set. A filter of warnings would not do: whoever enters
    ``warnings.catch_warnings`` in another thread, as pandas does, may take it away. The compiler
    has to be loaded, and to run functions as they are written.
    """
    kind: Any = torch._dynamo.OptimizedModule
    if "__call__" in vars(kind):
        kind.__call__ = torch.nn.Module.__call__


def intercept(
    module: torch.nn.Module, call: Callable[[Callable[..., Any], tuple[Any, ...], Any], Any]
) -> Callable[[], None]:
    """Hands every call of a module to a function.

    PyTorch has this place for ``Module.compile``: copies and pickles of the module do not take it
    along, and hooks of the module run inside of it.

    Args:
        module: The module.
        call: Is given what calls the module, and the arguments.

    Returns:
        What ends that, which may be called twice.
    """
    attributes, name = vars(module), "_compiled_call_impl"
    before = attributes.get(name)
    inner = before or module._call_impl

    def handed(*args: Any, **kwargs: Any) -> Any:
        return call(inner, args, kwargs)

    def end() -> None:
        if attributes.get(name) is not handed:
            return
        if before is None:
            attributes.pop(name, None)
        else:
            attributes[name] = before

    attributes[name] = handed
    return end


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
    return _Hidden()


class _Hidden:
    """A block without modes. PyTorch's own loses them where it is interrupted."""

    def __enter__(self) -> None:
        self._modes = _active_modes()
        self._functions = hide_from_functions()
        self._functions.__enter__()
        _set_modes([])

    def __exit__(self, *error: object) -> None:
        _set_modes(self._modes)
        self._functions.__exit__(None, None, None)


_NOTHING = nullcontext()


def hide_from_functions() -> AbstractContextManager[Any]:
    """Hides attributes that a block reads of tensors from function modes and subclasses."""
    return torch._C.DisableTorchFunction()


def mode_depth() -> int:
    """How many dispatch modes are active in this thread."""
    return int(torch._C._len_torch_dispatch_stack())


class pushed:  # noqa: N801 - it is used as a function
    """Has a mode see the operations of a block, in a thread or a call that it is not active in.

    Its own way to enter notes for all threads at once which modes are active, and leaves that wrong
    where threads leave in another order than they entered.

    Args:
        mode: The mode.
    """

    def __init__(self, mode: Any) -> None:
        self._mode = mode
        self._depth = -1

    def __enter__(self) -> None:
        self._depth = mode_depth()
        torch._C._push_on_torch_dispatch_stack(self._mode)

    def __exit__(self, *error: object) -> None:
        # What an interrupt left above goes too; where one took the mode away, nothing does.
        at = self._depth
        if 0 <= at < mode_depth() and torch._C._get_dispatch_stack_at(at) is self._mode:
            while mode_depth() > at:
                torch._C._pop_torch_dispatch_stack(None)


def _active_modes() -> list[Any]:
    return [torch._C._get_dispatch_stack_at(at) for at in range(mode_depth())]


def _set_modes(modes: list[Any]) -> None:
    """Has these modes active in this thread, and no others."""
    while mode_depth():
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes:
        torch._C._push_on_torch_dispatch_stack(mode)


class ThreadState:
    """What PyTorch keeps for this thread and a measurement changes, as it is now.

    Args:
        flags: Whether gradients, and the determinism of the process, belong to it.
    """

    def __init__(self, *, flags: bool) -> None:
        self._flags = flags
        self._modes = _active_modes()
        self._functions = _function_state()
        self._hooked = _REGISTERED.key is not None and _is_included(_REGISTERED.key)
        self._unhooked = _REGISTERED.key is not None and _is_excluded(_REGISTERED.key)
        self._gradients = torch.is_grad_enabled()
        self._deterministic = torch.are_deterministic_algorithms_enabled()
        self._warns = torch.is_deterministic_algorithms_warn_only_enabled()

    def put_back(self) -> None:
        """Puts back what is not as it was; may be called twice."""
        now = _active_modes()
        if len(now) != len(self._modes) or any(
            a is not b for a, b in zip(now, self._modes, strict=True)
        ):
            _set_modes(self._modes)
        if _function_state() != self._functions:
            getattr(torch._C, "_set_torch_function_state")(self._functions)  # noqa: B009
        key = _REGISTERED.key
        if key is not None:
            _include(key, self._hooked)
            _exclude(key, self._unhooked)
        if not self._flags:
            return
        if torch.is_grad_enabled() != self._gradients:
            torch.set_grad_enabled(self._gradients)
        found = torch.are_deterministic_algorithms_enabled()
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        if (found, warns) != (self._deterministic, self._warns):
            torch.use_deterministic_algorithms(self._deterministic, warn_only=self._warns)


def _function_state() -> Any:
    """Whether modes and subclasses hear of functions; None where it can not be set by itself."""
    found: Any = torch._C
    settable = hasattr(found, "_set_torch_function_state")
    return found._get_torch_function_state() if settable else None


def forget_module_hooks(*hooks: Any) -> None:
    """Takes hooks of all modules away, also where their handles are not known."""
    every: Any = torch.nn.modules.module
    tables = [every._global_forward_pre_hooks, every._global_forward_hooks]
    others = [
        getattr(every, name, {})
        for name in ("_global_forward_hooks_always_called", "_global_forward_hooks_with_kwargs")
    ]
    for table in tables:
        for number, hook in list(table.copy().items()):
            if any(hook is one for one in hooks if one is not None):
                for other in others:
                    other.pop(number, None)
                table.pop(number, None)  # last, as it is what an interrupted try is found by


class _Registered:
    """The hook's registrations, which last as long as these objects do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.libraries: list[Any] = []
        self.names: set[str] = set()
        self.kernels: set[tuple[str, str]] = set()
        self.falls_through = False
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
                if not known.falls_through:  # of a try that was interrupted
                    library = torch.library.Library("_", "IMPL")
                    known.libraries.append(library)  # first, as what it holds ends with it
                    library.fallback(torch.library.fallthrough_kernel, _KEY)
                    known.falls_through = True
                for name in (*_KEY_SETTERS, "_ExcludeDispatchKeyGuard"):
                    getattr(torch._C, name)
                torch._C.DispatchKeySet(key)
            except (AttributeError, RuntimeError) as error:
                known.lacks = f"{type(error).__name__}: {error}"
            else:
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


def dispatcher_hook(
    name: str, overloads: Callable[[str], list[Any]], kernel: Callable[[Any], Any]
) -> None:
    """Puts a Python kernel before an operation, once for the life of the process.

    Args:
        name: Name with its namespace, such as ``aten::mm``.
        overloads: From the name to its overloads that get a kernel.
        kernel: From an overload to what is called in its place.
    """
    key, known = hook_key(), _REGISTERED
    if key is None or name in known.names:
        return
    with known.lock:
        if name in known.names:
            return
        library = torch.library.Library(name.split("::")[0], "IMPL")
        known.libraries.append(library)  # first, as what it holds ends with it
        for overload in overloads(name):
            if (name, str(overload)) not in known.kernels:  # of a try that was interrupted
                library.impl(overload, kernel(overload), _KEY)
                known.kernels.add((name, str(overload)))
        known.names.add(name)


def dlpack_exports() -> list[tuple[Any, str]]:
    """Where the functions are that export a tensor by DLPack: owners and names."""
    owners = (torch._C, torch, torch.utils.dlpack)
    names = ("_to_dlpack", "_to_dlpack_versioned", "to_dlpack")
    return [(owner, name) for owner in owners for name in names if name in vars(owner)]


_KEY_SETTERS = (
    "_dispatch_tls_is_dispatch_key_included",
    "_dispatch_tls_is_dispatch_key_excluded",
    "_dispatch_tls_set_dispatch_key_included",
    "_dispatch_tls_set_dispatch_key_excluded",
)
"""What says whether this thread includes or excludes a dispatch key, and has it do so."""


def include_hook() -> Callable[[], None]:
    """Lets hooked operations of this thread reach their hook; returns what ends that.

    It may be called twice, and does nothing where there is no hook.
    """
    key = hook_key()
    if key is None:
        return lambda: None
    before = _is_included(key)

    def end() -> None:
        _include(key, before)

    _include(key, True)
    return end


def _is_included(key: Any) -> bool:
    return bool(torch._C._dispatch_tls_is_dispatch_key_included(key))


def _is_excluded(key: Any) -> bool:
    return bool(torch._C._dispatch_tls_is_dispatch_key_excluded(key))


def _include(key: Any, included: bool) -> None:
    if _is_included(key) != included:
        torch._C._dispatch_tls_set_dispatch_key_included(key, included)


def _exclude(key: Any, excluded: bool) -> None:
    if _is_excluded(key) != excluded:
        torch._C._dispatch_tls_set_dispatch_key_excluded(key, excluded)


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
