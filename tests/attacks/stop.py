"""Submissions that try to stop the grading, or to use up the machine."""

from __future__ import annotations

from tests.attacks.base import (
    BEHIND,
    CHANNEL,
    CRASHED,
    STOPPED,
    Attack,
    my_linear,
)

STOP = (
    Attack("exit", "ends the process, at the top of a cell", "import os\nattempt()\nos._exit(0)\n", shows=CRASHED),
    Attack(
        "exit_in_forward",
        "ends the process, inside `forward`",
        my_linear("import os\nattempt()\nos._exit(0)"),
        shows=CRASHED,
    ),
    Attack("system_exit", "raises `SystemExit` inside `forward`", my_linear("attempt()\nraise SystemExit")),
    Attack("segfault", "reads address 0", my_linear("import ctypes\nattempt()\nctypes.string_at(0)"), shows=CRASHED),
    Attack("endless", "never ends", my_linear("attempt()\nwhile True:\n    pass"), waits=True),
    Attack(
        "endless_deaf",
        "never ends, and ignores every signal",
        """\
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
attempt()
while True:
    pass
""",
        shows=STOPPED,
        waits=True,
    ),
    Attack(
        "sleep", "sleeps for an hour", my_linear("import time\nattempt()\ntime.sleep(3600)\nreturn X"), waits=True
    ),
    Attack(
        "refuse_to_die",
        "takes back that it is to end with its parent, and sleeps",
        """\
import ctypes
import signal
import time

ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
attempt()
while True:
    time.sleep(60)
""",
        shows=STOPPED,
        waits=True,
    ),
    Attack(
        "trickle",
        "answers with one byte a second, for months",
        CHANNEL
        + """
import signal, struct, time

for number in CHANNELS:
    os.write(number, struct.pack("!I", 2**24))


signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
attempt()
while True:
    for number in CHANNELS:
        os.write(number, b" ")
    time.sleep(1)
""",
        shows=STOPPED,
        waits=True,
    ),
    Attack(
        "memory",
        "takes memory until there is no more",
        my_linear("attempt()\nh = []\nwhile True:\n    h.append(b'1' * 2**28)"),
    ),
    Attack(
        "shared_memory",
        "takes memory together with its children, and memory that belongs to no process",
        """\
import ctypes
import mmap
import os
import time

attempt()
libc = ctypes.CDLL(None, use_errno=True)
got = []
if libc.memfd_create(b"hoard", 0) >= 0:
    got.append("a file that is in memory only")
if libc.semget(0, 32000, 0o600) >= 0:
    got.append("semaphores")
for flags in (mmap.MAP_SHARED, mmap.MAP_SHARED | 0x40000, mmap.MAP_PRIVATE | 0x40000):
    try:
        hoard = mmap.mmap(-1, 2**30, flags=flags | mmap.MAP_ANONYMOUS)
        for page in range(0, len(hoard), mmap.PAGESIZE):
            hoard[page] = 1
        hoard.madvise(mmap.MADV_DONTNEED)
        got.append(f"memory with flags {flags:#x}")
    except OSError:
        pass
try:
    got.append(mmap.mmap(os.open("/dev/zero", os.O_RDWR), 2**30))
except (OSError, ValueError):
    pass
if got:
    print("I could " + "read", got)
for _ in range(4):
    if os.fork() == 0:
        hoard = mmap.mmap(-1, 2 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, len(hoard), mmap.PAGESIZE):
            hoard[page] = 1
        time.sleep(3600)
time.sleep(3600)
""",
        shows="used too much memory",
    ),
    Attack(
        "fork_bomb",
        "forks without end",
        """\
import os
import time

attempt()
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
""",
        shows="OutOfMemory",  # too many processes, or their memory
    ),
    Attack(
        "daemon",
        "leaves a process behind that outlives the grading",
        """\
import os
import time

attempt()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
""",
    ),
    Attack(
        "threads",
        "leaves threads, exit handlers and finalizers behind, which never rest",
        """\
import atexit
import threading
import weakref


def work():
    while True:
        sum(range(1000))


attempt()
for _ in range(8):
    threading.Thread(target=work).start()
atexit.register(work)
keep = type("Keep", (), {})()
weakref.finalize(keep, work)
""",
        costs=BEHIND,
    ),
    Attack(
        "fill_disk",
        "writes until the disk is full",
        """\
attempt()
k = 0
while True:
    k += 1
    with open(f"full{k}", "wb") as file:
        file.write(bytes(2**25))
""",
    ),
    Attack(
        "network",
        "connects to this machine and to others, and looks up a name",
        """\
import socket
import subprocess

listener = socket.socket()
reached = []
for address in (("127.0.0.1", 22), ("127.0.0.1", 8888), ("10.0.0.1", 80), ("1.1.1.1", 53)):
    try:
        socket.create_connection(address, timeout=1)
        reached.append(address)
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):
            reached.append(address)
try:
    reached.append(socket.getaddrinfo("pytorch.org", 443)[0][4])
except OSError:
    pass
attempt()
if reached:
    print("I could " + "read", reached)
""",
    ),
    Attack(
        "tamper_zygote",
        "kills its parent, its siblings and everything else",
        """\
import os
import signal

attempt()
for number in {os.getppid(), *range(1, 300)} - {0, os.getpid()}:
    try:
        os.kill(number, signal.SIGKILL)
    except OSError:
        pass
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
""",
    ),
    Attack(
        "poison_next",
        "writes modules into site-packages, the home directory, caches and the library",
        """\
import d2lblocks
import glob
import os
import sys

attempt()
found = glob.glob("/tmp/poison*") + glob.glob(os.path.expanduser("~/.ipython/profile_default/startup/poison*"))
if found:
    print("I could " + "read", found)
startup = os.path.expanduser("~/.ipython/profile_default/startup")
try:
    os.makedirs(startup, exist_ok=True)
except OSError:
    pass
folders = {*sys.path, os.path.dirname(d2lblocks.__file__), os.path.expanduser("~"), startup, "/tmp", "/usr", "/"}
for folder in folders:
    for name in ("sitecustomize.py", "usercustomize.py", "zz_poison.pth", "poison.py"):
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write("import os; os.environ.get('JPY_PARENT_PID') and os._exit(3)\\n")
        except OSError:
            pass
""",
    ),
    Attack(
        "raise_limits",
        "raises its own limits and its priority",
        """\
import ctypes
import os
import resource

raised = []
for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE"):
    kind = getattr(resource, f"RLIMIT_{name}")
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        raised.append(name)
    except (OSError, ValueError):
        pass
for change in (lambda: os.nice(-20), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))):
    try:
        change()
        raised.append("priority")
    except OSError:
        pass
attempt()
if raised:
    print("I could " + "read", raised)
""",
    ),
    Attack(
        "nested_namespaces",
        "makes namespaces of its own to get its capabilities back",
        """\
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
attempt()
if libc.unshare(0x10000000 | 0x20000) == 0:
    if libc.umount2(b"/proc", 2) == 0 or libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0:
        print("I could " + "read", os.listdir("/proc"))
    libc.umount2(b"/scratch", 2)
    libc.mount(None, b"/", None, 32 | 4096, None)
""",
    ),
    Attack(
        "disturb_others",
        "signals every process that it can name, takes their priority, and makes them wait for Python's files",
        """\
import fcntl
import glob
import os
import signal
import time

import torch

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for kind in (os.PRIO_PGRP, os.PRIO_USER):
    os.setpriority(kind, 0, 19)
for path in glob.glob(os.path.join(os.path.dirname(torch.__file__), "lib", "*.so")):
    try:
        fcntl.fcntl(os.open(path, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        pass
attempt()
for target in (-1, 0):
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGSTOP):
        try:
            os.kill(target, number)
        except OSError:
            pass
time.sleep(1)
""",
        most=0,
    ),
)
