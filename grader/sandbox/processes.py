"""The grader's own processes: continue those that were stopped, limit their memory, and how many to start."""

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
    """The processes that somebody has stopped (SIGSTOP), of one process and all below it; none if this is not Linux.

    Args:
        ancestor: the number of the process.
    """
    states: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):  # no Linux
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):  # it has just ended
                    # The name of the program comes first, in brackets, and may contain brackets.
                    state, parent, *_ = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                    states[int(name)] = state.decode()
                    children.setdefault(int(parent), []).append(int(name))
    own = [ancestor]
    for process in own:
        own += children.get(process, ())
        if states.get(process) == "T":  # a small t: a debugger holds it
            yield process


def continue_stopped(ancestor: int) -> None:
    """Continue a process and all below it that were stopped. To pause a grading, stop the grader itself.

    Args:
        ancestor: the number of the process.
    """
    for process in stopped(ancestor):
        with contextlib.suppress(OSError):  # it has just ended, or belongs to somebody else
            os.kill(process, signal.SIGCONT)


def limit_memory(more: int) -> None:
    """Limit the memory of this process; beyond the limit it gets a `MemoryError`.

    Args:
        more: bytes of address space, in addition to what it has now.
    """
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = used + more if hard == resource.RLIM_INFINITY else min(used + more, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def is_about_memory(error: BaseException) -> bool:
    """Whether an error of Python, the system or PyTorch says that there was too little memory."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
    )


def default_jobs() -> int:
    """How many submissions to grade at a time: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
