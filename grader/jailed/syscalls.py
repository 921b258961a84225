"""System calls that no answer needs and that a submission may not make.

Memory that belongs to no process is not counted by any limit, namespaces can be nested, a lease on a file makes all
others wait, and what else is here has often been a way out of jails.
"""

from __future__ import annotations

import errno
import platform
import struct

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
        },
        {"clone": 56, "socket": 41, "fcntl": 72, "setrlimit": 160, "prlimit64": 302},
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
        },
        {"clone": 220, "socket": 198, "fcntl": 25, "setrlimit": 164, "prlimit64": 261},
    ),
}
# The same on all machines.
_EVERYWHERE = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "memfd_secret": 447}
_CLONE3 = 435  # its flags lie in memory, where no filter sees them; without it, glibc calls clone
_X32 = 0x40000000  # of the second numbering that x86_64 has

_NAMESPACES = 0x7E020000  # CLONE_NEW* of <linux/sched.h>
_FAMILIES = (1, 2, 10, 16)  # of sockets: unix, inet, inet6, netlink; others may lead out of a network namespace
_SET_LEASE = 1024
_LIMIT_OF_CPU = 0  # RLIMIT_CPU; who is over it is killed by the kernel, as somebody from outside would kill

# Of <linux/bpf_common.h> and <linux/seccomp.h>.
_LOAD, _IF_EQUAL, _IF_GREATER_OR_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = (
    0,
    4,
    16,
    24,
)  # where they stand in `struct seccomp_data`; arguments: lower half
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
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, architecture), refuse,
        (_LOAD, 0, 0, _NUMBER), (_IF_GREATER_OR_EQUAL, 0, 1, _X32), refuse,
        *_if(_CLONE3, [(_RETURN, 0, 0, _FAIL | errno.ENOSYS)]),
    ]  # fmt: skip
    for number in sorted(refused().values()):
        lines += _if(number, [refuse])
    lines += _if(partly["clone"], [(_LOAD, 0, 0, _FIRST), (_IF_ANY_BIT, 0, 1, _NAMESPACES), refuse, allow])
    lines += _if(partly["fcntl"], [(_LOAD, 0, 0, _SECOND), (_IF_EQUAL, 0, 1, _SET_LEASE), refuse, allow])
    for name, argument in (("setrlimit", _FIRST), ("prlimit64", _SECOND)):
        lines += _if(partly[name], [(_LOAD, 0, 0, argument), (_IF_EQUAL, 0, 1, _LIMIT_OF_CPU), refuse, allow])
    families = [(_IF_EQUAL, len(_FAMILIES) - k, 0, family) for k, family in enumerate(_FAMILIES)]
    lines += _if(
        partly["socket"], [(_LOAD, 0, 0, _FIRST), *families, (_RETURN, 0, 0, _FAIL | errno.EAFNOSUPPORT), allow]
    )
    return b"".join(struct.pack("=HBBI", *line) for line in [*lines, allow])


def _if(number: int, then: list[_Line]) -> list[_Line]:
    """Lines for one call; they end with a return."""
    return [(_IF_EQUAL, 0, len(then), number), *then]
