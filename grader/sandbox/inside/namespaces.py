"""Isolate one submission from the others, inside the sandbox that all submissions share.

The sandbox (see `grader/sandbox/bubblewrap.py`) has no network, no other files of the machine and no processes of
others. A submission gets, besides, namespaces of its own, a scratch folder of limited size, an empty `/proc`, limits
on its resources, and no capability with which it could undo this.

`fork_into_namespaces` forks the submission's first process; `isolate`, called in it, does the rest.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
from pathlib import Path

from grader.sandbox.inside import seccomp

SCRATCH = Path("/scratch")
MAX_SCRATCH_SIZE = "64m"
MAX_FILE_BYTES = 64 * 2**20
MAX_MEMORY = 3 * 2**30
MAX_CPU_SECONDS = 120
MAX_OPEN_FILES = 256
MAX_PROCESSES = 64
MAX_TERMINALS = 32  # of those that all programs of the machine share
MAX_SHARED_SIZE = "64m"  # in /dev/shm, where PyTorch's data loaders put tensors

# A submission needs at least this much, where this user may have less than the above.
MIN_FILE = 2**20
MIN_MEMORY = 2**29
MIN_CPU_SECONDS = 10
MIN_OPEN_FILES = 32
MIN_PROCESSES = 4
_MAX_SIGNALS = 1024  # that are pending, and timers
_SHELL = {  # how `ulimit` names them
    resource.RLIMIT_AS: ("address space, in bytes,", "-Hv"),
    resource.RLIMIT_FSIZE: ("file size, in bytes,", "-Hf"),
    resource.RLIMIT_CPU: ("processor time, in seconds,", "-Ht"),
    resource.RLIMIT_NOFILE: ("open files", "-Hn"),
    resource.RLIMIT_NPROC: ("processes", "-Hu"),
}

_NAMESPACES = 0x20000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # mount user pid net ipc uts
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 15, 24, 38
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION_3 = 0x20080522
_NOBODY = 65534
_FIRST_USER = 2_000_000_000  # the first of our users; no system gives such high numbers to anybody

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_GET_TID_ADDRESS = 40
_CLONE3 = 435  # the same on all machines
_CLONE_CHILD_SETTID, _CLONE_CHILD_CLEARTID = 0x01000000, 0x00200000

_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)  # for calls between which Python must not switch threads


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


class LimitTooLow(OSError):
    """A limit of this user is too low for a submission; says which."""


def allowed(limit: int, usual: int) -> int:
    """A submission's limit: the usual one, or that of this user if it is lower."""
    here = resource.getrlimit(limit)[1]
    return usual if here == resource.RLIM_INFINITY else min(here, usual)


def limits(used: int) -> list[tuple[int, int]]:
    """The limits of a submission: of each its number (`resource.RLIMIT_…`), and its value.

    Args:
        used: the address space of its first process at the start, in bytes.

    Raises:
        LimitTooLow: a limit of this user is lower than a submission needs.
    """
    result = []
    for limit, usual, least in (
        (resource.RLIMIT_AS, used + MAX_MEMORY, used + MIN_MEMORY),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES, MIN_FILE),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS, MIN_CPU_SECONDS),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES, MIN_OPEN_FILES),
        (resource.RLIMIT_NPROC, MAX_PROCESSES, MIN_PROCESSES),
        (resource.RLIMIT_SIGPENDING, _MAX_SIGNALS, 0),
        # These belong to no process: pages that must not be swapped, queues of messages.
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        value = allowed(limit, usual)
        if value < least:
            raise LimitTooLow(f"{describe_limit(limit)}, and a submission needs {least:,}")
        result.append((limit, value))
    return result


def describe_limit(limit: int) -> str:
    """A limit of this user in words, with its name in a shell."""
    name, option = _SHELL[limit]
    here = resource.getrlimit(limit)[1]
    return f"the limit on {name} is {'infinite' if here == resource.RLIM_INFINITY else f'{here:,}'} (ulimit {option})"


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(pdeathsig)")


def set_process_name(name: str) -> None:
    """Set the name of this process that `ps` and `top` show.

    Args:
        name: 15 letters at most.
    """
    _checked(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0), "prctl(name)")


def hide_memory() -> None:
    """Make this process's memory, environment and open files unreadable for other processes of the same user."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(dumpable)")


def owner() -> tuple[int, int]:
    """The user and the group of submissions: this process's; if that is root's, numbers that nobody else has.

    A user has limits, too, and may disturb all processes of the same user: so each zygote of root's has its own user
    for its submissions.
    """
    user, group = os.geteuid(), os.getegid()
    return (_FIRST_USER + os.getpid(),) * 2 if user == 0 else (user, group)


def fork_into_namespaces(owner: tuple[int, int]) -> int:
    """Fork; the child is the first process of new namespaces, and all that it starts dies with it.

    As `os.fork`, it returns 0 in the child, else the child's number. The child calls `isolate` next.

    Not `unshare` between two forks, because the time of a fork grows with the memory of this process. Root changes
    the user first: the kernel never limits the number of root's processes.

    Args:
        owner: of the namespaces: user and group.

    Raises:
        OSError: the kernel does not allow it.
    """
    # Where glibc keeps the number of the thread, so that the kernel writes the new one there, as for `fork`.
    thread = ctypes.c_void_p()
    known = _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(thread), 0, 0, 0) == 0 and thread.value
    flags = _NAMESPACES | (_CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID if known else 0)
    # `struct clone_args` of <linux/sched.h>: flags, pidfd, child_tid, parent_tid, exit_signal, and what threads need
    arguments = (ctypes.c_uint64 * 8)(flags, 0, thread.value or 0, 0, signal.SIGCHLD)
    groups = os.getgroups()
    as_root = os.geteuid() == 0
    if as_root:
        os.setgroups([])
        os.setegid(owner[1])
        os.seteuid(owner[0])
    _python.PyOS_BeforeFork()
    pid: int = _python.syscall(_CLONE3, arguments, ctypes.sizeof(arguments))
    error = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    _python.PyOS_AfterFork_Parent()
    if as_root:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    if pid < 0 and error == errno.EAGAIN:
        raise LimitTooLow(f"this user has no process left; {describe_limit(resource.RLIMIT_NPROC)}")
    if pid < 0:
        raise OSError(error, f"clone3: {os.strerror(error)}")
    return pid


def _become_nobody(owner: tuple[int, int]) -> None:
    """In the first process of new namespaces: become the only user that there is."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(dumpable)")  # else it may not write its own maps
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {owner[0]} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {owner[1]} 1", encoding="ascii")
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _mount(kind: str, where: str, options: str, flags: int = _MS_NOSUID | _MS_NODEV) -> None:
    _checked(_libc.mount(kind.encode(), where.encode(), kind.encode(), flags, options.encode()), f"mount {where}")


def isolate(owner: tuple[int, int]) -> None:
    """In the first process of new namespaces: set up its scratch folder, an empty `/proc`, limits, no capabilities.

    Args:
        owner: of the namespaces.
    """
    os.setsid()  # a signal to a group of processes crosses namespaces
    _become_nobody(owner)
    die_with_parent()
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _checked(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount / private")
    _mount("tmpfs", str(SCRATCH), f"size={MAX_SCRATCH_SIZE},nr_inodes=4096,mode=0700")
    _mount("tmpfs", "/tmp", f"size={MAX_SCRATCH_SIZE},nr_inodes=4096,mode=0700")
    _mount("tmpfs", "/dev/shm", f"size={MAX_SHARED_SIZE},nr_inodes=4096,mode=0700")
    _mount("devpts", "/dev/pts", f"newinstance,ptmxmode=0666,mode=620,max={MAX_TERMINALS}", _MS_NOSUID | _MS_NOEXEC)
    # If the machine has too little memory, the kernel kills the submission, never the grader.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    _mount("tmpfs", "/proc", "size=4k,nr_inodes=2,mode=0555")
    for limit, value in limits(used):
        resource.setrlimit(limit, (value, value))
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those that this kernel does not have
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(no_new_privs)")
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    os.chdir(SCRATCH)
    _refuse_system_calls()


def _refuse_system_calls() -> None:
    program = seccomp.program()
    if program:
        lines = ctypes.create_string_buffer(program, len(program))
        # `struct sock_fprog` of <linux/filter.h>: the number of lines of eight bytes, and their address
        filtered = struct.pack("@HP", len(program) // 8, ctypes.addressof(lines))
        _checked(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filtered, 0, 0), "prctl(seccomp)")
