"""A case: what an answer is tried on, and how a module is made from the answer.

In: an answer and a `Case`. Out: a `Built` module, cast and loaded with the numbers of the case.
"""

from __future__ import annotations

import ast
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lblocks.checking.expressions import parse, parts
from d2lblocks.checking.observation import BadObservation, decode, encode


@dataclass(frozen=True)
class Case:
    """One trial of an answer: how the module is made, which numbers are loaded into it, what it is called with.

    Attributes:
        label: what is special about it, for the student: ``"a batch of 5"``.
        build: a Python expression that makes the module, or any other callable, from `answer`, the student's class
            or function; it may use `torch`, `nn`, `F` and `math`: ``"answer(4, 3)"``. Statements may come before
            the expression. What it may hold in a release is written in `expressions`. Modules that it binds with
            ``:=`` are *parts*: ``"answer(left := nn.Linear(4, 3), right := nn.Linear(4, 2))"``. Their tensors are
            identified by these names, because an answer may call them what it likes. So a part is made of PyTorch's
            modules alone, never of `answer`.
        inputs: what the module is called with.
        state: numbers that are copied, before anything else, into the tensors of these names, so that what the
            module computes is known: ``"weight"``, ``"left.weight"`` (of a part), or ``"0"``, ``"1"``, … for
            its parameters in their order, where an exercise fixes the order and not the names.
        dtype: the dtype to which the module and the parts are cast, ``"float32"`` or ``"float64"``; that of `inputs`.
        seed: of the random numbers, set before the module is made and again before it is called.
        group: which checks try it: those that have the group in their `on`.
        raises: the exception with which a right answer ends, ``"ValueError"``; empty if it ends without one.
    """

    label: str
    build: str
    inputs: tuple[Tensor, ...] = ()
    state: dict[str, Tensor] = field(default_factory=dict)
    dtype: str = "float32"
    seed: int = 0
    group: str = "main"
    raises: str = ""

    @cached_property
    def form(self) -> dict[str, Any]:
        """This case as JSON."""
        return {
            "label": self.label,
            "build": self.build,
            "inputs": encode(list(self.inputs)),
            "state": encode(self.state),
            "dtype": self.dtype,
            "seed": self.seed,
            "group": self.group,
            "raises": self.raises,
        }

    @cached_property
    def text(self) -> str:
        """`form`, as text."""
        return json.dumps(self.form)

    @cached_property
    def code(self) -> tuple[CodeType, CodeType, frozenset[str]]:
        """`build`, compiled: the statements, the expression at their end, and the names of the parts."""
        tree = parse(self.build)
        *before, last = tree.body
        assert isinstance(last, ast.Expr)
        statements = compile(ast.Module(before, []), "<string>", "exec")
        return statements, compile(ast.Expression(last.value), "<string>", "eval"), parts(tree)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Case:
        """The case of a `form`.

        Raises:
            BadObservation: `inputs` or `state` hold something else than tensors.
        """
        inputs, state = decode(form["inputs"]), decode(form["state"])
        if not (isinstance(inputs, list) and isinstance(state, dict)):
            raise BadObservation("a case has a list of inputs and a dict as state")
        if not all(isinstance(t, Tensor) for t in (*inputs, *state.values())):
            raise BadObservation("inputs and state of a case are tensors")
        return cls(
            inputs=tuple(t for t in inputs if isinstance(t, Tensor)),
            state={k: t for k, t in state.items() if isinstance(t, Tensor)},
            **{key: form[key] for key in ("label", "build", "dtype", "seed", "group", "raises")},
        )


def normal(*shape: int, seed: int, dtype: str = "float32") -> Tensor:
    """Standard normal numbers, the same on every machine, for the inputs and the state of a case.

    Drawn in float64 and then rounded, so that the two dtypes try an answer on the same numbers.

    Args:
        *shape: of the result.
        seed: of a generator of its own; PyTorch's global one does not change.
        dtype: ``"float32"`` or ``"float64"``.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(getattr(torch, dtype))


@dataclass(frozen=True)
class Built:
    """What a case's `build` made.

    Attributes:
        module: usually an `nn.Module`; whatever the expression gave.
        parts: the modules that the expression bound with ``:=``, by name.
    """

    module: Any
    parts: dict[str, nn.Module]

    @property
    def modules(self) -> Iterator[nn.Module]:
        """The module and the parts, as far as they are modules: what is cast and switched to evaluation."""
        members = self.module if isinstance(self.module, tuple) else (self.module,)
        return (m for m in (*members, *self.parts.values()) if isinstance(m, nn.Module))

    def identified_by(self, by: str) -> str:
        """How tensors are identified if a check does not say: by part if there are parts, else by name."""
        return by or ("part" if self.parts else "name")

    def parameters(self, by: str = "") -> dict[str, nn.Parameter]:
        """The registered parameters, by what identifies them: ``"weight"``, ``"left.weight"``, or a place, ``"0"``.

        Args:
            by: ``"name"``, ``"order"``, ``"part"``, or ``"none"`` for no parameters.
        """
        match self.identified_by(by):
            case "part":
                return {f"{part}.{n}": p for part, m in self.parts.items() for n, p in m.named_parameters()}
            case "order":
                return {str(k): p for k, p in enumerate(self.module.parameters())}
            case "none":
                return {}
        return dict(self.module.named_parameters())

    def buffers(self, by: str = "") -> dict[str, Tensor]:
        """The registered buffers, by what identifies them, as for `parameters`."""
        match self.identified_by(by):
            case "part":
                return {f"{part}.{n}": b for part, m in self.parts.items() for n, b in m.named_buffers()}
            case "order":
                return {str(k): b for k, b in enumerate(self.module.buffers())}
            case "none":
                return {}
        return dict(self.module.named_buffers())

    def owner(self, path: str) -> tuple[Any, str]:
        """The object that has the tensor of a path as an attribute, and the attribute's name."""
        parent, _, name = path.rpartition(".")
        first, _, rest = parent.partition(".")
        if first in self.parts:
            return (attrgetter(rest)(self.parts[first]) if rest else self.parts[first]), name
        return (attrgetter(parent)(self.module) if parent else self.module), name

    def at(self, path: str) -> Tensor:
        """The tensor of a path, as `Case.state` writes it.

        Raises:
            AttributeError: there is none.
        """
        try:
            if path.isdigit():
                found: object = list(self.module.parameters())[int(path)]
            else:
                owner, name = self.owner(path)
                found = getattr(owner, name)
        except IndexError:
            count = len(list(self.module.parameters()))
            raise AttributeError(
                f"the layer has {count} parameters; number {path}, counted from 0, is missing"
            ) from None
        except AttributeError:
            raise AttributeError(f"the layer has no `{path}`") from None
        if not isinstance(found, Tensor):
            raise AttributeError(f"`{path}` is a {type(found).__name__}, not a tensor")
        return found


def seed_everything(seed: int) -> None:
    """Set the seeds of PyTorch's, of NumPy's and of Python's random numbers."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def build(answer: Any, case: Case, *, all_of_state: bool = True) -> Built:
    """Make the module of a case, cast it, and load its state by name.

    The numbers go into the tensor of this name, registered or not, of the right dtype or not. Whether it is
    registered and cast is what a probe observes, and a mistake should cost its own points only.

    Args:
        answer: the student's class or function.
        case: what to build.
        all_of_state: whether every name of the state must be there; otherwise what fits is loaded.

    Raises:
        AttributeError: the module has no tensor of a name in the state.
        ValueError: it has one of another shape.
    """
    seed_everything(case.seed)
    names = {"answer": answer, "nn": nn, "torch": torch, "F": F, "math": math}
    scope: dict[str, Any] = dict(names)
    statements, expression, part_names = case.code
    exec(statements, scope)
    module = eval(expression, scope)
    built = Built(module, {n: m for n, m in scope.items() if n in part_names and isinstance(m, nn.Module)})
    if case.dtype != "float32":  # not cast where a right answer needs no cast
        for each in built.modules:
            each.to(getattr(torch, case.dtype))
    for path, numbers in case.state.items():
        try:
            _load(built, path, numbers)
        except (AttributeError, ValueError):
            if all_of_state:
                raise
    return built


def _load(built: Built, path: str, numbers: Tensor) -> None:
    target = built.at(path)
    if target.shape != numbers.shape:
        raise ValueError(f"`{path}` has shape {tuple(target.shape)}, not {tuple(numbers.shape)}")
    if isinstance(target, nn.Parameter) or target.dtype == numbers.dtype:
        target.data.copy_(numbers)
        return
    owner, name = built.owner(path)
    if name in getattr(owner, "_buffers", ()):
        target.data.copy_(numbers)
    else:  # a plain tensor, which no cast has reached
        setattr(owner, name, numbers.clone().requires_grad_(target.requires_grad))
