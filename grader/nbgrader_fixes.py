"""Where nbgrader 0.9.6 gives up over one submission, or takes it for others: what the formgrader's buttons call."""

from __future__ import annotations

import functools
import glob
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory

from grader import timestamps


def apply() -> None:
    """Mend nbgrader in this process; a second time changes nothing.

    - An unreadable `timestamp.txt` counts as none. Otherwise, the formgrader cannot list the assignment, and nbgrader
      cannot grade it.
    - The name of a student is a name. Otherwise, it is a pattern for folders: ``x*`` means many students, and
      ``x [a]`` none.
    """
    NbGraderAPI.get_submitted_timestamp = _of_submission
    CourseDirectory.get_existing_timestamp = _of_folder
    for name in ("autograde", "generate_feedback"):
        method = getattr(NbGraderAPI, name)
        if not hasattr(method, "__wrapped__"):
            setattr(NbGraderAPI, name, _of_exactly_one(method))


def _of_submission(self: NbGraderAPI, assignment_id: str, student_id: str) -> datetime | None:
    course = self.coursedir
    return timestamps.read(Path(course.format_path(course.submitted_directory, student_id, assignment_id))).date


def _of_folder(self: CourseDirectory, dest_path: str) -> datetime | None:
    return timestamps.read(Path(dest_path)).date


def _of_exactly_one(method: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(method)
    def call(
        self: NbGraderAPI, assignment_id: str, student_id: str | None = None, *args: Any, **more: Any
    ) -> dict[str, Any]:
        course = self.coursedir
        places = (course.submitted_directory, course.autograded_directory)
        if student_id and any(Path(course.format_path(at, student_id, assignment_id)).is_dir() for at in places):
            student_id = glob.escape(student_id)
        return method(self, assignment_id, student_id, *args, **more)

    return call
