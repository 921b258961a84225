"""Grade many submissions: one grading process and one zygote for each core, one writer for the gradebook.

In: a job and its submissions. Out: their outcomes, as they are ready. What all processes need is made once: the
observations of the references, before the processes are forked from this one; and the sandbox, whose zygote is
forked, too.
"""

from __future__ import annotations

import contextlib
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

import torch

from grader.errors import GradingError, IsolationError, SandboxError
from grader.grading.job import GradingJob, Submission
from grader.grading.outcome import Outcome
from grader.grading.submission_grader import SubmissionGrader
from grader.sandbox import prestart, processes
from grader.sandbox.inside import namespaces
from grader.sandbox.zygote import Zygote

ATTEMPTS = 3  # for a submission, if its process is lost; and to start the sandbox
AHEAD = 2  # submissions that a process has at a time
MAX_CONSECUTIVE_LOSSES = 12  # of processes
MAX_PROCESS_MEMORY = 2 * 2**30  # bytes that a process may take, in addition to what it has at the start
PROCESS_TIMEOUT = 900.0  # seconds for a submission: its own limit, and three times the start of a sandbox
POLL_INTERVAL = 1.0  # seconds between two searches for processes that were stopped


class _OutOfMemory:
    """What a grading process sends if there was too little memory for a submission; then it ends itself."""


Reply: TypeAlias = "Outcome | GradingError | _OutOfMemory"


class GradingProcess:
    """A process that grades submissions, with those that it has been given and has not answered yet.

    Not a pool of the standard library: there, a process that is killed while it sends an answer blocks the others for
    ever, and nothing says which submission it was grading. Here each process has a connection of its own, which
    closes when the process ends. Nothing here blocks, because a process may be stopped while it sends an answer.

    Args:
        grader: prepared for all assignments. Its zygote is forked; the fork belongs to the process.
    """

    def __init__(self, grader: SubmissionGrader) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        try:
            zygote = grader.zygote.fork()
        except SandboxError:  # the process starts one of its own
            zygote = Zygote(grader.job.isolated)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_serve, args=(grader, zygote, theirs, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()  # now only the process holds this end, so it is closed when the process ends
        zygote.detach()
        self.given: deque[Submission] = deque()
        self.waited = 0.0  # seconds for the answer to the first of these
        self._arrived = bytearray()

    def give(self, submission: Submission) -> None:
        """Have a submission graded, after those that it has already."""
        if not self.given:
            self.waited = 0.0
        self.given.append(submission)
        with contextlib.suppress(OSError):  # it is gone: `take` raises an error
            self.channel.sendall(pickle.dumps(submission))

    def take(self) -> Reply | None:
        """The answer about the first submission that it was given; None if there is none yet.

        Raises:
            EOFError: the process is gone.
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
        answer: Reply = pickle.loads(self._arrived[_LENGTH.size :])
        self._arrived = bytearray()
        self.given.popleft()
        self.waited = 0.0
        return answer

    def _missing(self) -> int:
        """How many bytes of the answer, or of its length, have not arrived yet."""
        if len(self._arrived) < _LENGTH.size:
            return _LENGTH.size - len(self._arrived)
        return _LENGTH.size + int(_LENGTH.unpack_from(self._arrived)[0]) - len(self._arrived)

    def end(self) -> None:
        """End it at once, with its zygote; the submissions that it still has are not graded."""
        self.channel.close()
        self.process.kill()
        self.process.join()


_LENGTH = struct.Struct("!Q")
_NO_MEMORY = pickle.dumps(_OutOfMemory())


def _serve(grader: SubmissionGrader, zygote: Zygote, channel: socket.socket, parent: int) -> None:
    """Grade what arrives over a channel, in a grading process, until the other end closes it."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the parent, which then ends this process
    if sys.platform == "linux":  # elsewhere, these processes go on if the parent is killed
        namespaces.die_with_parent()
        namespaces.set_process_name("grading")
    if os.getppid() != parent:  # the parent was killed before the line above
        return
    processes.limit_memory(MAX_PROCESS_MEMORY)
    grader.zygote.detach()
    grader.zygote = zygote
    given = channel.makefile("rb")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            submission: Submission = pickle.load(given)
            packed = _answer(grader, submission)
            channel.sendall(_LENGTH.pack(len(packed)))
            channel.sendall(packed)
            if packed == _NO_MEMORY:
                return


def _answer(grader: SubmissionGrader, submission: Submission) -> bytes:
    """Grade a submission; returns the answer, packed."""
    try:
        return pickle.dumps(grader.grade(submission))
    except IsolationError as error:
        return pickle.dumps(
            GradingError(
                f"students' code cannot be isolated here: {error}; `python -m grader doctor` says more. "
                "For code that you trust there is --no-isolation"
            )
        )
    except Exception as error:  # an error of the grader must not stop the grading of the others
        if processes.is_about_memory(error):
            return _NO_MEMORY
        return pickle.dumps(Outcome(submission, problem=f"the grader failed: {_describe(error)}", ours=True))


def _prepared_grader(job: GradingJob, assignments: Sequence[str], zygote: Zygote) -> SubmissionGrader:
    """A grader that has prepared all the assignments, with a zygote that is ready for them.

    Raises:
        GradingError: an assignment cannot be graded, or the sandbox cannot be started.
    """
    grader = SubmissionGrader(job, zygote)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            grader.zygote.start()
            for step in (grader.preload, grader.prepare):  # the zygote preloads while the references run here
                for assignment in assignments:
                    with _naming(assignment):
                        step(assignment)
            grader.zygote.wait_until_ready()
            break
        except SandboxError as error:
            grader.zygote.stop()
            if attempt == ATTEMPTS:
                raise GradingError(f"there is no sandbox: {error}") from error
    return grader


@contextlib.contextmanager
def _naming(assignment: str) -> Iterator[None]:
    """Name the assignment in an unexpected error."""
    try:
        yield
    except (SandboxError, GradingError):
        raise
    except Exception as error:
        raise GradingError(f"{assignment} cannot be graded: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    """An unexpected error in one line, with the place that raised it."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(at.filename).name}, line {at.lineno})"


def grade_submissions(
    job: GradingJob, submissions: Sequence[Submission], jobs: int, timeout: float = PROCESS_TIMEOUT
) -> Iterator[Outcome]:
    """Grade submissions; yields each outcome as soon as it is ready.

    If a process is lost, or does not answer, a new one takes its place, and the submission that it was grading is
    tried again. A process that somebody has stopped is continued.

    Args:
        job: what the run is about.
        submissions: of any assignments.
        jobs: how many to grade at a time.
        timeout: seconds that a process may take for a submission, without the time in which this process itself was
            stopped.

    Raises:
        GradingError: nothing can be graded here.
    """
    torch.set_num_threads(1)  # this process has no threads from here on, so that it can fork
    left = deque(submissions)
    losses: Counter[Submission] = Counter()
    consecutive_losses = 0
    running: list[GradingProcess] = []
    zygote = prestart.take(job.isolated)
    next_look = 0.0
    try:
        grader = _prepared_grader(job, list(dict.fromkeys(each.assignment for each in submissions)), zygote)
        running += [GradingProcess(grader) for _ in range(min(jobs, len(left)))]
        while True:
            # One more than it is grading, so that no process waits for the gradebook; but no more, so that few
            # outcomes wait here.
            for number in range(AHEAD):
                for process in running:
                    if left and len(process.given) <= number:
                        process.give(left.popleft())
            busy = [process for process in running if process.given]
            if not busy:
                return
            waited = _wait(busy)
            if time.monotonic() >= next_look:
                processes.continue_stopped(os.getpid())
                next_look = time.monotonic() + POLL_INTERVAL
            for process in busy:
                process.waited += waited
                submission = process.given[0]
                result = _result(process, timeout)
                if result is None:
                    continue
                if isinstance(result, Outcome):
                    consecutive_losses = 0
                    yield result
                    continue
                left.extendleft(reversed(process.given))
                process.end()
                running[running.index(process)] = GradingProcess(grader)
                losses[submission] += 1
                consecutive_losses += result.ours
                if consecutive_losses >= MAX_CONSECUTIVE_LOSSES:
                    raise GradingError(
                        f"{consecutive_losses} grading processes were killed, one after the other; is there memory "
                        f"for them (--jobs, now {jobs})? What is graded is kept"
                    )
                if losses[submission] < ATTEMPTS:
                    left.append(submission)
                else:
                    advice = "; is there memory for it?" if result.ours else ""
                    problem = f"{result.problem}, {ATTEMPTS} times{advice}"
                    yield Outcome(submission, problem=problem, ours=result.ours)
    finally:
        for process in running:
            process.end()
        zygote.stop()


@dataclass(frozen=True)
class _Loss:
    """A process that must be replaced.

    Attributes:
        problem: why, as a problem of the submission that it was grading.
        ours: whether that is not the submission's fault.
    """

    problem: str
    ours: bool = True


def _result(process: GradingProcess, timeout: float) -> Outcome | _Loss | None:
    """What became of the first submission that a process was given; None if that is not known yet.

    Raises:
        GradingError: nothing can be graded here.
    """
    try:
        answer = process.take()
    except EOFError:
        process.given.popleft()
        return _Loss("the process that graded it was killed")
    if answer is None:
        if process.waited < timeout:
            return None
        process.given.popleft()
        return _Loss(f"the process that graded it did not answer for {timeout:g} s")
    if isinstance(answer, GradingError):
        raise answer
    if isinstance(answer, _OutOfMemory):
        return _Loss("grading it takes more memory than there is for one submission", ours=False)
    return answer


def _wait(busy: Sequence[GradingProcess]) -> float:
    """Wait until a process answers, or for `POLL_INTERVAL`; returns for how many seconds.

    If this process was stopped in between, that is not the fault of the others: it counts as a short time.
    """
    start = time.monotonic()
    wait([process.channel for process in busy], POLL_INTERVAL)
    return min(time.monotonic() - start, 2 * POLL_INTERVAL)
