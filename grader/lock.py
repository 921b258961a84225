"""One grader at a time for a course: a lock that goes with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from grader.errors import LockedError

LOCK = ".grading.lock"


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold a course for this process alone.

    The file stays when the lock is given back: to delete it would take it away from somebody who waits for it.

    Args:
        root: the course's folder.

    Raises:
        LockedError: another process holds it.
        OSError: the file cannot be written.
    """
    with open(os.open(root / LOCK, os.O_CREAT | os.O_RDWR, 0o600), "r+", encoding="ascii") as file:
        try:
            # Not `flock`: this kind is not shared with the judges that are forked, and ends with this process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            who = file.read().strip() or "unknown"
            raise LockedError(
                f"another command is at work on this course: process {who}. Wait until it has ended, or end it; what "
                "it has graded is kept"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
