"""Read and write what holds for the whole process: modes, hooks, and other state of PyTorch, NumPy and Python.

In: nothing, or the value to set. Out: the value now, in a form that can be compared with ``==``. `settings` lists
these functions with their usual values.
"""

from __future__ import annotations

import contextlib
import operator
import os
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as _module
from torch.utils import _device as _device_mode
from torch.utils import _python_dispatch as _dispatch

# --- modes --------------------------------------------------------------------------------------------------------


def function_modes() -> tuple[Any, ...]:
    """The stack of function modes that are on."""
    count = torch._C._len_torch_function_stack()
    return tuple(torch._C._get_function_stack_at(k) for k in range(count)) if count else ()


def set_function_modes(modes: tuple[Any, ...]) -> None:
    """Replace the stack of function modes."""
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


# Flags that a mode sets when it is switched on, apart from the stack.
_FLAGS = (
    "_is_in_torch_dispatch_mode",
    "_is_in_non_infra_torch_dispatch_mode",
    "_is_in_any_mode_without_ignore_compile_internals",
)
_flags = operator.itemgetter(*_FLAGS)


def dispatch_modes() -> tuple[tuple[Any, ...], tuple[bool, ...]]:
    """The stack of dispatch modes that are on, and the flags that they set."""
    count = torch._C._len_torch_dispatch_stack()
    modes = tuple(torch._C._get_dispatch_stack_at(k) for k in range(count)) if count else ()
    return modes, _flags(vars(_dispatch))


def set_dispatch_modes(value: tuple[tuple[Any, ...], tuple[bool, ...]]) -> None:
    """Replace the stack of dispatch modes, and their flags."""
    modes, flags = value
    while torch._C._len_torch_dispatch_stack():
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes:
        torch._C._push_on_torch_dispatch_stack(mode)
    vars(_dispatch).update(zip(_FLAGS, flags, strict=True))
    torch._C._dynamo.guards.set_is_in_mode_without_ignore_compile_internals(flags[-1])


def mode_names(modes: tuple[Any, ...]) -> str:
    """The names of the classes of some modes, for a note."""
    return ", ".join(type(mode).__name__ for mode in modes)


# The mode that `torch.set_default_device` puts on the stack is noted in two more places.
def default_device() -> tuple[Any, torch.device | None]:
    """The mode of the default device, and the device."""
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None), _device_mode.CURRENT_DEVICE


def set_default_device(value: tuple[Any, torch.device | None]) -> None:
    """Set the two places that note the default device; its mode is on the stack of function modes."""
    torch._GLOBAL_DEVICE_CONTEXT.device_context, _device_mode.CURRENT_DEVICE = value


def default_device_name(value: tuple[Any, torch.device | None]) -> str:
    """The default device for a note; empty if it is the CPU."""
    _, device = value
    return "" if device is None or device.type == "cpu" else str(device)


# --- hooks of all modules, and what PyTorch defines ---------------------------------------------------------------

_HOOKS: tuple[dict[Any, Any], ...] = tuple(
    hooks for name, hooks in vars(_module).items() if name.startswith("_global_") and isinstance(hooks, dict)
)


def global_hooks() -> tuple[dict[Any, Any], ...]:
    """The hooks of all modules, by kind; empty if there are none."""
    return tuple(map(dict, _HOOKS)) if any(_HOOKS) else ()


def set_global_hooks(value: tuple[dict[Any, Any], ...]) -> None:
    """Replace the hooks of all modules."""
    for hooks, then in zip(_HOOKS, value or ({},) * len(_HOOKS), strict=True):
        hooks.clear()
        hooks.update(then)


_OWNERS: dict[str, Any] = {"nn": nn, "nn.Module": nn.Module, "nn.Linear": nn.Linear}
_CALLED = ("__call__", "__setattr__", "__getattr__")  # not `__init__`: PyTorch itself replaces it


def _defined(owner: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(owner).items()
        if not isinstance(value, ModuleType) and (not name.startswith("_") or name in _CALLED)
    }


_DEFINED = {owner: _defined(value) for owner, value in _OWNERS.items()}
# All at once, because one by one takes ten times as long.
_FAST = [
    (vars(_OWNERS[owner]), operator.itemgetter(*names), tuple(names.values())) for owner, names in _DEFINED.items()
]
_GONE = object()


def replaced_definitions() -> dict[tuple[str, str], Any]:
    """What PyTorch does not define as it did when this module was imported."""
    with contextlib.suppress(KeyError):
        if all(get(now) == then for now, get, then in _FAST):
            return {}
    return {
        (owner, name): vars(_OWNERS[owner]).get(name, _GONE)
        for owner, names in _DEFINED.items()
        for name, then in names.items()
        if vars(_OWNERS[owner]).get(name, _GONE) is not then
    }


def replace_definitions(value: Mapping[tuple[str, str], Any]) -> None:
    """Restore PyTorch's definitions, apart from these."""
    for key in {**replaced_definitions(), **value}:
        owner, name = key
        then = value.get(key, _DEFINED[owner][name])
        if then is _GONE:
            delattr(_OWNERS[owner], name)
        else:
            setattr(_OWNERS[owner], name, then)


def definition_paths(value: Mapping[tuple[str, str], Any]) -> str:
    """The full names of some definitions, for a note."""
    return ", ".join(f"{owner}.{name}" for owner, name in value)


# --- numbers and texts --------------------------------------------------------------------------------------------

_TINY = 5e-324


def flushes_denormals() -> bool:
    """Whether denormal numbers become 0."""
    return _TINY * 1.0 == 0.0


def set_flush_denormals(value: bool) -> None:
    """Set whether denormal numbers become 0."""
    torch.set_flush_denormal(value)


def autocast() -> tuple[bool, torch.dtype, bool]:
    """Whether autocast is on, to which dtype, and whether it has a cache."""
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_autocast_cache_enabled(),
    )


def set_autocast(value: tuple[bool, torch.dtype, bool]) -> None:
    """Set autocast on the CPU."""
    enabled, dtype, cache = value
    torch.set_autocast_enabled("cpu", enabled)
    torch.set_autocast_dtype("cpu", dtype)
    torch.set_autocast_cache_enabled(cache)


def deterministic() -> tuple[bool, bool]:
    """Whether only deterministic algorithms are allowed, and whether others only warn."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def set_deterministic(value: tuple[bool, bool]) -> None:
    """Set whether only deterministic algorithms are allowed."""
    # Not by `torch.use_deterministic_algorithms`, which imports a compiler.
    torch._C._set_deterministic_algorithms(value[0], warn_only=value[1])


def set_anomaly(value: tuple[bool, bool]) -> None:
    """Set whether autograd detects anomalies, and nan among them."""
    torch.autograd.set_detect_anomaly(*value)


def conversion() -> tuple[bool, bool]:
    """How modules replace their parameters when they are cast."""
    return (
        torch.__future__.get_overwrite_module_params_on_conversion(),
        torch.__future__.get_swap_module_params_on_conversion(),
    )


def set_conversion(value: tuple[bool, bool]) -> None:
    """Set how modules replace their parameters when they are cast."""
    torch.__future__.set_overwrite_module_params_on_conversion(value[0])
    torch.__future__.set_swap_module_params_on_conversion(value[1])


def warnings_are_errors() -> bool:
    """Whether every warning is raised as an exception."""
    return ("error", None, Warning, None, 0) in warnings.filters


def cwd() -> str:
    """The working folder; empty if it was deleted."""
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def set_cwd(value: str) -> None:
    """Change the working folder, if it still exists."""
    with contextlib.suppress(OSError):
        os.chdir(value)


_PRINTING: dict[str, Any] = vars(torch._tensor_str.PRINT_OPTS)


def set_printing(value: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Set how PyTorch and NumPy print numbers."""
    _PRINTING.update(value[0])
    np.set_printoptions(**value[1])


def printing() -> tuple[dict[str, Any], dict[str, Any]]:
    """How PyTorch and NumPy print numbers."""
    return dict(_PRINTING), {**np.get_printoptions()}


def set_numpy_errors(value: Any) -> None:
    """Set how NumPy handles floating-point errors."""
    np.seterr(**value)
