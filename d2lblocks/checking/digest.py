"""Digests: what it takes to recognise a known mistake, far smaller than its observations.

In: what a mistake gave in a case, and what the reference gave there. Out: for each key whose value is not the
reference's, a `ValueDigest`: a hash of all that must be the same exactly (types, keys, dtypes, shapes, plain data),
and for each tensor of numbers one or two projections, which are compared within a limit.

A projection is a weighted sum of the tensor's entries. First each entry is measured in units of its own tolerance
(the judge's, `compare.TOLERANCE`): the function log(1 + r|x|/a)·sign(x)/r has the slope 1/(a + r|x|), so two entries
that differ by their tolerance a + r|x| differ by 1 afterwards. The weights are pseudo-random, between 1 and 2 in
magnitude. So one entry that is wrong moves the sum by at least its error in tolerances, rounding moves it by much
less than 1, and errors in several entries cancel in both sums with a small probability only.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from d2lblocks.checking.compare import DTYPE_OF_A_FLOAT, TOLERANCE, agree
from d2lblocks.checking.observation import ENDINGS, Observation, Value, raised_text, raised_types

PROJECTIONS = 2  # of a tensor that has more than one entry
DIGITS = 1  # after the point, of a projection; its unit is the tolerance
STRUCTURE_LENGTH = 8  # characters

# The values of these keys depend on numbers that were drawn, or on how a line happens to be written. A mistake is
# first looked for with the same values; then with values that differ from the reference's under the same keys.
_ACCIDENTAL = ("spread.", "scaled_spread.", "growth.operators.", "change.saved")


@dataclass(frozen=True)
class ValueDigest:
    """The digest of one value of an observation.

    Attributes:
        structure: a hash of all that must be the same exactly.
        numbers: the projections of its tensors and plain numbers, in tolerances.
    """

    structure: str
    numbers: tuple[float, ...] = ()


# Key to digest, for the keys whose value is not the reference's; None for a key of the reference's that is missing.
CaseDigest: TypeAlias = "Mapping[str, ValueDigest | None]"


def digest_case(observed: Observation, expected: Observation) -> CaseDigest:
    """The digest of what a mistake gave in a case.

    Args:
        observed: what it gave.
        expected: what the reference gave in the same case.

    Returns:
        It is empty if the mistake gave what the reference gave.
    """
    if "raised" in observed:
        if agree(observed, expected):
            return {}
        return {"raised": ValueDigest(_raised_structures(observed, expected)[0])}
    return {
        key: _digest_value(observed[key]) if key in observed else None
        for key in sorted(_different_keys(observed, expected))
    }


class Recogniser:
    """Compares one observation of an answer with the digests of many known mistakes.

    Args:
        observed: what the answer gave in a case.
        expected: what the reference gave in this case.
    """

    def __init__(self, observed: Observation, expected: Observation) -> None:
        self._observed = observed
        self._expected = expected
        self._structures: dict[str, str] = {}
        self._numbers: dict[str, list[tuple[float, float]]] = {}

    def matches(self, digest: CaseDigest, *, exactly: bool) -> bool:
        """Whether the answer gave in this case what the mistake gave.

        Args:
            digest: of the mistake in this case.
            exactly: whether the values of accidental keys count; otherwise only which of these keys differ from the
                reference's.
        """
        if "raised" in self._observed:
            known = digest.get("raised")
            if known is None:
                return not digest and not self._different
            return known.structure in _raised_structures(self._observed, self._expected)
        if digest.get("raised"):
            return False
        if any(key not in digest for key in self._different):
            return False
        return all(self._matches_at(key, known, exactly) for key, known in digest.items())

    @functools.cached_property
    def _different(self) -> set[str]:
        return _different_keys(self._observed, self._expected)

    def _matches_at(self, key: str, known: ValueDigest | None, exactly: bool) -> bool:
        if key not in self._observed or known is None:
            return key not in self._observed and known is None
        if not exactly and key.startswith(_ACCIDENTAL) and key in self._expected:
            return key in self._different
        if key not in self._structures:
            self._structures[key] = _structure(self._observed[key])
        if self._structures[key] != known.structure:
            return False
        if key not in self._numbers:  # after the structure: it need not be computed for what is too large
            self._numbers[key] = list(_projections(self._observed[key]))
        mine = self._numbers[key]
        return len(mine) == len(known.numbers) and all(
            abs(number - other) <= limit for (number, limit), other in zip(mine, known.numbers, strict=True)
        )


def same_digests(one: CaseDigest, other: CaseDigest) -> bool:
    """Whether two digests of the same case say the same, apart from rounding."""
    return one.keys() == other.keys() and all(_same_value(value, other[key]) for key, value in one.items())


def _same_value(one: ValueDigest | None, other: ValueDigest | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.structure != other.structure or len(one.numbers) != len(other.numbers):
        return False
    return all(abs(a - b) <= _MAX_LIMIT for a, b in zip(one.numbers, other.numbers, strict=True))


# --- what was raised ----------------------------------------------------------------------------------------------


def _raised_structures(observed: Observation, expected: Observation) -> list[str]:
    """A hash for each class that the raised exception belongs to, its own class first.

    Where an exception is the failure, two of one class may tell of different mistakes, so its message counts, too,
    apart from numbers.
    """
    raised = observed["raised"]
    types = raised_types(raised)
    counts = "raised" not in expected and types[0] not in ENDINGS
    message = re.sub(r"[\d.]+", "", raised_text(raised, "message")) if counts else ""
    return [_hash([kind, message]) for kind in types]


# --- values -------------------------------------------------------------------------------------------------------


def _different_keys(observed: Observation, expected: Observation) -> set[str]:
    """The keys that only one of them has, or whose values differ."""
    if "raised" in observed and "raised" in expected:
        return set() if agree(observed, expected) else {"raised"}
    return {
        key
        for key in observed.keys() | expected.keys()
        if key not in observed or key not in expected or not agree(observed[key], expected[key])
    }


def _digest_value(value: Value) -> ValueDigest:
    return ValueDigest(_structure(value), tuple(round(number, DIGITS) for number, _ in _projections(value)))


def _structure(value: Value) -> str:
    return _hash(_skeleton(value))


def _hash(value: object) -> str:
    return _short_hash(json.dumps(value, sort_keys=True).encode())


def _short_hash(data: bytes) -> str:
    return base64.b64encode(hashlib.blake2b(data, digest_size=6).digest()).decode()


def _skeleton(value: Value) -> object:
    """All of a value but the numbers that are compared within a tolerance."""
    match value:
        case Tensor():
            exact = "" if value.dtype in TOLERANCE else _short_hash(value.reshape(-1).numpy().tobytes())
            return ["tensor", str(value.dtype), list(value.shape), exact]
        case float():
            return ["float"]
        case dict():
            return ["dict", {key: _skeleton(member) for key, member in value.items()}]
        case list():
            return ["list", *map(_skeleton, value)]
        case _:
            return [type(value).__name__, value]


def _projections(value: Value) -> Iterator[tuple[float, float]]:
    """The projections of all tensors and plain numbers of a value, each with its limit, both in tolerances."""
    match value:
        case Tensor():
            if value.dtype in TOLERANCE:
                yield from _project(value, *TOLERANCE[value.dtype])
        case float():
            yield from _project(torch.tensor(value, dtype=torch.float64), *TOLERANCE[DTYPE_OF_A_FLOAT])
        case dict():
            for key in sorted(value):
                yield from _projections(value[key])
        case list():
            for member in value:
                yield from _projections(member)


_MAX_LIMIT = 8.0


def _project(tensor: Tensor, relative: float, absolute: float) -> Iterator[tuple[float, float]]:
    entries = _in_tolerances(tensor, relative, absolute)
    count = entries.numel()
    # Rounding errors of many entries add up like their square root.
    limit = min(max(1.0, math.sqrt(count) / 4), _MAX_LIMIT)
    for direction in range(min(count, PROJECTIONS)):
        yield float((_weights(count, direction) * entries).sum()), limit


def _in_tolerances(tensor: Tensor, relative: float, absolute: float) -> Tensor:
    """The entries in units of their own tolerance, as float64 of shape ``(n,)``.

    A complex entry becomes three: its magnitude, and the parts of z / (a + r|z|), which follow its angle.
    """
    numbers = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64).reshape(-1)
    size = numbers.abs()
    scaled = (size * (relative / absolute)).log1p() / relative
    # nan and infinities become numbers that no finite entry reaches.
    nan, infinity = 3e3 / relative, 1e3 / relative
    if numbers.is_complex():
        unit = torch.where(size.isfinite(), absolute + relative * size, 1)
        parts = torch.view_as_real(numbers) / unit.unsqueeze(-1)
        entries = torch.cat((scaled, parts.reshape(-1)))
    else:
        entries = scaled * numbers.sgn()
    return entries.nan_to_num(nan, infinity, -infinity)


@functools.lru_cache(maxsize=64)
def _weights(count: int, direction: int) -> Tensor:
    """Fixed pseudo-random numbers of magnitude 1 to 2, of either sign, float64 of shape ``(count,)``."""
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(direction), dtype=torch.float64) * 2 - 1
    return uniform + torch.where(uniform < 0, -1.0, 1.0)
