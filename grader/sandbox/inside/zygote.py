"""The zygote: imports everything once, then forks a worker for each submission.

    python -m grader.sandbox.inside DESCRIPTOR [--walls]

`DESCRIPTOR` is a socket to the grader that keeps the boundaries of messages. The zygote never runs a student's code.
It is told, in JSON:

    {"import": ["torch._dynamo"]}                            it does, and says nothing
    {"files": "my_assignment"}                               its files follow; it forgets those that it had
    {"file": "public.json", "of": "my_assignment"}, and that file, open   submissions will find it beside them
    {"twin": true}, and the end of a socket like the first   it forks; the twin does as it does, for that socket
    {"begin": what `grader.sandbox.host.WorkerSpec` has}, and the end of a channel    a submission begins
    {"end": 2}                                               that submission ends, after 2 s if not by itself

When a submission has ended, by itself or not, the zygote says how, and is ready for the next.
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
from grader.sandbox.inside.protocol import ProtocolError, send
from grader.sandbox.inside.shell import Shell
from grader.sandbox.inside.worker import serve

MAX_TOTAL_MEMORY = 6 * 2**30
MAX_BYTES = 2**16  # of a message from the grader
POLL_INTERVAL = 0.1

# Its own, what it shares with others of the submission, what is swapped out, and the tables of its pages; not the
# files that everybody has mapped.
_MEMORY = re.compile(r"^(?:Rss(?:Anon|Shmem)|VmSwap|VmPTE):\s+(\d+)", re.MULTILINE)
_FILES = re.compile(r"^FDSize:\s+(\d+)", re.MULTILINE)
_OF_A_FILE = 2**18  # what the kernel keeps of what was written into a socket or a pipe and not yet read
_MAX_LOCKS = 1000  # on parts of files; the kernel has no limit for them
_PARENT = re.compile(r"^PPid:\s+(\d+)", re.MULTILINE)


def _begin(
    control: socket.socket,
    channel: socket.socket,
    shell: Shell,
    seed: int,
    files: dict[str, bytes],
    folder: str,
) -> int:
    """Fork a submission; returns its first process, with whose end all that belongs to it ends.

    Args:
        control: what only the zygote may hold.
        channel: of the submission, to the grader.
        shell: in which its notebook will live.
        seed: of its random numbers.
        files: to be found in the folder where it runs.
        folder: that folder, if it gets no walls; else empty.

    Raises:
        OSError: it cannot have namespaces of its own.
    """
    owner = namespaces.owner()
    pid = os.fork() if folder else namespaces.fork_into_namespaces(owner)
    if pid:
        return pid
    begun = False
    try:
        control.close()
        if folder:
            os.chdir(folder)
        else:
            namespaces.close_walls(owner)
            namespaces.be_called("submission")
        for name, content in files.items():
            Path(name).write_bytes(content)
        begun = True
        send(channel, {"ready": os.getpid()})
        os.dup2(1, 2)  # standard output is /dev/null; the other is the instructor's terminal
        serve(channel, shell, seed)
    except BaseException as error:
        if not begun:  # no student's code has been run yet
            _fail(channel, error)
    finally:
        os._exit(0)


def _fail(channel: socket.socket, error: BaseException) -> None:
    how = "limit" if isinstance(error, namespaces.LimitTooLow) else "failed"
    send(channel, {how: str(error) if how == "limit" else f"{type(error).__name__}: {error}"})


def _watch(control: socket.socket, pid: int, walls: bool) -> str:
    """Wait until a submission has ended; returns why it was ended, empty if it ended by itself."""
    why = ""
    ended = os.pidfd_open(pid)
    try:
        while True:
            ready, _, _ = select.select([ended, control.fileno()], [], [], POLL_INTERVAL)
            if ended in ready:
                break
            if control.fileno() in ready:
                message = control.recv(MAX_BYTES)
                if not message:
                    sys.exit(0)
                if select.select([ended], [], [], json.loads(message)["end"])[0]:
                    break
                why = why or "told to"
            elif walls and not why:  # without, nothing is counted
                why = _too_much(pid)
            if why:
                os.kill(pid, signal.SIGKILL)
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # it is not left without a watch
        raise
    finally:
        os.close(ended)
        _, status, used = os.wait4(pid, 0)
    return why or _fate(status, used)


_MUCH_MEMORY = namespaces.MAX_MEMORY // 3


def _fate(status: int, used: resource.struct_rusage) -> str:
    """Who ended a submission's first process; empty if it was itself. From inside, none can kill it."""
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        return ""
    if used.ru_utime + used.ru_stime >= namespaces.allowed(resource.RLIMIT_CPU, namespaces.MAX_CPU_SECONDS) - 1:
        return "time"
    # The kernel ends who uses most when there is no more.
    return "memory" if used.ru_maxrss * 1024 > _MUCH_MEMORY else "killed"


def _too_much(pid: int) -> str:
    """Whether the processes of a submission together use more than they may."""
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
            memory[int(name)] = kilobytes * 1024 + files * _OF_A_FILE
            parents[int(name)] = int(_PARENT.findall(status)[0])
    own = {pid}
    while more := {child for child, parent in parents.items() if parent in own} - own:
        own |= more
    if (
        len(own) > namespaces.allowed(resource.RLIMIT_NPROC, namespaces.MAX_PROCESSES) * 3 // 4
    ):  # before the kernel refuses
        return "processes"
    return "memory" if sum(memory.get(each, 0) for each in own) > MAX_TOTAL_MEMORY or _too_many_locks(own) else ""


def _too_many_locks(own: set[int]) -> bool:
    try:
        with open("/proc/locks", encoding="ascii") as file:  # of this sandbox; no more of it is read than is needed
            *lines, _ = file.read(_MAX_LOCKS * 120).split("\n")
    except OSError:
        return False
    owners = {str(pid) for pid in own}
    return sum(line.split()[4] in owners for line in lines) > _MAX_LOCKS


def _prepare(imports: Sequence[str]) -> None:
    """Import, and do once what is slow the first time, so that it is not the first time in each submission.

    PyTorch asks the processor what it can do, through /proc, which submissions have not; it makes its autograd
    engine, and its compiler imports much on its first call. With one thread none of this starts another, so that
    forking stays safe.
    """
    for name in imports:
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
    """Serve submissions until the grader closes the connection."""
    descriptor, *flags = sys.argv[1:]
    walls = flags == ["--walls"]
    control = socket.socket(fileno=int(descriptor))
    if walls:
        namespaces.hide_memory()
    if sys.platform == "linux":
        namespaces.be_called("zygote")
    torch.set_num_threads(1)
    shell = Shell()
    _prepare(())
    sys.path[0] = ""  # the folder in which a submission runs, as in a kernel
    files: dict[str, dict[str, bytes]] = {}
    _say(control, "ready", torch.__version__)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MAX_BYTES, 1)
        if not message:
            return
        match json.loads(message):
            case {"import": [*imports]}:
                if not all(name in sys.modules for name in imports):
                    _prepare(imports)
            case {"files": str(assignment)}:
                files[assignment] = {}
            case {"file": str(name), "of": str(assignment)}:
                with open(descriptors[0], "rb") as file:
                    files[assignment][name] = file.read()
            case {"twin": _}:
                if os.fork() == 0:
                    control.close()
                    control = socket.socket(fileno=descriptors[0])
                    _say(control, "ready", torch.__version__)
                else:
                    os.close(descriptors[0])
            case {"begin": begin}:
                channel = socket.socket(fileno=descriptors[0])
                own = files.get(begin["assignment"], {})
                folder = "" if walls else tempfile.mkdtemp()
                pid = 0
                try:
                    pid = _begin(control, channel, shell, begin["seed"], own, folder)
                except OSError as error:
                    _fail(channel, error)
                channel.close()
                try:
                    _say(control, "ended", _watch(control, pid, walls) if pid else "")
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
            case {"end": _}:
                continue  # it has ended in the meantime


def _say(control: socket.socket, what: str, how: str) -> None:
    control.send(json.dumps({what: how}).encode())


if __name__ == "__main__":
    with contextlib.suppress(ProtocolError, ConnectionError):  # the grader is gone
        main()
