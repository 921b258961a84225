"""An exercise as data: its checks, their cases, what the reference gave, and the mistakes that are known.

`exercises/<assignment>/public.json` holds that for the public cases. It is all that `check` needs, and it holds
neither a reference nor a secret case.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from d2lblocks.checking.cases import Case
from d2lblocks.checking.observations import Observation, decode_observation, encode


@dataclass(frozen=True)
class Check:
    """One thing that is checked, and what it is worth.

    Attributes:
        id: short name: ``"gradients"``.
        title: for the student: ``"Gradients reach everything"``.
        points: lost if any case differs from the reference.
        probe: how it is observed, a name in `probes.PROBES`.
        hints: pattern (`fnmatch`) of ``"what was observed: kind of difference"`` to a sentence that helps. The
            kinds are those of `judge.Difference`.
        on: the groups of cases that it is tried on.
        options: of the probe.
        cases: those of the groups.
    """

    id: str
    title: str
    points: float
    probe: str
    hints: dict[str, str] = field(default_factory=dict)
    on: tuple[str, ...] = ("main",)
    options: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()

    def tried_on(self, cases: Iterable[Case]) -> Check:
        """This check with those of the cases that it is for."""
        return replace(self, cases=tuple(case for case in cases if case.group in self.on))


@dataclass(frozen=True)
class Known:
    """A known mistake, as a checker recognises it.

    Attributes:
        id: its name in the catalogue.
        title: what it is called on the book's page of common mistakes.
        message: what to tell the student, two sentences.
        see: the section of the book, ``"custom_layers.html#custom-layers-weight-data"``.
        observed: for each check that it fails (by id), what it gave in each public case.
    """

    id: str
    title: str
    message: str
    see: str
    observed: dict[str, tuple[Observation, ...]]


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
    """

    name: str
    defines: str
    cases: tuple[Case, ...]
    checks: tuple[Check, ...]
    expected: dict[str, tuple[Observation, ...]]
    known: tuple[Known, ...] = ()
    book: str = ""
    imports: tuple[str, ...] = ()

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
        return max((len(json.dumps(encode(seen))) for all_ in self.expected.values() for seen in all_), default=0)

    def to_json(self) -> dict[str, Any]:
        """This exercise as JSON, without the catalogue's sources."""
        return {
            "defines": self.defines,
            "book": self.book,
            "imports": list(self.imports),
            "cases": [case.form for case in self.cases],
            "checks": [
                {
                    "id": check.id,
                    "title": check.title,
                    "points": check.points,
                    "probe": check.probe,
                    "hints": check.hints,
                    "on": list(check.on),
                    "options": check.options,
                    "expected": [encode(seen) for seen in self.expected[check.id]],
                }
                for check in self.checks
            ],
            "known": [
                {
                    "id": known.id,
                    "title": known.title,
                    "message": known.message,
                    "see": known.see,
                    "observed": {check: [encode(o) for o in seen] for check, seen in known.observed.items()},
                }
                for known in self.known
            ],
        }

    @classmethod
    def from_json(cls, name: str, form: dict[str, Any]) -> Exercise:
        """The exercise that `to_json` wrote."""
        cases = tuple(Case.from_json(case) for case in form["cases"])
        return cls(
            name=name,
            defines=form["defines"],
            book=form["book"],
            imports=tuple(form["imports"]),
            cases=cases,
            checks=tuple(
                Check(
                    **{key: check[key] for key in ("id", "title", "points", "probe", "hints", "options")},
                    on=tuple(check["on"]),
                ).tried_on(cases)
                for check in form["checks"]
            ),
            expected={
                check["id"]: tuple(decode_observation(seen) for seen in check["expected"]) for check in form["checks"]
            },
            known=tuple(
                Known(
                    known["id"],
                    known["title"],
                    known["message"],
                    known["see"],
                    {check: tuple(map(decode_observation, seen)) for check, seen in known["observed"].items()},
                )
                for known in form["known"]
            ),
        )


@dataclass(frozen=True)
class Public:
    """What `public.json` says about an assignment.

    Attributes:
        exercises: those that a program checks, by name.
        by_hand: those that are marked by hand, with their points.
    """

    exercises: dict[str, Exercise]
    by_hand: dict[str, float]


def read_public(path: Path) -> Public:
    """What a `public.json` says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
        exercises = {name: Exercise.from_json(name, content) for name, content in form["exercises"].items()}
        return Public(exercises, dict(form["by_hand"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def write_public(public: Public) -> str:
    """The text of `public.json`; `read_public` reads it."""
    exercises = {name: exercise.to_json() for name, exercise in public.exercises.items()}
    return json.dumps({"exercises": exercises, "by_hand": public.by_hand}, indent=1) + "\n"
