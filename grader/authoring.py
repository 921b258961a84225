"""What a `solutions/<assignment>/reference.py` is made of, and the exercises that are made from it."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from d2lblocks.checking.cases import Case, normal
from d2lblocks.checking.check import observe_all
from d2lblocks.checking.exercises import Check, Exercise, Known
from d2lblocks.checking.judge import judge
from d2lblocks.checking.probes import observe

__all__ = ["Assignment", "Case", "Check", "Mistake", "Task", "assignments", "define", "load", "normal"]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that is known.

    Attributes:
        id: short name, unique within the exercise.
        source: the wrong code, as a student would write it.
        fails: the checks (by id) that it must fail; it must pass all the others.
        message: what a student who makes it is told: two sentences, what happens and where to look.
        see: the section of the book that explains it.
    """

    id: str
    source: str
    fails: frozenset[str]
    message: str
    see: str


@dataclass(frozen=True)
class Task:
    """An exercise as its author writes it.

    Attributes:
        name: the `grade_id` of its solution cell; ``"test_" + name`` is that of its autograde cell.
        defines: the name that an answer defines.
        reference: the reference implementation.
        checks: without cases; each is tried on all of them.
        public: the cases that students have.
        secret: draws the cases that they do not have.
        mistakes: known wrong answers.
        alternatives: other right answers, by name.
    """

    name: str
    defines: str
    reference: Any
    checks: tuple[Check, ...]
    public: tuple[Case, ...]
    secret: Callable[[Random], Sequence[Case]]
    mistakes: tuple[Mistake, ...] = ()
    alternatives: dict[str, str] = field(default_factory=dict)

    def exercise(self, seed: int | None = None) -> Exercise:
        """The exercise with the public cases, and with secret ones drawn from `seed` if there is one.

        Raises:
            ValueError: the reference itself raises in some case.
        """
        cases = (*self.public, *(self.secret(Random(seed)) if seed is not None else ()))
        checks = tuple(replace(check, cases=cases) for check in self.checks)
        expected = {
            check.id: tuple(observe(self.reference, check.probe, case, seconds=60)[0] for case in cases)
            for check in checks
        }
        for check in checks:
            for case, seen in zip(cases, expected[check.id], strict=True):
                if "raised" in seen:
                    raise ValueError(
                        f"{self.name}: the reference fails in {check.id}, {case.label}: {seen['raised']}"
                    )
        bare = Exercise(self.name, self.defines, checks, expected)
        return replace(bare, known=tuple(self._known(bare)))

    def _known(self, exercise: Exercise) -> Iterator[Known]:
        public = replace(exercise, checks=tuple(replace(check, cases=self.public) for check in exercise.checks))
        for mistake in self.mistakes:
            observed, _ = observe_all(public, define(mistake.source, self.defines), seconds=60)
            seen = {check: tuple(observed.get(check, ())) for check in sorted(mistake.fails)}
            if any(len(cases) < len(self.public) for cases in seen.values()):
                raise ValueError(f"{self.name}: the mistake {mistake.id} takes too long, or fails no such check")
            yield Known(mistake.id, mistake.message, mistake.see, seen)

    def failed_checks(self, exercise: Exercise, source: str) -> set[str]:
        """The checks (by id) that an answer fails."""
        observed, _ = observe_all(exercise, define(source, self.defines))
        return {verdict.check.id for verdict in judge(exercise, observed) if verdict.status != "pass"}


def define(source: str, name: str) -> Any:
    """Run an answer's source as its notebook would, and return what it defines as `name`."""
    namespace = {"torch": torch, "nn": nn, "F": F, "math": math, "__name__": "__main__"}
    exec(compile(source, "<answer>", "exec"), namespace)
    return namespace[name]


@dataclass(frozen=True)
class Assignment:
    """The exercises of one folder of `solutions/`, by name."""

    name: str
    tasks: dict[str, Task]


def load(folder: Path) -> Assignment:
    """Read an assignment from its folder.

    Raises:
        FileNotFoundError: the folder has no `reference.py`.
        ValueError: its `reference.py` has no `TASKS`.
    """
    source = folder / "reference.py"
    if not source.is_file():
        raise FileNotFoundError(f"{folder} has no reference.py")
    tasks = runpy.run_path(str(source)).get("TASKS")
    if not tasks:
        raise ValueError(f"{source} defines no TASKS")
    return Assignment(folder.name, {task.name: task for task in tasks})


def assignments(solutions: Path) -> Iterator[Assignment]:
    """All assignments, in alphabetical order: every folder of `solutions/` that has a `reference.py`."""
    for source in sorted(solutions.glob("*/reference.py")):
        yield load(source.parent)
