"""What tests share: the process. A test that changes it fails itself, and not those that come after it.

`tests/conftest.py` takes both parts into every test.
"""

from __future__ import annotations

import builtins
import os
import signal
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

# What pytest changes between the parts of a test, and what libraries set when they are imported or first used.
_NOT_OURS = ("PYTEST_", "TORCH", "PYTORCH_", "TRITON_", "KMP_", "OMP_", "MKL_", "PYDEVD_", "JUPYTER_", "JPY_", "MPL")
_SIGNALS = ("SIGALRM", "SIGPROF", "SIGVTALRM")


def _handlers() -> dict[str, object]:
    """Who answers the signals of timers. The handler of our time limits stays, and does nothing when none is on."""
    found = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS}
    ours = "d2lblocks.checking.limits"
    return {name: signal.SIG_DFL if getattr(h, "__module__", "") == ours else h for name, h in found.items()}


def _environment() -> dict[str, object]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}


def _torch() -> dict[str, object]:
    """The settings of PyTorch, if it was imported; else those that it has at first."""
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "get_default_device"):
        return {"dtype": "torch.float32", "device": "cpu", "gradients": True, "dispatch modes": 0}
    return {
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
    }


def state() -> dict[str, dict[str, object]]:
    """What a test must leave as it was, by kind and name."""
    return {
        "working directory": {"": os.getcwd()},
        "environment variable": _environment(),
        "handler of signal": _handlers(),
        "timer": {name: signal.getitimer(getattr(signal, name)) for name in ("ITIMER_REAL", "ITIMER_PROF")},
        "setting of torch:": _torch(),
        "built-in": {"input": builtins.input, "print": builtins.print, "__import__": builtins.__import__},
        "module": {"__main__": id(sys.modules.get("__main__"))},
    }


def half_made() -> list[str]:
    """Modules whose import was interrupted."""
    specs = {name: getattr(module, "__dict__", {}).get("__spec__") for name, module in [*sys.modules.items()]}
    return sorted(name for name, spec in specs.items() if getattr(spec, "_initializing", False))


def _put_back(before: dict[str, dict[str, object]]) -> None:
    """What can be put back, so that the next test begins well."""
    os.chdir(str(before["working directory"][""]))
    variables = before["environment variable"]
    for name in _environment().keys() - variables.keys():
        del os.environ[name]
    os.environ.update({name: str(value) for name, value in variables.items()})
    for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    now: Any = _handlers()
    for name, handler in before["handler of signal"].items():
        if now[name] != handler and handler is not None:
            signal.signal(getattr(signal, name), handler)  # type: ignore[arg-type]
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_default_dtype(getattr(torch, str(before["setting of torch:"]["dtype"]).removeprefix("torch.")))
        torch.set_default_device(None if before["setting of torch:"]["device"] == "cpu" else "meta")
        torch.set_grad_enabled(bool(before["setting of torch:"]["gradients"]))
    vars(builtins).update(before["built-in"])


@pytest.fixture(autouse=True)
def the_process_stays_as_it_was() -> Iterator[None]:
    """Fail the test that changes what all tests in the process share, and put it back."""
    before, modules = state(), len(sys.modules)
    yield
    after = state()
    changed = [
        f"{kind} {name}".strip() + f": {before[kind].get(name)!r} became {after[kind].get(name)!r}"
        for kind in before
        for name in sorted(before[kind].keys() | after[kind].keys())
        if before[kind].get(name) != after[kind].get(name)
    ]
    if len(sys.modules) != modules:
        changed += [f"module {name} is imported by half" for name in half_made()]
        for name in half_made():
            del sys.modules[name]
    if changed:
        _put_back(before)
        pytest.fail("the test leaves the process changed:\n  " + "\n  ".join(changed), pytrace=False)


_said: dict[tuple[object, ...], str] = {}  # where each error of a fixture was said first


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say the error of what tests share in full for the first of them; for the others, in a line, where that was."""
    report = yield
    if call.when == "setup" and report.failed and call.excinfo is not None:
        error = call.excinfo.value
        last = call.excinfo.traceback[-1]
        first = _said.setdefault((type(error), str(error), str(last.path), last.lineno), item.nodeid)
        if first != item.nodeid:
            said = (str(error).splitlines() or [""])[0][:100]
            report.longrepr = f"not run, because of the error at {first}: {type(error).__name__}: {said}"
    return report
