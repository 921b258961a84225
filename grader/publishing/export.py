"""The marks as a CSV file: nbgrader's columns, and a column `state` that says in words what each mark is worth.

In: the gradebook and the folder of submissions. Out: one row for each assignment and student. Where there is no
mark there is no number: 0 is a mark.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry, SubmittedAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import ExportPlugin

from grader.files.atomic import write_file
from grader.files.course_directory import assignments_of
from grader.gradebook.queries import is_manual
from grader.gradebook.status import SubmissionStatus, submission_statuses

_ABOUT = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email")
COLUMNS = (*_ABOUT, "raw_score", "late_submission_penalty", "score", "max_score", "state")


class State(StrEnum):
    """What the column `state` says about a mark."""

    NOT_SUBMITTED = "not submitted"
    NOT_GRADED = "not graded"
    NOT_GRADABLE = "could not be graded"
    PARTLY_GRADED = "partly graded"
    NEEDS_MANUAL_GRADING = "needs manual grading"
    NEEDS_REVIEW = "graded; a person should review it"
    GRADED = "graded"


# Added to a state if there is a newer submission than the graded one.
PENDING = "; to be graded again"
NEWER_NOT_GRADABLE = "; the newer submission could not be graded"

# The beginning of a cell, also for a spreadsheet with another separator, and a character that begins a formula there.
_FORMULA = re.compile(r'(^|[,;|"\t\r\n])(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])')


def escape_formulas(text: str) -> str:
    """A text that no spreadsheet reads as a formula: an apostrophe is put before everything that begins one."""
    return _FORMULA.sub(r"\1'", text)


class ExportMarks(ExportPlugin):
    """Writes the marks, for `python -m grader export` and for `nbgrader export`."""

    directory: CourseDirectory | None = None  # None: that of the running nbgrader command

    def export(self, gradebook: Gradebook) -> None:
        """Write a row for each assignment and each student, in one step.

        Raises:
            OSError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self._rows(gradebook):
            escaped = {name: escape_formulas(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
            writer.writerow(escaped)
        write_file(Path(self.to or "grades.csv"), text.getvalue().encode("utf-8", "replace"))

    def _rows(self, gradebook: Gradebook) -> Iterator[dict[str, Any]]:
        directory = self.directory or self.parent.coursedir
        ours = assignments_of(directory)
        for assignment in gradebook.assignments:
            name = assignment.name
            if self.assignment and name not in map(str, self.assignment):
                continue
            statuses = submission_statuses(directory, gradebook, name) if name in ours else []
            submitted = {status.student: status for status in statuses}
            people = {student.id: student for student in gradebook.students}
            for student in sorted(people.keys() | submitted.keys()):
                if self.student and student not in map(str, self.student):
                    continue
                person = people.get(student)
                try:
                    graded = gradebook.find_submission(name, student)
                except MissingEntry:
                    graded = None
                yield {
                    "assignment": name,
                    "duedate": assignment.duedate,
                    "student_id": student,
                    "last_name": person and person.last_name,
                    "first_name": person and person.first_name,
                    "email": person and person.email,
                    "max_score": assignment.max_score,
                    **_state_and_scores(graded, submitted.get(student)),
                }


def _state_and_scores(graded: SubmittedAssignment | None, status: SubmissionStatus | None) -> dict[str, Any]:
    """The state of a mark, and the numbers that there are.

    Args:
        graded: what the gradebook has of the submission; None if it has nothing.
        status: of the submission in the student's folder; None if there is none.
    """
    grades = [grade for notebook in graded.notebooks for grade in notebook.grades] if graded else []
    missing = [grade for grade in grades if grade.auto_score is None and grade.manual_score is None]
    if graded is None or (grades and missing == grades):
        if status is None:
            return {"state": State.NOT_SUBMITTED}
        return {"state": State.NOT_GRADABLE if status.failure else State.NOT_GRADED}
    if not all(map(is_manual, missing)):
        state = State.PARTLY_GRADED
    elif missing:
        state = State.NEEDS_MANUAL_GRADING
    elif any(grade.needs_manual_grade for grade in grades):
        state = State.NEEDS_REVIEW
    else:
        state = State.GRADED
    newer = ""
    if status is not None and status.is_pending:
        newer = NEWER_NOT_GRADABLE if status.failure else PENDING
    row = {
        "timestamp": graded.timestamp,
        "raw_score": graded.score,
        "late_submission_penalty": graded.late_submission_penalty,
        "state": f"{state}{newer}",
    }
    if not missing:
        row["score"] = max(0.0, graded.score - graded.late_submission_penalty)
    return row
