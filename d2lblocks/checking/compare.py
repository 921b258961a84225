"""Compare: the one rule by which an observation is compared with the reference's.

In: two observations, or parts of them. Out: their differences. Two values agree if they have the same type, the same
keys, the same dtype, then the same shape, then the same numbers within the tolerance of their dtype. A plain number
is compared as a tensor of one entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import torch
from torch import Tensor

from d2lblocks.checking.labels import label_of
from d2lblocks.checking.observation import FailureKind, Value, raised_text, raised_types

# dtype: (relative, absolute). Wide enough for another order of summation, narrow enough for every known mistake.
TOLERANCE: dict[torch.dtype, tuple[float, float]] = {
    torch.float16: (1e-2, 1e-2),
    torch.bfloat16: (2e-2, 2e-2),
    torch.float32: (1e-4, 1e-5),
    torch.float64: (1e-8, 1e-10),
    torch.complex64: (1e-4, 1e-5),
    torch.complex128: (1e-8, 1e-10),
}
_EXACT = (0.0, 0.0)
DTYPE_OF_A_FLOAT = torch.float32  # whose tolerance a plain number has: most were the `.item()` of such a tensor
MAX_MESSAGE_LENGTH = 120
MAX_RAISED_LENGTH = 300  # of an exception's message, and of the line where it came from

Path: TypeAlias = "tuple[str | int, ...]"


class DifferenceKind(StrEnum):
    """How an observation differs from the reference's."""

    RAISED = "raised"
    NOT_RAISED = "not raised"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    NONE = "none"  # None instead of a value
    TYPE = "type"
    DTYPE = "dtype"
    SHAPE = "shape"
    VALUES = "values"
    NAN = "nan"


@dataclass(frozen=True)
class Difference:
    """Where an observation is not what the reference gave.

    Attributes:
        path: the key of what was observed, and the keys and indices below it: ``("output", 0)``.
        kind: how it differs.
        observed: in words.
        expected: in words.
    """

    path: Path
    kind: DifferenceKind
    observed: str
    expected: str

    @property
    def key(self) -> str:
        """The path in one text: ``"gradient.parameter.weight"``, ``"output.0"``."""
        return ".".join(map(str, self.path))

    def __str__(self) -> str:
        field = label_of(self.path)
        match self.kind:
            case DifferenceKind.RAISED:
                return f"{self.observed}."
            case DifferenceKind.NOT_RAISED:
                return f"{self.expected} should have been raised."
            case DifferenceKind.MISSING:
                return f"There is no {field}; the reference has one: {self.expected}."
            case DifferenceKind.UNEXPECTED:
                article = "an" if field.startswith(tuple("aeiou")) else "a"
                return f"There is also {article} {field}: {self.observed}; the reference has none."
            case DifferenceKind.NONE:
                return f"The {field} is None; the reference's is {self.expected}."
            case _:
                return f"The {field} is {self.observed}; the reference's is {self.expected}."


def compare(observed: Value, expected: Value, path: Path = ()) -> Iterator[Difference]:
    """The differences between two observations, or between two parts at a path, by the one rule."""
    if isinstance(observed, dict) and isinstance(expected, dict):
        if "raised" in observed or "raised" in expected:
            yield from _compare_raised(observed.get("raised"), expected.get("raised"), (*path, "raised"))
            return
        for key in expected:
            if key in observed:
                yield from compare(observed[key], expected[key], (*path, key))
            else:
                yield Difference((*path, key), DifferenceKind.MISSING, "", in_words(expected[key]))
        for key in observed:
            if key not in expected:
                yield Difference((*path, key), DifferenceKind.UNEXPECTED, in_words(observed[key]), "")
    elif isinstance(observed, Tensor) and isinstance(expected, Tensor):
        yield from _compare_tensors(observed, expected, path)
    elif isinstance(observed, list) and isinstance(expected, list) and not _is_plain(expected):
        if len(observed) != len(expected):
            yield Difference(path, DifferenceKind.SHAPE, in_words(observed), in_words(expected))
        else:
            for i, (o, e) in enumerate(zip(observed, expected, strict=True)):
                yield from compare(o, e, path if len(expected) == 1 else (*path, i))
    elif type(observed) is not type(expected):
        kind = DifferenceKind.NONE if observed is None else DifferenceKind.TYPE
        yield Difference(path, kind, *_in_different_words(observed, expected))
    elif isinstance(observed, float) and isinstance(expected, float):
        one, other = (torch.tensor(number, dtype=torch.float64) for number in (observed, expected))
        yield from _compare_tensors(one, other, path, TOLERANCE[DTYPE_OF_A_FLOAT])
    elif _types(observed) != _types(expected) or observed != expected:
        yield Difference(path, DifferenceKind.VALUES, *_in_different_words(observed, expected))


def agree(observed: Value, expected: Value) -> bool:
    """Whether two observations, or parts of them, have no difference."""
    return next(compare(observed, expected), None) is None


def _is_plain(members: list[Value]) -> bool:
    """Whether a list, such as a shape, is best read as a whole."""
    return all(isinstance(member, bool | int | str) for member in members)


def _types(value: Value) -> list[type]:
    """The types of a list's members: Python calls 1, 1.0 and True equal. The members need not be plain."""
    return [type(member) for member in value] if isinstance(value, list) else []


def _compare_raised(observed: Value, expected: Value, path: Path) -> Iterator[Difference]:
    if not isinstance(expected, dict):
        yield Difference(path, DifferenceKind.RAISED, _raised_in_words(observed), "")
    elif not isinstance(observed, dict):
        yield Difference(path, DifferenceKind.NOT_RAISED, "", str(expected.get("type")))
    # An exception of a derived class is right, too.
    elif raised_text(expected, "type") not in raised_types(observed):
        yield Difference(path, DifferenceKind.RAISED, _raised_in_words(observed), str(expected.get("type")))


def _raised_in_words(raised: Value) -> str:
    if not isinstance(raised, dict):
        return in_words(raised)
    kind = raised_text(raised, "type")[:MAX_MESSAGE_LENGTH]
    message = raised_text(raised, "message")[:MAX_RAISED_LENGTH]
    match kind:
        case FailureKind.TIMEOUT:
            return f"It did not finish; it {message}".rstrip(".")
        case FailureKind.CRASH | FailureKind.MEMORY:
            return f"It {message}".rstrip(".")
        case FailureKind.BAD_OBSERVATION:
            return f"It gave {message}"
        case FailureKind.RETURNED_NONE | FailureKind.RETURNED_NO_TENSOR:
            return f"The call returned {message}, not a tensor"
    if len(message) > MAX_MESSAGE_LENGTH:  # PyTorch's are long; the first sentence says what is wrong
        message = message.partition(". ")[0]
    text = f"It raised {kind}: {message}".rstrip(" :.")
    line = raised_text(raised, "line")[:MAX_RAISED_LENGTH]
    return f"{text}, in `{line}`" if line else text


def _in_different_words(observed: Value, expected: Value) -> tuple[str, str]:
    """Both in words; with their types where the words are the same, as for `"1"` and `1`."""
    one, other = in_words(observed), in_words(expected)
    if one != other:
        return one, other
    return f"{one} (of type {type(observed).__name__})", f"{other} (of type {type(expected).__name__})"


def _compare_tensors(
    observed: Tensor, expected: Tensor, path: Path, tolerance: tuple[float, float] | None = None
) -> Iterator[Difference]:
    if observed.dtype != expected.dtype:
        yield Difference(path, DifferenceKind.DTYPE, _dtype(observed), _dtype(expected))
    elif observed.shape != expected.shape:
        shapes = f"of shape {tuple(observed.shape)}", f"{tuple(expected.shape)}"
        yield Difference(path, DifferenceKind.SHAPE, *shapes)
    elif expected.numel() and not torch.equal(observed, expected):  # asked first, because it is quick
        relative, absolute = tolerance or TOLERANCE.get(expected.dtype, _EXACT)
        wrong = ~torch.isclose(observed, expected, rtol=relative, atol=absolute, equal_nan=True)
        if wrong.any():
            has_new_nan = bool((observed.isnan() & ~expected.isnan()).any())
            first = tuple(int(i) for i in wrong.nonzero()[0])
            one, other = _numbers(observed[first], expected[first])
            if wrong.numel() > 1:
                one += f" at {list(first)} ({int(wrong.sum())} of {wrong.numel()} entries differ)"
            yield Difference(path, DifferenceKind.NAN if has_new_nan else DifferenceKind.VALUES, one, other)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _numbers(one: Tensor, other: Tensor) -> tuple[str, str]:
    """Two different numbers, with as many digits as are needed to show that they differ."""
    a, b = one.item(), other.item()
    if not isinstance(a, float | complex):
        return str(a), str(b)
    for digits in (4, 6, 9):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            return f"{a:.{digits}g}", f"{b:.{digits}g}"
    return repr(a), repr(b)


def in_words(value: Value) -> str:
    """A short description for a message."""
    match value:
        case Tensor():
            return f"a {_dtype(value)} tensor of shape {tuple(value.shape)}"
        case []:
            return "()"
        case list() if all(isinstance(member, int) for member in value):
            return f"({', '.join(str(member)[:20] for member in value)[:200]}{',' if len(value) == 1 else ''})"
        case list():
            return f"[{', '.join(map(in_words, value))}]"[:200]
        case dict():
            return f"{{{', '.join(value)}}}"[:200]
        case float():
            text = f"{value:.3g}"
            return f"{text}.0" if text.removeprefix("-").isdigit() else text
        case _:
            return str(value)[:200]
