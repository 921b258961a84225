"""Fixes for nbgrader 0.9.6, where one unusual submission makes it fail or confuses it with others.

In: nothing. Out: a changed nbgrader in this process, also for the formgrader's buttons.
"""

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
    """Fix nbgrader in this process; it may be called several times.

    - A `timestamp.txt` that cannot be read counts as none. Otherwise, the formgrader cannot list the assignment, and
      nbgrader cannot grade it.
    - The name of a folder that exists is never a pattern. Otherwise, the student ``x*`` means several students, and
      ``x [a]`` means none.
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
    """`glob.glob`, but the name of a folder that exists is not a pattern."""
    if os.path.isdir(pattern):
        return [pattern]
    folder, name = os.path.split(pattern)
    return glob.glob(os.path.join(glob.escape(folder) if os.path.isdir(folder) else folder, name))
