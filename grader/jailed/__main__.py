"""The zygote: imports everything once, then forks a worker for each submission.

    python -m grader.jailed DESCRIPTOR [MODULE …] [--walls]

`DESCRIPTOR` is a socket to the grader. The zygote never runs a student's code. The grader sends a seed and with it
the end of a channel: a submission begins. `END`, which is as long, ends it. When it has ended, by itself or not, the
zygote says how in one message, and is ready for the next.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path

import torch

from grader.jailed import confine
from grader.jailed.shell import Shell
from grader.jailed.wire import END, send
from grader.jailed.worker import serve

RELEASE = Path("/release")
MOST_MEMORY_IN_ALL = 6 * 2**30
MOST_PROCESSES_IN_ALL = confine.MOST_PROCESSES * 3 // 4  # before the kernel refuses more
SECONDS_BETWEEN_LOOKS = 0.1

_PAGE = os.sysconf("SC_PAGE_SIZE")


def _begin(
    control: socket.socket, channel: socket.socket, shell: Shell, seed: int, files: dict[str, bytes] | None
) -> int:
    """Fork a submission; returns a process whose end is the end of all that belongs to it.

    Args:
        control: what only the zygote may hold.
        channel: of the submission, to the grader.
        shell: in which its notebook will live.
        seed: of its random numbers.
        files: to be found in its scratch folder; None if it gets no walls.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        control.close()
        if files is not None:
            confine.enter_namespaces()
            first = os.fork()
            if first:
                channel.close()
                os.waitpid(first, 0)
                os._exit(0)
            confine.close_walls()
            for name, content in files.items():
                (confine.SCRATCH / name).write_bytes(content)
        os.dup2(1, 2)  # standard output is /dev/null; the other is the instructor's terminal
        serve(channel, shell, seed)
        status = 0
    except BaseException as error:
        print(f"worker: {type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
    finally:
        os._exit(status)


def _watch(control: socket.socket, pid: int, walls: bool) -> str:
    """Wait until a submission has ended; returns why it was ended, empty if it ended by itself."""
    why = ""
    ended = os.pidfd_open(pid)
    try:
        while True:
            ready, _, _ = select.select([ended, control.fileno()], [], [], SECONDS_BETWEEN_LOOKS)
            if ended in ready:
                return why
            if control.fileno() in ready:
                if not control.recv(len(END)):
                    os.kill(pid, signal.SIGKILL)
                    sys.exit(0)
                why = why or "told to"
            elif walls and not why:  # without, all the processes of the machine would be counted
                why = _too_much(pid)
            if why:
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(ended)
        os.waitpid(pid, 0)
        if walls:
            # The first process of its namespaces is ours now. It was to end with its parent, but may have taken that
            # back. Nobody else is here but the jail's own first process, which this does not reach.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait()


def _too_much(pid: int) -> str:
    """Whether the processes of a submission together use more than they may."""
    memory = processes = 0
    own = (1, os.getpid(), pid)
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in own:
            try:
                _, resident, shared = map(int, Path(f"/proc/{name}/statm").read_text("ascii").split()[:3])
            except (OSError, ValueError):
                continue  # it has just ended
            processes += 1
            memory += (resident - shared) * _PAGE
    if processes > MOST_PROCESSES_IN_ALL:
        return "processes"
    return "memory" if memory > MOST_MEMORY_IN_ALL else ""


def main() -> None:
    """Serve submissions until the grader closes the connection."""
    descriptor, *preload = sys.argv[1:]
    walls = "--walls" in preload
    control = socket.socket(fileno=int(descriptor))
    if walls:
        confine.hide_memory()
        confine.adopt_orphans()
    torch.set_num_threads(1)
    for name in preload:
        if name != "--walls":
            importlib.import_module(name)
    shell = Shell()
    # Asks the processor what it can do, through /proc, which submissions have not. One thread: forking stays safe.
    torch.ones(2, 2) @ torch.ones(2, 2)
    # Read here: a worker may not be allowed to.
    files = {p.name: p.read_bytes() for p in RELEASE.iterdir() if p.suffix != ".ipynb"} if walls else None
    gc.collect()
    gc.freeze()
    send(control, {"ready": os.getpid(), "torch": torch.__version__})
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, len(END), 1)
        if not message:
            return
        if message == END:
            continue  # for a submission that has ended in the meantime
        (seed,) = struct.unpack("!Q", message)
        channel = socket.socket(fileno=descriptors[0])
        pid = _begin(control, channel, shell, seed, files)
        channel.close()
        send(control, {"ended": _watch(control, pid, walls)})


if __name__ == "__main__":
    main()
