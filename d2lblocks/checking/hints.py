"""Hints: sentences that help with a difference, found by its key and kind.

In: a check's hints and the first difference in a case. Out: one sentence or none. An author writes the pattern of a
hint in one of two ways (`fnmatch`):

    "gradient.*: none"        the key of the difference, and its kind (`compare.DifferenceKind`); ``*`` is any kind
    "raised: *deepcopy*"      the class name or the message of the exception that an answer raised
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from d2lblocks.checking.compare import Difference, DifferenceKind
from d2lblocks.checking.observation import FailureKind, Observation, raised_text

_RAISED = "raised: "


@dataclass(frozen=True)
class HintPattern:
    """What a hint is for.

    Attributes:
        key: pattern of the key.
        kind: of the difference; None is any.
        raised: pattern of the class name or the message of an exception; None if the hint is not for exceptions.
    """

    key: str
    kind: DifferenceKind | None = None
    raised: str | None = None

    def matches(self, difference: Difference, observed: Observation) -> bool:
        """Whether the hint is for this difference."""
        if self.raised is not None:
            if difference.kind is not DifferenceKind.RAISED:
                return False
            raised = observed.get("raised")
            texts = raised_text(raised, "type"), raised_text(raised, "message")
            return any(fnmatchcase(text, self.raised) for text in texts)
        return self.kind in (None, difference.kind) and fnmatchcase(difference.key, self.key)


@functools.lru_cache(maxsize=1024)
def parse_hint(pattern: str) -> HintPattern:
    """A pattern as its author wrote it.

    Raises:
        ValueError: it names no kind of difference.
    """
    if pattern.startswith(_RAISED):
        return HintPattern("raised", DifferenceKind.RAISED, pattern.removeprefix(_RAISED))
    key, _, kind = pattern.rpartition(": ")
    if not key:
        return HintPattern(pattern)
    if kind == "*":
        return HintPattern(key)
    if kind not in list(DifferenceKind):
        raise ValueError(f"a hint for {pattern[:60]!r} names no kind of difference: {', '.join(DifferenceKind)}")
    return HintPattern(key, DifferenceKind(kind))


# These help in every exercise.
_FOR_ALL = {
    "output: none": "Does `forward` end with a `return`?",
    f"raised: {FailureKind.RETURNED_NONE}": "Does `forward` end with a `return`?",
    "raised: *before Module.__init__() call*": "Begin `__init__` with `super().__init__()`, parentheses included.",
    "raised: *support the deepcopy protocol*": (
        "Is a computed tensor kept as an attribute of `self`? Use a local variable."
    ),
    'raised: *missing the required "forward" function*': (
        "Is `forward` spelled correctly, and indented so that it is inside the class?"
    ),
}


def hint_for(hints: Mapping[str, str], difference: Difference, observed: Observation) -> str | None:
    """The first hint that fits; those of the check come before those for all exercises.

    Args:
        hints: of the check, pattern to sentence.
        difference: the first one in a case.
        observed: what was observed in this case.
    """
    both = {**hints, **_FOR_ALL}
    return next((text for pattern, text in both.items() if parse_hint(pattern).matches(difference, observed)), None)
