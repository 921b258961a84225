"""What the authors' files of an assignment say, as the exercises that are released and graded.

In: a folder `solutions/<assignment>/` with the notebook `<assignment>.ipynb`, which has the worked solutions and the
order of the exercises; for each exercise `<exercise>.py`, with its checks and cases, and `<exercise>.md`, its
catalogue of known answers. Out: an `Assignment`, whose `ExerciseSource`s give an `Exercise` for every seed.
"""

from __future__ import annotations

import importlib
import math
import runpy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any

import nbformat
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
from grader.authoring.catalogue import Catalogue, Mistake, read_catalogue
from grader.authoring.fill_in import solution_cells
from grader.files import folders

__all__ = [
    "Assignment", "Case", "Check", "ExerciseSource", "assignments", "define", "load", "normal", "points_that_differ",
]  # fmt: skip

REFERENCE_TIMEOUT = 60.0  # seconds that the reference, or a known mistake, may take for one case
TEST_PREFIX = "test_"  # begins the `grade_id` of an autograde cell; the exercise's name follows


@dataclass(frozen=True)
class ExerciseSource:
    """An exercise as its author writes it.

    The author's file, `<exercise>.py`, gives the first five and assigns the result to `EXERCISE`. `load` adds the
    other three.

    Attributes:
        defines: the name that an answer defines.
        checks: without cases; each is tried on the groups of cases in its `on`.
        public: the cases that students have.
        secret: draws the cases that they do not have.
        imports: modules that are imported before the clock starts, because answers need them and they take long.
        name: the `grade_id` of its solution cell; ``"test_" + name`` is that of its autograde cell.
        worked: the source of its solution cell. What it defines is the reference.
        known_answers: the file of its catalogue, which is read when it is needed. Grading does not need it.
    """

    defines: str
    checks: tuple[Check, ...]
    public: tuple[Case, ...]
    secret: Callable[[Random], Sequence[Case]]
    imports: tuple[str, ...] = ()
    name: str = ""
    worked: str = ""
    known_answers: Path = Path()

    @cached_property
    def reference(self) -> Any:
        """What the worked solution defines: it is right, and answers are compared with it."""
        return define(self.worked, self.defines)

    @cached_property
    def _catalogue(self) -> Catalogue:
        found = read_catalogue(self.known_answers)
        checks = [check.id for check in self.checks]
        for mistake in found.mistakes:
            if unknown := sorted(mistake.fails.difference(checks)):
                raise ValueError(
                    f"{self.known_answers}: `{mistake.id}` fails `{unknown[0]}`, which is no check of this exercise; "
                    f"there are: {', '.join(checks)}"
                )
        return found

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Known wrong answers.

        Raises:
            CatalogueError: the catalogue cannot be read.
            ValueError: it names a check that does not exist.
        """
        return self._catalogue.mistakes

    @property
    def right_answers(self) -> dict[str, str]:
        """The sources of the worked solution, ``"worked"``, and of other right answers, by name.

        Raises:
            CatalogueError: the catalogue cannot be read.
            ValueError: it names a check that does not exist.
        """
        return {"worked": self.worked, **self._catalogue.right_answers}

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
        return replace(
            self.without_known(seed), known=released.known, book=released.book, assignment=released.assignment
        )

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
        seen, _ = observe(self.reference, check.probe, case, REFERENCE_TIMEOUT, check.options)
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
            answer = define(mistake.source, self.defines)
            observed, _ = observe_all(public, partial(observe, answer), seconds=REFERENCE_TIMEOUT)
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


def points_that_differ(exercises: Iterable[ExerciseSource], notebook: NotebookNode) -> str | None:
    """Where the points of the checks and those of the autograde cells differ, in a few words; None if nowhere."""
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    for exercise in exercises:
        own, cell = sum(check.points for check in exercise.checks), cells.get(TEST_PREFIX + exercise.name)
        if cell is None:
            return f"the notebook has no cell {TEST_PREFIX}{exercise.name}"
        if own != (worth := cell.metadata.nbgrader.points):
            test = TEST_PREFIX + exercise.name
            return f"the checks of {exercise.name} are worth {own:g} points, the notebook's cell {test} {worth:g}"
    return None


def define(source: str, name: str) -> Any:
    """Run an answer's source as its notebook would, and return what it defines as `name`."""
    namespace = {"torch": torch, "nn": nn, "F": F, "math": math, "__name__": "__main__"}
    exec(compile(source, "<answer>", "exec"), namespace)
    return namespace[name]


@dataclass(frozen=True)
class Assignment:
    """The exercises of one folder of `solutions/`, by name, in the order of its notebook."""

    name: str
    exercises: dict[str, ExerciseSource]


def load(folder: Path) -> Assignment:
    """Read an assignment from its folder.

    Raises:
        FileNotFoundError: the folder has no notebook of its own name.
        ValueError: an exercise's file defines no `EXERCISE`, or the notebook lacks one of its cells.
    """
    path = folder / f"{folder.name}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no notebook {path.name}")
    notebook = nbformat.read(path, as_version=4)
    order = exercises_of(notebook)
    worked = solution_cells(notebook)
    sources = {source.stem: source for source in folders.files(folder, ".py")}
    for name, source in sources.items():
        if name not in worked or name not in order:
            cell = name if name not in worked else TEST_PREFIX + name
            raise ValueError(f"{source} is for an exercise, but the notebook has no cell {cell}")
    return Assignment(
        folder.name,
        {name: _exercise(sources[name], worked[name].source) for name in order if name in sources},
    )


def exercises_of(notebook: NotebookNode) -> list[str]:
    """The names of the exercises that a program checks, in the order of their autograde cells."""
    about = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    tests = [own.grade_id for own in about if own.get("grade") and not own.get("solution")]
    return [name.removeprefix(TEST_PREFIX) for name in tests if name.startswith(TEST_PREFIX)]


def _exercise(source: Path, worked: str) -> ExerciseSource:
    found = runpy.run_path(str(source)).get("EXERCISE")
    if not isinstance(found, ExerciseSource):
        raise ValueError(f"{source} defines no EXERCISE; write: EXERCISE = ExerciseSource(…)")
    return replace(found, name=source.stem, worked=worked, known_answers=source.with_suffix(".md"))


def assignments(solutions: Path) -> Iterator[Assignment]:
    """All assignments, in alphabetical order: every folder of `solutions/` with a notebook of its own name."""
    for folder in folders.entries(solutions):
        if (folder / f"{folder.name}.ipynb").is_file():
            yield load(folder)
