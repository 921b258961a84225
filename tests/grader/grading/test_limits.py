"""What a submission may take from the machine, and what it is told when there is less than usual."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from grader.sandbox.inside import namespaces, protocol
from grader.sandbox.inside import zygote as zygotes
from grader.sandbox.zygote import WorkerSpec, Zygote
from tests import ROOT
from tests.isolation import isolation_problem
from tests.submission import submission

WHY_NOT = isolation_problem()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as made:
        yield made


SETUP = """
import ctypes, errno, mmap, os, platform, socket, struct

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        print(name, errno.errorcode[ctypes.get_errno()])
    else:
        print(name, "DONE")


def attempt(what):
    try:
        print(what())
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@isolated
@pytest.mark.parametrize(
    ("source", "said"),
    {
        "shared memory of no file": ("attempt(lambda: mmap.mmap(-1, 2**20))", "EPERM"),
        "the same, validated": ("attempt(lambda: mmap.mmap(-1, 2**20, flags=mmap.MAP_ANONYMOUS | 3))", "EPERM"),
        "shared memory of /dev/zero": (
            "attempt(lambda: mmap.mmap(os.open('/dev/zero', os.O_RDWR), 2**20))",
            "ENODEV",
        ),
        "huge pages": ("attempt(lambda: mmap.mmap(-1, 2**21, flags=0x40022))", "EPERM"),
        "semaphores": ("call('semget', 0, 32000, 0o600)", "semget EPERM"),
        "pages in a pipe": ("call('vmsplice', os.pipe()[1], None, 0, 0)", "vmsplice EPERM"),
        "locked pages": ("call('mlock', ctypes.create_string_buffer(8192), 8192)", "mlock EPERM"),
        "queues of messages": ("call('mq_open', b'/queue', os.O_CREAT | os.O_RDWR, 0o600, None)", "mq_open EMFILE"),
        "locks without an owner": (
            "import fcntl\n"
            "lock = struct.pack('hhqqi', 1, 0, 0, 1, 0)\n"
            "attempt(lambda: fcntl.fcntl(os.open('x', os.O_CREAT | os.O_RDWR), 37, lock))",
            "EPERM",
        ),
        "a thread with open files of its own": (
            "call('syscall', {'x86_64': 56, 'aarch64': 220}[platform.machine()], 0x10900, None, 0, 0, 0)",
            "syscall EPERM",
        ),
        "larger buffers": (
            "one, other = socket.socketpair()\nbefore = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)\n"
            "one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**30)\n"
            "print(one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before)",
            "True",
        ),
        "terminals": (
            f"kept = []\nattempt(lambda: [kept.append(os.openpty()) for _ in range({namespaces.MAX_TERMINALS + 1})])",
            "ENOSPC",
        ),
        "files in memory": (
            "attempt(lambda: [open(f'/dev/shm/{k}', 'wb', buffering=0).write(bytes(2**25)) for k in range(3)])",
            "ENOSPC",
        ),
    }.values(),
)
def test_memory_that_belongs_to_no_process_is_refused(zygote, source, said):
    with submission(zygote) as run:
        assert run(SETUP, source) == f"{said}\n"


@isolated
def test_many_locks_on_parts_of_a_file_end_a_submission(zygote):
    """The kernel takes memory for each, and has no limit on them."""
    source = """
import fcntl, os, struct, time

file = os.open("x", os.O_CREAT | os.O_RDWR)
for k in range(4000, 0, -1):
    fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 2 * k, 1, 0))
time.sleep(3600)
"""
    channel = zygote.start_worker(WorkerSpec())
    protocol.send(channel, {"do": "run", "source": source, "seconds": 600})
    with pytest.raises(protocol.ProtocolError):
        protocol.receive(channel)
    assert zygote.end_worker(channel, closed=True) is protocol.Ending.MEMORY


@isolated
def test_what_an_answer_may_need_of_shared_memory_works(zygote):
    source = """
import fcntl, multiprocessing, os, sqlite3, threading
import torch
from torch.utils.data import DataLoader

context = multiprocessing.get_context("fork")
value = context.Value("i", 0)


def add():
    with value.get_lock():
        value.value += 1


for each in [context.Process(target=add) for _ in range(2)]:
    each.start()
    each.join()
shared = torch.zeros(3).share_memory_()
thread = threading.Thread(target=lambda: shared.add_(1))
thread.start()
thread.join()
batches = [batch.sum().item() for batch in DataLoader(list(range(8)), batch_size=4, num_workers=2)]
base = sqlite3.connect("base.db")
base.execute("CREATE TABLE one (number)")
base.commit()
print(value.value, shared.tolist(), batches, os.path.exists("base.db"))
"""
    with submission(zygote) as run:
        assert run(source) == "2 [1.0, 1.0, 1.0] [6, 22] True\n"


def test_what_is_in_sockets_counts_as_memory(monkeypatch):
    """Each open file may hold so much in the kernel; a program with many is taken to use it."""
    program = "import os, sys\nkept = [os.dup(1) for _ in range(600 * int(sys.argv[1]))]\nprint(flush=True)\ninput()"
    monkeypatch.setattr(zygotes, "MAX_TOTAL_MEMORY", 150 * 2**20)
    for many, found in ((0, None), (1, protocol.Ending.MEMORY)):
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program, str(many)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            assert zygotes._excess(process.pid) is found
            process.communicate(b"\n")


# As when it is called from another folder of the course; there, it is a path with dots.
PYTHON = Path(sys.executable).parent / ".." / "bin" / Path(sys.executable).name
TRY = "from tests.isolation import isolation_problem\nprint(isolation_problem())"
LIMITS = "from grader.sandbox.inside import namespaces\nprint(*namespaces.limits(2**30))"


def said(program, **limits):
    """What a program says, where this user is allowed no more than this."""

    def lower():
        for name, few in limits.items():
            resource.setrlimit(getattr(resource, name), (few, few))

    command = [PYTHON, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=lower, check=False)
    return done.stdout or done.stderr


@isolated
def test_low_limits_are_taken_and_so_is_a_path_with_dots_to_the_interpreter():
    assert said(TRY, RLIMIT_NOFILE=64, RLIMIT_NPROC=400, RLIMIT_CPU=3000) == "None\n"


@isolated
@pytest.mark.parametrize(
    ("limit", "few", "words"),
    [
        ("RLIMIT_NOFILE", 24, "the limit on open files is 24 (ulimit -Hn), and a submission needs 32"),
        ("RLIMIT_FSIZE", 1000, "the limit on file size, in bytes, is 1,000 (ulimit -Hf)"),
        ("RLIMIT_AS", 2**28, "the limit on address space, in bytes, is 268,435,456 (ulimit -Hv)"),
    ],
)
def test_a_limit_that_leaves_too_little_is_named(limit, few, words):
    (line,) = said(TRY, **{limit: few}).splitlines()
    assert words in line
    assert "the kernel must allow" not in line


@pytest.mark.parametrize(
    ("limit", "few", "words"),
    [
        ("RLIMIT_NPROC", 2, "LimitTooLow: the limit on processes is 2 (ulimit -Hu), and a submission needs 4"),
        ("RLIMIT_CPU", 3, "the limit on processor time, in seconds, is 3 (ulimit -Ht), and a submission needs 10"),
        ("RLIMIT_NPROC", 40, f"({resource.RLIMIT_NPROC}, 40)"),
        ("RLIMIT_NPROC", 4000, f"({resource.RLIMIT_NPROC}, {namespaces.MAX_PROCESSES})"),
    ],
)
def test_a_submission_gets_the_lower_of_two_limits(limit, few, words):
    assert words in said(LIMITS, **{limit: few})
