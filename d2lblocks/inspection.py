"""`draw`, `trace` and `ops`: the blocks of a module, its forward pass, and the operators that ran.

In: a module or function, and its inputs. Out: data that a notebook shows as a table or as boxes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from d2lblocks.tables import Table


def shape_of(value: object) -> str:
    """The shape of a tensor as ``"(2, 20)"``; of a tuple or list, those of its members; else the type's name."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, tuple | list):
        return shape_of(value[0]) if len(value) == 1 else "[" + ", ".join(map(shape_of, value)) + "]"
    return type(value).__name__


class Operators(dict[str, int]):
    """Operator name, such as ``"aten.mm.default"``, to the number of times that it was dispatched."""

    @property
    def total(self) -> int:
        """The number of dispatches of all operators together."""
        return sum(self.values())

    def _table(self) -> Table:
        return Table(["operator", "times"], [*self.items(), ("all", self.total)])

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


class _Counter(TorchDispatchMode):
    """Counts every operator that reaches PyTorch's dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Operators()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


# `TorchDispatchMode` wraps this method, and the wrapper imports torch._dynamo at the first operator, a slow one.
_Counter.__torch_dispatch__ = inspect.unwrap(_Counter.__torch_dispatch__)  # type: ignore[method-assign]


def ops(fn: Callable[..., object], *args: object) -> Operators:
    """Run ``fn(*args)`` and count the operators that PyTorch dispatches meanwhile.

    The count is the same on every machine, so it can be reasoned about where a time cannot. Operators of a
    backward pass count too, if `fn` runs one.

    Args:
        fn: a function or a module.
        *args: what it is called with.

    Returns:
        A dict from operator name to the number of dispatches, in the order in which they first ran; `total` adds
        them up.

    Raises:
        Exception: whatever ``fn(*args)`` raises.

    Examples:
        >>> ops(torch.add, torch.ones(2), torch.ones(2))
        operator         times
        ───────────────  ─────
        aten.add.Tensor      1
        all                  1
    """
    with _Counter() as counter:
        fn(*args)
    return counter.counts


@dataclass
class Call:
    """One call of one sub-module during a forward pass; a row of a `Trace`.

    Attributes:
        depth: how many calls it is nested in; 0 for the module itself.
        name: the path of attribute names, as in `nn.Module.named_modules`; ``""`` for the module itself.
        type: the name of its class.
        input: shape of its input (`shape_of`).
        output: shape of its output, or ``"raised"`` where it did not return.
        operators: how many operators were dispatched inside, sub-modules included.
    """

    depth: int
    name: str
    type: str
    input: str
    output: str = "raised"
    operators: int = 0


@dataclass
class Trace:
    """What happened in one forward pass, in the order in which the calls began."""

    rows: list[Call] = field(default_factory=list)

    def _table(self) -> Table:
        return Table(
            ["call", "type", "input → output", "operators"],
            [
                (
                    "    " * c.depth + (c.name or "(the module)"),
                    c.type,
                    f"{c.input} → {c.output}",
                    c.operators,
                )
                for c in self.rows
            ],
        )

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def trace(module: nn.Module, *inputs: object) -> Trace:
    """Call ``module(*inputs)`` and write down each call of each sub-module.

    Hooks do the writing, so a sub-module whose `forward` is called directly leaves no row: that is what skipping
    the hooks means. The hooks are removed afterwards; the module is called once and is otherwise as it was.

    Args:
        module: any module, in the mode (train or eval) in which it is to be traced.
        *inputs: what it is called with.

    With gradients on, some operators do a little bookkeeping: `relu` keeps a detached alias of its result for the
    backward pass, which counts. Under `torch.no_grad()` it does not.

    Returns:
        A `Trace`; its `rows` are `Call` objects with name, type, shapes and number of operators.

    Raises:
        Exception: whatever the module's `forward` raises.

    Examples:
        >>> trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(5, 3))
        call          type        input → output   operators
        ────────────  ──────────  ───────────────  ─────────
        (the module)  Sequential  (5, 3) → (5, 2)          4
            0         Linear      (5, 3) → (5, 2)          2
            1         ReLU        (5, 2) → (5, 2)          2
    """
    result = Trace()
    open_calls: list[Call] = []
    counter = _Counter()

    def before(name: str) -> Callable[..., None]:
        def hook(m: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            call = Call(len(open_calls), name, type(m).__name__, shape_of((*args, *kwargs.values())))
            call.operators = -counter.counts.total
            result.rows.append(call)
            open_calls.append(call)

        return hook

    def after(m: nn.Module, args: object, output: object) -> None:
        call = open_calls.pop()
        call.operators += counter.counts.total
        call.output = shape_of(output)

    with ExitStack() as undo:
        for name, m in module.named_modules():
            undo.callback(m.register_forward_pre_hook(before(name), with_kwargs=True).remove)
            undo.callback(m.register_forward_hook(after).remove)
        undo.enter_context(counter)
        module(*inputs)
    return result


@dataclass(frozen=True)
class _Block:
    """A node of the tree of blocks, as `draw` shows it."""

    name: str
    type: str
    shapes: str
    note: str
    has_parameters: bool
    children: tuple[_Block, ...]

    def lines(self, depth: int = 0) -> Iterator[str]:
        facts = "  ".join(part for part in (self.type, self.shapes, self.note) if part)
        yield "│  " * depth + (f"{self.name}: " if self.name else "") + facts
        for child in self.children:
            yield from child.lines(depth + 1)

    def html(self) -> str:
        edge = "solid" if self.has_parameters else "dashed"
        name = f"<code>{escape(self.name)}</code> " if self.name else ""
        parts = [f"{name}<strong>{escape(self.type)}</strong>"]
        parts += [f"<span>{escape(part)}</span>" for part in (self.shapes, self.note) if part]
        inner = "".join(child.html() for child in self.children)
        return (
            f'<div style="border:1px {edge} rgba(128,128,128,.9);border-radius:6px;margin:.3em 0;'
            f"padding:.3em .6em;background:rgba(128,128,128,.08);width:fit-content;max-width:100%;"
            f'box-sizing:border-box"><div style="display:flex;gap:0 1em;flex-wrap:wrap">{"".join(parts)}</div>'
            f"{inner}</div>"
        )


@dataclass(frozen=True)
class Drawing:
    """A module as boxes within boxes: HTML in a notebook, indented text in a terminal."""

    root: _Block

    def __repr__(self) -> str:
        return "\n".join(self.root.lines())

    def _repr_html_(self) -> str:
        return f'<div style="line-height:1.5;overflow-x:auto">{self.root.html()}</div>'


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def draw(module: nn.Module, *inputs: object) -> Drawing:
    """Draw a module as nested blocks: type, name and number of parameters, and shapes if there are inputs.

    A box with a dashed edge holds no parameters. A module that is used in two places is drawn at the first and
    referred to at the second; its parameters count once.

    Args:
        module: any module.
        *inputs: if given, ``module(*inputs)`` is called once (without gradients) to learn the shapes. A module
            that is called more than once shows the shapes of its first call.

    Returns:
        A `Drawing`.

    Raises:
        Exception: whatever the module's `forward` raises on `inputs`.

    Examples:
        >>> draw(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(5, 3))
        Sequential  (5, 3) → (5, 2)  8 parameters
        │  0: Linear  (5, 3) → (5, 2)  8 parameters
        │  1: ReLU  (5, 2) → (5, 2)
    """
    calls: dict[str, list[Call]] = {}
    if inputs:
        with torch.no_grad():
            for call in trace(module, *inputs).rows:
                calls.setdefault(call.name, []).append(call)
    drawn: dict[nn.Module, str] = {}

    def block(m: nn.Module, path: str, name: str) -> _Block:
        if m in drawn:
            return _Block(name, type(m).__name__, "", f"the same module as {drawn[m]}", False, ())
        drawn[m] = path or "the whole"
        own = calls.get(path, [])
        count = sum(p.numel() for p in m.parameters() if not _is_lazy(p))
        notes = [_count(count, "parameter")] if count else []
        if any(_is_lazy(p) for p in m.parameters()):
            notes.append("shapes not known yet (lazy)")
        if len(own) > 1:
            notes.append(f"called {len(own)} times")
        children = tuple(
            block(child, f"{path}.{key}" if path else key, key)
            for key, child in m._modules.items()
            if child is not None
        )
        shapes = f"{own[0].input} → {own[0].output}" if own else ""
        has_parameters = next(m.parameters(), None) is not None
        return _Block(name, type(m).__name__, shapes, ", ".join(notes), has_parameters, children)

    return Drawing(block(module, "", ""))


def _is_lazy(parameter: Tensor) -> bool:
    return isinstance(parameter, nn.parameter.UninitializedParameter)
