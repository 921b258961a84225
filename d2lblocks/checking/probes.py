"""The probes: run a student's answer on a case and write down what is seen, without any idea of right and wrong.

A probe takes an answer (the student's class or function), a `Case` and options, and returns an observation. It is
run by `observe`, which sees to it that nothing which an answer does gets out.

The option `by` of many probes says how an answer's tensors are told apart: ``"name"`` where the exercise fixes
their names, ``"order"`` where it fixes only the order, ``"part"`` for the modules that the case itself made, and
``"none"`` where they are the answer's own affair. Left out, it is ``"part"`` if the case has parts, else ``"name"``.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from d2lblocks.checking.case import Built, Case, build, seed_everything
from d2lblocks.checking.observation import Observation, Value
from d2lblocks.inspection import ops

Probe = Callable[..., Observation]


# --- the parts of which probes are made ---------------------------------------------------------------------------


def fresh_inputs(case: Case, *, requires_grad: bool = False) -> tuple[Tensor, ...]:
    """Copies of a case's inputs."""
    return tuple(
        t.clone().requires_grad_(requires_grad and (t.is_floating_point() or t.is_complex())) for t in case.inputs
    )


def call(module: Any, case: Case, inputs: Sequence[Tensor] | None = None) -> Any:
    """Call the module on copies of the case's inputs, or on those given."""
    seed_everything(case.seed)
    return module(*(fresh_inputs(case) if inputs is None else inputs))


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors in what a call returned: it may be a tensor, or tuples, lists and dicts of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, list | tuple):
        for member in output:
            yield from tensors_in(member)
    elif isinstance(output, dict):
        for member in output.values():
            yield from tensors_in(member)


def call_for_tensors(module: Any, case: Case, inputs: Sequence[Tensor] | None = None) -> list[Tensor]:
    """`call`, where the probe goes on to compute with the result.

    Raises:
        TypeError: there is no tensor in the result.
    """
    output = call(module, case, inputs)
    found = list(tensors_in(output))
    if not found:
        raise TypeError(f"the call returned {'None' if output is None else type(output).__name__}, not a tensor")
    return found


def along_a_direction(outputs: Sequence[Tensor], seed: int) -> Tensor | None:
    """A number to differentiate: the outputs, weighted by fixed random numbers. None if nothing is on record."""
    generator = torch.Generator().manual_seed(seed + 1)
    total = None
    for output in outputs:
        direction = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        if output.requires_grad:
            if output.is_complex():  # both parts count, with weights of their own
                other = torch.randn(output.shape, generator=generator, dtype=torch.float64)
                term = (output.real * direction).sum() + (output.imag * other).sum()
            else:
                term = (output * direction.to(output.dtype)).sum()
            total = term if total is None else total + term
    return total


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """The largest difference between two lists of tensors, as a number of their dtype.

    It is nan if one entry is, and infinite if the shapes differ.
    """
    if any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
        return torch.tensor(math.inf)
    gaps = [(a.detach() - b.detach()).abs().max() for a, b in zip(one, other, strict=True) if a.numel() and b.numel()]
    return torch.stack(gaps).max() if gaps else torch.zeros(())


def detached(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Copies that nothing which happens later can change."""
    return [output.detach().clone() for output in outputs]


def evaluating(built: Built) -> Built:
    """Switch to evaluation mode; what the module knows only."""
    if isinstance(built.module, nn.Module):
        built.module.eval()
    return built


# --- the probes ---------------------------------------------------------------------------------------------------


def values(answer: Any, case: Case, kind: str = "") -> Observation:
    """What the module returns, and what it is; with `kind`, also whether it is one of that class of `nn`."""
    module = build(answer, case).module
    sort = "nn.Module" if isinstance(module, nn.Module) else type(module).__name__
    seen: Observation = {"output": call(module, case), "kind of object": sort}
    if kind:
        seen[f"answer to whether it is an nn.{kind}"] = isinstance(module, getattr(nn, kind))
    return seen


def gradients(answer: Any, case: Case, by: str = "") -> Observation:
    """The gradient that each input and each parameter receives from a fixed random direction of the output."""
    built = build(answer, case)
    # Before the call: what an optimizer would hold, even if the call puts something else in its place.
    tensors: dict[str, Tensor] = {}
    if isinstance(built.module, nn.Module):
        tensors.update(built.parameters(by))
        if built.told_by(by) == "name":
            for path in case.state:  # also a plain tensor or a buffer that stands where a parameter should
                tensors.setdefault(f"`{path}`", built.at(path))
    inputs = fresh_inputs(case, requires_grad=True)
    total = along_a_direction(call_for_tensors(built.module, case, inputs), case.seed)
    if total is not None:
        total.backward()
    return {
        **{f"gradient of input {i}": t.grad for i, t in enumerate(inputs)},
        # A tensor that was computed (`nn.Parameter(t) * 0.01`) keeps no gradient, and warns if it is asked for one.
        **{f"gradient of {name}": t.grad if t.is_leaf else None for name, t in tensors.items()},
    }


def parameters(answer: Any, case: Case, by: str = "") -> Observation:
    """What the module has registered, after a call: parameters and buffers, with their shapes."""
    built = build(answer, case, all_of_state=False)
    module = built.module
    with contextlib.suppress(Exception):  # what a call changes is seen here; that it fails is seen by others
        call(module, case)
    if built.told_by(by) == "part":
        registered = {id(p): p for p in module.parameters()}
        known = built.parameters("part")
        inside = {id(t) for t in (*known.values(), *built.buffers("part").values())}
        return {
            **{f"answer to whether {n} is a parameter of it": id(p) in registered for n, p in known.items()},
            "list of shapes of other parameters": [list(p.shape) for i, p in registered.items() if i not in inside],
            "list of shapes of other buffers": [list(b.shape) for b in module.buffers() if id(b) not in inside],
        }
    told, buffers = built.parameters(by), built.buffers(by)
    return {
        **{_named("parameter", name): list(p.shape) for name, p in told.items()},
        **{_named("buffer", name): list(b.shape) for name, b in buffers.items()},
        **{f"requires_grad of {name}": p.requires_grad for name, p in told.items()},
    }


def _named(noun: str, name: str) -> str:
    return name if name.startswith(noun) else f"{noun} {name}"


def round_trip(answer: Any, case: Case, by: str = "") -> Observation:
    """Whether the numbers survive: how far a second module that has loaded the state dict is from the first.

    Both are called once in training, so that running statistics move, and compared in evaluation mode.
    """
    first = build(answer, case, all_of_state=False)
    call(first.module, case)
    saved = copy.deepcopy(first.module.state_dict())
    second = build(answer, replace(case, state={}, seed=case.seed + 1))
    second.module.load_state_dict(saved)
    keys: Observation = {"list of keys in the state dict": sorted(saved)} if first.told_by(by) == "name" else {}
    return {
        **keys,
        "change of the output by saving and loading": distance(
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
        "set of dtypes in the state dict": [*sorted({str(t.dtype) for t in module.state_dict().values()})],
        "dtype of the output": ", ".join(str(output.dtype) for output in outputs),
    }


def side_effects(answer: Any, case: Case) -> Observation:
    """What a call leaves behind: in its input, in the next call, in a deep copy, and in evaluation mode."""
    built = build(answer, case, all_of_state=False)
    inputs = fresh_inputs(case)
    first = detached(call_for_tensors(built.module, case, inputs))
    copied = copy.deepcopy(built.module)
    return {
        "change of the input": distance(inputs, case.inputs),
        "change of the output at a second call": distance(call_for_tensors(built.module, case), first),
        "change of the output in a deep copy": distance(call_for_tensors(copied, case), first),
        "change of the output in evaluation mode": distance(
            call_for_tensors(evaluating(Built(copied, {})).module, case), first
        ),
    }


def modes(answer: Any, case: Case) -> Observation:
    """Two calls in training mode, then two in evaluation mode: the outputs, and the buffers after each.

    The second call of each mode gets the input plus 1, so that what a call has learned shows in the next.
    """
    built = build(answer, case)
    seen: Observation = {}
    for mode in ("training", "evaluation"):
        built.module.train(mode == "training")
        for number, shift in enumerate((0, 1), start=1):
            moved = [t + shift if t.is_floating_point() else t for t in fresh_inputs(case)]
            moment = f"after call {number} in {mode}"
            seen[f"output {moment}"] = [*detached(call_for_tensors(built.module, case, moved))]
            for name, buffer in built.buffers().items():
                seen[f"buffer {name} {moment}"] = buffer.clone()
    active = [m for m in {id(m): m for whole in built.modules for m in whole.modules()}.values() if m.training]
    seen["number of modules still in training after eval()"] = len(active)
    return seen


def optimizer(answer: Any, case: Case, by: str = "") -> Observation:
    """What two steps of gradient descent change: every parameter and buffer, and the output afterwards."""
    built = build(answer, case)
    told: dict[str, Tensor] = {**built.parameters(by), **built.buffers(by)}
    trained = list(built.module.parameters())
    for _ in range(2):  # by hand: the first use of torch.optim imports for more than a second
        built.module.zero_grad()
        total = along_a_direction(call_for_tensors(built.module, case), case.seed)
        if total is not None:
            total.backward()
        with torch.no_grad():
            for parameter in trained:
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
    return {
        **{f"value of {name} after two steps of training": t.detach().clone() for name, t in told.items()},
        "output after two steps of training": [*detached(call_for_tensors(evaluating(built).module, case))],
    }


def batch(answer: Any, case: Case) -> Observation:
    """How far the output for a batch is from the outputs for its samples, each on its own."""
    module = build(answer, case).module
    whole = call_for_tensors(module, case)
    alone = [
        call_for_tensors(module, case, [t[i : i + 1] for t in fresh_inputs(case)]) for i in range(len(case.inputs[0]))
    ]
    together = [torch.cat(members) for members in zip(*alone, strict=True)]
    return {"difference between a batch and its samples one by one": distance(whole, together)}


def sharing(answer: Any, case: Case) -> Observation:
    """How many parameters there are, and which are one and the same."""
    module = build(answer, case).module
    once = list(module.parameters())
    memory = [p.untyped_storage().data_ptr() for p in once]
    return {
        "number of parameters, each counted once": len(once),
        "number of names for parameters": len(list(module.named_parameters(remove_duplicate=False))),
        "number of trained numbers": sum(p.numel() for p in once),
        "number of parameters that share their memory": len(memory) - len(set(memory)),
    }


def hooks(answer: Any, case: Case, of: str = "", by: str = "") -> Observation:
    """How often each sub-module's forward hooks run in one call.

    Args:
        answer: the student's.
        case: the case.
        of: the name of a class in `nn`: only sub-modules of it, told by their order.
        by: how the sub-modules are told otherwise, ``"name"`` or ``"part"``.
    """
    built = build(answer, case)
    if of:
        wanted = [m for m in built.module.modules() if isinstance(m, getattr(nn, of))]
        watched = {f"nn.{of} number {k}": m for k, m in enumerate(wanted)}
    elif built.told_by(by) == "part":
        watched = {f"`{name}`": m for name, m in built.parts.items()}
    else:
        watched = {f"`{name}`": m for name, m in built.module.named_modules() if name}
    calls = dict.fromkeys(watched, 0)

    def counting(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    handles = [module.register_forward_hook(counting(name)) for name, module in watched.items()]
    try:
        call(built.module, case)
    finally:
        for handle in handles:
            handle.remove()
    return {f"number of calls, with hooks, of {name}": count for name, count in calls.items()}


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
        return {f"number of further operators for a size {times} times as large": max(0, after - before)}
    before, after = _work(lambda: call(small, case, inputs)), _work(lambda: call(large, case, more))
    power = math.log(max(after, 1) / max(before, 1)) / math.log(times)
    return {"power of the size with which the work grows": round(power)}


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


_Work.__torch_dispatch__ = inspect.unwrap(_Work.__torch_dispatch__)  # type: ignore[method-assign] # as in looking.py


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
    # What a guard costs is measured behind flushed caches, for a log that nobody reads: half of the time.
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
    return {"graph break": broken or "none", "number of graphs": traced, "output": outputs}


def initial_values(answer: Any, case: Case, of: Sequence[str] = (), anew: bool = False) -> Observation:
    """How a fresh module's numbers are distributed; coarse enough to be the same for every seed.

    Args:
        answer: the student's.
        case: the case; its state is not loaded.
        of: paths of the tensors to look at, registered or not; all parameters if empty.
        anew: whether to say, too, if a module that is made under another seed has the same numbers.
    """

    def numbers(seed: int) -> dict[str, Tensor]:
        built = build(answer, replace(case, state={}, seed=seed))
        return {f"`{path}`": built.at(path) for path in of} if of else {**built.parameters()}

    tensors = numbers(case.seed)
    seen: Observation = {f"spread of {name}": _spread(t.detach().double()) for name, t in tensors.items()}
    if anew:
        for name, other in numbers(case.seed + 1).items():
            seen[f"answer to whether another one has the same {name}"] = torch.equal(tensors[name], other)
    return seen


def _spread(numbers: Tensor) -> dict[str, Value]:
    is_matrix = numbers.dim() == 2
    scaled = numbers * math.sqrt(sum(numbers.shape)) if is_matrix else numbers
    unit = " in units of 1/√(rows + columns)" if is_matrix else ""
    # As bfloat16, the dtype whose tolerance is 2 %.
    return {
        f"smallest entry{unit}": scaled.min().bfloat16(),
        f"largest entry{unit}": scaled.max().bfloat16(),
        f"mean of |w|{unit}": scaled.abs().mean().bfloat16(),
        f"root of the mean of w²{unit}": scaled.square().mean().sqrt().bfloat16(),
        "share of entries above 0": (scaled > 0).double().mean().bfloat16(),
    }


PROBES: dict[str, Probe] = {
    probe.__name__: probe
    for probe in (
        *(values, gradients, parameters, round_trip, double, side_effects, modes, optimizer),
        *(batch, sharing, hooks, growth, graphs, initial_values),
    )
}

# Modules that a probe imports when it is used for the first time, which takes seconds.
NEEDS: dict[str, tuple[str, ...]] = {"graphs": ("torch._dynamo",)}
# Probes that take longer than others, and how many times as long they may take: compiling is slow.
TIMES_AS_LONG: dict[str, int] = {"graphs": 3}
