"""Grade many submissions: one judge and one jail for each core, one writer for the gradebook."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import nbformat
import torch
from nbformat.notebooknode import NotebookNode

from d2lblocks.checking.exercises import Exercise, read_public
from grader import engine, jail, repair
from grader.authoring import load
from grader.jailed import confine

ATTEMPTS = 3  # where the fault is ours
AHEAD = 2  # submissions that a judge has been given
MOST_LOST_IN_A_ROW = 12  # judges


class GraderError(Exception):
    """Nothing can be graded here, for a reason that is said in one line."""


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
        """Grade what a student handed in.

        Raises:
            jail.NoWalls: no submission can be isolated here.
        """
        try:
            path, notes = repair.find(folder, self.order.assignment)
            repaired = repair.repair(self.release, repair.read(path), notes)
        except repair.BadSubmission as error:
            return Outcome(student, problem=str(error))
        remark = f"Graded with secret cases of seed {self.order.seed}."
        if not self.order.isolated:
            remark += " The code was run without isolation."
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                graded = engine.grade(repaired, self.exercises, self.zygote, _seed_of(student), remark)
                return Outcome(student, graded.notebook, notes=graded.notes)
            except (jail.JailError, OSError) as error:
                fault = error
                self.zygote.stop()
        if isinstance(fault, jail.NoWalls):
            raise fault
        return Outcome(student, problem=str(fault), ours=True)


def _seed_of(student: str) -> int:
    return 1 + (int.from_bytes(hashlib.sha256(student.encode()).digest()[:8], "big") >> 2)


class _Post:
    """A judge in a process of its own, with the submissions that it has been given and not yet answered.

    Not a pool of the standard library: a process that is killed in the middle of an answer leaves that one waiting
    for the rest for ever, and none says which submission it was at. Here every judge has a pipe to itself, whose end
    is the end of the judge.

    Args:
        order: what to grade.
    """

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(order, theirs, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()  # so that the judge has the only one, and with the judge it is closed
        self.given: deque[tuple[str, Path]] = deque()

    def give(self, submission: tuple[str, Path]) -> None:
        """Have a submission graded, after those that it has already."""
        self.given.append(submission)
        with contextlib.suppress(OSError):  # it is gone: `take` will say so
            self.pipe.send(submission)

    def take(self) -> Outcome | GraderError | None:
        """What became of the first submission that it was given; None if the judge is gone."""
        try:
            answer: Outcome | GraderError = self.pipe.recv()
        except (EOFError, OSError):
            return None
        self.given.popleft()
        return answer

    def end(self) -> None:
        """End it at once, and with it its jail; what it was given is not graded."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _serve(order: Order, pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the grader, which then ends this
    if sys.platform == "linux":  # elsewhere a grader that is killed leaves its judges waiting
        confine.die_with_parent()
    if os.getppid() != parent:  # it was killed before it could be said that this dies with it
        return
    try:
        judge = Judge(order)
    except Exception as error:
        pipe.send(GraderError(f"{order.assignment} cannot be graded: {_where(error)}"))
        return
    judge.zygote.start()
    with contextlib.suppress(EOFError):
        while True:
            student, folder = pipe.recv()
            try:
                outcome: Outcome | GraderError = judge.grade(student, folder)
            except jail.NoWalls as error:
                outcome = GraderError(
                    f"students' code cannot be isolated here: {error}; `python -m grader doctor` says more. "
                    "For code that you trust there is --no-isolation"
                )
            except Exception as error:  # a mistake of ours must not cost the others their grading
                outcome = Outcome(student, problem=f"the grader failed: {_where(error)}", ours=True)
            pipe.send(outcome)


def _where(error: Exception) -> str:
    """An error that nobody expected, in one line, with the place where it came from."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(at.filename).name}, line {at.lineno})"


def run(order: Order, submissions: Sequence[tuple[str, Path]], jobs: int) -> Iterator[Outcome]:
    """Grade submissions; yields them as they are done.

    A judge that is lost is replaced, and the submission that it was at is tried again.

    Args:
        order: what to grade.
        submissions: students and their folders.
        jobs: how many at a time.

    Raises:
        GraderError: nothing can be graded here.
    """
    torch.set_num_threads(1)  # from here on no thread, so that forking is sound
    left = deque(submissions)
    lost: Counter[str] = Counter()
    lost_in_a_row = 0
    posts = [_Post(order) for _ in range(min(jobs, len(left)))]
    try:
        while True:
            # One ahead, so that no judge waits for the gradebook; not more, so that results do not pile up here.
            for number in range(AHEAD):
                for post in posts:
                    if left and len(post.given) <= number:
                        post.give(left.popleft())
            at_work = [post for post in posts if post.given]
            if not at_work:
                return
            ready = wait([post.pipe for post in at_work])
            for post in (post for post in at_work if post.pipe in ready):
                answer = post.take()
                if isinstance(answer, GraderError):
                    raise answer
                if answer is not None:
                    lost_in_a_row = 0
                    yield answer
                    continue
                (student, folder), *untouched = post.given
                post.end()
                posts[posts.index(post)] = _Post(order)
                left.extendleft(reversed(untouched))
                lost[student] += 1
                lost_in_a_row += 1
                if lost_in_a_row >= MOST_LOST_IN_A_ROW:
                    raise GraderError(
                        f"{lost_in_a_row} judges were killed, one after the other; is there memory for them "
                        f"(--jobs, now {jobs})? What is graded is kept"
                    )
                if lost[student] < ATTEMPTS:
                    left.append((student, folder))
                else:
                    problem = f"the process that judged it was killed, {ATTEMPTS} times; is there memory for it?"
                    yield Outcome(student, problem=problem, ours=True)
    finally:
        for post in posts:
            post.end()


def fingerprint(order: Order, folder: Path) -> str:
    """What a grading depends on: the submission, the release, the reference, the grader, PyTorch. Not the seed."""
    digest = hashlib.sha256(_versions(order).encode())
    for path in sorted(folder.glob("*.ipynb")):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):  # it has vanished, or may not be read: the judge will say so
                digest.update(os.fsencode(path.name) + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


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
