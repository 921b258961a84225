"""The probes: run an answer on a case and observe it, without any idea of right and wrong.

In: an answer (the student's class or function), a `Case` and options. Out: an observation, under the keys that
`labels` explains. `runner.observe` runs a probe, and isolates the rest from what an answer does.

The option `by` of many probes says how an answer's tensors are identified: ``"name"`` where the exercise fixes
their names, ``"order"`` where it fixes only the order, ``"part"`` for the modules that the case itself made, and
``"none"`` where the exercise leaves them to the answer. Left out, it is ``"part"`` if the case has parts, else
``"name"``.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from d2lblocks.checking.calling import (
    along_a_direction,
    call,
    call_for_tensors,
    detached,
    distance,
    evaluating,
    fresh_inputs,
)
from d2lblocks.checking.case import Built, Case, build
from d2lblocks.checking.observation import Observation, Value
from d2lblocks.inspection import ops

Probe = Callable[..., Observation]


def values(answer: Any, case: Case, kind: str = "") -> Observation:
    """What the module returns, and what kind of object it is.

    Args:
        answer: the student's.
        case: the case.
        kind: the name of a class in `nn`: also observe whether the module is an instance of it.
    """
    module = build(answer, case).module
    sort = "nn.Module" if isinstance(module, nn.Module) else type(module).__name__
    observed: Observation = {"output": call(module, case), "kind": sort}
    if kind:
        observed[f"is.{kind}"] = isinstance(module, getattr(nn, kind))
    return observed


def gradients(answer: Any, case: Case, by: str = "") -> Observation:
    """The gradient that each input and each parameter receives from a fixed random direction of the output."""
    built = build(answer, case)
    # Before the call: what an optimizer would hold, even if the call puts something else in its place.
    tensors: dict[str, Tensor] = {}
    if isinstance(built.module, nn.Module):
        tensors.update(built.parameters(by))
        if built.identified_by(by) == "name":
            for path in case.state:  # also a plain tensor or a buffer where a parameter should be
                tensors.setdefault(path, built.at(path))
    inputs = fresh_inputs(case, requires_grad=True)
    total = along_a_direction(call_for_tensors(built.module, case, inputs), case.seed)
    if total is not None:
        total.backward()
    return {
        **{f"gradient.input.{i}": t.grad for i, t in enumerate(inputs)},
        # A tensor that was computed (`nn.Parameter(t) * 0.01`) keeps no gradient, and warns if it is asked for one.
        **{f"gradient.parameter.{name}": t.grad if t.is_leaf else None for name, t in tensors.items()},
    }


def parameters(answer: Any, case: Case, by: str = "") -> Observation:
    """What the module has registered, after a call: parameters and buffers, with their shapes."""
    built = build(answer, case, all_of_state=False)
    module = built.module
    with contextlib.suppress(Exception):  # what a call changes is observed here; that it fails, by other probes
        call(module, case)
    if built.identified_by(by) == "part":
        registered = {id(p): p for p in module.parameters()}
        known = built.parameters("part")
        inside = {id(t) for t in (*known.values(), *built.buffers("part").values())}
        return {
            **{f"registered.{n}": id(p) in registered for n, p in known.items()},
            "other_parameters": [list(p.shape) for i, p in registered.items() if i not in inside],
            "other_buffers": [list(b.shape) for b in module.buffers() if id(b) not in inside],
        }
    own, buffers = built.parameters(by), built.buffers(by)
    return {
        **{f"parameter.{name}": list(p.shape) for name, p in own.items()},
        **{f"buffer.{name}": list(b.shape) for name, b in buffers.items()},
        **{f"requires_grad.{name}": p.requires_grad for name, p in own.items()},
    }


def round_trip(answer: Any, case: Case, by: str = "") -> Observation:
    """Whether the numbers survive: how far a second module that has loaded the state dict is from the first.

    Both are called once in training, so that running statistics move, and compared in evaluation mode.
    """
    first = build(answer, case, all_of_state=False)
    call(first.module, case)
    saved = copy.deepcopy(first.module.state_dict())
    second = build(answer, replace(case, state={}, seed=case.seed + 1))
    second.module.load_state_dict(saved)
    keys: Observation = {"state_dict.keys": sorted(saved)} if first.identified_by(by) == "name" else {}
    return {
        **keys,
        "change.saved": distance(
            call_for_tensors(evaluating(first).module, case), call_for_tensors(evaluating(second).module, case)
        ),
    }


def double(answer: Any, case: Case) -> Observation:
    """What `.double()` reaches, and what the module then gives for float64 input."""
    single = replace(case, dtype="float32", state={name: t.float() for name, t in case.state.items()})
    module = build(answer, single, all_of_state=False).module.double()
    inputs = tuple(t.double() if t.is_floating_point() else t for t in fresh_inputs(case))
    outputs = call_for_tensors(module, case, inputs)
    return {
        "state_dict.dtypes": [*sorted({str(t.dtype) for t in module.state_dict().values()})],
        "dtype.output": ", ".join(str(output.dtype) for output in outputs),
    }


def side_effects(answer: Any, case: Case) -> Observation:
    """What a call changes: its input, the next call, a deep copy, and the output in evaluation mode."""
    built = build(answer, case, all_of_state=False)
    inputs = fresh_inputs(case)
    first = detached(call_for_tensors(built.module, case, inputs))
    copied = copy.deepcopy(built.module)
    return {
        "change.input": distance(inputs, case.inputs),
        "change.second_call": distance(call_for_tensors(built.module, case), first),
        "change.deepcopy": distance(call_for_tensors(copied, case), first),
        "change.evaluation": distance(call_for_tensors(evaluating(Built(copied, {})).module, case), first),
    }


def modes(answer: Any, case: Case) -> Observation:
    """Two calls in training mode, then two in evaluation mode: the outputs, and the buffers after each.

    The second call of each mode gets the input plus 1, so that the next output shows what a call has changed.
    """
    built = build(answer, case)
    observed: Observation = {}
    for mode in ("training", "evaluation"):
        built.module.train(mode == "training")
        for number, shift in enumerate((0, 1), start=1):
            moved = [t + shift if t.is_floating_point() else t for t in fresh_inputs(case)]
            observed[f"{mode}.{number}.output"] = [*detached(call_for_tensors(built.module, case, moved))]
            for name, buffer in built.buffers().items():
                observed[f"{mode}.{number}.buffer.{name}"] = buffer.clone()
    active = [m for m in {id(m): m for whole in built.modules for m in whole.modules()}.values() if m.training]
    observed["still_training"] = len(active)
    return observed


def optimizer(answer: Any, case: Case, by: str = "") -> Observation:
    """What two steps of gradient descent change: every parameter and buffer, and the output afterwards."""
    built = build(answer, case)
    tensors: dict[str, Tensor] = {
        **{f"trained.parameter.{name}": p for name, p in built.parameters(by).items()},
        **{f"trained.buffer.{name}": b for name, b in built.buffers(by).items()},
    }
    trained = list(built.module.parameters())
    for _ in range(2):  # without torch.optim, which takes more than a second to import
        built.module.zero_grad()
        total = along_a_direction(call_for_tensors(built.module, case), case.seed)
        if total is not None:
            total.backward()
        with torch.no_grad():
            for parameter in trained:
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
    return {
        **{key: t.detach().clone() for key, t in tensors.items()},
        "trained.output": [*detached(call_for_tensors(evaluating(built).module, case))],
    }


def batch(answer: Any, case: Case) -> Observation:
    """How far the output for a batch is from the outputs for its samples, each on its own."""
    module = build(answer, case).module
    whole = call_for_tensors(module, case)
    alone = [
        call_for_tensors(module, case, [t[i : i + 1] for t in fresh_inputs(case)]) for i in range(len(case.inputs[0]))
    ]
    together = [torch.cat(members) for members in zip(*alone, strict=True)]
    return {"batch.difference": distance(whole, together)}


def sharing(answer: Any, case: Case) -> Observation:
    """How many parameters there are, and which are one and the same."""
    module = build(answer, case).module
    once = list(module.parameters())
    memory = [p.untyped_storage().data_ptr() for p in once]
    return {
        "count.parameters": len(once),
        "count.names": len(list(module.named_parameters(remove_duplicate=False))),
        "count.numbers": sum(p.numel() for p in once),
        "count.shared_memory": len(memory) - len(set(memory)),
    }


def hooks(answer: Any, case: Case, of: str = "", by: str = "") -> Observation:
    """How often each sub-module's forward hooks run in one call.

    Args:
        answer: the student's.
        case: the case.
        of: the name of a class in `nn`: only sub-modules of it, identified by their order.
        by: how the sub-modules are identified otherwise, ``"name"`` or ``"part"``.
    """
    built = build(answer, case)
    if of:
        wanted = [m for m in built.module.modules() if isinstance(m, getattr(nn, of))]
        watched = {f"calls.class.{of}.{k}": m for k, m in enumerate(wanted)}
    elif built.identified_by(by) == "part":
        watched = {f"calls.module.{name}": m for name, m in built.parts.items()}
    else:
        watched = {f"calls.module.{name}": m for name, m in built.module.named_modules() if name}
    calls = dict.fromkeys(watched, 0)

    def counting(key: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[key] += 1

        return hook

    handles = [module.register_forward_hook(counting(key)) for key, module in watched.items()]
    try:
        call(built.module, case)
    finally:
        for handle in handles:
            handle.remove()
    return {**calls}


def growth(answer: Any, case: Case, of: str = "operators", times: int = 4) -> Observation:
    """How the cost of a call grows with a size.

    Every input is repeated `times` times along its first dimension. Where the case's `build` makes two modules, a
    small one and one that is `times` times as large, both get the same inputs instead.

    Args:
        answer: the student's.
        case: the case.
        of: ``"operators"`` counts what is dispatched; ``"work"`` adds up floating-point operations (those that
            PyTorch's flop counter knows) and numbers written to memory.
        times: how much larger.
    """
    made = build(answer, case).module
    small, large = made if isinstance(made, tuple) else (made, made)
    inputs = fresh_inputs(case)
    more = inputs if isinstance(made, tuple) else [t.repeat(times, *[1] * (t.dim() - 1)) for t in inputs]
    if of == "operators":
        before, after = (
            ops(lambda m=module, x=given: call(m, case, x)).total
            for module, given in ((small, inputs), (large, more))
        )
        return {f"growth.operators.{times}": max(0, after - before)}
    before, after = _work(lambda: call(small, case, inputs)), _work(lambda: call(large, case, more))
    power = math.log(max(after, 1) / max(before, 1)) / math.log(times)
    return {"growth.power": round(power)}


class _Work(TorchDispatchMode):
    """Adds up, in `total`, floating-point operations and numbers written to memory; views write none."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operations = flop_registry.get(func.overloadpacket)
        if operations is not None:
            self.total += operations(*args, **(kwargs or {}), out_val=result)
        if not func.is_view:
            self.total += sum(t.numel() for t in pytree.tree_leaves(result) if isinstance(t, Tensor))
        return result


# As in `inspection`: PyTorch's wrapper of this method imports a compiler at the first operator.
_Work.__torch_dispatch__ = inspect.unwrap(_Work.__torch_dispatch__)  # type: ignore[method-assign]


def _work(run: Callable[[], object]) -> int:
    with _Work() as work:
        run()
    return work.total


def graphs(answer: Any, case: Case) -> Observation:
    """What `torch.compile(fullgraph=True)` makes of the module, called on each input of the case in turn."""
    module = build(answer, case).module
    traced = 0

    def run_as_it_is(graph: torch.fx.GraphModule, example_inputs: object) -> Callable[..., Any]:
        nonlocal traced
        traced += 1
        return graph.forward

    torch._dynamo.reset()
    # PyTorch measures the cost of each guard for a log that is not read here; this takes half of the time.
    guards: Any = torch._dynamo.guards
    measure = guards.profile_guard_manager
    guards.profile_guard_manager = lambda *_: 0.0
    compiled = torch.compile(module, backend=run_as_it_is, fullgraph=True, dynamic=False)
    broken = ""
    outputs: list[Value] = []
    try:
        outputs = [call(compiled, case, [x]) for x in fresh_inputs(case)]
    except torch._dynamo.exc.TorchDynamoException as error:
        broken = str(error).strip().partition("\n")[0]
    finally:
        guards.profile_guard_manager = measure
        torch._dynamo.reset()
    return {"graph_break": broken or "none", "graphs": traced, "output": outputs}


def initial_values(answer: Any, case: Case, of: Sequence[str] = (), another_seed: bool = False) -> Observation:
    """How a fresh module's numbers are distributed, so coarsely that it is the same for every seed.

    Args:
        answer: the student's.
        case: the case; its state is not loaded.
        of: paths of the tensors to observe, registered or not; all parameters if empty.
        another_seed: whether to observe, too, if a module that is made under another seed has the same numbers.
    """

    def numbers(seed: int) -> dict[str, Tensor]:
        built = build(answer, replace(case, state={}, seed=seed))
        return {path: built.at(path) for path in of} if of else {**built.parameters()}

    tensors = numbers(case.seed)
    observed: Observation = {}
    for name, tensor in tensors.items():
        observed |= _spread(name, tensor.detach().double())
    if another_seed:
        for name, other in numbers(case.seed + 1).items():
            observed[f"same_numbers.{name}"] = torch.equal(tensors[name], other)
    return observed


def _spread(name: str, numbers: Tensor) -> Observation:
    """Statistics of a tensor; those of a matrix in units of 1/√(rows + columns)."""
    is_matrix = numbers.dim() == 2
    scaled = numbers * math.sqrt(sum(numbers.shape)) if is_matrix else numbers
    kind = "scaled_spread" if is_matrix else "spread"
    # As bfloat16, the dtype whose tolerance is 2 %.
    return {
        f"{kind}.smallest.{name}": scaled.min().bfloat16(),
        f"{kind}.largest.{name}": scaled.max().bfloat16(),
        f"{kind}.mean_magnitude.{name}": scaled.abs().mean().bfloat16(),
        f"{kind}.root_mean_square.{name}": scaled.square().mean().sqrt().bfloat16(),
        f"spread.share_positive.{name}": (scaled > 0).double().mean().bfloat16(),
    }


PROBES: dict[str, Probe] = {
    probe.__name__: probe
    for probe in (
        *(values, gradients, parameters, round_trip, double, side_effects, modes, optimizer),
        *(batch, sharing, hooks, growth, graphs, initial_values),
    )
}

# Modules that a probe imports when it is first used, which takes seconds.
NEEDS: dict[str, tuple[str, ...]] = {"graphs": ("torch._dynamo",)}
# Probes that take longer than others, and how many times as long they may take: compiling is slow.
TIMES_AS_LONG: dict[str, int] = {"graphs": 3}
