"""What a `solutions/<assignment>/reference.py` is made of, and the exercises that are made from it."""

from __future__ import annotations

import importlib
import math
import runpy
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from nbformat.notebooknode import NotebookNode
from torch import nn
from torch.nn import functional as F

from d2lblocks.checking.case import Case, normal
from d2lblocks.checking.digest import digest_case
from d2lblocks.checking.exercise import Check, Exercise, Known
from d2lblocks.checking.observation import Observation
from d2lblocks.checking.pipeline import observe_all
from d2lblocks.checking.probes import NEEDS
from d2lblocks.checking.runner import observe
from grader.files import folders

__all__ = [
    "Assignment",
    "Case",
    "Check",
    "Mistake",
    "ExerciseSource",
    "assignments",
    "define",
    "exercises",
    "load",
    "normal",
]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that is known.

    Attributes:
        id: short name, unique within the exercise.
        title: what it is called on the book's page of common mistakes.
        source: the wrong code, as a student would write it.
        fails: the checks (by id) that it must fail; it must pass all the others.
        message: what a student who makes it is told: two sentences, what happens and where to look.
        why: for the page: how it comes about.
        remedy: for the page: the way out.
        see: the section of the book that explains it.
    """

    id: str
    title: str
    source: str
    fails: Set[str]
    message: str
    why: str
    remedy: str
    see: str


@dataclass(frozen=True)
class ExerciseSource:
    """An exercise as its author writes it.

    Attributes:
        name: the `grade_id` of its solution cell; ``"test_" + name`` is that of its autograde cell.
        defines: the name that an answer defines.
        reference: the reference implementation.
        checks: without cases; each is tried on the groups of cases in its `on`.
        public: the cases that students have.
        secret: draws the cases that they do not have.
        mistakes: known wrong answers.
        alternatives: other right answers, by name.
        imports: modules that are imported before the clock starts, because answers need them and they take long.
    """

    name: str
    defines: str
    reference: Any
    checks: tuple[Check, ...]
    public: tuple[Case, ...]
    secret: Callable[[Random], Sequence[Case]]
    mistakes: tuple[Mistake, ...] = ()
    alternatives: dict[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    @property
    def needs(self) -> set[str]:
        """Modules that are slow to import and that its answers or its probes need."""
        return {*self.imports, *(name for check in self.checks for name in NEEDS.get(check.probe, ()))}

    def exercise(self, seed: int | None = None) -> Exercise:
        """The exercise with the public cases, and with secret ones drawn from `seed` if there is one.

        Raises:
            ValueError: the reference raises something else than a case says, or nothing where it should.
        """
        return replace(self.without_known(seed), known=self._known)

    def for_grading(self, seed: int, released: Exercise) -> Exercise:
        """`exercise(seed)`, with what was found out for the release: secret cases change nothing about it."""
        return replace(self.without_known(seed), known=released.known, book=released.book)

    def without_known(self, seed: int | None = None) -> Exercise:
        """`exercise`, where what known mistakes give is not asked for."""
        if seed is None:
            return self._bare(self.public)
        draw = Random(seed)
        return self._bare(self.public, tuple(self.secret(draw)), draw)

    def _bare(self, public: tuple[Case, ...], secret: tuple[Case, ...] = (), draw: Random | None = None) -> Exercise:
        for name in self.imports:  # a time limit that ends an import leaves half of a module behind
            importlib.import_module(name)
        cases = (*public, *secret)
        checks = tuple(check.tried_on((*public, *_some(check, secret, draw))) for check in self.checks)
        expected = {check.id: tuple(self._expected(check, case) for case in check.cases) for check in checks}
        return Exercise(self.name, self.defines, cases, checks, expected, imports=self.imports)

    def _expected(self, check: Check, case: Case) -> Observation:
        seen, _ = observe(self.reference, check.probe, case, 60, check.options)
        raised = seen.get("raised", {})
        kind = raised.get("type", "") if isinstance(raised, dict) else ""
        if kind != case.raises:
            said = f"raises {raised}" if kind else f"does not raise {case.raises}"
            raise ValueError(f"{self.name}: the reference {said}, in {check.id}, {case.label}")
        return seen

    @cached_property
    def _known(self) -> tuple[Known, ...]:
        """What each mistake gives in the public cases."""
        public = self._bare(self.public)
        known = []
        for mistake in self.mistakes:
            observed, _ = observe_all(public, partial(observe, define(mistake.source, self.defines)), seconds=60)
            digests = {
                check: tuple(map(digest_case, observed[check], public.expected[check]))
                for check in sorted(mistake.fails)
            }
            known.append(Known(mistake.id, mistake.title, mistake.message, mistake.see, digests))
        return tuple(known)


# Probes that say what an answer computes. The others say how it is made, which one case shows as well as ten.
_OF_NUMBERS = ("values", "gradients", "modes", "growth", "graphs", "initial_values")
SECRET_CASES_OF_STRUCTURE = 2  # of each group


def _some(check: Check, secret: Sequence[Case], draw: Random | None) -> Iterator[Case]:
    """The secret cases on which a check is tried: all of them, or a few of each group, drawn anew for each seed."""
    if check.probe in _OF_NUMBERS or draw is None:
        yield from secret
        return
    for group in check.on:
        of_group = [case for case in secret if case.group == group]
        chosen = draw.sample(range(len(of_group)), min(SECRET_CASES_OF_STRUCTURE, len(of_group)))
        yield from (of_group[k] for k in sorted(chosen))


def points_that_differ(tasks: Iterable[ExerciseSource], notebook: NotebookNode) -> str:
    """Where the points of checks and those of the autograde cells are not the same, in a few words; or nothing."""
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    for task in tasks:
        own, cell = sum(check.points for check in task.checks), cells.get(f"test_{task.name}")
        if cell is None:
            return f"the notebook has no cell test_{task.name}"
        if own != cell.metadata.nbgrader.points:
            worth = cell.metadata.nbgrader.points
            return (
                f"the checks of {task.name} are worth {own:g} points, the notebook's cell test_{task.name} {worth:g}"
            )
    return ""


def define(source: str, name: str) -> Any:
    """Run an answer's source as its notebook would, and return what it defines as `name`."""
    namespace = {"torch": torch, "nn": nn, "F": F, "math": math, "__name__": "__main__"}
    exec(compile(source, "<answer>", "exec"), namespace)
    return namespace[name]


def exercises(reference: str, *names: str) -> tuple[ExerciseSource, ...]:
    """The exercises of an assignment that has a file for each.

    Args:
        reference: the `__file__` of the assignment's `reference.py`.
        *names: of the files beside it, without ``.py``, in the order of the notebook; each defines `TASK`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one defines no `TASK`.
    """
    folder = Path(reference).parent
    return tuple(_defined(folder / f"{name}.py", "TASK") for name in names)


def _defined(source: Path, name: str) -> Any:
    found = runpy.run_path(str(source)).get(name)
    if not found:
        raise ValueError(f"{source} defines no {name}")
    return found


@dataclass(frozen=True)
class Assignment:
    """The exercises of one folder of `solutions/`, by name."""

    name: str
    tasks: dict[str, ExerciseSource]


def load(folder: Path) -> Assignment:
    """Read an assignment from its folder.

    Raises:
        FileNotFoundError: the folder has no `reference.py`.
        ValueError: its `reference.py` has no `TASKS`.
    """
    source = folder / "reference.py"
    if not source.is_file():
        raise FileNotFoundError(f"{folder} has no reference.py")
    return Assignment(folder.name, {task.name: task for task in _defined(source, "TASKS")})


def assignments(solutions: Path) -> Iterator[Assignment]:
    """All assignments, in alphabetical order: every folder of `solutions/` that has a `reference.py`."""
    for folder in folders.entries(solutions):
        if (folder / "reference.py").is_file():
            yield load(folder)
