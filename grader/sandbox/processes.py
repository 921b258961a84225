"""What the grader does about its own processes: continue those that were stopped, limit their memory."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def stopped(ancestor: int) -> Iterator[int]:
    """Those of a process and all below it that somebody has stopped (SIGSTOP), as far as this system says so.

    Args:
        ancestor: the number of the process.
    """
    states: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):  # no Linux
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):  # it has just ended
                    # The name of the program comes before, in brackets, and may have brackets in it.
                    state, parent, *_ = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                    states[int(name)] = state.decode()
                    children.setdefault(int(parent), []).append(int(name))
    own = [ancestor]
    for process in own:
        own += children.get(process, ())
        if states.get(process) == "T":  # a small t: a debugger holds it
            yield process


def continue_stopped(ancestor: int) -> None:
    """Continue whatever was stopped below a process, and that process. To pause a grading, one stops the grader.

    Args:
        ancestor: the number of the process.
    """
    for process in stopped(ancestor):
        with contextlib.suppress(OSError):  # it has just ended, or belongs to somebody else
            os.kill(process, signal.SIGCONT)


def limit_memory(more: int) -> None:
    """Let this process take so much more memory than it has now, and not more: then it gets a `MemoryError`.

    Args:
        more: bytes of address space.
    """
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = used + more if hard == resource.RLIM_INFINITY else min(used + more, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def is_about_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory for something: Python's, the system's, or PyTorch's."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
    )
