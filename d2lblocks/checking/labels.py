"""Labels: how the key of an observation reads in a message.

In: a key, such as ``"gradient.parameter.weight"``. Out: ``"gradient of `weight`"``. Keys are stable: releases, hints
and the judge use them. Labels are for readers only and may be reworded at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_LABEL_LENGTH = 200
_UNIT = " in units of 1/√(rows + columns)"


def _tensor(name: str, noun: str = "parameter") -> str:
    """A tensor by its name, or by its place where only the order is fixed."""
    return f"{noun} {name}" if name.isdigit() else f"`{name}`"


def _with_noun(name: str, noun: str) -> str:
    return f"{noun} {name}" if name.isdigit() else f"{noun} `{name}`"


_STATISTICS = {
    "smallest": "smallest entry",
    "largest": "largest entry",
    "mean_magnitude": "mean of |w|",
    "root_mean_square": "root of the mean of w²",
    "share_positive": "share of entries above 0",
}

_LABELS = {
    "output": "output",
    "kind": "kind of object",
    "other_parameters": "list of shapes of other parameters",
    "other_buffers": "list of shapes of other buffers",
    "state_dict.keys": "list of keys in the state dict",
    "state_dict.dtypes": "set of dtypes in the state dict",
    "dtype.output": "dtype of the output",
    "change.saved": "change of the output by saving and loading",
    "change.input": "change of the input",
    "change.second_call": "change of the output at a second call",
    "change.deepcopy": "change of the output in a deep copy",
    "change.evaluation": "change of the output in evaluation mode",
    "still_training": "number of modules still in training after eval()",
    "trained.output": "output after two steps of training",
    "batch.difference": "difference between a batch and its samples one by one",
    "count.parameters": "number of parameters, each counted once",
    "count.names": "number of names for parameters",
    "count.numbers": "number of trained numbers",
    "count.shared_memory": "number of parameters that share their memory",
    "growth.power": "power of the size with which the work grows",
    "graph_break": "graph break",
    "graphs": "number of graphs",
}

# For keys that hold a name or a number: a pattern of the whole key, and what makes the label of its groups.
_PATTERNS: list[tuple[re.Pattern[str], Callable[..., str]]] = [
    (re.compile(pattern, re.DOTALL), label)
    for pattern, label in (
        (r"is\.(.+)", lambda kind: f"answer to whether it is an nn.{kind}"),
        (r"gradient\.input\.(\d+)", lambda i: f"gradient of input {i}"),
        (r"gradient\.parameter\.(.+)", lambda name: f"gradient of {_tensor(name)}"),
        (r"registered\.(.+)", lambda name: f"answer to whether {_tensor(name)} is a parameter of it"),
        (r"parameter\.(.+)", lambda name: _with_noun(name, "parameter")),
        (r"buffer\.(.+)", lambda name: _with_noun(name, "buffer")),
        (r"requires_grad\.(.+)", lambda name: f"requires_grad of {_tensor(name)}"),
        (r"(training|evaluation)\.(\d)\.output", lambda mode, i: f"output after call {i} in {mode}"),
        (
            r"(training|evaluation)\.(\d)\.buffer\.(.+)",
            lambda mode, i, name: f"{_with_noun(name, 'buffer')} after call {i} in {mode}",
        ),
        (r"trained\.parameter\.(.+)", lambda name: f"value of {_tensor(name)} after two steps of training"),
        (r"trained\.buffer\.(.+)", lambda name: f"value of {_tensor(name, 'buffer')} after two steps of training"),
        (r"calls\.class\.(\w+)\.(\d+)", lambda kind, i: f"number of calls, with hooks, of nn.{kind} number {i}"),
        (r"calls\.module\.(.+)", lambda name: f"number of calls, with hooks, of `{name}`"),
        (r"growth\.operators\.(\d+)", lambda n: f"number of further operators for a size {n} times as large"),
        (r"spread\.(\w+)\.(.+)", lambda key, name: f"spread of {_tensor(name)}: {_STATISTICS.get(key, key)}"),
        (
            r"scaled_spread\.(\w+)\.(.+)",
            lambda key, name: f"spread of {_tensor(name)}: {_STATISTICS.get(key, key)}{_UNIT}",
        ),
        (r"same_numbers\.(.+)", lambda name: f"answer to whether another one has the same {_tensor(name)}"),
    )
]


def label(key: str) -> str:
    """How a key reads in a message.

    Args:
        key: of an observation. A key that no probe has is its own label: a case's own function chose it.
    """
    key = key[:MAX_LABEL_LENGTH]
    if key in _LABELS:
        return _LABELS[key]
    for pattern, make in _PATTERNS:
        found = pattern.fullmatch(key)
        if found:
            return make(*found.groups())
    return key


def label_of(path: tuple[str | int, ...]) -> str:
    """How a place in an observation reads: the label of its key, then where in the value it is.

    Args:
        path: the key, and the keys and indices that lead from there to the place; empty for the whole.
    """
    if not path:
        return "result"
    first, *rest = path
    return label(str(first)) + "".join(
        f" [{step}]" if isinstance(step, int) else f": {step[:MAX_LABEL_LENGTH]}" for step in rest
    )
