"""Find the paths that lead to a folder; and, as the first program in the sandbox, check that what is hidden is
hidden.

    python reach.py CHECK CONTROL PROGRAM ARGUMENT …

It becomes `PROGRAM`, the zygote, at once. A child of it waits until the grader has sent over the socket `CHECK` what
must be hidden, and answers with the first path that leads there, or with null. So the zygote, whose memory every
submission inherits, never knows what is hidden. `CONTROL` is the zygote's socket.

A folder has a path for each mount that holds it. So the kernel's list of mounts is read, not a list of names. This
file imports the standard library only: it also runs where nothing else can be imported.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_BYTES = 2**16  # of the grader's message


class Mount(NamedTuple):
    """A line of `/proc/self/mountinfo`: the folder `root` of the file system `device` is mounted at `at`."""

    number: int
    device: str
    root: str
    at: str


class Hidden(NamedTuple):
    """A folder or file that must not be reached.

    Attributes:
        name: for messages.
        device: its file system, as in the list of mounts.
        root: its path in that file system.
        inode: its identity: `st_dev` and `st_ino`.
    """

    name: str
    device: str
    root: str
    inode: tuple[int, int]


class Way(NamedTuple):
    """A path that leads to a hidden folder, or into it.

    Attributes:
        path: the path.
        whole: whether it leads to the folder itself; if not, a part of the folder is mounted there.
        mount: the number of that mount.
    """

    path: str
    whole: bool
    mount: int


def mounts() -> list[Mount]:
    """The mounts that this process sees."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split(" ") for line in file]
    return [Mount(int(words[0]), words[2], _unescaped(words[3]), _unescaped(words[4])) for words in lines]


def _unescaped(word: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), word)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def moved(path: str, folder: str, to: str) -> str:
    """A path below a folder, as it is when the folder is moved."""
    return os.path.normpath(os.path.join(to, os.path.relpath(path, folder)))


def hidden(path: str, among: Iterable[Mount]) -> Hidden:
    """Describe a folder or file that must be hidden.

    Args:
        path: a real path, without links.
        among: the mounts here.

    Raises:
        OSError: there is no such path.
    """
    status = os.stat(path)
    # The last one, if several are mounted on each other.
    mount = max((each for each in among if is_below(path, each.at)), key=lambda each: len(each.at))
    mount = [each for each in among if each.at == mount.at][-1]
    return Hidden(path, mount.device, moved(path, mount.at, mount.root), (status.st_dev, status.st_ino))


def ways(to: Hidden, among: Iterable[Mount]) -> Iterator[Way]:
    """All paths that may lead to a hidden folder or into it; other mounts may cover them."""
    for mount in among:
        if mount.device == to.device:
            if is_below(to.root, mount.root):
                yield Way(moved(to.root, mount.root, mount.at), True, mount.number)
            elif is_below(mount.root, to.root):
                yield Way(mount.at, False, mount.number)


def first_open(secrets: Iterable[Hidden], allowed: Iterable[str]) -> str | None:
    """The first hidden folder that can be reached from here, and at which path; None if none can.

    Args:
        secrets: what must be hidden.
        allowed: the paths at which a part of a hidden folder is mounted on purpose.
    """
    here = mounts()
    for each in secrets:
        for way in ways(each, here):
            if (way.whole or way.path not in allowed) and _is_open(way, each):
                return f"{each.name}, at {way.path}"
    return None


def _is_open(way: Way, to: Hidden) -> bool:
    try:
        opened = os.open(way.path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        if way.whole:
            status = os.fstat(opened)
            return (status.st_dev, status.st_ino) == to.inode
        with open(f"/proc/self/fdinfo/{opened}", encoding="ascii") as file:
            return f"mnt_id:\t{way.mount}\n" in file
    finally:
        os.close(opened)


def _check(channel: socket.socket) -> None:
    received = channel.recv(MAX_BYTES)
    if received:
        asked = json.loads(received)
        secrets = [Hidden(name, device, root, (inode[0], inode[1])) for name, device, root, inode in asked["hidden"]]
        channel.send(json.dumps({"open": first_open(secrets, asked["allowed"])}).encode())


def main() -> None:
    """Leave the check to a child, and become the zygote."""
    check, control, *program = sys.argv[1:]
    if os.fork() == 0:
        if os.fork() == 0:  # has no parent that would have to wait for it
            os.close(int(control))
            _check(socket.socket(fileno=int(check)))
        os._exit(0)
    os.wait()
    os.close(int(check))
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
