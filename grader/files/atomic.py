"""Replace files and folders in one step: at every moment there is the old one or the new one, also after `kill -9`.

In: a path, and new content. Out: the file or folder. The new one is made beside the old one, under a name that
begins with a dot; when it is complete and on the disk, it replaces the old one. Only its owner may read it, unless
the caller says otherwise.
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
PUBLIC_FILE, PUBLIC_FOLDER = 0o666, 0o777  # without what the umask removes

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of <linux/fs.h>
# Errors that mean that the kernel or the file system cannot exchange two folders.
_NOT_SUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


def write_file(path: Path, content: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace a file in one step. If the path is not a file, but for example a pipe, the content is written to it.

    Args:
        path: of the file; a link is followed.
        content: of the new file.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; the old file stays.
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
def new_folder(path: Path, mode: int = PRIVATE_FOLDER) -> Iterator[Path]:
    """Yield an empty folder to fill; afterwards, it replaces another folder in one step.

    If an exception is raised in between, the new folder is deleted, and the old one stays as it was. Only one process
    at a time may replace a folder: what an earlier one has left beside it, because it was killed, is deleted.

    Args:
        path: of the folder that is replaced; its parent is made if it is missing.
        mode: permissions of the new folder.

    Raises:
        OSError: the folder cannot be made, or cannot replace the old one.
    """
    make_private(path.parent)
    recover(path)
    new = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".new", dir=path.parent))
    try:
        yield new
        new.chmod(mode)
        for each in (*new.rglob("*"), new):
            _to_disk(each)
        _replace(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # after an exchange, this is the old folder


def umask() -> int:
    """The permissions that this process removes from the files that it makes."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, that only the owner may read; a folder that exists does not change."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def recover(path: Path) -> None:
    """Repair what a process has left that was killed while it replaced a folder.

    This is needed where two folders cannot be exchanged in one step. There, the old one is
    renamed for a moment.
    """
    old = _old(path)
    if old.is_dir() and not path.exists():
        os.rename(old, path)
    for leftover in (old, *path.parent.glob(f".{glob.escape(path.name)}-????????.new")):
        shutil.rmtree(leftover, ignore_errors=True)


def _old(path: Path) -> Path:
    """The name of the old folder while it is replaced without an exchange."""
    return path.with_name(f".{path.name}.old")


def _replace(new: Path, path: Path) -> None:
    """Let a new folder replace another one; the old folder then has the new one's former name."""
    if not path.exists():
        os.rename(new, path)
    elif not _exchange(new, path):
        os.rename(path, _old(path))
        os.rename(new, path)
        os.rename(_old(path), new)
    _to_disk(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; returns False if this system cannot do that."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):  # an old C library
        return False
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _to_disk(path: Path) -> None:
    """Write a file, or the list of a folder, to the disk, to survive a power failure, if that is possible."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
