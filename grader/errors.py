"""Every exception of `grader`, named by its condition; and the errors of disks and databases, in one line.

The text of a `GraderError` is one line for the person at the keyboard: what is wrong, where, and what to do. The
commands print it. Only `grader/sandbox/inside` has exceptions of its own, because the sandbox sees nothing else.
"""

from __future__ import annotations

import errno
from pathlib import Path


class GraderError(Exception):
    """Base class: one line that says what is wrong, where, and what to do."""


class CourseError(GraderError):
    """The course or the arguments of a command are wrong; the person at the keyboard can fix it."""


class LockedError(GraderError):
    """Another process works on this course."""


class SubmissionError(GraderError):
    """A submission cannot be graded, because of what it is."""


class PictureError(GraderError):
    """A student's picture is not shown; the message says why in a few words."""


class PageError(GraderError):
    """A page of feedback cannot be made; the message says why in a few words."""


class NewExerciseError(GraderError):
    """The stub of an exercise cannot be made."""


class ReleaseError(GraderError):
    """An assignment cannot be released."""


class LostMarksError(ReleaseError):
    """A release would delete marks or comments that a person gave."""


class GradingError(GraderError):
    """A grading run, or one submission of it, cannot go on; it is not the submission's fault."""


class SandboxError(GraderError):
    """The sandbox cannot be started, or was lost: our fault, never the student's."""


class IsolationError(SandboxError):
    """A submission could not be isolated; none of its code has run."""


_AGAIN = "then give the same command again: what is graded is kept"
_FULL = f"make room, {_AGAIN}"
_READ_ONLY = "may you write there, or is it mounted read-only?"

_DISK = {
    errno.ENOSPC: f"no room is left on the disk; {_FULL}",
    errno.EDQUOT: f"your share of the disk is used up; {_FULL}",
    errno.EFBIG: f"the file has become larger than is allowed (ulimit -f); raise the limit, {_AGAIN}",
    errno.EROFS: f"it cannot be written; {_READ_ONLY}",
    errno.EACCES: "permission denied; may you read and write there?",
    errno.EPERM: "permission denied; may you read and write there?",
    errno.EMFILE: f"too many files are open; raise the limit (ulimit -n 4096), {_AGAIN}",
    errno.ENFILE: f"the machine has too many files open; end something else, {_AGAIN}",
    errno.ENOMEM: f"there is no memory left; take fewer at a time (--jobs), {_AGAIN}",
    errno.EAGAIN: f"no more processes can be started; take fewer at a time (--jobs) or raise `ulimit -u`, {_AGAIN}",
}

# What the database's own message contains, and what that means.
_DATABASE = {
    "locked": f"another program has locked it; close that one (a formgrader, a database browser), {_AGAIN}",
    "readonly": f"it is read-only; {_READ_ONLY}",
    "read-only": f"it is read-only; {_READ_ONLY}",
    "full": f"no room is left on its disk; {_FULL}",
    "unable to open": "it cannot be opened; is its folder there, and may you write in it?",
    "not a database": "it is not a database; put a copy of your gradebook in its place",
    "malformed": "it is damaged; put a copy of your gradebook in its place",
    "disk i/o": f"its disk cannot be read or written; is the disk full or broken? If it is well again, {_AGAIN}",
    "no such table": "it is not a gradebook of nbgrader, or one of an older version: nbgrader db upgrade",
    "no such column": "it is a gradebook of an older nbgrader: nbgrader db upgrade",
}


def of_the_disk(error: OSError, folder: Path) -> str:
    """A failure of the operating system in words: where it was, what it was, what helps.

    Args:
        error: which may not know the file.
        folder: that was worked in.
    """
    where = f"{error.filename or folder}: "
    what = _DISK.get(error.errno or 0, error.strerror or str(error))
    return where + what


def of_the_database(error: Exception, address: str) -> str:
    """A failure of the gradebook in words.

    Args:
        error: SQLAlchemy's, or nbgrader's that repeats it.
        address: of the gradebook, as SQLAlchemy writes it.
    """
    from sqlalchemy.exc import DBAPIError

    text = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
    meant = next((words for part, words in _DATABASE.items() if part in text.lower()), "")
    if not meant:
        meant = f"it cannot be used: {text[:200]}; is the server there, and is CourseDirectory.db_url right?"
    return f"the gradebook {without_password(address)}: {meant}"


def without_password(address: str) -> str:
    """The address of a database, fit to be shown."""
    # Imported here and above, because the sandbox needs this module and has to start at once.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address).render_as_string(hide_password=True)
    except ArgumentError:
        return "(an address that cannot be read)"
