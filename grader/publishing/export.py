"""The marks as a CSV file: nbgrader's columns, and one that says in words how each of them stands.

Where there is no mark there is no number: a zero is something that somebody has got.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbgrader.api import Grade, Gradebook, MissingEntry, SolutionCell, SubmittedAssignment, TaskCell
from nbgrader.plugins import ExportPlugin

from grader.files.atomic import write_file

if TYPE_CHECKING:
    from grader.course import Course

_ABOUT = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email")
COLUMNS = (*_ABOUT, "raw_score", "late_submission_penalty", "score", "max_score", "state")

NOT_HANDED_IN = "not handed in"
NOT_GRADED = "not graded"
FAILED = "could not be graded"
IN_PART = "graded in part"
WAITS = "waits for a person"
LOOK_AGAIN = "graded; a person should look again"
GRADED = "graded"
DUE = "to be graded again"
NEWER_FAILED = "what is handed in now could not be graded"

# Where a cell begins, also for a spreadsheet that takes another character for the end of one; and what it takes for
# the beginning of a formula there.
_FORMULA = re.compile(r'(^|[,;|"\t\r\n])(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])')


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: with an apostrophe before what would begin one."""
    return _FORMULA.sub(r"\1'", text)


class ExportMarks(ExportPlugin):
    """Writes the marks; for `python -m grader export` and for `nbgrader export`."""

    course: Course | None = None  # that of the running program if None

    def export(self, gradebook: Gradebook) -> None:
        """Write a row for each assignment and each student who is known, in one step.

        Raises:
            OSError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self._rows(gradebook):
            writer.writerow(
                {name: harmless(value) if isinstance(value, str) else value for name, value in row.items()}
            )
        write_file(Path(self.to or "grades.csv"), text.getvalue().encode("utf-8", "replace"))

    def _rows(self, gradebook: Gradebook) -> Iterator[dict[str, Any]]:
        course = self.course
        if course is None:
            from grader.course import Course

            course = Course(Path(self.parent.coursedir.root))
        ours = course.assignments()
        for assignment in gradebook.assignments:
            name = assignment.name
            if self.assignment and name not in map(str, self.assignment):
                continue
            handed_in = {each.student: each for each in course.submissions(name)} if name in ours else {}
            people = {student.id: student for student in gradebook.students}
            for student in sorted(people.keys() | handed_in.keys()):
                if self.student and student not in map(str, self.student):
                    continue
                person, folder = people.get(student), handed_in.get(student)
                try:
                    submission = gradebook.find_submission(name, student)
                except MissingEntry:
                    submission = None
                failed = folder is not None and course.failure(folder) != ""
                yield {
                    "assignment": name,
                    "duedate": assignment.duedate,
                    "student_id": student,
                    "last_name": person and person.last_name,
                    "first_name": person and person.first_name,
                    "email": person and person.email,
                    "max_score": assignment.max_score,
                    **standing(submission, folder is not None, folder is not None and folder.due, failed),
                }


def standing(submission: SubmittedAssignment | None, handed_in: bool, due: bool, failed: bool) -> dict[str, Any]:
    """What is known of a submission: its state, and the numbers that there are.

    Args:
        submission: as the gradebook has it, if it does.
        handed_in: whether there is a folder.
        due: whether what lies there is not what was graded.
        failed: whether that could not be graded.
    """
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades] if submission else []
    missing = [grade for grade in grades if grade.auto_score is None and grade.manual_score is None]
    if submission is None or (grades and missing == grades):
        return {"state": FAILED if failed else NOT_GRADED if handed_in else NOT_HANDED_IN}
    if not all(map(by_hand, missing)):
        state = IN_PART
    elif missing:
        state = WAITS
    else:
        state = LOOK_AGAIN if any(grade.needs_manual_grade for grade in grades) else GRADED
    known = {
        "timestamp": submission.timestamp,
        "raw_score": submission.score,
        "late_submission_penalty": submission.late_submission_penalty,
    }
    if not missing:
        known["score"] = max(0.0, submission.score - submission.late_submission_penalty)
    if due:
        state += f"; {NEWER_FAILED if failed else DUE}"
    return {**known, "state": state}


def by_hand(grade: Grade) -> bool:
    """Whether a person gives this mark: the cell is answered and marked at once, or is a task."""
    cell = grade.cell
    return isinstance(cell, TaskCell) or cell.name in {one.name for one in _answers(cell.notebook._base_cells)}


def _answers(cells: Iterable[Any]) -> Iterator[SolutionCell]:
    return (cell for cell in cells if isinstance(cell, SolutionCell))
