"""System calls that no answer needs and that a submission may not make.

No limit counts memory that belongs to no process: that of shared anonymous mappings, of semaphores, of huge pages in
a pipe, of enlarged buffers. Namespaces can be nested, a lease on a file makes all others wait, the list of mounts
says where the course is, and the other calls have often been a way out of sandboxes.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence

# By machine: AUDIT_ARCH of <linux/audit.h>, and the numbers of the calls, of <asm/unistd.h>: those that are refused,
# and those that are refused for some arguments.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "memfd_create": 319,
            "shmget": 29,
            "msgget": 68,
            "ptrace": 101,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "perf_event_open": 298,
            "bpf": 321,
            "userfaultfd": 323,
            "unshare": 272,
            "setns": 308,
            "inotify_init": 253,
            "inotify_init1": 294,
            "fanotify_init": 300,
            "semget": 64,
            "vmsplice": 278,
            "io_setup": 206,
        },
        {"mmap": 9, "clone": 56, "socket": 41, "setsockopt": 54, "fcntl": 72, "setrlimit": 160, "prlimit64": 302},
    ),
    "aarch64": (
        0xC00000B7,
        {
            "memfd_create": 279,
            "shmget": 194,
            "msgget": 186,
            "ptrace": 117,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "perf_event_open": 241,
            "bpf": 280,
            "userfaultfd": 282,
            "unshare": 97,
            "setns": 268,
            "inotify_init1": 26,
            "fanotify_init": 262,
            "semget": 190,
            "vmsplice": 75,
            "io_setup": 0,
        },
        {
            "mmap": 222,
            "clone": 220,
            "socket": 198,
            "setsockopt": 208,
            "fcntl": 25,
            "setrlimit": 164,
            "prlimit64": 261,
        },
    ),
}
# The same on all machines.
_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "landlock_create_ruleset": 444,
    "memfd_secret": 447,
    "statmount": 457,
    "listmount": 458,
}
_CLONE3 = 435  # its flags lie in memory, where no filter sees them; without it, glibc calls clone
_X32 = 0x40000000  # of the second numbering that x86_64 has

_NAMESPACES = 0x7E020000  # CLONE_NEW* of <linux/sched.h>
_FAMILIES = (1, 2, 10, 16)  # of sockets: unix, inet, inet6, netlink; others may lead out of a network namespace
# Commands of fcntl: a lease, and locks that do not show whose they are.
_REFUSED_COMMANDS = (1024, 37, 38)  # F_SETLEASE, F_OFD_SETLK, F_OFD_SETLKW
_THREAD, _WITH_FILES = 0x10000, 0x400  # CLONE_THREAD, CLONE_FILES
_SHARED, _ANONYMOUS, _HUGE = 1, 0x20, 0x40000  # MAP_SHARED, also in MAP_SHARED_VALIDATE; MAP_ANONYMOUS; MAP_HUGETLB
_SOCKET_LEVEL = 1  # SOL_SOCKET
_SIZES_OF_BUFFERS = (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF, and both with FORCE
_LIMIT_OF_CPU = 0  # RLIMIT_CPU; who is over it is killed by the kernel, as somebody from outside would kill

# Of <linux/bpf_common.h> and <linux/seccomp.h>.
_LOAD, _IF_EQUAL, _IF_GREATER_OR_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Where they stand in `struct seccomp_data`; of arguments, the lower half.
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD, _FOURTH = 0, 4, 16, 24, 32, 40
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000

_Line = tuple[int, int, int, int]  # code, lines to skip if true, lines to skip if false, value


def refused() -> dict[str, int]:
    """The refused calls and their numbers on this machine; none where its numbers are not known."""
    known = _MACHINES.get(platform.machine())
    return {**known[1], **_EVERYWHERE} if known else {}


def program() -> bytes:
    """The filter, as instructions of classic BPF; empty where there is none."""
    known = _MACHINES.get(platform.machine())
    if not known:
        return b""
    architecture, _, partly = known
    refuse, allow = (_RETURN, 0, 0, _FAIL | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    do_nothing = (_RETURN, 0, 0, _FAIL)  # and say that it is done
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, architecture), refuse,
        (_LOAD, 0, 0, _NUMBER), (_IF_GREATER_OR_EQUAL, 0, 1, _X32), refuse,
        *_if(_CLONE3, [(_RETURN, 0, 0, _FAIL | errno.ENOSYS)]),
    ]  # fmt: skip
    for number in sorted(refused().values()):
        lines += _if(number, [refuse])
    lines += _if(partly["mmap"], [
        (_LOAD, 0, 0, _FOURTH), (_IF_ANY_BIT, 2, 0, _HUGE),
        (_IF_ANY_BIT, 0, 2, _ANONYMOUS), (_IF_ANY_BIT, 0, 1, _SHARED),
        refuse, allow,
    ])  # fmt: skip
    # Of a thread with open files of its own nobody would see how many it has.
    lines += _if(partly["clone"], [
        (_LOAD, 0, 0, _FIRST), (_IF_ANY_BIT, 2, 0, _NAMESPACES), (_IF_ANY_BIT, 0, 2, _THREAD),
        (_IF_ANY_BIT, 1, 0, _WITH_FILES), refuse, allow,
    ])  # fmt: skip
    lines += _if(partly["fcntl"], [(_LOAD, 0, 0, _SECOND), *_if_any(_REFUSED_COMMANDS, refuse, allow)])
    lines += _if(partly["setsockopt"], [
        (_LOAD, 0, 0, _SECOND), (_IF_EQUAL, 1, 0, _SOCKET_LEVEL), allow,
        (_LOAD, 0, 0, _THIRD), *_if_any(_SIZES_OF_BUFFERS, do_nothing, allow),
    ])  # fmt: skip
    for name, argument in (("setrlimit", _FIRST), ("prlimit64", _SECOND)):
        lines += _if(partly[name], [(_LOAD, 0, 0, argument), (_IF_EQUAL, 0, 1, _LIMIT_OF_CPU), refuse, allow])
    no_family = (_RETURN, 0, 0, _FAIL | errno.EAFNOSUPPORT)
    lines += _if(partly["socket"], [(_LOAD, 0, 0, _FIRST), *_if_any(_FAMILIES, allow, no_family)])
    return b"".join(struct.pack("=HBBI", *line) for line in [*lines, allow])


def _if(number: int, then: list[_Line]) -> list[_Line]:
    """Lines for one call; they end with a return."""
    return [(_IF_EQUAL, 0, len(then), number), *then]


def _if_any(values: Sequence[int], then: _Line, otherwise: _Line) -> list[_Line]:
    """Lines for what has been loaded: the one if it is one of some values, else the other."""
    return [*((_IF_EQUAL, len(values) - k, 0, value) for k, value in enumerate(values)), otherwise, then]
