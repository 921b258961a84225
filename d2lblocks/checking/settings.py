"""Settings that hold for the whole process, such as PyTorch's default dtype.

What one cell or one answer sets, all code after it feels. So each observation begins with the usual settings, and
ends with those that there were before it. `changes` says what is not usual, for a note that names the cause.
"""

from __future__ import annotations

import contextlib
import operator
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as _module
from torch.utils import _device as _device_mode
from torch.utils import _python_dispatch as _dispatch

MAX_VALUE_LENGTH = 80  # characters of a setting's value in a note
_KEEP = object()  # usual is what there was before: it depends on the machine, or on the notebook


@dataclass(frozen=True)
class Setting:
    """One setting of the process.

    Attributes:
        name: in plain words: ``"the default dtype"``.
        by: what sets it: ``"`torch.set_default_dtype`"``.
        read: gives its value, which can be compared with ``==``.
        write: sets it.
        usual: the value with which answers are observed.
        words: the value in words; empty if it need not be told, because no result depends on it.
    """

    name: str
    by: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    usual: Any
    words: Callable[[Any], str] = str


def _quiet(value: object) -> str:
    return ""


def _on(value: object) -> str:
    return "on"


def _on_off(value: object) -> str:
    return "on" if value else "off"


def _guarded(value: object) -> None:
    """Nothing to write: a context manager in `usual_settings` does it."""


# --- modes --------------------------------------------------------------------------------------------------------


def _function_modes() -> tuple[Any, ...]:
    count = torch._C._len_torch_function_stack()
    return tuple(torch._C._get_function_stack_at(k) for k in range(count)) if count else ()


def _set_function_modes(modes: tuple[Any, ...]) -> None:
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


def _dispatch_modes() -> tuple[tuple[Any, ...], tuple[bool, ...]]:
    count = torch._C._len_torch_dispatch_stack()
    modes = tuple(torch._C._get_dispatch_stack_at(k) for k in range(count)) if count else ()
    return modes, _flags(vars(_dispatch))


def _set_dispatch_modes(value: tuple[tuple[Any, ...], tuple[bool, ...]]) -> None:
    modes, flags = value
    while torch._C._len_torch_dispatch_stack():
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes:
        torch._C._push_on_torch_dispatch_stack(mode)
    vars(_dispatch).update(zip(_FLAGS, flags, strict=True))
    torch._C._dynamo.guards.set_is_in_mode_without_ignore_compile_internals(flags[-1])


def _mode_names(modes: tuple[Any, ...]) -> str:
    return ", ".join(type(mode).__name__ for mode in modes)


# The mode that `torch.set_default_device` puts on the stack is noted in two more places.
def _device() -> tuple[Any, torch.device | None]:
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None), _device_mode.CURRENT_DEVICE


def _set_device(value: tuple[Any, torch.device | None]) -> None:
    torch._GLOBAL_DEVICE_CONTEXT.device_context, _device_mode.CURRENT_DEVICE = value


def _device_name(value: tuple[Any, torch.device | None]) -> str:
    _, device = value
    return "" if device is None or device.type == "cpu" else str(device)


# --- hooks of all modules, and what PyTorch defines ---------------------------------------------------------------

_HOOKS: tuple[dict[Any, Any], ...] = tuple(
    hooks for name, hooks in vars(_module).items() if name.startswith("_global_") and isinstance(hooks, dict)
)


def _hooks() -> tuple[dict[Any, Any], ...]:
    return tuple(map(dict, _HOOKS)) if any(_HOOKS) else ()


def _set_hooks(value: tuple[dict[Any, Any], ...]) -> None:
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


def _replaced() -> dict[tuple[str, str], Any]:
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


def _replace(value: Mapping[tuple[str, str], Any]) -> None:
    for key in {**_replaced(), **value}:
        owner, name = key
        then = value.get(key, _DEFINED[owner][name])
        if then is _GONE:
            delattr(_OWNERS[owner], name)
        else:
            setattr(_OWNERS[owner], name, then)


def _paths(value: Mapping[tuple[str, str], Any]) -> str:
    return ", ".join(f"{owner}.{name}" for owner, name in value)


# --- numbers and texts --------------------------------------------------------------------------------------------

_TINY = 5e-324


def _flushes_denormals() -> bool:
    return _TINY * 1.0 == 0.0


def _set_flush_denormals(value: bool) -> None:
    torch.set_flush_denormal(value)


def _autocast() -> tuple[bool, torch.dtype, bool]:
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_autocast_cache_enabled(),
    )


def _set_autocast(value: tuple[bool, torch.dtype, bool]) -> None:
    enabled, dtype, cache = value
    torch.set_autocast_enabled("cpu", enabled)
    torch.set_autocast_dtype("cpu", dtype)
    torch.set_autocast_cache_enabled(cache)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(value: tuple[bool, bool]) -> None:
    # Not by `torch.use_deterministic_algorithms`, which imports a compiler.
    torch._C._set_deterministic_algorithms(value[0], warn_only=value[1])


def _set_anomaly(value: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*value)


def _conversion() -> tuple[bool, bool]:
    return (
        torch.__future__.get_overwrite_module_params_on_conversion(),
        torch.__future__.get_swap_module_params_on_conversion(),
    )


def _set_conversion(value: tuple[bool, bool]) -> None:
    torch.__future__.set_overwrite_module_params_on_conversion(value[0])
    torch.__future__.set_swap_module_params_on_conversion(value[1])


def _errors_of_warnings() -> bool:
    return ("error", None, Warning, None, 0) in warnings.filters


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _set_cwd(value: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(value)


_PRINTING: dict[str, Any] = vars(torch._tensor_str.PRINT_OPTS)


def _set_printing(value: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _PRINTING.update(value[0])
    np.set_printoptions(**value[1])


def _printing() -> tuple[dict[str, Any], dict[str, Any]]:
    return dict(_PRINTING), {**np.get_printoptions()}


def _set_numpy_errors(value: Any) -> None:
    np.seterr(**value)


# The modes come first: what follows is then set without them.
SETTINGS = (
    Setting(
        "the function modes that are on",
        "a `TorchFunctionMode` that was not switched off",
        _function_modes,
        _set_function_modes,
        (),
        lambda modes: _mode_names(tuple(mode for mode in modes if mode is not _device()[0])),
    ),
    Setting(
        "the dispatch modes that are on",
        "a `TorchDispatchMode` that was not switched off",
        _dispatch_modes,
        _set_dispatch_modes,
        ((), (False, False, False)),
        lambda value: _mode_names(value[0]),
    ),
    Setting("the default device", "`torch.set_default_device`", _device, _set_device, (None, None), _device_name),
    Setting(
        "the default dtype",
        "`torch.set_default_dtype`",
        torch.get_default_dtype,
        torch.set_default_dtype,
        torch.float32,
    ),
    Setting("inference mode", "`torch.inference_mode`", torch.is_inference_mode_enabled, _guarded, False, _on_off),
    Setting("the recording of gradients", "`torch.set_grad_enabled`", torch.is_grad_enabled, _guarded, True, _on_off),
    Setting(
        "autocast",
        "`torch.autocast`",
        _autocast,
        _set_autocast,
        (False, torch.bfloat16, True),
        lambda value: _on_off(value[0]) if value[0] else "",
    ),
    Setting(
        "anomaly detection",
        "`torch.autograd.set_detect_anomaly`",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        _set_anomaly,
        (False, True),
        lambda value: _on_off(value[0]),
    ),
    Setting(
        "deterministic algorithms",
        "`torch.use_deterministic_algorithms`",
        _deterministic,
        _set_deterministic,
        (False, False),
        lambda value: _on_off(value[0]),
    ),
    Setting(
        "the precision of products of float32",
        "`torch.set_float32_matmul_precision`",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        "highest",
    ),
    Setting(
        "the flushing of denormal numbers",
        "`torch.set_flush_denormal`",
        _flushes_denormals,
        _set_flush_denormals,
        False,
        _on_off,
    ),
    Setting(
        "how modules are converted",
        "`torch.__future__`",
        _conversion,
        _set_conversion,
        (False, False),
        _on,
    ),
    Setting(
        "the hooks of all modules",
        "`torch.nn.modules.module.register_module_forward_hook` and its kin",
        _hooks,
        _set_hooks,
        (),
        lambda value: f"{sum(map(len, value))} of them",
    ),
    Setting("what PyTorch defines", "an assignment", _replaced, _replace, {}, _paths),
    Setting(
        "warnings", '`warnings.simplefilter("error")`', _errors_of_warnings, _guarded, False, lambda _: "exceptions"
    ),
    Setting(
        "the recursion limit", "`sys.setrecursionlimit`", sys.getrecursionlimit, sys.setrecursionlimit, _KEEP, _quiet
    ),
    Setting(
        "the number of threads",
        "`torch.set_num_threads`",
        torch.get_num_threads,
        torch.set_num_threads,
        _KEEP,
        _quiet,
    ),
    Setting("printing", "`torch.set_printoptions`", _printing, _set_printing, _printing(), _quiet),
    Setting(
        "numpy's handling of errors",
        "`np.seterr`",
        np.geterr,
        _set_numpy_errors,
        np.geterr(),
        str,
    ),
    Setting("the working folder", "`os.chdir`", _cwd, _set_cwd, _KEEP, _quiet),
)
_USUAL = [setting.usual for setting in SETTINGS]
_OF_THE_MACHINE = ("the recursion limit", "the number of threads")
# Those of Python and of the libraries. A filter that turns warnings into exceptions is somebody's own.
_FILTERS = [each for each in warnings.filters if each[0] != "error"]
_random_numbers = np.random.MT19937(0)
_numpy_random: Any = np.random  # its types leave out the functions that exchange the generator


def take_machine_as_usual() -> None:
    """From now on, the number of threads and the recursion limit of this moment are usual, too.

    For a process that runs nothing but a notebook, before its first cell.
    """
    for place, setting in enumerate(SETTINGS):
        if setting.name in _OF_THE_MACHINE:
            _USUAL[place] = setting.read()


def read() -> list[Any]:
    """The values of `SETTINGS` at this moment."""
    return [setting.read() for setting in SETTINGS]


def changes(since: list[Any] | None = None) -> dict[str, str]:
    """Which settings are not usual.

    Args:
        since: what `read` gave before; a setting that was the same then is left out.

    Returns:
        The setting's name, and its value in words.
    """
    return _changes(read(), since or _USUAL)


def _changes(values: list[Any], since: list[Any]) -> dict[str, str]:
    told = {
        setting.name: setting.words(now)
        for setting, now, before, usual in zip(SETTINGS, values, since, _USUAL, strict=True)
        if usual is not _KEEP and now != usual and now != before
    }
    return {name: words[:MAX_VALUE_LENGTH] for name, words in told.items() if words}


_BY = {setting.name: setting.by for setting in SETTINGS}


def in_words(who: str, changed: Mapping[str, object]) -> str:
    """A sentence that says who has changed what; empty if nothing was changed.

    Args:
        who: ``"The cell of `my_linear`"``.
        changed: what `changes` gave; or what a stranger says that it gave, so other names are left out.
    """
    parts = [
        f"{name} ({''.join(filter(_is_harmless, value))[:MAX_VALUE_LENGTH]}, by {_BY[name]})"
        for name, value in changed.items()
        if name in _BY and isinstance(value, str)
    ]
    if not parts:
        return ""
    return (
        f"{who} changes {' and '.join(parts)}, for all code that runs after it. "
        "Each check begins with the usual settings, whatever was set before."
    )


def _is_harmless(character: str) -> bool:
    return character.isalnum() or character in " ._,-'{}:"


def _put(now: list[Any], then: list[Any]) -> None:
    for setting, one, other in zip(SETTINGS, now, then, strict=True):
        if other is not _KEEP and one is not other and one != other:
            setting.write(other)


@contextlib.contextmanager
def usual_settings() -> Iterator[dict[str, str]]:
    """Run with the usual settings, and give back those that there were, with the random numbers.

    Yields:
        A dict, in which afterwards stands what was changed inside: the setting's name, and its value in words.
    """
    left: dict[str, str] = {}
    before = read()
    torch_state = torch.get_rng_state()
    python_state = random.getstate()
    numpy_generator = _numpy_random.get_bit_generator()
    # It also lets gradients be recorded, and gives both back.
    with torch._C._InferenceMode(False), warnings.catch_warnings():
        warnings.filters[:] = _FILTERS  # type: ignore[index]
        _numpy_random.set_bit_generator(_random_numbers)
        _put(before, _USUAL)
        try:
            yield left
        finally:
            after = read()
            left.update(_changes(after, _USUAL))
            _put(after, before)
            _numpy_random.set_bit_generator(numpy_generator)
            random.setstate(python_state)
            torch.set_rng_state(torch_state)
