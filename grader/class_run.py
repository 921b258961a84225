"""Grade many submissions: one judge and one jail for each core, one writer for the gradebook."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import nbformat
import torch
from nbformat.notebooknode import NotebookNode

from d2lblocks.checking.exercises import Exercise, read_public
from grader import engine, jail, repair
from grader.authoring import load
from grader.jailed import confine
from grader.record import Entry, entry_of

ATTEMPTS = 2  # where the fault is ours


@dataclass(frozen=True)
class Order:
    """What one grading run is about: the same for all its submissions.

    Attributes:
        solutions: the folder of that name.
        releases: the folder `exercises/`.
        seed: of the secret cases.
        isolated: whether students' code runs in the jail.
    """

    solutions: Path
    releases: Path
    seed: int
    isolated: bool = True


@dataclass(frozen=True)
class Submission:
    """One student's work on one assignment.

    Attributes:
        student: whose it is.
        assignment: its name.
        folder: where it lies.
    """

    student: str
    assignment: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a submission, as plain data.

    Attributes:
        submission: which.
        entry: what to write into the course and the gradebook; None if it could not be graded.
        problem: why not, in one line.
        ours: whether the fault is the grader's; then it is to be graded again, and is never a zero.
        notes: what was odd about the submission.
    """

    submission: Submission
    entry: Entry | None = None
    problem: str = ""
    ours: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Exam:
    """An assignment, ready to be graded."""

    exercises: dict[str, Exercise]
    release: NotebookNode
    imports: tuple[str, ...]


class Judge:
    """Grades submissions, one after the other, with a jail of its own.

    Args:
        order: what to grade.
        zygote: for it; a new one if None.
    """

    def __init__(self, order: Order, zygote: jail.Zygote | None = None) -> None:
        self.order = order
        self.zygote = zygote or jail.Zygote(order.releases, order.isolated)
        self._exams: dict[str, _Exam] = {}

    def _exam(self, assignment: str) -> _Exam:
        if assignment not in self._exams:
            release = self.order.releases / assignment
            public = read_public(release / "public.json").exercises
            tasks = load(self.order.solutions / assignment).tasks
            self._exams[assignment] = _Exam(
                {name: task.for_grading(self.order.seed, public[name]) for name, task in tasks.items()},
                nbformat.read(release / f"{assignment}.ipynb", as_version=4),
                tuple(sorted({name for task in tasks.values() for name in task.imports})),
            )
        return self._exams[assignment]

    def grade(self, submission: Submission) -> Outcome:
        """Grade what a student handed in."""
        exam = self._exam(submission.assignment)
        try:
            path, notes = repair.find(submission.folder, submission.assignment)
            repaired = repair.repair(exam.release, repair.read(path), notes)
        except repair.BadSubmission as error:
            return Outcome(submission, problem=str(error))
        remark = f"Graded with secret cases of seed {self.order.seed}."
        if not self.order.isolated:
            remark += " The code was run without isolation."
        problem = ""
        for _ in range(ATTEMPTS):
            try:
                begin = jail.Begin(_seed_of(submission.student), submission.assignment, exam.imports)
                graded = engine.grade(repaired, exam.exercises, self.zygote, begin, remark)
                return Outcome(submission, entry_of(graded), notes=repaired.notes)
            except jail.JailError as error:
                problem = str(error)
                self.zygote.stop()
        return Outcome(submission, problem=problem, ours=True)


def _seed_of(student: str) -> int:
    return int.from_bytes(hashlib.sha256(student.encode()).digest()[:8], "big") >> 2


_judge: Judge | None = None


def _begin(order: Order) -> None:
    global _judge
    if sys.platform == "linux":  # elsewhere a grader that is killed leaves its judges waiting
        confine.die_with_parent()
    _judge = Judge(order)
    _judge.zygote.start()


def _grade(submission: Submission) -> Outcome:
    assert _judge is not None
    return _judge.grade(submission)


def run(order: Order, submissions: Sequence[Submission], jobs: int) -> Iterator[Outcome]:
    """Grade submissions; yields them as they are done.

    Args:
        order: what the run is about.
        submissions: of any assignments.
        jobs: how many at a time.
    """
    torch.set_num_threads(1)  # from here on no thread, so that forking is sound
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(min(jobs, len(submissions)), context, _begin, (order,)) as pool:
        waiting: set[Future[Outcome]] = set()
        left = iter(submissions)
        try:
            while True:
                # A few at a time: results wait here until they are written, and memory must not grow with the class.
                for submission in left:
                    waiting.add(pool.submit(_grade, submission))
                    if len(waiting) >= 4 * jobs:
                        break
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def fingerprint(order: Order, submission: Submission) -> str:
    """What a grading depends on: the submission, the release, the reference, the grader, PyTorch. Not the seed."""
    digest = hashlib.sha256(versions(order, submission.assignment).encode())
    for path in sorted(submission.folder.glob("*.ipynb")):
        if path.is_file() and not path.is_symlink():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions(order: Order, assignment: str) -> str:
    """What the grading of an assignment depends on besides a submission."""
    solutions = order.solutions / assignment
    sources = (
        *solutions.glob("*.*"),
        *(order.releases / assignment).glob("*.*"),
        *(jail.ROOT / "d2lblocks").rglob("*.py"),
        *(jail.ROOT / "grader").glob("*.py"),
        *(jail.ROOT / "grader" / "jailed").glob("*.py"),
    )
    # Read again where a file has changed, for a grader that lives as long as a server.
    return _digest(tuple((path, path.stat().st_mtime_ns) for path in sorted(sources)))


@functools.lru_cache(maxsize=64)
def _digest(files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for path, _ in files:
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def default_jobs() -> int:
    """As many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
