"""One command at a time for a course.

In: the folder of a course. Out: a lock, which the operating system releases when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from grader.errors import LockedError

LOCK = ".grading.lock"


@contextlib.contextmanager
def hold(root: Path) -> Iterator[None]:
    """Lock a course for this process.

    The file stays when the lock is released: another process may have opened it already.

    Args:
        root: the course's folder.

    Raises:
        LockedError: another process holds it.
        OSError: the file cannot be written.
    """
    with open(os.open(root / LOCK, os.O_CREAT | os.O_RDWR, 0o600), "r+", encoding="ascii") as file:
        try:
            # Not `flock`: judges that are forked do not share this lock, and it ends with this process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            who = file.read().strip() or "unknown"
            raise LockedError(
                f"another command is working on this course: process {who}. Wait until it has ended, or end it; all "
                "marks that it has entered are kept"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
