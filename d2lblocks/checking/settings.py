"""Settings of the whole process, such as PyTorch's default dtype.

In: a process that cells and answers may have changed. Out: the usual settings for each observation, and afterwards
those that were set before. What one cell or answer sets holds for all code after it, so `changes` says what is not
usual, for a note that names the cause.
"""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from d2lblocks.checking import process_state as state

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
        words: the value in words; empty if no result depends on it, so that it is not reported.
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


# The modes come first: what follows is then set without them.
SETTINGS = (
    Setting(
        "the function modes that are on",
        "a `TorchFunctionMode` that was not switched off",
        state.function_modes,
        state.set_function_modes,
        (),
        lambda modes: state.mode_names(tuple(mode for mode in modes if mode is not state.default_device()[0])),
    ),
    Setting(
        "the dispatch modes that are on",
        "a `TorchDispatchMode` that was not switched off",
        state.dispatch_modes,
        state.set_dispatch_modes,
        ((), (False, False, False)),
        lambda value: state.mode_names(value[0]),
    ),
    Setting(
        "the default device",
        "`torch.set_default_device`",
        state.default_device,
        state.set_default_device,
        (None, None),
        state.default_device_name,
    ),
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
        state.autocast,
        state.set_autocast,
        (False, torch.bfloat16, True),
        lambda value: _on_off(value[0]) if value[0] else "",
    ),
    Setting(
        "anomaly detection",
        "`torch.autograd.set_detect_anomaly`",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        state.set_anomaly,
        (False, True),
        lambda value: _on_off(value[0]),
    ),
    Setting(
        "deterministic algorithms",
        "`torch.use_deterministic_algorithms`",
        state.deterministic,
        state.set_deterministic,
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
        state.flushes_denormals,
        state.set_flush_denormals,
        False,
        _on_off,
    ),
    Setting(
        "how modules are converted",
        "`torch.__future__`",
        state.conversion,
        state.set_conversion,
        (False, False),
        _on,
    ),
    Setting(
        "the hooks of all modules",
        "`torch.nn.modules.module.register_module_forward_hook` and its kin",
        state.global_hooks,
        state.set_global_hooks,
        (),
        lambda value: f"{sum(map(len, value))} of them",
    ),
    Setting(
        "what PyTorch defines",
        "an assignment",
        state.replaced_definitions,
        state.replace_definitions,
        {},
        state.definition_paths,
    ),
    Setting(
        "warnings",
        '`warnings.simplefilter("error")`',
        state.warnings_are_errors,
        _guarded,
        False,
        lambda _: "exceptions",
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
    Setting(
        "printing",
        "`torch.set_printoptions`",
        state.printing,
        state.set_printing,
        state.printing(),
        _quiet,
    ),
    Setting(
        "numpy's handling of errors",
        "`np.seterr`",
        np.geterr,
        state.set_numpy_errors,
        np.geterr(),
        str,
    ),
    Setting("the working folder", "`os.chdir`", state.cwd, state.set_cwd, _KEEP, _quiet),
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
    in_plain_words = {
        setting.name: setting.words(now)
        for setting, now, before, usual in zip(SETTINGS, values, since, _USUAL, strict=True)
        if usual is not _KEEP and now != usual and now != before
    }
    return {name: words[:MAX_VALUE_LENGTH] for name, words in in_plain_words.items() if words}


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
        A dict that afterwards holds what was changed inside: the setting's name, and its value in words.
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
