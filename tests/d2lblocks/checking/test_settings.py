"""Settings of the whole process: each observation begins with the usual ones and gives back those that there were."""

import inspect
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from d2lblocks import check
from d2lblocks.checking.case import Case
from d2lblocks.checking.runner import observe_form
from d2lblocks.checking.settings import (
    MAX_VALUE_LENGTH,
    SETTINGS,
    changes,
    in_words,
    read,
    take_machine_as_usual,
    usual_settings,
)
from tests import ROOT


class Doubling(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 2 if func is torch.ones else result


class Refusing(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise RuntimeError("no operator may run")


# `TorchDispatchMode` wraps this method, and the wrapper imports torch._dynamo.
Refusing.__torch_dispatch__ = inspect.unwrap(Refusing.__torch_dispatch__)  # type: ignore[method-assign]


def replace_linear() -> None:
    nn.Linear = nn.Identity  # type: ignore[assignment, misc]


def replace_call() -> None:
    nn.Module.__call__ = lambda self, *args: torch.zeros(())  # type: ignore[method-assign]


def hook_every_module() -> None:
    def hook(*_: object) -> Any:
        return torch.zeros(())

    register_module_forward_hook(hook)


# What a cell or an answer may do: its words in a note; empty if no result depends on it.
CHANGES = {
    "default dtype": (lambda: torch.set_default_dtype(torch.float64), "the default dtype (torch.float64,"),
    "default tensor type": (
        lambda: torch.set_default_tensor_type(torch.DoubleTensor),
        "the default dtype (torch.float64,",
    ),
    "default device": (lambda: torch.set_default_device("meta"), "the default device (meta,"),
    "device left on": (lambda: torch.device("meta").__enter__(), "the function modes that are on (DeviceContext,"),
    "grad mode": (lambda: torch.set_grad_enabled(False), "the recording of gradients (off,"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "autocast (on,"),
    "anomaly": (lambda: torch.autograd.set_detect_anomaly(True), "anomaly detection (on,"),
    "deterministic": (
        lambda: torch._C._set_deterministic_algorithms(True, warn_only=False),
        "deterministic algorithms (on,",
    ),
    "matmul": (lambda: torch.set_float32_matmul_precision("medium"), "products of float32 (medium,"),
    "denormals": (lambda: torch.set_flush_denormal(True), "the flushing of denormal numbers (on,"),
    "conversion": (
        lambda: torch.__future__.set_overwrite_module_params_on_conversion(True),
        "how modules are converted (on,",
    ),
    "hook of all modules": (
        hook_every_module,
        "the hooks of all modules (1 of them,",
    ),
    "function mode": (lambda: Doubling().__enter__(), "the function modes that are on (Doubling,"),
    "dispatch mode": (lambda: Refusing().__enter__(), "the dispatch modes that are on (Refusing,"),
    "a class of nn": (replace_linear, "what PyTorch defines (nn.Linear,"),
    "nn.Module": (replace_call, "what PyTorch defines (nn.Module.__call__,"),
    "warnings": (lambda: warnings.simplefilter("error"), "warnings (exceptions,"),
    "numpy errors": (lambda: np.seterr(all="raise"), "numpy's handling of errors"),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), ""),
    "recursion limit": (lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 7), ""),
    "printing": (lambda: torch.set_printoptions(precision=1), ""),
    "printing of numpy": (lambda: np.set_printoptions(precision=1), ""),
}


@contextmanager
def given_back() -> Iterator[None]:
    """Whatever happens inside, the tests that follow feel nothing of it."""
    with usual_settings():
        yield


class Mixed(nn.Module):
    """An answer in which every setting would show."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, X):
        warnings.warn("careful", stacklevel=2)
        tiny = torch.tensor(1e-40) * 1.0
        drawn = torch.rand(2) + random.random() + float(np.random.rand())
        return [
            self.inner(X) + torch.ones(2) + drawn,
            tiny,
            torch.linspace(0, 1, 3),
            torch.empty(2).device.type == "cpu",
        ]


CASE = Case("a batch of 2", "answer()", (torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),))


@pytest.fixture(scope="module")
def usual():
    return {probe: observe_form(Mixed, probe, CASE, 60)[0] for probe in ("values", "gradients")}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_cell_has_set_changes_no_observation_and_is_named(name, usual):
    change, words = CHANGES[name]
    with given_back():
        before = read()
        change()
        told = in_words("A cell", changes(before))
        assert words in told if words else not told
        now = read()
        forms = {probe: observe_form(Mixed, probe, CASE, 60)[0] for probe in usual}
        assert read() == now  # observing gives back what there was
    assert forms == usual
    assert not changes()


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_answer_sets_is_given_back_and_named(name, usual):
    change, words = CHANGES[name]

    class Careless(Mixed):
        def forward(self, X):
            result = super().forward(X)
            change()
            return result

    with given_back():
        before = read()
        _, printed = observe_form(Careless, "values", CASE, 60)
        assert read() == before
        assert words in printed if words else "changes" not in printed
        form, printed = observe_form(Mixed, "values", CASE, 60)
        assert form == usual["values"]
        assert "changes" not in printed


def test_inference_mode_that_a_cell_has_left_on_changes_nothing(usual):
    with given_back(), torch.inference_mode():
        assert "inference mode (on," in in_words("A cell", changes())
        form, _ = observe_form(Mixed, "gradients", CASE, 60)
        assert torch.is_inference_mode_enabled()
    assert form == usual["gradients"]


def test_the_random_numbers_of_a_notebook_go_on_as_if_nothing_had_been_observed():
    def drawn():
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()

    def seeded():
        torch.manual_seed(3), np.random.seed(3), random.seed(3)

    with torch.random.fork_rng(devices=[]):
        seeded()
        expected = drawn()
        seeded()
        observe_form(Mixed, "values", CASE, 60)
        assert drawn() == expected


def test_warnings_of_an_answer_are_shown_whatever_a_cell_has_set():
    with given_back():
        warnings.simplefilter("ignore")
        with pytest.warns(UserWarning, match="careful"):
            observe_form(Mixed, "values", CASE, 60)


def test_what_the_machine_has_is_usual_where_only_a_notebook_runs():
    threads = torch.get_num_threads()
    with given_back():
        take_machine_as_usual()
        try:
            torch.set_num_threads(threads + 1)
            with usual_settings():
                assert torch.get_num_threads() == threads
            assert torch.get_num_threads() == threads + 1
        finally:
            torch.set_num_threads(threads)
            take_machine_as_usual()


def test_every_setting_has_a_name_of_its_own():
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_a_forged_change_says_nothing_of_its_own():
    assert not in_words("The cell", {"your marks": "36 of 36", "the default dtype": [], "warnings": {}})
    told = in_words("The cell", {"the default dtype": "<b>`x`</b>" + "y" * 1000})
    assert "<" not in told
    assert told.count("y") <= MAX_VALUE_LENGTH + 5


@pytest.mark.parametrize("name", ["default dtype", "default device", "dispatch mode", "grad mode"])
def test_check_names_what_the_notebook_has_set(name, monkeypatch):
    change, words = CHANGES[name]

    class Centered(nn.Module):
        def forward(self, X):
            return X - X.mean()

    monkeypatch.chdir(ROOT / "exercises" / "custom_layers")
    with given_back():
        change()
        report = check("centered_layer", Centered)
    assert report.passed
    assert f"A cell of this notebook changes {words}" in f"{report.remark}"
    assert report.remark in repr(report)
