"""What this machine offers for grading, and what the grader does with it. Everything is found out by trying."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from d2lblocks.tables import Table
from grader import errors
from grader.errors import SandboxError
from grader.sandbox import bubblewrap
from grader.sandbox.inside import namespaces, seccomp
from grader.sandbox.processes import default_jobs
from grader.sandbox.zygote import require_isolation

_SYS_LANDLOCK_CREATE_RULESET, _LANDLOCK_CREATE_RULESET_VERSION = 444, 1  # the number is the same on all machines
_NAMESPACES = {
    "mount": 0x20000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
}
_USER = 0x10000000


@dataclass(frozen=True)
class Found:
    """What a machine offers.

    Attributes:
        table: to be shown.
        sandbox_problem: why students' code cannot be isolated; None if it can.
        gradebook_problem: why marks cannot be entered; None if they can.
    """

    table: Table
    sandbox_problem: str | None
    gradebook_problem: str | None


def examine(database: str, root: Path, hidden: Sequence[Path] = ()) -> Found:
    """Look at this machine.

    Args:
        database: the gradebook's address.
        root: the course's folder.
        hidden: what submissions must not reach, besides the course's folder.
    """
    problem = _problem(bubblewrap.require_bubblewrap)
    isolation = problem or _problem(functools.partial(require_isolation, [root, *hidden]))
    gradebook, gradebook_problem = _gradebook(database)
    rows = [
        ["system", f"{platform.system()} {platform.release()}", "Linux isolates; elsewhere `--no-isolation` only"],
        [
            "bubblewrap",
            _bubblewrap(),
            problem or "makes the sandbox: no network, no files of this machine but programs",
        ],
        ["namespaces", *_namespaces()],
        ["isolation", "no" if isolation else "yes", isolation or "separates the submissions from one another"],
        ["course", *_hidden(isolation)],
        ["seccomp", *_seccomp()],
        ["Landlock", _landlock(), "not used: the sandbox does not hold what a submission must not see"],
        ["cgroups", *_cgroups()],
        *_limits(),
        ["cores", str(default_jobs()), "this many submissions at a time, unless --jobs says otherwise"],
        ["disk", *_disk(root)],
        *([name, _version(name), use] for name, use in _PACKAGES.items()),
        ["gradebook", *gradebook],
    ]
    return Found(Table(["what", "found", "used for"], rows), isolation, gradebook_problem)


def _problem(check: Callable[[], None]) -> str | None:
    try:
        check()
    except SandboxError as error:
        return str(error)
    return None


_PACKAGES = {
    "torch": "in the sandbox, and for the reference outside",
    "ipython": "runs the cells, in the sandbox",
    "nbgrader": "the gradebook, the release, the feedback, the formgrader",
    "jupyterlab": "where students work; `make instructor` opens the formgrader in it",
    "notebook": "not needed: the formgrader also works in it",
}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _bubblewrap() -> str:
    program = bubblewrap.find_bubblewrap()
    if program is None:
        return "missing"
    with contextlib.suppress(OSError):
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        return f"{said.removeprefix('bubblewrap').strip()}, {program}"
    return f"{program}, which cannot be run"


def _hidden(problem: str | None) -> tuple[str, str]:
    if problem:
        return "not hidden", "see above"
    return "hidden", "from inside the sandbox, no path leads to solutions, submissions or the gradebook"


def _seccomp() -> tuple[str, str]:
    refused = list(seccomp.refused())
    if not refused:
        return f"nothing known for {platform.machine()}", "not used"
    return f"{len(refused)} system calls", f"refused to a submission: {', '.join(refused[:4])}, …"


def _namespaces() -> tuple[str, str]:
    """The kinds that a process without rights can have; a child process tries each."""
    if not hasattr(os, "fork") or platform.system() != "Linux":
        return "none", "isolate a submission; only Linux has them"
    kinds = {"user": _USER, **{name: _USER | flag for name, flag in _NAMESPACES.items()}}
    refused = [name for name, flags in kinds.items() if not _can_unshare(flags)]
    if not refused:
        return ", ".join(kinds), "a new set for each submission, besides the sandbox's"
    advice = "allow them: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    return f"refused: {', '.join(refused)}", advice + "kernel.apparmor_restrict_unprivileged_userns"


def _can_unshare(flags: int) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(flags) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _landlock() -> str:
    if platform.system() != "Linux":
        return "no"
    version = ctypes.CDLL(None).syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    return f"ABI {version}" if version > 0 else "no"


def _cgroups() -> tuple[str, str]:
    use = "not needed: memory and processes are counted ten times a second; what cannot be counted is refused"
    try:
        (line,) = [entry for entry in Path("/proc/self/cgroup").read_text("ascii").splitlines() if entry[:3] == "0::"]
        own = Path("/sys/fs/cgroup", line[3:].lstrip("/"))
        controllers = (own / "cgroup.controllers").read_text("ascii").split()
    except (OSError, ValueError):
        return "no version 2", use
    ours = "this user may make some" if os.access(own, os.W_OK) else "this user may make none"
    return f"version 2 ({', '.join(controllers) or 'no controllers'}), {ours}", use


def _limits() -> Iterator[list[str]]:
    """The limits of this process, and those of a submission."""
    used = 0
    with contextlib.suppress(OSError):
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    megabytes, gigabytes = f"{namespaces.MAX_FILE_BYTES / 2**20:g} MB", f"{namespaces.MAX_MEMORY / 2**30:g} GB"
    seconds = f"{namespaces.MAX_CPU_SECONDS} s"
    max_memory, min_memory = used + namespaces.MAX_MEMORY, used + namespaces.MIN_MEMORY
    for name, limit, usual, least, shown in (
        ("processes", resource.RLIMIT_NPROC, namespaces.MAX_PROCESSES, namespaces.MIN_PROCESSES, ""),
        ("open files", resource.RLIMIT_NOFILE, namespaces.MAX_OPEN_FILES, namespaces.MIN_OPEN_FILES, ""),
        ("file size", resource.RLIMIT_FSIZE, namespaces.MAX_FILE_BYTES, namespaces.MIN_FILE, megabytes),
        ("address space", resource.RLIMIT_AS, max_memory, min_memory, gigabytes),
        ("processor time", resource.RLIMIT_CPU, namespaces.MAX_CPU_SECONDS, namespaces.MIN_CPU_SECONDS, seconds),
    ):
        shown = shown or str(usual)
        here = namespaces.allowed(limit, usual)
        use = f"{shown} for a submission"
        if name in ("address space", "processor time"):
            use = f"{shown} for each process of a submission" + (", beyond what PyTorch takes" * (name[0] == "a"))
        if here < least:
            use = f"TOO LOW: a submission needs {shown}; raise it, see ulimit -H"
        elif here < usual:
            use = f"a submission gets only this; usual is {shown}"
        found = resource.getrlimit(limit)[1]
        yield [name, "unlimited" if found == resource.RLIM_INFINITY else f"{found:,}", use]


def _disk(root: Path) -> tuple[str, str]:
    found = f"{shutil.disk_usage(root).free / 2**30:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=root):
            return found, "for graded notebooks and the gradebook"
    except OSError as error:
        return found, f"NOT WRITABLE: {errors.of_the_disk(error, root)}"


def _gradebook(address: str) -> tuple[tuple[str, str], str | None]:
    """What the gradebook is and what it is used for; and why it cannot be used, None if it can."""
    shown = errors.without_password(address)
    try:
        url = make_url(address)
        sqlite = url.get_backend_name() == "sqlite"
        if sqlite and url.database and not Path(url.database).exists():
            return (f"{shown}, not there yet", "is made by the first release"), None
        engine = create_engine(address)
        try:
            with engine.connect() as connection:
                if sqlite:
                    mode = connection.execute(text("PRAGMA journal_mode")).scalar()
                    connection.rollback()
                    connection.execute(text("BEGIN IMMEDIATE"))  # locks it for writing, and writes nothing
                    connection.rollback()
                    found = f"{shown}, writable, journal mode {mode}"
                else:
                    connection.execute(text("CREATE TEMPORARY TABLE grader_doctor (one INTEGER)"))
                    connection.rollback()
                    found = f"{shown}, writable, {engine.dialect.name} {engine.dialect.server_version_info}"
        finally:
            engine.dispose()
    except (DBAPIError, ArgumentError, NoSuchModuleError, ImportError) as error:
        problem = errors.of_the_database(error, address)
        return (f"{shown}: {problem.rpartition(f'{shown}: ')[2]}", "NOT USABLE for marks"), problem
    return (found, "for marks: one writer, which waits for others' locks"), None
