"""Grade many submissions: one judge and one zygote for each core, one writer for the gradebook.

What all of them need is made once: the reference's observations, before the judges are forked from this process, and
the jail, whose zygote is forked too.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
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
from grader import engine, folders, jail, repair, timestamps
from grader.authoring import Task, load, points_that_differ
from grader.jailed import confine
from grader.record import Entry, entry_of

ATTEMPTS = 3  # where the fault is ours
AHEAD = 2  # submissions that a judge has been given
MOST_LOST_IN_A_ROW = 12  # judges


class GraderError(Exception):
    """Nothing can be graded here, for a reason that is said in one line."""


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

    def is_answered(self, path: Path) -> bool:
        """Whether anything is answered in a notebook; one that cannot be read is not taken for an empty one."""
        try:
            return repair.is_answered(self.release, repair.read(path))
        except repair.BadSubmission:
            return True


class Judge:
    """Grades submissions, one after the other, with a zygote of its own.

    Args:
        order: what to grade.
        zygote: for it; a new one if None.
    """

    def __init__(self, order: Order, zygote: jail.Zygote | None = None) -> None:
        self.order = order
        self.zygote = zygote or jail.Zygote(order.isolated)
        self._tasks: dict[str, dict[str, Task]] = {}
        self._exams: dict[str, _Exam] = {}
        self._walls_stood = False  # for any submission

    def tasks(self, assignment: str) -> dict[str, Task]:
        """The exercises of an assignment, as their author wrote them."""
        if assignment not in self._tasks:
            self._tasks[assignment] = load(self.order.solutions / assignment).tasks
        return self._tasks[assignment]

    def equip(self, assignment: str) -> None:
        """Have the zygote import what is slow to import, and know the files of the release; returns at once.

        Raises:
            jail.JailError: the zygote is gone.
        """
        self.zygote.import_(name for task in self.tasks(assignment).values() for name in task.imports)
        self.zygote.give_files(assignment, self.order.releases / assignment)

    def prepare(self, assignment: str) -> _Exam:
        """Read an assignment, and find out what its reference gives, unless that was done before."""
        if assignment not in self._exams:
            release = self.order.releases / assignment
            public = read_public(release / "public.json").exercises
            tasks = self.tasks(assignment)
            notebook = nbformat.read(release / f"{assignment}.ipynb", as_version=4)
            problem = points_that_differ(tasks.values(), notebook)
            if problem or not tasks.keys() <= public.keys():
                why = problem or f"{sorted(tasks.keys() - public.keys())[0]} is new"
                raise GraderError(f"{assignment} is not the one that was released: {why}; first: python -m grader "
                                  f"release {assignment}")  # fmt: skip
            self._exams[assignment] = _Exam(
                {name: task.for_grading(self.order.seed, public[name]) for name, task in tasks.items()}, notebook
            )
        return self._exams[assignment]

    def grade(self, submission: Submission) -> Outcome:
        """Grade what a student handed in.

        Raises:
            jail.NoWalls: no submission can be isolated here, and none has been.
        """
        exam = self.prepare(submission.assignment)
        try:
            path, notes = repair.find(submission.folder, submission.assignment, exam.is_answered)
            defines = {name: exercise.defines for name, exercise in exam.exercises.items()}
            repaired = repair.repair(exam.release, repair.read(path), notes, defines)
        except repair.BadSubmission as error:
            return Outcome(submission, problem=str(error))
        remark = f"Graded with secret cases of seed {self.order.seed}."
        if not self.order.isolated:
            remark += " The code was run without isolation."
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                self.equip(submission.assignment)
                begin = jail.Begin(_seed_of(submission.student), submission.assignment)
                graded = engine.grade(repaired, exam.exercises, self.zygote, begin, remark)
                self._walls_stood = True
                return Outcome(submission, entry_of(graded), notes=repaired.notes)
            except (jail.JailError, OSError) as error:
                fault = error
                self.zygote.stop()
        if isinstance(fault, jail.NoWalls) and not self._walls_stood:
            raise fault
        return Outcome(submission, problem=str(fault), ours=True)


def _seed_of(student: str) -> int:
    return int.from_bytes(hashlib.sha256(student.encode()).digest()[:8], "big") >> 2


class _Post:
    """A judge in a process of its own, with the submissions that it has been given and not yet answered.

    Not a pool of the standard library: a process that is killed in the middle of an answer leaves that one waiting
    for the rest for ever, and none says which submission it was at. Here every judge has a pipe to itself, whose end
    is the end of the judge.

    Args:
        judge: ready for all assignments; its zygote is left to others.
    """

    def __init__(self, judge: Judge) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        try:
            zygote = judge.zygote.twin()
        except jail.JailError:  # it will have one of its own
            zygote = jail.Zygote(judge.order.isolated)
        self.process = context.Process(target=_serve, args=(judge, zygote, theirs, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()  # so that the judge has the only one, and with the judge it is closed
        zygote.let_go()
        self.given: deque[Submission] = deque()

    def give(self, submission: Submission) -> None:
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


def _serve(judge: Judge, zygote: jail.Zygote, pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the grader, which then ends this
    if sys.platform == "linux":  # elsewhere a grader that is killed leaves its judges waiting
        confine.die_with_parent()
        confine.be_called("judge")
    if os.getppid() != parent:  # it was killed before it could be said that this dies with it
        return
    judge.zygote.let_go()
    judge.zygote = zygote
    with contextlib.suppress(EOFError):
        while True:
            submission = pipe.recv()
            try:
                outcome: Outcome | GraderError = judge.grade(submission)
            except jail.NoWalls as error:
                outcome = GraderError(
                    f"students' code cannot be isolated here: {error}; `python -m grader doctor` says more. "
                    "For code that you trust there is --no-isolation"
                )
            except Exception as error:  # a mistake of ours must not cost the others their grading
                outcome = Outcome(submission, problem=f"the grader failed: {_where(error)}", ours=True)
            pipe.send(outcome)


def _made_ready(order: Order, assignments: Sequence[str], zygote: jail.Zygote) -> Judge:
    """A judge that knows all the assignments, and whose zygote does.

    Raises:
        GraderError: an assignment cannot be graded, or there is no jail.
    """
    judge = Judge(order, zygote)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            judge.zygote.start()
            for step in (judge.equip, judge.prepare):  # what the one has asked for is done during the other
                for assignment in assignments:
                    with _said_of(assignment):
                        step(assignment)
            judge.zygote.wait_until_ready()
            break
        except jail.JailError as error:
            judge.zygote.stop()
            if attempt == ATTEMPTS:
                raise GraderError(f"there is no jail: {error}") from error
    return judge


@contextlib.contextmanager
def _said_of(assignment: str) -> Iterator[None]:
    try:
        yield
    except (jail.JailError, GraderError):
        raise
    except Exception as error:
        raise GraderError(f"{assignment} cannot be graded: {_where(error)}") from error


def _where(error: Exception) -> str:
    """An error that nobody expected, in one line, with the place where it came from."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(at.filename).name}, line {at.lineno})"


def run(
    order: Order, submissions: Sequence[Submission], jobs: int, zygote: jail.Zygote | None = None
) -> Iterator[Outcome]:
    """Grade submissions; yields them as they are done.

    A judge that is lost is replaced, and the submission that it was at is tried again.

    Args:
        order: what the run is about.
        submissions: of any assignments.
        jobs: how many at a time.
        zygote: one that may have been started before; it is ended. A new one if None.

    Raises:
        GraderError: nothing can be graded here.
    """
    torch.set_num_threads(1)  # from here on no thread, so that forking is sound
    left = deque(submissions)
    lost: Counter[Submission] = Counter()
    lost_in_a_row = 0
    posts: list[_Post] = []
    zygote = zygote or jail.Zygote(order.isolated)
    try:
        judge = _made_ready(order, list(dict.fromkeys(each.assignment for each in submissions)), zygote)
        posts += [_Post(judge) for _ in range(min(jobs, len(left)))]
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
                submission, *untouched = post.given
                post.end()
                posts[posts.index(post)] = _Post(judge)
                left.extendleft(reversed(untouched))
                lost[submission] += 1
                lost_in_a_row += 1
                if lost_in_a_row >= MOST_LOST_IN_A_ROW:
                    raise GraderError(
                        f"{lost_in_a_row} judges were killed, one after the other; is there memory for them "
                        f"(--jobs, now {jobs})? What is graded is kept"
                    )
                if lost[submission] < ATTEMPTS:
                    left.append(submission)
                else:
                    problem = f"the process that judged it was killed, {ATTEMPTS} times; is there memory for it?"
                    yield Outcome(submission, problem=problem, ours=True)
    finally:
        for post in posts:
            post.end()
        zygote.stop()


def fingerprint(order: Order, submission: Submission) -> str:
    """What a grading depends on: the submission, the release, the reference, the grader, PyTorch. Not the seed."""
    digest = hashlib.sha256(versions(order, submission.assignment).encode())
    with contextlib.suppress(OSError):  # a folder that cannot be read: grading says so
        attempts = repair.attempts(submission.folder, submission.assignment)
        for path in repair.notebooks(submission.folder):
            content = _content(path) if path in attempts else b""
            # Of several attempts the newest is graded: which one that is, the times of their files may say.
            time = f"{path.stat().st_mtime_ns}" if path in attempts and len(attempts) > 1 else ""
            digest.update(os.fsencode(path.name) + b"\0" + content + b"\0" + time.encode() + b"\0")
    digest.update(timestamps.content(submission.folder) or b"")
    return digest.hexdigest()


def versions(order: Order, assignment: str) -> str:
    """What the grading of an assignment depends on besides a submission."""
    solutions = order.solutions / assignment
    sources = (
        *folders.files(solutions),
        *folders.files(order.releases / assignment),
        *(path for path in folders.walk(jail.ROOT / "d2lblocks") if path.suffix == ".py"),
        *folders.files(jail.ROOT / "grader", ".py"),
        *folders.files(jail.ROOT / "grader" / "jailed", ".py"),
    )
    # Read again where a file has changed, for a grader that lives as long as a server.
    return _digest(tuple((path, path.stat().st_mtime_ns) for path in sorted(sources)))


def _content(path: Path) -> bytes:
    """What is in a student's file, or what there is instead: it may be larger than memory, or closed to us."""
    try:
        size = path.stat().st_size
        return path.read_bytes() if size <= repair.MOST_BYTES else f"{size} bytes".encode()
    except OSError as error:
        return f"{error.strerror}".encode()


@functools.lru_cache(maxsize=64)
def _digest(files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for path, _ in files:
        # Not the whole path: a course that has been moved is the same course.
        digest.update(f"{path.parent.name}/{path.name}".encode() + path.read_bytes())
    return digest.hexdigest()
