"""Which submissions there are, and which of them have to be graded.

In: the folder `submitted/`, the graded notebooks and the gradebook. Out: one `SubmissionStatus` for each
submission.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory

from grader.files import folders
from grader.files.course_directory import assignments_of, releases_of, solutions_of, student_folders
from grader.gradebook.failures import failure_path, read_failure
from grader.gradebook.marks import FINGERPRINT
from grader.gradebook.queries import graded_students
from grader.grading.fingerprint import fingerprint
from grader.grading.job import GradingJob, Submission
from grader.submission.students import check_name


@dataclass(frozen=True)
class SubmissionStatus(Submission):
    """A submission, and whether it has to be graded.

    Attributes:
        fingerprint: of everything that its marks depend on.
        is_pending: whether it was never graded, or its fingerprint has changed, or the gradebook has no marks of it.
        failure: why it could not be graded; None if it was graded or was not tried yet.
    """

    fingerprint: str
    is_pending: bool
    failure: str | None


def submission_statuses(
    directory: CourseDirectory, gradebook: Gradebook, assignment: str, students: Sequence[str] = ()
) -> list[SubmissionStatus]:
    """The submissions for an assignment.

    Args:
        directory: of the course.
        gradebook: open.
        assignment: its name.
        students: whose; all if empty.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
    """
    # The seed is not part of a fingerprint.
    job = GradingJob(solutions_of(directory), releases_of(directory), seed=0)
    graded = graded_students(gradebook, assignment)
    statuses = []
    for parent in student_folders(directory):
        student, folder = parent.name, parent / assignment
        if check_name(student) or not os.access(parent, os.R_OK | os.X_OK) or (students and student not in students):
            continue
        if not folder.is_symlink() and not folder.exists():
            continue
        submission = Submission(student, assignment, folder)
        now = fingerprint(job, submission)
        kept = Path(directory.root, directory.autograded_directory, student, assignment, FINGERPRINT)
        is_same = kept.is_file() and kept.read_text(encoding="ascii") == now
        is_pending = not is_same or student not in graded  # a backup of the gradebook may have been put back
        failure = read_failure(failure_path(directory, submission), now) if is_pending else None
        statuses.append(SubmissionStatus(student, assignment, folder, now, is_pending, failure))
    return statuses


def skipped(directory: CourseDirectory) -> Iterator[str]:
    """What lies in `submitted/` and is not a submission for an assignment: a path and a reason in each line."""
    assignments = set(assignments_of(directory))
    for student in student_folders(directory):
        if problem := check_name(student.name):
            yield f"{student.name}: {problem.value}"
        elif not student.is_dir():
            yield f"{student.name}: it is not a student's folder"
        elif not os.access(student, os.R_OK | os.X_OK):
            yield f"{student.name}: it cannot be read"
        else:
            for path in folders.entries(student):
                if path.name not in assignments:
                    yield f"{student.name}/{path.name}: it is not the folder of an assignment"
