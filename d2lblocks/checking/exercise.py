"""What an exercise is, as data: its checks, their cases, what the reference gave, and the known mistakes.

In: nothing; these are the types. `public` reads them from a release and writes them to it, the grader makes them from
`solutions/`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from d2lblocks.checking.case import Case
from d2lblocks.checking.digest import CaseDigest
from d2lblocks.checking.hints import parse_hint
from d2lblocks.checking.observation import Observation, encode


@dataclass(frozen=True)
class Check:
    """One thing that is checked, and what it is worth.

    Attributes:
        id: short name: ``"gradients"``.
        title: for the student: ``"Gradients reach everything"``.
        points: lost if any case differs from the reference.
        probe: how it is observed, a name in `probes.PROBES`.
        hints: pattern of a difference, ``"gradient.*: none"``, to a sentence that helps; `hints` describes the
        patterns.
        on: the groups of cases that it is tried on.
        options: of the probe.
        cases: those of the groups.

    Raises:
        ValueError: a hint names no kind of difference.
    """

    id: str
    title: str
    points: float
    probe: str
    hints: dict[str, str] = field(default_factory=dict)
    on: tuple[str, ...] = ("main",)
    options: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.hints:
            parse_hint(pattern)

    def tried_on(self, cases: Iterable[Case]) -> Check:
        """This check with those of the cases that it is for."""
        return replace(self, cases=tuple(case for case in cases if case.group in self.on))


@dataclass(frozen=True)
class Known:
    """A known mistake, as a checker recognises it.

    Attributes:
        id: its name in the catalogue.
        title: what it is called on the book's pages of common mistakes.
        message: what to tell the student, two sentences.
        see: the section of the book, ``"custom_layers.html#custom-layers-weight-data"``.
        digests: for each check that it fails (by id), the digest of what it gave in each public case.
    """

    id: str
    title: str
    message: str
    see: str
    digests: dict[str, tuple[CaseDigest, ...]]


@dataclass(frozen=True)
class Exercise:
    """What it takes to judge an answer.

    Attributes:
        name: such as ``"my_linear"``.
        defines: the name that the answer defines: ``"MyLinear"``.
        cases: all of them, in their order.
        checks: with their cases.
        expected: for each check (by id), what the reference gave in each case.
        known: the mistakes that can be named.
        book: the address of the website, ``"https://example.org/course/"``; empty if it has none.
        imports: modules that are imported before the clock starts, because answers need them and they take long.
        assignment: in which it is; the book has a page of its mistakes.
    """

    name: str
    defines: str
    cases: tuple[Case, ...]
    checks: tuple[Check, ...]
    expected: dict[str, tuple[Observation, ...]]
    known: tuple[Known, ...] = ()
    book: str = ""
    imports: tuple[str, ...] = ()
    assignment: str = ""

    @property
    def see(self) -> str:
        """The section of the book that most of its known mistakes are explained in; empty if none is known."""
        places = Counter(known.see for known in self.known)
        return places.most_common(1)[0][0] if places else ""

    @property
    def points(self) -> float:
        """The points of all checks together."""
        return sum(check.points for check in self.checks)

    @cached_property
    def largest(self) -> int:
        """The bytes of the largest observation of the reference, in its JSON form."""
        return max(
            (len(json.dumps(encode(one))) for observed in self.expected.values() for one in observed), default=0
        )
