"""Observe: run a student's answer on a case and write down what is seen, without any idea of right and wrong.

A probe takes an answer (the student's class or function) and a `Case` and returns an observation. `observe` runs a
probe on an answer that may misbehave in any way: whatever it raises becomes part of the observation, what it
prints is caught, and it is stopped when its time is up.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import linecache
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from d2lblocks.checking.cases import Case
from d2lblocks.checking.observations import BadObservation, Observation, decode_observation, encode

Probe = Callable[[Any, Case], Observation]

_OWN_FOLDERS = (str(Path(__file__).parent), str(Path(torch.__file__).parent))


# --- the parts of which probes are made ---------------------------------------------------------------------------


def build(answer: Any, case: Case, *, all_of_state: bool = True) -> Any:
    """Make the module of a case, cast it, and load its state by name.

    The numbers go into whatever tensor has the name, registered or not, of the right dtype or not: whether it is
    registered and cast is another probe's concern, and a mistake should cost its own points only.

    Args:
        answer: the student's class or function.
        case: what to build.
        all_of_state: whether every name of the state must be there; otherwise what fits is loaded.

    Raises:
        AttributeError: the module has no tensor of a name in the state.
        ValueError: it has one of another shape.
    """
    torch.default_generator.manual_seed(case.seed)
    module = eval(case.build, {"answer": answer, "nn": nn, "torch": torch})
    if isinstance(module, nn.Module) and case.dtype != "float32":  # not cast where a right answer needs no cast
        module = module.to(getattr(torch, case.dtype))
    for name, numbers in case.state.items():
        try:
            _load(module, name, numbers)
        except (AttributeError, ValueError):
            if all_of_state:
                raise
    return module


def _load(module: Any, path: str, numbers: Tensor) -> None:
    parent_path, _, name = path.rpartition(".")
    try:
        parent = attrgetter(parent_path)(module) if parent_path else module
        target = getattr(parent, name)
    except AttributeError:
        raise AttributeError(f"the layer has no `{path}`") from None
    if not isinstance(target, Tensor):
        raise AttributeError(f"`{path}` is a {type(target).__name__}, not a tensor")
    if target.shape != numbers.shape:
        raise ValueError(f"`{path}` has shape {tuple(target.shape)}, not {tuple(numbers.shape)}")
    registered = isinstance(target, nn.Parameter) or name in getattr(parent, "_buffers", ())
    if registered or target.dtype == numbers.dtype:
        target.data.copy_(numbers)
    else:  # a plain tensor, which no cast has reached
        setattr(parent, name, numbers.clone().requires_grad_(target.requires_grad))


def call(module: Any, case: Case, inputs: tuple[Tensor, ...] | None = None) -> Any:
    """Call the module on copies of the case's inputs, or on those given."""
    torch.default_generator.manual_seed(case.seed)
    return module(*(_fresh_inputs(case) if inputs is None else inputs))


def call_for_tensor(module: Any, case: Case, inputs: tuple[Tensor, ...] | None = None) -> Tensor:
    """`call`, where the probe goes on to compute with the result.

    Raises:
        TypeError: the result is not a tensor.
    """
    output = call(module, case, inputs)
    if not isinstance(output, Tensor):
        raise TypeError(f"the call returned {'None' if output is None else type(output).__name__}, not a tensor")
    return output


def _fresh_inputs(case: Case, *, requires_grad: bool = False) -> tuple[Tensor, ...]:
    return tuple(
        t.clone().requires_grad_(requires_grad and (t.is_floating_point() or t.is_complex())) for t in case.inputs
    )


def _tensors_of(module: nn.Module, case: Case) -> dict[str, Tensor]:
    """Everything that might be trained: registered parameters, and plain tensors that stand under a state's name."""
    found: dict[str, Tensor] = dict(module.named_parameters())
    for name in case.state:
        found.setdefault(name, attrgetter(name)(module))
    return {name: t for name, t in found.items() if isinstance(t, Tensor)}


# --- the probes ---------------------------------------------------------------------------------------------------


def values(answer: Any, case: Case) -> Observation:
    """What the module returns, and what sort of object it is."""
    module = build(answer, case)
    kind = "nn.Module" if isinstance(module, nn.Module) else type(module).__name__
    return {"output": call(module, case), "kind of object": kind}


def gradients(answer: Any, case: Case) -> Observation:
    """The gradient that each input and each parameter receives from a fixed random direction of the output."""
    module = build(answer, case)
    # Before the call: what an optimizer would hold, even if the call puts something else in its place.
    tensors = _tensors_of(module, case) if isinstance(module, nn.Module) else {}
    inputs = _fresh_inputs(case, requires_grad=True)
    output = call_for_tensor(module, case, inputs)
    generator = torch.Generator().manual_seed(case.seed + 1)
    direction = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    if output.requires_grad:
        (output * direction).sum().backward()
    return {
        **{f"gradient of input {i}": t.grad for i, t in enumerate(inputs)},
        **{f"gradient of `{name}`": t.grad for name, t in tensors.items()},
    }


def parameters(answer: Any, case: Case) -> Observation:
    """What the module has registered, after a call: parameters and buffers, with their shapes."""
    module = build(answer, case, all_of_state=False)
    with contextlib.suppress(Exception):  # what a call changes is seen here; that it fails is seen by others
        call(module, case)
    named = list(module.named_parameters())
    return {
        **{f"parameter `{name}`": list(p.shape) for name, p in named},
        **{f"buffer `{name}`": list(b.shape) for name, b in module.named_buffers()},
        **{f"requires_grad of `{name}`": p.requires_grad for name, p in named},
    }


def _distance(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors; nan if one entry is."""
    return float((one.detach() - other.detach()).abs().max()) if one.numel() else 0.0


def round_trip(answer: Any, case: Case) -> Observation:
    """Whether the numbers survive: how far a second module that has loaded the state dict is from the first."""
    first = build(answer, case, all_of_state=False)
    saved = first.state_dict()
    second = build(answer, replace(case, state={}, seed=case.seed + 1))
    second.load_state_dict(saved)
    return {
        "list of keys in the state dict": sorted(saved),
        "change of the output by saving and loading": _distance(
            call_for_tensor(first, case), call_for_tensor(second, case)
        ),
    }


def double(answer: Any, case: Case) -> Observation:
    """What `.double()` reaches, and what the module then gives for float64 input."""
    single = replace(case, dtype="float32", state={name: t.float() for name, t in case.state.items()})
    module = build(answer, single, all_of_state=False).double()
    inputs = tuple(t.double() if t.is_floating_point() else t for t in _fresh_inputs(case))
    output = call_for_tensor(module, case, inputs)
    return {
        "set of dtypes in the state dict": [*sorted({str(t.dtype) for t in module.state_dict().values()})],
        "dtype of the output": str(output.dtype),
    }


def side_effects(answer: Any, case: Case) -> Observation:
    """What a call leaves behind: in its input, in the next call, in a deep copy, and in evaluation mode."""
    module = build(answer, case, all_of_state=False)
    inputs = _fresh_inputs(case)
    first = call_for_tensor(module, case, inputs).detach().clone()
    copied = copy.deepcopy(module)
    return {
        "change of the input": max((_distance(a, b) for a, b in zip(inputs, case.inputs, strict=True)), default=0.0),
        "change of the output at a second call": _distance(call_for_tensor(module, case), first),
        "change of the output in a deep copy": _distance(call_for_tensor(copied, case), first),
        "change of the output in evaluation mode": _distance(
            call_for_tensor(copied.eval() if isinstance(copied, nn.Module) else copied, case), first
        ),
    }


PROBES: dict[str, Probe] = {
    probe.__name__: probe for probe in (values, gradients, parameters, round_trip, double, side_effects)
}


# --- observing somebody else's program ----------------------------------------------------------------------------


class _OutOfTime(BaseException):
    """Not an `Exception`, so that ``except Exception`` in an answer does not swallow it."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTime` in this thread after some seconds. Only the main thread of a Unix process can do that."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    # The second and later alarms catch an answer that was inside an `except:` when the first one came.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _nobody_answers() -> Iterator[None]:
    """Make `input` and `breakpoint` fail at once: in a notebook they would wait for an answer that cannot come."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("an answer must not wait for input")

    before = builtins.input, sys.breakpointhook
    builtins.input, sys.breakpointhook = refuse, refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.input, sys.breakpointhook = before


def observe(answer: Any, probe: str, case: Case, seconds: float = 2.0) -> tuple[Observation, str]:
    """Run a probe on an answer that may do anything.

    Args:
        answer: the student's class or function.
        probe: the name of a probe in `PROBES`.
        case: what to try it on.
        seconds: how long it may take.

    Returns:
        The observation and what the answer printed. An exception gives an observation with the one key ``"raised"``:
        a dict with `type`, `message` and `line`, the student's line where it came from. Running out of time is
        the type ``"OutOfTime"``.
    """
    printed = io.StringIO()
    observation: Observation
    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        warnings.catch_warnings(),
        _nobody_answers(),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            with _time_limit(seconds):
                observation = decode_observation(encode(PROBES[probe](answer, case)))
        except KeyboardInterrupt:
            raise
        except _OutOfTime:
            observation = {"raised": {"type": "OutOfTime", "message": f"stopped after {seconds:.1f} s", "line": ""}}
        except BadObservation as error:
            observation = {"raised": {"type": "BadObservation", "message": f"{error}", "line": ""}}
        except BaseException as error:  # SystemExit too: nothing that an answer raises may end the grading
            observation = {"raised": _describe(error)}
    return observation, printed.getvalue()


def _describe(error: BaseException) -> Observation:
    try:
        message = str(error)[:300]
    except Exception:
        message = "(its message cannot be read)"
    return {"type": type(error).__name__, "message": message, "line": _students_line(error)}


def _students_line(error: BaseException) -> str:
    """The innermost line that is neither ours nor PyTorch's."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        if not frame.f_code.co_filename.startswith((*_OWN_FOLDERS, "<string>")):
            return linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()[:200]
    return ""
