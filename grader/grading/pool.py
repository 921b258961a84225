"""Grade many submissions: one judge and one zygote for each core, one writer for the gradebook.

What all of them need is made once: the reference's observations, before the judges are forked from this process, and
the sandbox, whose zygote is forked too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeAlias

import nbformat
import torch
from nbformat.notebooknode import NotebookNode
from nbgrader.coursedir import CourseDirectory
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.public import read_public
from grader.authoring.exercise import ExerciseSource, load, points_that_differ
from grader.gradebook.marks import Entry, entry_of
from grader.grading import engine
from grader.sandbox import host, processes
from grader.sandbox.inside import namespaces
from grader.submission import repair

ATTEMPTS = 3  # where the fault is ours
AHEAD = 2  # submissions that a judge has been given
MAX_CONSECUTIVE_LOSSES = 12  # judges
MAX_JUDGE_MEMORY = 2 * 2**30  # bytes that a judge may take, on top of what it begins with
JUDGE_TIMEOUT = 900.0  # seconds for a submission: its own limit, and three times the start of a sandbox
STEP = 1.0  # seconds between two looks at processes that were stopped


class GraderError(Exception):
    """Nothing can be graded here, for a reason that is said in one line."""


@dataclass(frozen=True)
class GradingJob:
    """What one grading run is about: the same for all its submissions.

    Attributes:
        solutions: the folder of that name.
        releases: the folder `exercises/`.
        seed: of the secret cases.
        isolated: whether students' code runs in the sandbox.
        private: further folders that no submission may reach.
    """

    solutions: Path
    releases: Path
    seed: int
    isolated: bool = True
    private: tuple[Path, ...] = ()


def private_folders(directory: CourseDirectory) -> tuple[Path, ...]:
    """What of a course no submission may reach, besides the solutions: others' work, marks, the gradebook."""
    root = Path(directory.root)
    names = (directory.submitted_directory, directory.autograded_directory, directory.feedback_directory)
    found = [root, *(root / name for name in names)]
    with contextlib.suppress(ArgumentError):
        url = make_url(directory.db_url)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            found.append(Path(url.database).resolve().parent)
    return tuple(found)


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
class PreparedAssignment:
    """An assignment, ready to be graded."""

    exercises: dict[str, Exercise]
    release: NotebookNode

    def is_answered(self, path: Path) -> bool:
        """Whether anything is answered in a notebook; one that cannot be read is not taken for an empty one."""
        try:
            return repair.is_answered(self.release, repair.read(path))
        except repair.SubmissionError:
            return True


class Judge:
    """Grades submissions, one after the other, with a zygote of its own.

    Args:
        order: what to grade.
        zygote: for it; a new one if None.
    """

    def __init__(self, job: GradingJob, zygote: host.Zygote | None = None) -> None:
        self.job = job
        self.zygote = zygote or host.Zygote(job.isolated)
        self._tasks: dict[str, dict[str, ExerciseSource]] = {}
        self._prepared: dict[str, PreparedAssignment] = {}
        self._walls_stood = False  # for any submission

    def tasks(self, assignment: str) -> dict[str, ExerciseSource]:
        """The exercises of an assignment, as their author wrote them."""
        if assignment not in self._tasks:
            self._tasks[assignment] = load(self.job.solutions / assignment).tasks
        return self._tasks[assignment]

    def preload(self, assignment: str) -> None:
        """Have the zygote import what is slow to import, and know the files of the release; returns at once.

        Raises:
            sandbox.SandboxError: the zygote is gone, or the course cannot be hidden from submissions.
        """
        job = self.job
        self.zygote.hide((job.solutions, job.releases, *job.private))
        self.zygote.import_(name for task in self.tasks(assignment).values() for name in task.needs)
        self.zygote.give_files(assignment, self.job.releases / assignment)

    def prepare(self, assignment: str) -> PreparedAssignment:
        """Read an assignment, and find out what its reference gives, unless that was done before."""
        if assignment not in self._prepared:
            release = self.job.releases / assignment
            public = read_public(release / "public.json").exercises
            tasks = self.tasks(assignment)
            notebook = nbformat.read(release / f"{assignment}.ipynb", as_version=4)
            problem = points_that_differ(tasks.values(), notebook)
            if problem or not tasks.keys() <= public.keys():
                why = problem or f"{sorted(tasks.keys() - public.keys())[0]} is new"
                raise GraderError(f"{assignment} is not the one that was released: {why}; first: python -m grader "
                                  f"release {assignment}")  # fmt: skip
            self._prepared[assignment] = PreparedAssignment(
                {name: task.for_grading(self.job.seed, public[name]) for name, task in tasks.items()}, notebook
            )
        return self._prepared[assignment]

    def grade(self, submission: Submission) -> Outcome:
        """Grade what a student handed in.

        Raises:
            sandbox.NoWalls: no submission can be isolated here, and none has been.
        """
        prepared = self.prepare(submission.assignment)
        try:
            path, notes = repair.find(submission.folder, submission.assignment, prepared.is_answered)
            defines = {name: exercise.defines for name, exercise in prepared.exercises.items()}
            repaired = repair.repair(prepared.release, repair.read(path), notes, defines)
        except repair.SubmissionError as error:
            return Outcome(submission, problem=str(error))
        remark = f"Graded with secret cases of seed {self.job.seed}."
        if not self.job.isolated:
            remark += " The code was run without isolation."
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                self.preload(submission.assignment)
                begin = host.WorkerSpec(_seed_of(repaired.notebook), submission.assignment)
                graded = engine.grade(repaired, prepared.exercises, self.zygote, begin, remark)
                self._walls_stood = True
                return Outcome(submission, entry_of(graded), notes=repaired.notes)
            except (host.SandboxError, OSError) as error:
                if processes.is_about_memory(error):
                    raise
                fault = error
                self.zygote.stop()
        if isinstance(fault, host.IsolationError) and not self._walls_stood:
            raise fault
        return Outcome(submission, problem=str(fault), ours=True)


def _seed_of(notebook: NotebookNode) -> int:
    """Of the random numbers that a notebook draws: the same whenever and wherever it runs.

    It follows from what the notebook holds, which its code knows anyway: not from the student's name, which it could
    find out by trying names, and not from the seed of the secret cases.
    """
    sources = json.dumps([cell.source for cell in notebook.cells])
    return int.from_bytes(hashlib.sha256(sources.encode()).digest()[:8], "big") >> 2


class _OutOfMemory:
    """What a judge says when there was no memory for a submission; then it ends itself."""


Answer: TypeAlias = "Outcome | GraderError | _OutOfMemory"


class JudgeProcess:
    """A judge in a process of its own, with the submissions that it has been given and not yet answered.

    Not a pool of the standard library: a process that is killed in the middle of an answer leaves that one waiting
    for the rest for ever, and none says which submission it was at. Here every judge has a connection to itself,
    whose end is the end of the judge. Nothing here waits: a judge may be stopped in the middle of an answer.

    Args:
        judge: ready for all assignments; its zygote is left to others.
    """

    def __init__(self, judge: Judge) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        try:
            zygote = judge.zygote.fork()
        except host.SandboxError:  # it will have one of its own
            zygote = host.Zygote(judge.job.isolated)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_serve, args=(judge, zygote, theirs, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()  # so that the judge has the only one, and with the judge it is closed
        zygote.detach()
        self.given: deque[Submission] = deque()
        self.waited = 0.0  # seconds for the answer to the first of these
        self._arrived = bytearray()

    def give(self, submission: Submission) -> None:
        """Have a submission graded, after those that it has already."""
        if not self.given:
            self.waited = 0.0
        self.given.append(submission)
        with contextlib.suppress(OSError):  # it is gone: `take` will say so
            self.channel.sendall(pickle.dumps(submission))

    def take(self) -> Answer | None:
        """What became of the first submission that it was given; None if that is not known yet.

        Raises:
            EOFError: the judge is gone.
        """
        try:
            while (missing := self._missing()) > 0:
                part = self.channel.recv(min(missing, 2**20))
                if not part:
                    raise EOFError
                self._arrived += part
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError from error
        answer: Answer = pickle.loads(self._arrived[_LENGTH.size :])
        self._arrived = bytearray()
        self.given.popleft()
        self.waited = 0.0
        return answer

    def _missing(self) -> int:
        """How many bytes of the answer, or of what says how long it is, have not arrived yet."""
        if len(self._arrived) < _LENGTH.size:
            return _LENGTH.size - len(self._arrived)
        return _LENGTH.size + int(_LENGTH.unpack_from(self._arrived)[0]) - len(self._arrived)

    def end(self) -> None:
        """End it at once, and with it its sandbox; what it was given is not graded."""
        self.channel.close()
        self.process.kill()
        self.process.join()


_LENGTH = struct.Struct("!Q")
_NO_MEMORY = pickle.dumps(_OutOfMemory())


def _serve(judge: Judge, zygote: host.Zygote, channel: socket.socket, parent: int) -> None:
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the grader, which then ends this
    if sys.platform == "linux":  # elsewhere a grader that is killed leaves its judges waiting
        namespaces.die_with_parent()
        namespaces.be_called("judge")
    if os.getppid() != parent:  # it was killed before it could be said that this dies with it
        return
    processes.limit_memory(MAX_JUDGE_MEMORY)
    judge.zygote.detach()
    judge.zygote = zygote
    given = channel.makefile("rb")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            submission: Submission = pickle.load(given)
            packed = _answer(judge, submission)
            channel.sendall(_LENGTH.pack(len(packed)))
            channel.sendall(packed)
            if packed == _NO_MEMORY:
                return


def _answer(judge: Judge, submission: Submission) -> bytes:
    """What became of a submission, as it goes over the channel."""
    try:
        return pickle.dumps(judge.grade(submission))
    except host.IsolationError as error:
        return pickle.dumps(
            GraderError(
                f"students' code cannot be isolated here: {error}; `python -m grader doctor` says more. "
                "For code that you trust there is --no-isolation"
            )
        )
    except Exception as error:  # a mistake of ours must not cost the others their grading
        if processes.is_about_memory(error):
            return _NO_MEMORY
        return pickle.dumps(Outcome(submission, problem=f"the grader failed: {_where(error)}", ours=True))


def _made_ready(job: GradingJob, assignments: Sequence[str], zygote: host.Zygote) -> Judge:
    """A judge that knows all the assignments, and whose zygote does.

    Raises:
        GraderError: an assignment cannot be graded, or there is no sandbox.
    """
    judge = Judge(job, zygote)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            judge.zygote.start()
            for step in (judge.preload, judge.prepare):  # what the one has asked for is done during the other
                for assignment in assignments:
                    with _said_of(assignment):
                        step(assignment)
            judge.zygote.wait_until_ready()
            break
        except host.SandboxError as error:
            judge.zygote.stop()
            if attempt == ATTEMPTS:
                raise GraderError(f"there is no sandbox: {error}") from error
    return judge


@contextlib.contextmanager
def _said_of(assignment: str) -> Iterator[None]:
    try:
        yield
    except (host.SandboxError, GraderError):
        raise
    except Exception as error:
        raise GraderError(f"{assignment} cannot be graded: {_where(error)}") from error


def _where(error: Exception) -> str:
    """An error that nobody expected, in one line, with the place where it came from."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(at.filename).name}, line {at.lineno})"


def run(
    job: GradingJob,
    submissions: Sequence[Submission],
    jobs: int,
    zygote: host.Zygote | None = None,
    timeout: float = JUDGE_TIMEOUT,
) -> Iterator[Outcome]:
    """Grade submissions; yields them as they are done.

    A judge that is lost, or does not answer, is replaced, and the submission that it was at is tried again. A process
    that somebody has stopped is continued.

    Args:
        order: what the run is about.
        submissions: of any assignments.
        jobs: how many at a time.
        zygote: one that may have been started before; it is ended. A new one if None.
        timeout: how many seconds a judge may take for a submission. The time in which this process itself was stopped
            does not count.

    Raises:
        GraderError: nothing can be graded here.
    """
    torch.set_num_threads(1)  # from here on no thread, so that forking is sound
    left = deque(submissions)
    lost: Counter[Submission] = Counter()
    lost_in_a_row = 0
    posts: list[JudgeProcess] = []
    zygote = zygote or host.Zygote(job.isolated)
    next_look = 0.0
    try:
        judge = _made_ready(job, list(dict.fromkeys(each.assignment for each in submissions)), zygote)
        posts += [JudgeProcess(judge) for _ in range(min(jobs, len(left)))]
        while True:
            # One ahead, so that no judge waits for the gradebook; not more, so that results do not pile up here.
            for number in range(AHEAD):
                for post in posts:
                    if left and len(post.given) <= number:
                        post.give(left.popleft())
            at_work = [post for post in posts if post.given]
            if not at_work:
                return
            waited = _wait(at_work)
            if time.monotonic() >= next_look:
                processes.continue_stopped(os.getpid())
                next_look = time.monotonic() + STEP
            for post in at_work:
                post.waited += waited
                submission = post.given[0]
                problem, ours = "", True
                try:
                    answer = post.take()
                    if answer is None and post.waited < timeout:
                        continue
                    if answer is None:
                        problem = f"the process that judged it did not answer for {timeout:g} s"
                except EOFError:
                    answer = None
                    problem = "the process that judged it was killed"
                if isinstance(answer, GraderError):
                    raise answer
                if isinstance(answer, Outcome):
                    lost_in_a_row = 0
                    yield answer
                    continue
                if isinstance(answer, _OutOfMemory):
                    problem, ours = "it takes more memory to judge than there is for one submission", False
                else:
                    post.given.popleft()
                    lost_in_a_row += 1
                left.extendleft(reversed(post.given))
                post.end()
                posts[posts.index(post)] = JudgeProcess(judge)
                lost[submission] += 1
                if lost_in_a_row >= MAX_CONSECUTIVE_LOSSES:
                    raise GraderError(
                        f"{lost_in_a_row} judges were killed, one after the other; is there memory for them "
                        f"(--jobs, now {jobs})? What is graded is kept"
                    )
                if lost[submission] < ATTEMPTS:
                    left.append(submission)
                else:
                    problem += f", {ATTEMPTS} times" + ("; is there memory for it?" if ours else "")
                    yield Outcome(submission, problem=problem, ours=ours)
    finally:
        for post in posts:
            post.end()
        zygote.stop()


def _wait(at_work: Sequence[JudgeProcess]) -> float:
    """Wait until a judge says something, or for a moment; returns how long that was.

    If this process was stopped in between, that was not the judges' fault: it counts as a moment.
    """
    start = time.monotonic()
    wait([post.channel for post in at_work], STEP)
    return min(time.monotonic() - start, 2 * STEP)
