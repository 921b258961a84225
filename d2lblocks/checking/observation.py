"""What a probe observed: plain data and tensors, and their form as JSON.

In: what a probe returns. Out: JSON, and back. An observation is a dict from stable keys (`labels` says what they
mean) to plain values, tensors, and lists and dicts of them. It is always written as JSON and read back before it is
judged, also inside one process, so that the judge never holds an object that a student's code has made.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeAlias

import torch
from torch import Tensor

Value: TypeAlias = "bool | int | float | str | Tensor | list[Value] | dict[str, Value] | None"
Observation: TypeAlias = dict[str, Value]

# Far above what an exercise needs, far below what hurts a grader.
MAX_TENSOR_BYTES = 4 * 2**20
MAX_CHARACTERS = 2_000
MAX_MEMBERS = 2_000
MAX_VALUES = 100_000  # in a whole observation
MAX_DEPTH = 8
MAX_BITS = 1024  # of a plain integer

_DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}


class BadObservation(ValueError):
    """Something that cannot be an observation: an unknown type, or more than the limits allow."""


class FailureKind(StrEnum):
    """What went wrong without an exception of the answer's own: the `type` of what was raised."""

    TIMEOUT = "OutOfTime"
    CRASH = "Crash"
    MEMORY = "OutOfMemory"
    BAD_OBSERVATION = "BadObservation"
    RETURNED_NONE = "ReturnedNone"  # where a tensor is needed
    RETURNED_NO_TENSOR = "ReturnedNoTensor"


# Nothing more can be learned from the same check after these: the answer was stopped, or it ended its process.
ENDINGS = (FailureKind.TIMEOUT, FailureKind.CRASH, FailureKind.MEMORY)


def failure(kind: FailureKind, message: str) -> Observation:
    """The observation of an answer that failed without an exception of its own.

    Args:
        kind: of the failure.
        message: what the answer did: ``"was stopped after 2 s"``, ``"used too much memory"``.
    """
    return {"raised": {"type": kind.value, "message": message, "line": ""}}


def was_ended(observation: Observation) -> bool:
    """Whether an answer was stopped, or ended the process that it ran in."""
    return raised_text(observation.get("raised"), "type") in ENDINGS


def raised_text(raised: Value, key: str) -> str:
    """The `type`, `message` or `line` of what was raised; empty if it is no text: a stranger may have sent it."""
    value = raised.get(key) if isinstance(raised, dict) else None
    return value if isinstance(value, str) else ""


def raised_types(raised: Value) -> list[str]:
    """The names of the class of what was raised and of the classes that it is derived from."""
    bases = raised.get("bases") if isinstance(raised, dict) else None
    return [
        raised_text(raised, "type"),
        *(base for base in (bases if isinstance(bases, list) else ()) if isinstance(base, str)),
    ]


def encode(value: object, depth: int = 0) -> Any:
    """The JSON form of an observation.

    Args:
        value: dicts, lists, tuples, tensors and plain values. Strings are cut to `MAX_CHARACTERS`.
        depth: how deep in the tree `value` is.

    Raises:
        BadObservation: for any other type, and beyond the limits.
    """
    if depth > MAX_DEPTH:
        raise BadObservation("nested too deeply")
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return _countable(value)
    if type(value) is float:
        # JSON has no nan and no inf.
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Tensor):
        return {"tensor": _encode_tensor(value)}
    if isinstance(value, list | tuple):
        if len(value) > MAX_MEMBERS:
            raise BadObservation(f"a list of {len(value)} members; {MAX_MEMBERS} at most")
        return [encode(member, depth + 1) for member in value]
    if isinstance(value, dict):
        if len(value) > MAX_MEMBERS:
            raise BadObservation(f"a dict of {len(value)} members; {MAX_MEMBERS} at most")
        return {"dict": {_text(k): encode(v, depth + 1) for k, v in value.items()}}
    raise BadObservation(f"a {type(value).__name__}, which is neither a tensor nor plain data")


def _countable(value: int) -> int:
    if value.bit_length() > MAX_BITS:
        raise BadObservation(f"a number of {value.bit_length():,} bits")
    return value


def _text(value: object) -> str:
    """As a string that any file can hold: cut, and without lone surrogates."""
    return str(value)[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def _encode_tensor(tensor: Tensor) -> dict[str, Any]:
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _DTYPES or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise BadObservation(f"a {tensor.device.type} tensor, {tensor.layout}, {tensor.dtype}")
    if tensor.numel() * tensor.element_size() > MAX_TENSOR_BYTES:
        raise BadObservation(f"a tensor of {tensor.numel():,} entries")
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return {"dtype": name, "shape": list(tensor.shape), "data": base64.b64encode(data).decode()}


def decode(form: Any) -> Value:
    """The observation that `encode` wrote; the input may come from a stranger.

    Raises:
        BadObservation: for anything that `encode` cannot have written.
    """
    return _decode(form, 0, iter(range(MAX_VALUES)))


def _decode(form: Any, depth: int, left: Iterator[int]) -> Value:
    """Args: the form, its depth in the tree, and an iterator that is exhausted when there were too many values."""
    if depth > MAX_DEPTH:
        raise BadObservation("nested too deeply")
    if next(left, None) is None:
        raise BadObservation("more values than an answer can need")
    if form is None or isinstance(form, bool | float):
        return form
    if isinstance(form, int):
        return _countable(form)
    if isinstance(form, str):
        return _checked(form)
    if isinstance(form, list):
        if len(form) > MAX_MEMBERS:
            raise BadObservation("a list that is too long")
        return [_decode(member, depth + 1, left) for member in form]
    if isinstance(form, dict) and len(form) == 1:
        (kind, content), *_ = form.items()
        if kind == "dict" and isinstance(content, dict) and len(content) <= MAX_MEMBERS:
            return {_checked(str(k)): _decode(v, depth + 1, left) for k, v in content.items()}
        if kind == "tensor" and isinstance(content, dict):
            return _decode_tensor(content)
        if kind == "float" and content in ("nan", "inf", "-inf"):
            return float(content)
    raise BadObservation("not the form of an observation")


def _checked(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise BadObservation("a string that is too long")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can name
        raise BadObservation("a string that is not a text") from error
    return text


def _decode_tensor(form: dict[str, Any]) -> Tensor:
    try:
        dtype = _DTYPES[form["dtype"]]
        shape = form["shape"]
        data = base64.b64decode(form["data"], validate=True)
        sizes_are_plain = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    except (KeyError, TypeError, ValueError) as error:
        raise BadObservation("a tensor that cannot be read") from error
    # Also of empty tensors: a shape with a 0 in it may name more entries than can be counted.
    too_large = math.prod(size or 1 for size in shape) > MAX_TENSOR_BYTES if sizes_are_plain else True
    if too_large or len(shape) > MAX_DEPTH or len(data) > MAX_TENSOR_BYTES:
        raise BadObservation("a tensor of impossible shape or size")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise BadObservation("a tensor whose data do not fill its shape")
    if dtype is torch.bool and not set(data) <= {0, 1}:
        raise BadObservation("a bool tensor with other entries than 0 and 1")
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def decode_observation(form: Any) -> Observation:
    """`decode`, for a whole observation.

    Raises:
        BadObservation: also where the form is not that of a dict.
    """
    value = decode(form)
    if not isinstance(value, dict):
        raise BadObservation("an observation is a dict")
    return value
