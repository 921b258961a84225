"""Which Python the `build` of a case may hold.

In: the source of a `build`. Out: its syntax tree, or a `ValueError` that names what is not allowed.

A `build` comes from a file, `public.json`, and is run in the process that checks an answer with it. That file may
come from a stranger. So a `build` is a small subset of Python: names that it binds itself, a few builtins, and
PyTorch's modules, operators and functions by their full names. Nothing in it reaches files, other modules or the
interpreter.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

MAX_BUILD_LENGTH = 10_000  # characters
MAX_EXPONENT = 100

ROOTS = {"torch": torch, "nn": nn, "F": F, "math": math}

_BUILTINS = {
    *("abs", "all", "any", "bool", "callable", "dict", "enumerate", "filter", "float", "frozenset", "getattr"),
    *(
        "hasattr",
        "id",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "list",
        "map",
        "max",
        "min",
        "next",
        "range",
        "repr",
    ),
    *("reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip"),
} | {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}

_NODES = (
    *(ast.Expression, ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.FunctionDef, ast.Return, ast.Pass),
    *(ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Try, ast.ExceptHandler, ast.Raise, ast.With),
    *(ast.withitem, ast.Lambda, ast.arguments, ast.arg, ast.Call, ast.keyword, ast.Attribute, ast.Name, ast.Starred),
    *(ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr, ast.FormattedValue, ast.NamedExpr),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.IfExp, ast.Subscript),
    *(ast.Slice, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
    *(ast.Load, ast.Store),
)

# Attributes of values. Names that begin so lead into the interpreter: frames, code, generators, tracebacks.
_INTERNAL = ("_", "f_", "co_", "gi_", "cr_", "ag_", "tb_")
_HARMLESS = ("__name__", "__module__", "__mro__")
# These lead to files, to a compiler, or to an object that failed.
_REFUSED = ("numpy", "storage", "untyped_storage", "from_file", "compile", "obj", "share_memory", "share_memory_")

_OF_TORCH = {name for name in dir(torch._C._VariableFunctions) if not name.startswith("_")} - {"from_file"}
_OF_TORCH |= {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_OF_TORCH |= set(torch.functional.__all__)
_OF_TORCH |= {
    *("Generator", "Size", "Tensor", "default_generator", "device", "enable_grad", "inf", "inference_mode"),
    *("initial_seed", "is_tensor", "manual_seed", "nan", "no_grad", "pi", "set_grad_enabled", "tensor"),
}


def _callables(module: ModuleType) -> set[str]:
    return {name for name, value in vars(module).items() if inspect.isroutine(value) and not name.startswith("_")}


# What may be taken from a module. A module itself is never a value.
_ALLOWED: dict[str, set[str]] = {
    "math": {name for name in vars(math) if not name.startswith("_")},
    "torch": _OF_TORCH,
    "torch.autograd": {"grad"},
    "torch.fft": _callables(torch.fft),
    "torch.linalg": _callables(torch.linalg),
    "torch.nn": {n for n, v in vars(nn).items() if isinstance(v, type) and issubclass(v, nn.Module)}
    | {"Parameter", "Buffer"},
    "torch.nn.functional": _callables(F),
    "torch.nn.init": _callables(nn.init),
    "torch.nn.parameter": {"Buffer", "Parameter", "is_lazy"},
    "torch.special": _callables(torch.special),
    "torch.utils": set(),
    "torch.utils._python_dispatch": {
        "_get_current_dispatch_mode",
        "_get_current_dispatch_mode_stack",
        "_pop_mode",
    },
}


def parse(build: str) -> ast.Module:
    """The statements of a `build`, of which the last is an expression.

    Raises:
        ValueError: it is too long, or no Python, or its last statement is no expression.
    """
    if len(build) > MAX_BUILD_LENGTH:
        raise ValueError(f"it has more than {MAX_BUILD_LENGTH:,} characters")
    try:
        tree = ast.parse(build)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"it is no Python ({type(error).__name__})") from error
    if not (tree.body and isinstance(tree.body[-1], ast.Expr)):
        raise ValueError("its last line is no expression")
    return tree


def parts(tree: ast.Module) -> frozenset[str]:
    """The names that are bound with ``:=``."""
    return frozenset(node.target.id for node in ast.walk(tree) if isinstance(node, ast.NamedExpr))


@functools.lru_cache(maxsize=1024)
def refuse_unsafe(build: str) -> None:
    """Make sure that a `build` holds only what it may.

    Raises:
        ValueError: it does; the message names the expression.
    """
    tree = parse(build)
    bound = frozenset(_bound(tree))
    taken = {name for name in bound if name.startswith("__")}
    taken |= bound & (vars(builtins).keys() | ROOTS.keys() | {"answer"})
    if taken:
        raise ValueError(f"`{min(taken)}` may not be bound again")
    inner: set[ast.AST] = set()  # that were checked as part of a longer expression
    for node in ast.walk(tree):
        if node not in inner:
            problem = _problem(node, bound, inner)
            if problem:
                raise ValueError(f"{problem}, in line {getattr(node, 'lineno', 1)} of it")


def _bound(tree: ast.Module) -> Iterator[str]:
    """The names that a `build` binds, wherever."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)):
                yield name


def _problem(node: ast.AST, bound: frozenset[str], inner: set[ast.AST]) -> str | None:
    if not isinstance(node, _NODES):
        return f"`{type(node).__name__}` is not allowed"
    match node:
        case ast.Name(id=name) if name in ROOTS:
            return f"`{name}` is only allowed before a dot"
        case ast.Name(id=name) if name not in bound and name != "answer" and name not in _BUILTINS:
            return f"`{name}` is not allowed"
        case ast.ExceptHandler(type=None):
            return "`except:` without a class is not allowed"
        case ast.Call(func=ast.Name(id="getattr" | "hasattr" as name)):
            inner.add(node.func)
            starred = any(isinstance(arg, ast.Starred) for arg in node.args)
            if starred or node.keywords or len(node.args) < 2 or not _is_harmless_name(node.args[1]):
                return f"`{name}` is allowed with a name in quotes only"
        case ast.Name(id="getattr" | "hasattr" as name):
            return f"`{name}` is not allowed but in a call"
        case ast.Attribute(ctx=ast.Load()):
            return _problem_with_attribute(node, inner)
        case ast.Attribute():
            return f"setting `{node.attr}` is not allowed"
        case ast.BinOp(op=ast.LShift()):
            return "`<<` is not allowed"
        case ast.BinOp(op=ast.Pow(), right=right) if not _is_small(right):
            return f"`**` is allowed with a number up to {MAX_EXPONENT} only"
        case ast.AugAssign(op=ast.LShift() | ast.Pow()):
            return "`<<=` and `**=` are not allowed"
    return None


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value <= MAX_EXPONENT


def _is_harmless_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and not _is_internal(node.value)


def _is_internal(name: str) -> bool:
    return name in _REFUSED or (name.startswith(_INTERNAL) and name not in _HARMLESS)


def _problem_with_attribute(node: ast.Attribute, inner: set[ast.AST]) -> str | None:
    """Of a whole chain of attributes, such as ``nn.Linear.forward``."""
    chain = [node]
    while isinstance(chain[-1].value, ast.Attribute):
        chain.append(chain[-1].value)
    inner.update(chain)
    names = [each.attr for each in reversed(chain)]
    root = chain[-1].value
    if isinstance(root, ast.Name) and root.id in ROOTS:
        inner.add(root)
        owner: Any = ROOTS[root.id]
        path = root.id
        while isinstance(owner, ModuleType):
            if not names:
                return f"`{path}` is a module, not a value"
            name = names.pop(0)
            path = f"{path}.{name}"
            found = getattr(owner, name, None)
            is_known = isinstance(found, ModuleType) and found.__name__ in _ALLOWED
            if not is_known and name not in _ALLOWED[owner.__name__]:
                return f"`{path}` is not allowed"
            owner = found
    bad = next(filter(_is_internal, names), None)
    return f"`.{bad}` is not allowed" if bad else None
