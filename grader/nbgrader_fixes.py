"""Where nbgrader 0.9.6 gives up over one submission, or takes it for others: also behind the formgrader's buttons."""

from __future__ import annotations

import glob
import os
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from nbgrader import utils
from nbgrader.apps import NbGraderAPI
from nbgrader.converters import base
from nbgrader.coursedir import CourseDirectory

from grader.submission import timestamps


def apply() -> None:
    """Mend nbgrader in this process; a second time changes nothing.

    - An unreadable `timestamp.txt` counts as none. Otherwise, the formgrader cannot list the assignment, and nbgrader
      cannot grade it.
    - The name of a folder that exists is a name. Otherwise, it is a pattern: the student ``x*`` means many, and
      ``x [a]`` nobody.
    """
    NbGraderAPI.get_submitted_timestamp = _of_submission
    CourseDirectory.get_existing_timestamp = _of_folder
    base.glob = utils.glob = SimpleNamespace(glob=_matching)


def _of_submission(self: NbGraderAPI, assignment_id: str, student_id: str) -> datetime | None:
    course = self.coursedir
    return timestamps.read(Path(course.format_path(course.submitted_directory, student_id, assignment_id))).date


def _of_folder(self: CourseDirectory, dest_path: str) -> datetime | None:
    return timestamps.read(Path(dest_path)).date


def _matching(pattern: str) -> list[str]:
    """`glob.glob`, in which the name of a folder that exists is no pattern."""
    if os.path.isdir(pattern):
        return [pattern]
    folder, name = os.path.split(pattern)
    return glob.glob(os.path.join(glob.escape(folder) if os.path.isdir(folder) else folder, name))
