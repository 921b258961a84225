"""The zygote: the process in the sandbox that imports everything once, then forks a worker for each submission.

    python -m grader.sandbox.inside.zygote DESCRIPTOR [--isolated]

`DESCRIPTOR` is a socket to the grader that keeps the boundaries of messages. The zygote never runs student's code.
The grader sends, in JSON (its side is `grader/sandbox/zygote.py`):

    {"import": ["torch._dynamo"]}      import these modules; no answer
    {"files": "my_assignment"}         forget the files of this assignment; the new ones follow
    {"file": "data.csv", "of": "my_assignment"}, and the open file    submissions find it in their folder
    {"fork": true}, and a socket       fork; the child is a zygote, too, for that socket
    {"start": {"seed": 1, "assignment": "…"}}, and a channel          start a worker for a submission
    {"end": 2}                         end the worker, after 2 s if it has not ended by itself

When a worker has ended, the zygote sends {"ended": …} with an `Ending`, and can start the next one.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import math
import os
import re
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from d2lblocks.checking.case import Case
from d2lblocks.checking.probes import NEEDS, PROBES
from d2lblocks.checking.runner import observe
from grader.sandbox.inside import namespaces
from grader.sandbox.inside.protocol import Ending, ProtocolError, send
from grader.sandbox.inside.shell import Shell
from grader.sandbox.inside.worker import serve

MAX_TOTAL_MEMORY = 6 * 2**30  # bytes, of all processes of a submission
MAX_MESSAGE_BYTES = 2**16  # from the grader
POLL_INTERVAL = 0.1  # seconds

# A process's own memory, what it shares with others of the submission, swapped memory, and page tables; not the files
# that all processes have mapped.
_MEMORY = re.compile(r"^(?:Rss(?:Anon|Shmem)|VmSwap|VmPTE):\s+(\d+)", re.MULTILINE)
_FILES = re.compile(r"^FDSize:\s+(\d+)", re.MULTILINE)
_BYTES_OF_A_FILE = 2**18  # that the kernel keeps of what was written into a socket or a pipe and not yet read
_MAX_LOCKS = 1000  # on parts of files; the kernel has no limit for them
_PARENT = re.compile(r"^PPid:\s+(\d+)", re.MULTILINE)


def _start_worker(
    control: socket.socket,
    channel: socket.socket,
    shell: Shell,
    seed: int,
    files: dict[str, bytes],
    folder: str | None,
) -> int:
    """Fork a worker; returns its process. When that ends, all that belongs to the submission ends.

    Args:
        control: what only the zygote may hold.
        channel: of the worker, to the grader.
        shell: runs the notebook.
        seed: of its random numbers.
        files: to be written into the folder in which it runs.
        folder: that folder, if the worker is not isolated; else None.

    Raises:
        OSError: it cannot have namespaces of its own.
    """
    owner = namespaces.owner()
    pid = namespaces.fork_into_namespaces(owner) if folder is None else os.fork()
    if pid:
        return pid
    ready = False
    try:
        control.close()
        if folder is None:
            namespaces.isolate(owner)
            namespaces.set_process_name("submission")
        else:
            os.chdir(folder)
        for name, content in files.items():
            Path(name).write_bytes(content)
        ready = True
        send(channel, {"ready": os.getpid()})
        os.dup2(1, 2)  # standard output is /dev/null; standard error is the instructor's terminal
        serve(channel, shell, seed)
    except BaseException as error:
        if not ready:  # no student's code has run yet
            _send_failure(channel, error)
    finally:
        os._exit(0)


def _send_failure(channel: socket.socket, error: BaseException) -> None:
    if isinstance(error, namespaces.LimitTooLow):
        send(channel, {"limit": str(error)})
    else:
        send(channel, {"failed": f"{type(error).__name__}: {error}"})


def _watch(control: socket.socket, pid: int, isolated: bool) -> Ending:
    """Wait until a worker has ended; ends it if the grader says so, or if it uses too much."""
    why: Ending | None = None
    ended = os.pidfd_open(pid)
    try:
        while True:
            ready, _, _ = select.select([ended, control.fileno()], [], [], POLL_INTERVAL)
            if ended in ready:
                break
            if control.fileno() in ready:
                message = control.recv(MAX_MESSAGE_BYTES)
                if not message:
                    sys.exit(0)
                if select.select([ended], [], [], json.loads(message)["end"])[0]:
                    break
                why = why or Ending.BY_THE_GRADER
            elif isolated and not why:  # otherwise nothing is counted
                why = _excess(pid)
            if why:
                os.kill(pid, signal.SIGKILL)
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # it must not go on without being watched
        raise
    finally:
        os.close(ended)
        _, status, used = os.wait4(pid, 0)
    return why or _ending(status, used)


_MUCH_MEMORY = namespaces.MAX_MEMORY // 3


def _ending(status: int, used: resource.struct_rusage) -> Ending:
    """How a worker ended that the zygote has not ended. No process of the submission can kill it."""
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        return Ending.BY_ITSELF
    if used.ru_utime + used.ru_stime >= namespaces.allowed(resource.RLIMIT_CPU, namespaces.MAX_CPU_SECONDS) - 1:
        return Ending.TIME
    # When there is no memory left, the kernel kills the process that uses most.
    return Ending.MEMORY if used.ru_maxrss * 1024 > _MUCH_MEMORY else Ending.KILLED


def _excess(pid: int) -> Ending | None:
    """What the processes of a submission together use too much of; None if nothing."""
    memory: dict[int, int] = {}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                status = Path(f"/proc/{name}/status").read_text("utf-8", "replace")
            except OSError:
                continue  # it has just ended
            files = sum(int(count) for count in _FILES.findall(status))
            kilobytes = sum(int(count) for count in _MEMORY.findall(status))
            memory[int(name)] = kilobytes * 1024 + files * _BYTES_OF_A_FILE
            parents[int(name)] = int(_PARENT.findall(status)[0])
    own = {pid}
    while more := {child for child, parent in parents.items() if parent in own} - own:
        own |= more
    # Before the kernel refuses a process to it.
    if len(own) > namespaces.allowed(resource.RLIMIT_NPROC, namespaces.MAX_PROCESSES) * 3 // 4:
        return Ending.PROCESSES
    if sum(memory.get(each, 0) for each in own) > MAX_TOTAL_MEMORY or _has_too_many_locks(own):
        return Ending.MEMORY
    return None


def _has_too_many_locks(own: set[int]) -> bool:
    try:
        with open("/proc/locks", encoding="ascii") as file:  # of this sandbox; not more of it is read than is needed
            *lines, _ = file.read(_MAX_LOCKS * 120).split("\n")
    except OSError:
        return False
    owners = {str(pid) for pid in own}
    return sum(line.split()[4] in owners for line in lines) > _MAX_LOCKS


def _preload(modules: Sequence[str]) -> None:
    """Import modules, and do once what is slow the first time, so that no submission has to do it.

    PyTorch reads from /proc, which submissions do not have, what the processor can do. It makes its autograd engine
    on the first use, and its compiler imports much on its first call. With one thread none of this starts another
    thread, so forking stays safe.
    """
    for name in modules:
        importlib.import_module(name)
    case = Case("warm-up", "answer(3, 2)", inputs=(torch.ones(4, 3), torch.ones(4, 3)))
    for probe in PROBES:
        if all(name in sys.modules for name in NEEDS.get(probe, ())):
            observe(_Layer, probe, case, math.inf)
    gc.collect()
    gc.freeze()


class _Layer(nn.Linear):
    def forward(self, *inputs: Tensor) -> Tensor:
        return functools.reduce(torch.add, (super(_Layer, self).forward(each) for each in inputs)).relu()


def main() -> None:
    """Start workers until the grader closes the connection."""
    descriptor, *flags = sys.argv[1:]
    isolated = flags == ["--isolated"]
    control = socket.socket(fileno=int(descriptor))
    if isolated:
        namespaces.hide_memory()
    if sys.platform == "linux":
        namespaces.set_process_name("zygote")
    torch.set_num_threads(1)
    shell = Shell()
    _preload(())
    sys.path[0] = ""  # the folder in which a submission runs, as in a kernel
    files: dict[str, dict[str, bytes]] = {}
    _send(control, "ready", torch.__version__)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 1)
        if not message:
            return
        match json.loads(message):
            case {"import": [*modules]}:
                if not all(name in sys.modules for name in modules):
                    _preload(modules)
            case {"files": str(assignment)}:
                files[assignment] = {}
            case {"file": str(name), "of": str(assignment)}:
                with open(descriptors[0], "rb") as file:
                    files[assignment][name] = file.read()
            case {"fork": _}:
                if os.fork() == 0:
                    control.close()
                    control = socket.socket(fileno=descriptors[0])
                    _send(control, "ready", torch.__version__)
                else:
                    os.close(descriptors[0])
            case {"start": spec}:
                channel = socket.socket(fileno=descriptors[0])
                own = files.get(spec["assignment"], {})
                folder = None if isolated else tempfile.mkdtemp()
                pid = 0
                try:
                    pid = _start_worker(control, channel, shell, spec["seed"], own, folder)
                except OSError as error:
                    _send_failure(channel, error)
                channel.close()
                try:
                    _send(control, "ended", _watch(control, pid, isolated) if pid else Ending.NOT_STARTED)
                finally:
                    if folder is not None:
                        shutil.rmtree(folder, ignore_errors=True)
            case {"end": _}:
                continue  # it has ended in the meantime


def _send(control: socket.socket, key: str, value: str) -> None:
    control.send(json.dumps({key: value}).encode())


if __name__ == "__main__":
    with contextlib.suppress(ProtocolError, ConnectionError):  # the grader is gone
        main()
