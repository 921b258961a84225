"""Judge: compare what was observed with what the reference gave in the same case.

One rule for everything: the same type, the same keys, the same dtype, then the same shape, then the same numbers
within the tolerance of their dtype. A plain number is compared as a tensor of one entry. The same comparison
recognises a known mistake: it is an answer that gives what the mistake gives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from d2lblocks.checking.exercise import Check, Exercise, Known
from d2lblocks.checking.observation import Observation, Value

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
_DTYPE_OF_A_FLOAT = torch.float32  # whose tolerance a plain number has: most were the `.item()` of such a tensor
MAX_MESSAGE_LENGTH = 120
MAX_RAISED_LENGTH = 300  # of an exception's message, and of the line where it came from
MAX_FIELD_LENGTH = 200


@dataclass(frozen=True)
class Difference:
    """Where an observation is not what the reference gave.

    Attributes:
        field: what was observed: ``"gradient of `weight`"``.
        kind: ``"raised"``, ``"not raised"``, ``"missing"``, ``"unexpected"``, ``"none"`` (None instead of a tensor),
            ``"type"``, ``"dtype"``, ``"shape"``, ``"values"`` or ``"nan"``.
        observed: in words.
        expected: in words.
    """

    field: str
    kind: str
    observed: str
    expected: str

    def __str__(self) -> str:
        match self.kind:
            case "raised":
                return f"{self.observed}."
            case "not raised":
                return f"{self.expected} should have been raised."
            case "missing":
                return f"There is no {self.field}; the reference has one: {self.expected}."
            case "unexpected":
                article = "an" if self.field.startswith(tuple("aeiou")) else "a"
                return f"There is also {article} {self.field}: {self.observed}; the reference has none."
            case "none":
                return f"The {self.field} is None; the reference's is {self.expected}."
            case _:
                return f"The {self.field} is {self.observed}; the reference's is {self.expected}."


def compare(observed: Value, expected: Value, field: str = "result") -> Iterator[Difference]:
    """The differences between two observations, or parts of them, by the one rule."""
    if isinstance(observed, dict) and isinstance(expected, dict):
        if "raised" in observed or "raised" in expected:
            yield from _compare_raised(observed.get("raised"), expected.get("raised"), field)
            return
        inner = "{}" if field == "result" else f"{field}: {{}}"
        for key in expected:
            if key in observed:
                yield from compare(observed[key], expected[key], inner.format(key))
            else:
                yield Difference(inner.format(key), "missing", "", in_words(expected[key]))
        for key in observed:
            if key not in expected:
                yield Difference(inner.format(key[:MAX_FIELD_LENGTH]), "unexpected", in_words(observed[key]), "")
    elif isinstance(observed, Tensor) and isinstance(expected, Tensor):
        yield from _compare_tensors(observed, expected, field)
    elif isinstance(observed, list) and isinstance(expected, list) and not _plain(expected):
        if len(observed) != len(expected):
            yield Difference(field, "shape", in_words(observed), in_words(expected))
        else:
            for i, (o, e) in enumerate(zip(observed, expected, strict=True)):
                yield from compare(o, e, field if len(expected) == 1 else f"{field} [{i}]")
    elif type(observed) is not type(expected):
        kind = "none" if observed is None else "type"
        yield Difference(field, kind, *_told_apart(observed, expected))
    elif isinstance(observed, float) and isinstance(expected, float):
        one, other = (torch.tensor(number, dtype=torch.float64) for number in (observed, expected))
        yield from _compare_tensors(one, other, field, TOLERANCE[_DTYPE_OF_A_FLOAT])
    elif _types(observed) != _types(expected) or observed != expected:
        yield Difference(field, "values", *_told_apart(observed, expected))


def _plain(members: list[Value]) -> bool:
    """Whether a list, such as a shape, is best read as a whole."""
    return all(isinstance(member, bool | int | str) for member in members)


def _types(value: Value) -> list[type]:
    """Of the members of a list, which Python calls equal if they are 1, 1.0 and True; they need not be plain."""
    return [type(member) for member in value] if isinstance(value, list) else []


def _compare_raised(observed: Value, expected: Value, field: str) -> Iterator[Difference]:
    if not isinstance(expected, dict):
        yield Difference(field, "raised", _raised_in_words(observed), "")
    elif not isinstance(observed, dict):
        yield Difference(field, "not raised", "", str(expected.get("type")))
    # A special case of an exception is one, too.
    elif said(expected, "type") not in (said(observed, "type"), *_bases(observed)):
        yield Difference(field, "raised", _raised_in_words(observed), str(expected.get("type")))


def said(raised: Value, key: str) -> str:
    """A part of what was raised, as text; empty if it is none: what was raised may be made up."""
    value = raised.get(key) if isinstance(raised, dict) else None
    return value if isinstance(value, str) else ""


def _bases(raised: dict[str, Value]) -> list[str]:
    bases = raised.get("bases")
    return [base for base in bases if isinstance(base, str)] if isinstance(bases, list) else []


def _raised_in_words(raised: Value) -> str:
    if not isinstance(raised, dict):
        return in_words(raised)
    kind, message = said(raised, "type")[:MAX_MESSAGE_LENGTH], said(raised, "message")[:MAX_RAISED_LENGTH]
    match kind:
        case "OutOfTime":
            return f"It did not come to an end and was {message}"
        case "BadObservation":
            return f"It gave {message}"
    if len(message) > MAX_MESSAGE_LENGTH:  # PyTorch's are long; the first sentence says what is wrong
        message = message.partition(". ")[0]
    text = f"It raised {kind}: {message}".rstrip(" :.")
    line = said(raised, "line")[:MAX_RAISED_LENGTH]
    return f"{text}, in `{line}`" if line else text


def _told_apart(observed: Value, expected: Value) -> tuple[str, str]:
    """Both in words; with their types where the words are the same, as for `"1"` and `1`."""
    one, other = in_words(observed), in_words(expected)
    if one != other:
        return one, other
    return f"{one} (of type {type(observed).__name__})", f"{other} (of type {type(expected).__name__})"


def _compare_tensors(
    observed: Tensor, expected: Tensor, field: str, tolerance: tuple[float, float] | None = None
) -> Iterator[Difference]:
    if observed.dtype != expected.dtype:
        yield Difference(field, "dtype", _dtype(observed), _dtype(expected))
    elif observed.shape != expected.shape:
        yield Difference(field, "shape", f"of shape {tuple(observed.shape)}", f"{tuple(expected.shape)}")
    elif expected.numel() and not torch.equal(observed, expected):  # asked first, because it is quick
        relative, absolute = tolerance or TOLERANCE.get(expected.dtype, _EXACT)
        wrong = ~torch.isclose(observed, expected, rtol=relative, atol=absolute, equal_nan=True)
        if wrong.any():
            kind = "nan" if (observed.isnan() & ~expected.isnan()).any() else "values"
            first = tuple(int(i) for i in wrong.nonzero()[0])
            one, other = _numbers(observed[first], expected[first])
            if wrong.numel() > 1:
                one += f" at {list(first)} ({int(wrong.sum())} of {wrong.numel()} entries differ)"
            yield Difference(field, kind, one, other)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _numbers(one: Tensor, other: Tensor) -> tuple[str, str]:
    """Two different numbers, with as many digits as it takes to see that they differ."""
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


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes:
        check: which one.
        status: ``"pass"``, ``"fail"``, ``"error"`` (the answer raised), ``"timeout"`` (it did not end, or there was
            no time left for it), ``"crash"`` (it ended the process in which it ran), ``"memory"`` (it used too much
            of it) or ``"unanswered"`` (it is still the stub).
        points: earned.
        message: what was observed and what was expected; empty if passed.
    """

    check: Check
    status: str
    points: float
    message: str


# What helps whatever the exercise: pattern of "what: kind" or of what was raised, and a sentence.
_HELP = {
    "output: none": "Does `forward` end with a `return`?",
    "*call returned None*": "Does `forward` end with a `return`?",
    "*before Module.__init__() call*": "Begin `__init__` with `super().__init__()`, parentheses included.",
    "*support the deepcopy protocol*": "Is a computed tensor kept as an attribute of `self`? Use a local variable.",
    '*missing the required "forward" function*': "Is `forward` spelled so, and indented to stand inside the class?",
}


class Judging:
    """Judges an answer while it is observed: each observation is compared when it comes, and is not kept.

    Observations come from a stranger. Kept, those of one answer could take more memory than there is.

    Args:
        exercise: with the reference's observations, and with its public cases first in each check: known mistakes
            are recognised by those.
    """

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise
        self._checks = {check.id: check for check in exercise.checks}
        self._count: Counter[str] = Counter()
        self._failed: dict[str, Verdict] = {}
        # The mistakes that agree with all that came so far: exactly, or but for what is accidental.
        self._possible = [(accidental, list(exercise.known)) for accidental in ((), _ACCIDENTAL)]

    def add(self, check: str, seen: Observation) -> None:
        """Compare an observation.

        Args:
            check: its id.
            seen: what the answer gave in the next case of this check.
        """
        number = self._count[check]
        self._count[check] += 1
        cases, expected = self._checks[check].cases, self._exercise.expected[check]
        if number >= min(len(cases), len(expected)):
            return
        if check not in self._failed:
            difference = next(compare(seen, expected[number]), None)
            if difference:
                self._failed[check] = _failed(self._checks[check], cases[number].label, seen, difference)
        for accidental, possible in self._possible:
            possible[:] = [
                known
                for known in possible
                if number >= len(known.observed.get(check, ()))
                or _same_in_a_case(seen, known.observed[check][number], expected[number], accidental)
            ]

    def verdicts(self) -> list[Verdict]:
        """One verdict for each check of the exercise. A check whose cases were not all reached is not passed."""
        verdicts = [self._verdict(check) for check in self._exercise.checks]
        # One exception prevents many checks; to read it once is enough, whichever the case.
        messages = [verdict.message.rpartition(" (case: ")[0] or verdict.message for verdict in verdicts]
        return [
            replace(verdict, message="As above.") if message and message in messages[:number] else verdict
            for number, (verdict, message) in enumerate(zip(verdicts, messages, strict=True))
        ]

    def _verdict(self, check: Check) -> Verdict:
        if check.id in self._failed:
            return self._failed[check.id]
        if self._count[check.id] < len(self._exercise.expected[check.id]):
            return Verdict(check, "timeout", 0, "Not tried: the answer took too long before.")
        return Verdict(check, "pass", check.points, "")

    def known(self) -> Known | None:
        """The known mistake that gives, in every check that the answer fails, just what the answer gives."""
        failed = {verdict.check.id for verdict in self.verdicts() if verdict.status != "pass"}
        for _, possible in self._possible:
            for known in possible:
                # Observed and known both end at the first case that took too long.
                reached = all(self._count[check] >= len(seen) for check, seen in known.observed.items())
                if failed == known.observed.keys() and reached:
                    return known
        return None


def judge(exercise: Exercise, observed: Mapping[str, Sequence[Observation]]) -> list[Verdict]:
    """One verdict for each check of an exercise.

    Args:
        exercise: with the reference's observations.
        observed: for each check (by id), the answer's observation in each case. What is missing was not reached.
    """
    return judging(exercise, observed).verdicts()


def judging(exercise: Exercise, observed: Mapping[str, Sequence[Observation]]) -> Judging:
    """A `Judging` that has seen all of these observations."""
    result = Judging(exercise)
    for check, seen in observed.items():
        for observation in seen:
            result.add(check, observation)
    return result


_STATUSES = {"OutOfTime": "timeout", "Crash": "crash", "OutOfMemory": "memory"}


def _failed(check: Check, label: str, seen: Observation, first: Difference) -> Verdict:
    raised = seen.get("raised")
    status = "fail"
    if isinstance(raised, dict) and first.kind == "raised":
        # The stub raises without a message; PyTorch, where `forward` is missing, with one.
        kind = said(raised, "type")
        unanswered = kind == "NotImplementedError" and not said(raised, "message")
        status = "unanswered" if unanswered else _STATUSES.get(kind, "error")
    if status == "unanswered":
        return Verdict(check, status, 0, "")
    what = (f"{first.field}: {first.kind}", first.observed)
    hints = (check.hints | _HELP).items()
    hint = next((text for pattern, text in hints if any(fnmatchcase(w, pattern) for w in what)), "")
    return Verdict(check, status, 0, f"{first} {hint}".strip() + f" (case: {label})")


# First a mistake is looked for that gives exactly the same; then one that does but for these observations, which are
# wrong in the same places: by how much depends on numbers that were drawn, or on how a line happens to be written.
_ACCIDENTAL = ("spread of ", "number of further operators ", "change of the output by saving and loading")


def _same_in_a_case(
    observed: Observation, known: Observation, expected: Observation, accidental: tuple[str, ...]
) -> bool:
    if "raised" in observed or "raised" in known:
        # Where an exception is the failure, two of one type may tell of different mistakes.
        alike = "raised" in expected or _says(observed) == _says(known)
        return alike and next(compare(observed, known), None) is None
    if observed.keys() != known.keys():
        return False
    for key in known:
        if key.startswith(accidental) and key in expected:
            one, other = ({d.field for d in compare(seen[key], expected[key])} for seen in (observed, known))
            if one != other:
                return False
        elif next(compare(observed[key], known[key]), None) is not None:
            return False
    return True


def _says(observation: Observation) -> str:
    """What was raised, apart from numbers."""
    raised = observation.get("raised")
    return re.sub(r"[\d.]+", "", said(raised, "message"))
