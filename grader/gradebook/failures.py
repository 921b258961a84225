"""Why a submission could not be graded: one small file for each, until the submission changes or is graded.

In: the reason, in one line, and the fingerprint of what was graded. Out: the same reason, for `status` and
`export`.
"""

from __future__ import annotations

import json
from pathlib import Path

from nbgrader.coursedir import CourseDirectory

from grader.files.atomic import make_private, write_file
from grader.grading.job import Submission

FOLDER = ".failed"  # in the course's folder


def failure_path(directory: CourseDirectory, submission: Submission) -> Path:
    """Where the reason is kept why a submission could not be graded."""
    return Path(directory.root, FOLDER, submission.student, f"{submission.assignment}.json")


def write_failure(path: Path, fingerprint: str, reason: str | None) -> None:
    """Keep why a submission could not be graded.

    Args:
        path: of the submission's file.
        fingerprint: of everything that the marks depend on.
        reason: None if the submission was graded; then the file is deleted.

    Raises:
        OSError: the file cannot be written.
    """
    if not reason:
        path.unlink(missing_ok=True)
        return
    make_private(path.parent)
    write_file(path, json.dumps({"fingerprint": fingerprint, "reason": reason}).encode())


def read_failure(path: Path, fingerprint: str) -> str | None:
    """Why this submission could not be graded; None if it was graded, or was not tried yet.

    Args:
        path: of the submission's file.
        fingerprint: a reason that was kept for another fingerprint does not count.
    """
    try:
        kept = json.loads(path.read_bytes())
        return str(kept["reason"]) if kept["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
