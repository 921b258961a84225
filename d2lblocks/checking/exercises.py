"""An exercise as data: its checks, their cases, what the reference gave, and the mistakes that are known.

`exercises/<assignment>/public.json` holds that for the public cases. It is all that `check` needs, and it holds
neither a reference nor a secret case.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
        cases: what it is tried on.
    """

    id: str
    title: str
    points: float
    probe: str
    hints: dict[str, str] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Known:
    """A known mistake, as a checker recognises it.

    Attributes:
        id: its name in the catalogue.
        message: what to tell the student, two sentences.
        see: the section of the book, ``"custom_layers.html#custom-layers-weight-data"``.
        observed: for each check that it fails (by id), what it gave in each public case.
    """

    id: str
    message: str
    see: str
    observed: dict[str, tuple[Observation, ...]]


@dataclass(frozen=True)
class Exercise:
    """What it takes to judge an answer.

    Attributes:
        name: such as ``"my_linear"``.
        defines: the name that the answer defines: ``"MyLinear"``.
        checks: with their cases.
        expected: for each check (by id), what the reference gave in each case.
        known: the mistakes that can be named.
    """

    name: str
    defines: str
    checks: tuple[Check, ...]
    expected: dict[str, tuple[Observation, ...]]
    known: tuple[Known, ...] = ()

    @property
    def points(self) -> float:
        """The points of all checks together."""
        return sum(check.points for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """This exercise as JSON, without the catalogue's sources."""
        return {
            "defines": self.defines,
            "checks": [
                {
                    "id": check.id,
                    "title": check.title,
                    "points": check.points,
                    "probe": check.probe,
                    "hints": check.hints,
                    "cases": [case.to_json() for case in check.cases],
                    "expected": [encode(seen) for seen in self.expected[check.id]],
                }
                for check in self.checks
            ],
            "known": [
                {
                    "id": known.id,
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
        return cls(
            name=name,
            defines=form["defines"],
            checks=tuple(
                Check(
                    **{key: check[key] for key in ("id", "title", "points", "probe", "hints")},
                    cases=tuple(Case.from_json(case) for case in check["cases"]),
                )
                for check in form["checks"]
            ),
            expected={
                check["id"]: tuple(decode_observation(seen) for seen in check["expected"]) for check in form["checks"]
            },
            known=tuple(
                Known(
                    known["id"],
                    known["message"],
                    known["see"],
                    {check: tuple(map(decode_observation, seen)) for check, seen in known["observed"].items()},
                )
                for known in form["known"]
            ),
        )


def read_public(path: Path) -> dict[str, Exercise]:
    """The exercises of an assignment by name, from its `public.json`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    try:
        forms = json.loads(path.read_text(encoding="utf-8"))["exercises"]
        return {name: Exercise.from_json(name, form) for name, form in forms.items()}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def write_public(exercises: dict[str, Exercise]) -> str:
    """The text of `public.json`; `read_public` reads it."""
    form = {"exercises": {name: exercise.to_json() for name, exercise in exercises.items()}}
    return json.dumps(form, indent=1, sort_keys=True) + "\n"
