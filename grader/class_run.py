"""Grade many submissions: one judge and one jail for each core, one writer for the gradebook."""

from __future__ import annotations

import hashlib
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

ATTEMPTS = 2  # where the fault is ours


@dataclass(frozen=True)
class Order:
    """What one class run is about: the same for all submissions of an assignment.

    Attributes:
        assignment: its name.
        solutions: its folder in `solutions/`.
        release: its folder in `exercises/`.
        seed: of the secret cases.
        isolated: whether students' code runs in the jail.
    """

    assignment: str
    solutions: Path
    release: Path
    seed: int
    isolated: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a submission.

    Attributes:
        student: whose it is.
        notebook: graded; None if it could not be.
        problem: why not, in one line.
        ours: whether the fault is the grader's; then it is to be graded again, and is never a zero.
        notes: what was odd about the submission.
    """

    student: str
    notebook: NotebookNode | None = None
    problem: str = ""
    ours: bool = False
    notes: tuple[str, ...] = ()


class Judge:
    """Grades submissions of one assignment, one after the other, with a jail of its own.

    Args:
        order: what to grade.
    """

    def __init__(self, order: Order) -> None:
        tasks = load(order.solutions).tasks
        public = read_public(order.release / "public.json").exercises
        self.exercises: dict[str, Exercise] = {
            name: task.for_grading(order.seed, public[name]) for name, task in tasks.items()
        }
        self.release = nbformat.read(order.release / f"{order.assignment}.ipynb", as_version=4)
        preload = sorted({name for exercise in self.exercises.values() for name in exercise.imports})
        self.zygote = jail.Zygote(order.release, preload, order.isolated)
        self.order = order

    def grade(self, student: str, folder: Path) -> Outcome:
        """Grade what a student handed in."""
        try:
            path, notes = repair.find(folder, self.order.assignment)
            repaired = repair.repair(self.release, repair.read(path), notes)
        except repair.BadSubmission as error:
            return Outcome(student, problem=str(error))
        remark = f"Graded with secret cases of seed {self.order.seed}."
        if not self.order.isolated:
            remark += " The code was run without isolation."
        problem = ""
        for _ in range(ATTEMPTS):
            try:
                graded = engine.grade(repaired, self.exercises, self.zygote, _seed_of(student), remark)
                return Outcome(student, graded.notebook, notes=graded.notes)
            except jail.JailError as error:
                problem = str(error)
                self.zygote.stop()
            except Exception as error:  # of this submission alone: it must not stop the others
                problem = f"the grader failed over it: {type(error).__name__}: {error}"
                break
        return Outcome(student, problem=problem, ours=True)


def _seed_of(student: str) -> int:
    return 1 + (int.from_bytes(hashlib.sha256(student.encode()).digest()[:8], "big") >> 2)


_judge: Judge | None = None


def _begin(order: Order) -> None:
    global _judge
    if sys.platform == "linux":  # elsewhere a grader that is killed leaves its judges waiting
        confine.die_with_parent()
    _judge = Judge(order)
    _judge.zygote.start()


def _grade(student: str, folder: Path) -> Outcome:
    assert _judge is not None
    return _judge.grade(student, folder)


def run(order: Order, submissions: Sequence[tuple[str, Path]], jobs: int) -> Iterator[Outcome]:
    """Grade submissions; yields them as they are done.

    Args:
        order: what to grade.
        submissions: students and their folders.
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
                for student, folder in left:
                    waiting.add(pool.submit(_grade, student, folder))
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


def fingerprint(order: Order, folder: Path) -> str:
    """What a grading depends on: the submission, the release, the reference, the grader, PyTorch. Not the seed."""
    digest = hashlib.sha256(_versions(order).encode())
    for path in sorted(folder.glob("*.ipynb")):
        if path.is_file() and not path.is_symlink():
            digest.update(os.fsencode(path.name) + b"\0" + _content(path) + b"\0")
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    """What is in a student's file, or what there is instead: it may be larger than memory, or closed to us."""
    try:
        size = path.stat().st_size
        return path.read_bytes() if size <= repair.MOST_BYTES else f"{size} bytes".encode()
    except OSError as error:
        return f"{error.strerror}".encode()


_known_versions: dict[Path, str] = {}


def _versions(order: Order) -> str:
    if order.solutions not in _known_versions:
        digest = hashlib.sha256(torch.__version__.encode())
        sources = [
            *order.solutions.glob("*.*"),
            *order.release.glob("*.*"),
            *(jail.ROOT / "d2lblocks").rglob("*.py"),
            *(jail.ROOT / "grader").glob("*.py"),
            *(jail.ROOT / "grader" / "jailed").glob("*.py"),
        ]
        for path in sorted(sources):
            digest.update(str(path).encode() + path.read_bytes())
        _known_versions[order.solutions] = digest.hexdigest()
    return _known_versions[order.solutions]


def default_jobs() -> int:
    """As many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
