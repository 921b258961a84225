"""The grader's side of a zygote: a process in the sandbox that has imported everything and forks workers.

A worker runs one submission. `Zygote` starts the sandbox with a zygote in it, says what the sandbox must hide, and
starts and ends workers. The other side is `grader/sandbox/inside/zygote.py`.

A zygote takes seconds to start: see `prestart.py`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grader.errors import IsolationError, SandboxError
from grader.files import folders
from grader.sandbox import bubblewrap, mounts, processes
from grader.sandbox.bubblewrap import START_TIMEOUT
from grader.sandbox.inside import reach
from grader.sandbox.inside.protocol import Ending, ProtocolError, receive
from grader.sandbox.limits import cannot_start, was_lost

MAX_MESSAGE_BYTES = 2**16  # from a zygote
POLL_INTERVAL = 0.2  # seconds
EXIT_TIMEOUT = 2.0  # seconds; the kernel closes a process's files before the process is gone


@dataclass(frozen=True)
class WorkerSpec:
    """What a zygote must know to start a worker.

    Attributes:
        seed: of the submission's random numbers.
        assignment: the submission's; its code finds the files of the release in its folder.
    """

    seed: int = 0
    assignment: str = ""


@dataclass
class Zygote:
    """A zygote, which is started when it is needed first, and again after `stop`.

    Args:
        isolated: whether there is a sandbox at all; without one, students' code runs like any other program of this
            user.
    """

    isolated: bool = True
    _hidden: set[Path] = field(default_factory=lambda: {mounts.ROOT}, init=False)
    _covered: list[str] = field(default_factory=list, init=False)
    _reach: socket.socket | None = field(default=None, init=False)  # until it is known that nothing hidden is open
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control: socket.socket | None = field(default=None, init=False)
    _ready: bool = field(default=False, init=False)
    _imported: set[str] = field(default_factory=set, init=False)
    _given: dict[str, tuple[tuple[str, int, int], ...]] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Start it, if it is not started, without waiting until it is ready.

        Raises:
            SandboxError: it cannot be started.
        """
        if self._control is not None:
            return
        self.stop()
        descriptors = mounts.Descriptors()
        try:
            self._covered = mounts.covers(mounts.binds(), self._hidden) if self.isolated else []
            ours, control = _control_sockets()
            self._reach, reached = _control_sockets()
        except OSError as error:
            raise cannot_start(error) from error
        try:
            command, environment = self._command(control.fileno(), reached.fileno(), descriptors)
            self._process = subprocess.Popen(
                command,
                pass_fds=[control.fileno(), reached.fileno(), *descriptors.numbers],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            ours.close()
            self.detach()
            raise cannot_start(error) from error
        finally:
            control.close()
            reached.close()
            descriptors.close()
        self._control = ours
        self._ready = False

    def _command(
        self, control: int, reached: int, descriptors: mounts.Descriptors
    ) -> tuple[list[str], dict[str, str]]:
        """The command line of the zygote, and its environment.

        Args:
            control: the descriptor of the zygote's end of our socket.
            reached: that of the process which checks what can be reached.
            descriptors: gets the descriptors that bubblewrap needs.
        """
        zygote = ["-m", "grader.sandbox.inside.zygote", str(control)]
        if self.isolated:
            python = f"{mounts.ENVIRONMENT}/bin/python" if mounts.has_environment() else mounts.PROGRAM
            check = ["-I", "-S", f"{mounts.COURSE}/grader/sandbox/inside/reach.py", str(reached), str(control)]
            sandbox = bubblewrap.command(descriptors, self._covered)
            return [*sandbox, python, *check, python, *zygote, "--isolated"], {}
        # The sandbox's variables, which set threads and displays; but folders and programs are this machine's.
        environment = {
            **bubblewrap.environment(),
            **os.environ,
            "PYTHONPATH": str(mounts.ROOT),
            "OMP_NUM_THREADS": "1",
        }
        environment["TMPDIR"] = tempfile.gettempdir()
        return [sys.executable, *zygote], environment

    def hide(self, paths: Iterable[Path]) -> None:
        """Hide folders from submissions, besides the course of this program.

        Args:
            paths: the folders. A folder that does not exist need not be hidden.

        Raises:
            SandboxError: the sandbox needs one of them. `start` raises it, too.
        """
        new = {path.resolve() for path in paths if path.exists()} - self._hidden
        if not new or not self.isolated:
            return
        # A new folder in one that is hidden already is hidden, too.
        elsewhere = any(not any(reach.is_below(str(path), str(known)) for known in self._hidden) for path in new)
        self._hidden |= new
        not_seen = self._ready and elsewhere
        if self._control is not None and (not_seen or mounts.covers(mounts.binds(), self._hidden) != self._covered):
            self.stop()  # it is started again, and hides them

    def _check_hidden(self) -> None:
        """Have it checked from inside the sandbox that nothing hidden can be reached.

        Raises:
            IsolationError: something can be reached.
            OSError: the process that checks it is gone.
        """
        if self._reach is None or not self.isolated:
            return
        here = reach.mounts()
        question = {
            "hidden": [reach.hidden(str(path), here) for path in sorted(self._hidden) if path.exists()],
            "allowed": [bind.target for bind in mounts.binds()],
        }
        self._reach.send(json.dumps(question).encode())
        answer = self._wait_for_message(self._reach)
        self._reach.close()
        self._reach = None
        if not answer:
            raise ConnectionError("no process has checked whether the course is hidden")
        found = json.loads(answer)["open"]
        if found is not None:
            self.stop()
            raise IsolationError(f"students' code could reach {found}; move the course to a folder of its own")

    def fork(self) -> Zygote:
        """Another zygote, forked from this one and in the same sandbox; it ends with this one.

        No worker of this one may be running.

        Raises:
            SandboxError: this zygote is gone.
        """
        fork = Zygote(self.isolated)
        fork._control, theirs = _control_sockets()
        fork._imported, fork._given = set(self._imported), dict(self._given)
        fork._hidden, fork._covered = set(self._hidden), list(self._covered)
        with theirs:
            self._send({"fork": True}, theirs.fileno())
        return fork

    def detach(self) -> None:
        """Close this process's sockets to it: another process, forked from this one, goes on with it."""
        for channel in (self._control, self._reach):
            if channel is not None:
                channel.close()
        self._control = self._reach = None

    def preload(self, modules: Iterable[str]) -> None:
        """Have modules imported that are slow to import; returns at once.

        Raises:
            SandboxError: the zygote is gone.
        """
        new = sorted(set(modules) - self._imported)
        if new:
            self._send({"import": new})
            self._imported.update(new)

    def give_files(self, assignment: str, folder: Path) -> None:
        """Give the files of a release, but for the notebook, to the submissions of an assignment; returns at once.

        Files that the zygote has already are not sent again, unless they have changed.

        Raises:
            SandboxError: the zygote is gone.
            OSError: the folder cannot be read.
        """
        found = [path for path in folders.files(folder) if path.suffix != ".ipynb"]
        state = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in found)
        if self._given.get(assignment) != state:
            self._send({"files": assignment})
            for path in found:
                with path.open("rb") as file:  # opened here: the zygote may have fewer rights
                    self._send({"file": path.name, "of": assignment}, file.fileno())
            self._given[assignment] = state

    def start_worker(self, spec: WorkerSpec) -> socket.socket:
        """Start a worker for a submission; the one before must have ended.

        Returns:
            The channel to it. It is isolated, and has run no student's code yet.

        Raises:
            IsolationError: it could not be isolated.
            SandboxError: the zygote or the worker is gone.
        """
        self.wait_until_ready()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._send({"start": asdict(spec)}, theirs.fileno())
        except SandboxError:
            ours.close()
            raise
        self._wait_until_isolated(ours)
        return ours

    def _send(self, message: dict[str, Any], *descriptors: int) -> None:
        self.start()
        assert self._control is not None
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)
        except OSError as error:
            raise was_lost(error) from error

    def _wait_until_isolated(self, channel: socket.socket) -> None:
        """Receive the first message of a worker, which can be trusted: no student's code has run yet."""
        channel.settimeout(START_TIMEOUT)
        try:
            first = receive(channel)
        except (TimeoutError, ProtocolError) as error:
            self.end_worker(channel)
            raise SandboxError(f"a worker was lost before it began: {error}") from error
        if "limit" in first:
            self.end_worker(channel)
            raise IsolationError(f"a submission cannot be isolated: {first['limit']}; raise that limit")
        if "failed" in first or (self.isolated and first.get("ready") != 1):
            self.end_worker(channel)
            why = first.get("failed", "it is not alone in its namespaces")
            raise IsolationError(
                f"a submission cannot be given namespaces of its own ({why}); the kernel must allow them"
            )

    def end_worker(self, channel: socket.socket, closed: bool = False) -> Ending:
        """End the worker that was started last, with all that it started.

        Args:
            channel: to it.
            closed: whether the worker has closed the channel. Then it is about to end, and gets the time to do so.

        Returns:
            How it ended.

        Raises:
            SandboxError: the zygote is gone.
        """
        assert self._control is not None
        channel.close()
        self._send({"end": EXIT_TIMEOUT if closed else 0})
        try:
            heard = self._control.recv(MAX_MESSAGE_BYTES)
            if not heard:
                raise ConnectionError("it has ended")
        except OSError as error:
            raise was_lost(error) from error
        return Ending(json.loads(heard)["ended"])

    def wait_until_ready(self) -> None:
        """Wait until it can start a worker; it is started, if it is not.

        Raises:
            IsolationError: a submission could reach something that is hidden.
            SandboxError: the zygote is gone.
        """
        self.start()
        assert self._control is not None
        if self._ready:
            return
        try:
            self._check_hidden()
            if not self._wait_for_message(self._control):
                raise ConnectionError("it has ended")
        except OSError as error:
            raise was_lost(error) from error
        self._ready = True

    def _wait_for_message(self, channel: socket.socket) -> bytes:
        """Wait for a message from a sandbox that starts; empty if the other end is closed."""
        deadline = time.monotonic() + START_TIMEOUT
        channel.settimeout(POLL_INTERVAL)
        while True:
            try:
                message = channel.recv(MAX_MESSAGE_BYTES)
                break
            except TimeoutError:
                # If bubblewrap is killed early, a process that it leaves behind holds the socket open.
                ended = self._process is not None and self._process.poll() is not None
                if self._process is not None and not ended:
                    processes.continue_stopped(self._process.pid)
                if ended or time.monotonic() > deadline:
                    raise
        channel.settimeout(START_TIMEOUT)
        return message

    def stop(self) -> None:
        """End it and everything in it."""
        self.detach()
        self._imported, self._given = set(), {}
        if self._process is not None:
            bubblewrap.end_group(self._process)
            self._process = None

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _control_sockets() -> tuple[socket.socket, socket.socket]:
    """Our end and a zygote's; messages keep their boundaries."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(START_TIMEOUT)
    return ours, theirs


def require_isolation(hidden: Iterable[Path] = ()) -> None:
    """Check that this machine can isolate a submission, by starting a worker.

    Args:
        hidden: what must not be reached from a submission.

    Raises:
        SandboxError: it cannot; says why, and what to do.
    """
    bubblewrap.require_bubblewrap()
    with Zygote() as zygote:
        zygote.hide(hidden)
        zygote.end_worker(zygote.start_worker(WorkerSpec()))
