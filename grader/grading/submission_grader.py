"""Grades submissions one after the other: repairs each, has it run and judged, and gives its outcome."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.public import read_public
from grader.authoring.exercise import ExerciseSource, load, points_that_differ
from grader.errors import GradingError, IsolationError, SandboxError, SubmissionError
from grader.grading import engine
from grader.grading.job import GradingJob, Submission
from grader.grading.outcome import Outcome, entry_of
from grader.sandbox import processes
from grader.sandbox.zygote import WorkerSpec, Zygote
from grader.submission.find import find_notebook
from grader.submission.read import read_notebook
from grader.submission.repair import is_answered, repair

ATTEMPTS = 3  # for a submission, if the fault is ours


@dataclass(frozen=True)
class PreparedAssignment:
    """An assignment, ready to be graded.

    Attributes:
        exercises: by name, with secret cases and what the reference gives in all cases.
        release: the notebook that students got.
    """

    exercises: dict[str, Exercise]
    release: NotebookNode

    def is_answered(self, path: Path) -> bool:
        """Whether anything is answered in a notebook. One that cannot be read counts as answered."""
        try:
            return is_answered(self.release, read_notebook(path))
        except SubmissionError:
            return True


class SubmissionGrader:
    """Grades the submissions of a job.

    Args:
        job: what the grading run is about.
        zygote: starts the workers in which submissions run; a new one if None. It is not stopped here.
    """

    def __init__(self, job: GradingJob, zygote: Zygote | None = None) -> None:
        self.job = job
        self.zygote = zygote or Zygote(job.isolated)
        self._sources: dict[str, dict[str, ExerciseSource]] = {}
        self._prepared: dict[str, PreparedAssignment] = {}
        self._has_isolated = False  # any submission

    def sources(self, assignment: str) -> dict[str, ExerciseSource]:
        """The exercises of an assignment, as their author wrote them, by name."""
        if assignment not in self._sources:
            self._sources[assignment] = load(self.job.solutions / assignment).exercises
        return self._sources[assignment]

    def preload(self, assignment: str) -> None:
        """Have the zygote hide the course, import slow modules and take the files of the release; returns at once.

        Raises:
            SandboxError: the zygote is gone, or the course cannot be hidden from submissions.
        """
        job = self.job
        self.zygote.hide((job.solutions, job.releases, *job.private))
        self.zygote.preload(name for source in self.sources(assignment).values() for name in source.needs)
        self.zygote.give_files(assignment, job.releases / assignment)

    def prepare(self, assignment: str) -> PreparedAssignment:
        """Read an assignment and run its reference on all cases, unless that was done before.

        Raises:
            GradingError: the solutions are not those that were released.
        """
        if assignment not in self._prepared:
            release = self.job.releases / assignment
            public = read_public(release / "public.json").exercises
            sources = self.sources(assignment)
            notebook = nbformat.read(release / f"{assignment}.ipynb", as_version=4)
            problem = points_that_differ(sources.values(), notebook)
            if problem or not sources.keys() <= public.keys():
                why = problem or f"{sorted(sources.keys() - public.keys())[0]} is new"
                first = f"first: python -m grader release {assignment}"
                raise GradingError(f"{assignment} is not the one that was released: {why}; {first}")
            self._prepared[assignment] = PreparedAssignment(
                {name: source.for_grading(self.job.seed, public[name]) for name, source in sources.items()}, notebook
            )
        return self._prepared[assignment]

    def grade(self, submission: Submission) -> Outcome:
        """Grade a submission.

        Raises:
            GradingError: the assignment cannot be graded.
            IsolationError: no submission can be isolated here, and none has been.
        """
        prepared = self.prepare(submission.assignment)
        try:
            path, notes = find_notebook(submission.folder, submission.assignment, prepared.is_answered)
            defines = {name: exercise.defines for name, exercise in prepared.exercises.items()}
            repaired = repair(prepared.release, read_notebook(path), notes, defines)
        except SubmissionError as error:
            return Outcome(submission, problem=str(error))
        remark = f"Graded with secret cases of seed {self.job.seed}."
        if not self.job.isolated:
            remark += " The code was run without isolation."
        spec = WorkerSpec(_seed_of(repaired.notebook), submission.assignment)
        failure: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                self.preload(submission.assignment)
                graded = engine.grade(repaired, prepared.exercises, self.zygote, spec, remark)
                self._has_isolated = True
                return Outcome(submission, entry_of(graded), notes=repaired.notes)
            except (SandboxError, OSError) as error:
                if processes.is_about_memory(error):
                    raise
                failure = error
                self.zygote.stop()
        if isinstance(failure, IsolationError) and not self._has_isolated:
            raise failure
        return Outcome(submission, problem=str(failure), ours=True)


def _seed_of(notebook: NotebookNode) -> int:
    """The seed of the random numbers that a notebook draws: the same whenever and wherever it runs.

    It follows from the notebook's sources, which its code knows anyway. It does not follow from the student's name,
    which the code could find out by trying names, or from the seed of the secret cases.
    """
    sources = json.dumps([cell.source for cell in notebook.cells])
    return int.from_bytes(hashlib.sha256(sources.encode()).digest()[:8], "big") >> 2
