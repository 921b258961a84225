"""System calls that no answer needs and that a submission may not make: a filter for bubblewrap.

Memory that belongs to no process is not counted by any limit, and what else is here has often been a way out of
jails.
"""

from __future__ import annotations

import errno
import platform
import struct

# By machine: AUDIT_ARCH of <linux/audit.h>, and the numbers of the calls, of <asm/unistd.h>.
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
        },
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
        },
    ),
}
# The same on all machines.
_EVERYWHERE = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "memfd_secret": 447}
_X32 = 0x40000000  # of the second numbering that x86_64 has

# Of <linux/bpf_common.h> and <linux/seccomp.h>.
_LOAD, _IF_EQUAL, _IF_GREATER_OR_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # where they stand in `struct seccomp_data`
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


def refused() -> dict[str, int]:
    """The refused calls and their numbers on this machine; none where its numbers are not known."""
    known = _MACHINES.get(platform.machine())
    return {**known[1], **_EVERYWHERE} if known else {}


def program() -> bytes:
    """The filter as bubblewrap's ``--seccomp`` reads it: instructions of classic BPF; empty where there is none."""
    known = _MACHINES.get(platform.machine())
    if not known:
        return b""
    numbers = sorted(refused().values())
    # Jumps count the instructions to skip. The last one refuses, the one before it allows.
    tests = [(_IF_GREATER_OR_EQUAL, _X32), *((_IF_EQUAL, number) for number in numbers)]
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 0, len(tests) + 2, known[0]), (_LOAD, 0, 0, _NUMBER)]
    lines += [(test, len(tests) - k, 0, value) for k, (test, value) in enumerate(tests)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
