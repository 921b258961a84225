"""Files and folders that are whole at every moment: the old one or the new one, also after `kill -9`.

What is made, is made beside its place, under a name that begins with a dot. When it is complete and on the disk, it
takes the place in one step. Everything is for its owner only, unless the caller says otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
PUBLIC_FILE, PUBLIC_FOLDER = 0o666, 0o777  # less what the umask takes away

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of <linux/fs.h>
# The kernel or the file system cannot do it.
_NOT_THERE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


def write_file(path: Path, content: bytes, mode: int = PRIVATE_FILE) -> None:
    """Put a file in the place of the one that was there, in one step; what is no file is written as it is.

    Args:
        path: where.
        content: all of it.
        mode: who may read and write it.

    Raises:
        OSError: it cannot be written. Then the old one is still there.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():  # a pipe, a terminal
        path.write_bytes(content)
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _to_disk(path.parent)


@contextlib.contextmanager
def new_folder(place: Path, mode: int = PRIVATE_FOLDER) -> Iterator[Path]:
    """Give an empty folder, which takes the place of another one in one step when it is filled.

    If filling it fails, it vanishes, and what was there stays as it was. Only one process at a time may work on a
    place: what an earlier one has left beside it, because it was killed, is deleted.

    Args:
        place: where the folder is to be; its parent is made if it is missing.
        mode: who may look into the folder.

    Raises:
        OSError: it cannot be made, or cannot take its place.
    """
    make_private(place.parent)
    recover(place)
    made = Path(tempfile.mkdtemp(prefix=f".{place.name}-", suffix=".new", dir=place.parent))
    try:
        yield made
        made.chmod(mode)
        for path in (*made.rglob("*"), made):
            _to_disk(path)
        _put(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)  # the old one, if all went well


def umask() -> int:
    """What this process takes away from the permissions of the files that it makes."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, that only their owner may look into; one that is there stays as it is."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def recover(place: Path) -> None:
    """Put right what a process has left that was killed while it replaced a folder.

    Needed where two folders cannot be exchanged in one step; there the old one has another name for a moment.
    """
    old = _aside(place)
    if old.is_dir() and not place.exists():
        os.rename(old, place)
    for left in (old, *place.parent.glob(f".{glob.escape(place.name)}-????????.new")):
        shutil.rmtree(left, ignore_errors=True)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def _put(made: Path, place: Path) -> None:
    """Let a folder take its place; what was there has the other's name afterwards."""
    if not place.exists():
        os.rename(made, place)
    elif not _exchange(made, place):
        os.rename(place, _aside(place))
        os.rename(made, place)
        os.rename(_aside(place), made)
    _to_disk(place.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; returns whether that can be done here."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):  # of an old C library
        return False
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _to_disk(path: Path) -> None:
    """See that a file, or what a folder lists, outlasts a loss of power; not every file system can say."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
