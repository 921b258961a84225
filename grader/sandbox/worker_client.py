"""The grader's side of a worker: sends it cells to run and cases to observe, and receives the answers.

An answer of a student may end its worker, or never end. Then a new worker runs the earlier cells again, without the
one that was fatal, and goes on behind it. So one submission may take several workers; `WorkerClient` is all of them.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from d2lblocks.checking.observation import FailureKind, Observation, failure
from grader.errors import SandboxError
from grader.sandbox.inside.protocol import (
    TOO_LARGE,
    Deadline,
    Ending,
    MessageTooLarge,
    ProtocolError,
    receive_before,
    send_before,
)
from grader.sandbox.zygote import WorkerSpec, Zygote

# Seconds that the code of a submission may take.
CELL_TIMEOUT = 30.0
EXERCISE_TIMEOUT = 30.0  # more than `check` gives: there are more cases, and other workers run at the same time
SUBMISSION_TIMEOUT = 180.0
GRACE_PERIOD = 2.0  # seconds between the moment when an answer is told to stop and the one when its worker is ended
MAX_WORKERS = 12  # for one submission
# Bytes of messages from a worker. A larger one is read and discarded.
MAX_OUTPUT_BYTES = 16 * 2**20
MAX_SUBMISSION_BYTES = 256 * 2**20  # of all messages of a submission

Answer = dict[str, Any]  # of a worker; it may hold anything


@dataclass(frozen=True)
class WorkerFailure:
    """Why there is no answer.

    Attributes:
        kind: how it failed.
        message: what happened, for the student.
    """

    kind: FailureKind
    message: str

    @property
    def observation(self) -> Observation:
        """The failure as an observation of a case."""
        return failure(self.kind, self.message)


_FAILURES = {
    Ending.MEMORY: WorkerFailure(FailureKind.MEMORY, "used too much memory"),
    Ending.PROCESSES: WorkerFailure(FailureKind.MEMORY, "started too many processes"),
    Ending.TIME: WorkerFailure(FailureKind.TIMEOUT, "used too much time of the processor"),
}
_CRASH = WorkerFailure(
    FailureKind.CRASH, "took down the process that it ran in: did it exit, or crash the interpreter?"
)


@dataclass
class WorkerClient:
    """A submission in the sandbox.

    Args:
        zygote: starts its workers.
        spec: of these.
    """

    zygote: Zygote
    spec: WorkerSpec
    _channel: socket.socket | None = None
    _done: list[dict[str, Any]] = field(default_factory=list)  # messages of the cells that have run
    _started: int = 0
    _received: int = 0
    waited: float = 0.0  # seconds, in all, for answers

    def ask(self, message: dict[str, Any], timeout: float, max_bytes: int) -> Answer | WorkerFailure:
        """Send a message and wait for the answer.

        Args:
            message: for the worker.
            timeout: in seconds.
            max_bytes: of the answer.

        Returns:
            What the worker answered, unless it was lost. A larger answer is replaced by ``{TOO_LARGE: its bytes}``.

        Raises:
            SandboxError: the sandbox itself was lost.
        """
        if self.waited >= SUBMISSION_TIMEOUT:
            self.end()
            return WorkerFailure(
                FailureKind.TIMEOUT, f"was not run: the notebook had used up its {SUBMISSION_TIMEOUT:g} s before"
            )
        if self._received > MAX_SUBMISSION_BYTES:
            self.end()
            return WorkerFailure(
                FailureKind.MEMORY, f"was not run: the notebook had shown more than {megabytes(MAX_SUBMISSION_BYTES)}"
            )
        if self._channel is None:
            failure = self._start()
            if failure:
                return failure
        return self._ask(message, timeout, max_bytes)

    def run(self, source: str) -> Answer | WorkerFailure:
        """Run a cell."""
        message = {"do": "run", "source": source, "seconds": CELL_TIMEOUT}
        answer = self.ask(message, CELL_TIMEOUT, MAX_OUTPUT_BYTES)
        if not isinstance(answer, WorkerFailure):
            self._done.append(message)
        return answer

    def end(self, closed: bool = False) -> Ending:
        """End the worker, with all that it started, and say how it ended.

        Args:
            closed: whether it has closed its end of the channel.

        Raises:
            SandboxError: the sandbox itself was lost.
        """
        if self._channel is None:
            return Ending.NOT_STARTED
        channel, self._channel = self._channel, None
        return self.zygote.end_worker(channel, closed)

    def _start(self) -> WorkerFailure | None:
        """Start a worker and run the earlier cells again; returns why that failed, if it did."""
        if self._started >= MAX_WORKERS:
            return WorkerFailure(FailureKind.CRASH, "was not run: the notebook had crashed too often before")
        self._started += 1
        self._channel = self.zygote.start_worker(self.spec)
        for message in list(self._done):
            answer = self._ask(message, CELL_TIMEOUT, MAX_OUTPUT_BYTES)
            if isinstance(answer, WorkerFailure):
                self._done.remove(message)  # it was harmless the first time; the next worker does not run it
                return answer
        return None

    def _ask(self, message: dict[str, Any], timeout: float, max_bytes: int) -> Answer | WorkerFailure:
        assert self._channel is not None
        deadline = Deadline(min(timeout, SUBMISSION_TIMEOUT - self.waited) + GRACE_PERIOD)
        try:
            send_before(deadline, self._channel, message)
            answer, size = receive_before(deadline, self._channel, max_bytes)
            self._received += size
            return answer
        except TimeoutError:
            self.end()
            return WorkerFailure(FailureKind.TIMEOUT, f"was stopped after {timeout:g} s")
        except MessageTooLarge as error:
            self._received += error.size
            return {TOO_LARGE: error.size}
        except ProtocolError:
            ending = self.end(closed=True)
        finally:
            self.waited += deadline.waited
        if ending is Ending.KILLED:  # no code in the sandbox can do that: it is not the student's fault
            raise SandboxError("the process that ran it was killed; is there memory for it?")
        return _FAILURES.get(ending, _CRASH)


def size_in_words(answer: Answer) -> str:
    """The size of an answer that was replaced by ``{TOO_LARGE: its bytes}``; a worker can send that, too."""
    size = answer[TOO_LARGE]
    return megabytes(size) if isinstance(size, int) and 0 <= size < 2**40 else "much"


def megabytes(size: int) -> str:
    """A number of bytes in words: ``3 MB``."""
    return f"{size / 2**20:.1f} MB".replace(".0 ", " ")
