"""Enter a graded submission where nbgrader keeps it: the marks in the gradebook, the notebook in `autograded/`.

In: a graded notebook, its scores and comments. Out: rows of the gradebook, and a folder with the notebook.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from nbgrader.api import Assignment, Gradebook, MissingEntry, SubmittedAssignment, SubmittedNotebook
from nbgrader.plugins import LateSubmissionPlugin
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy import and_, or_
from traitlets.config import Config

from grader.files import folders
from grader.files.atomic import new_folder
from grader.grading.outcome import Entry

FINGERPRINT = ".graded"  # a file beside a graded notebook: the fingerprint of everything that its marks depend on


class GradebookWriter:
    """Enters marks into an open gradebook; one transaction for each submission.

    Args:
        gradebook: open.
        config: nbgrader's; it may name a plugin for late submissions.
    """

    def __init__(self, gradebook: Gradebook, config: Config) -> None:
        self._gradebook = gradebook
        # SQLAlchemy reads the cells of an assignment once, as long as something refers to them.
        self._cells: dict[str, list[object]] = {}
        late = AssignLatePenalties(config=config)
        late.init_plugin()
        self._late: LateSubmissionPlugin = late.plugin_inst
        self._limit_penalty = late._check_late_penalty

    def enter(self, student: str, assignment: str, entry: Entry, timestamp: datetime | None) -> None:
        """Enter a graded submission, and the penalty if it is late.

        Args:
            student: whose it is; a student who is not in the gradebook is added.
            assignment: its name, which is also the notebook's.
            entry: what to enter.
            timestamp: when it was submitted, in UTC; None if that is not known.

        Raises:
            nbgrader.api.MissingEntry: the assignment was never released, or released with other cells.
        """
        gradebook = self._gradebook
        if assignment not in self._cells:
            released = gradebook.find_notebook(assignment, assignment)
            self._cells[assignment] = [*released.grade_cells, *released.solution_cells, *released.task_cells]
        with one_transaction(gradebook):
            gradebook.update_or_create_student(student)
            # Also if it is None: an earlier timestamp must not stay.
            submission = gradebook.update_or_create_submission(assignment, student, timestamp=timestamp)
            submitted = gradebook.find_submission_notebook(assignment, assignment, student)
            grades = {grade.cell.name: grade for grade in submitted.grades}
            comments = {comment.cell.name: comment for comment in submitted.comments}
            try:
                for name, score in entry.scores.items():
                    grades[name].auto_score = score
                    # A mark that a person has given stays, but the person should look at it again.
                    grades[name].needs_manual_grade = grades[name].manual_score is not None or score is None
                for name, comment in entry.comments.items():
                    comments[name].auto_comment = comment
            except KeyError as error:
                raise MissingEntry(
                    f"{assignment} was released with other cells: the gradebook has no {error}"
                ) from error
            gradebook.db.flush()  # the database computes the sum
            submitted.late_submission_penalty = self._penalty(submission, submitted)

    def update_late_penalties(self, assignment: str) -> list[str]:
        """Compute late penalties again, because a due date or an extension may have changed.

        Returns:
            The students whose penalty has changed.
        """
        changed = []
        with one_transaction(self._gradebook):
            dated = and_(SubmittedAssignment.timestamp.isnot(None), Assignment.duedate.isnot(None))
            may_be_late = (
                self._gradebook.db.query(SubmittedNotebook)
                .join(SubmittedAssignment)
                .join(Assignment)
                .filter(Assignment.name == assignment, or_(dated, SubmittedNotebook.late_submission_penalty > 0))
            )
            for submitted in may_be_late:
                penalty = self._penalty(submitted.assignment, submitted)
                if (penalty or 0) != (submitted.late_submission_penalty or 0):
                    submitted.late_submission_penalty = penalty
                    changed.append(submitted.assignment.student.id)
        return changed

    def _penalty(self, submission: SubmittedAssignment, submitted: SubmittedNotebook) -> float | None:
        """The points that a submission loses because it is late; None if it is not."""
        late = submission.total_seconds_late
        if late <= 0:
            return None
        penalty = self._late.late_submission_penalty(submission.student.id, submitted.score, late)
        return None if penalty is None else self._limit_penalty(submitted, penalty)


@contextlib.contextmanager
def one_transaction(gradebook: Gradebook) -> Iterator[None]:
    """Commit once, at the end; after an exception, nothing is committed.

    nbgrader commits a new student and an empty submission before there are marks. If the run is killed in between, or
    the disk is full, that would leave zeros that nobody gave.
    """
    session = gradebook.db
    commit, session.commit = session.commit, session.flush
    try:
        yield
        commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.commit = commit


def write_notebook(notebook: str, folder: Path, release: Path, more: Mapping[str, str]) -> None:
    """Write a graded notebook and the assignment's other files.

    The folder is replaced in one step: at every moment it is the old one or the new one. Only its owner may read it.

    Args:
        notebook: the graded notebook, as JSON.
        folder: ``autograded/<student>/<assignment>``; the notebook has the name of the assignment.
        release: the released assignment, whose other files are copied.
        more: further small files: text by name.
    """
    with new_folder(folder) as new:
        for path in folders.files(release):
            if path.suffix != ".ipynb":
                shutil.copyfile(path, new / path.name)
        for name, content in more.items():
            (new / name).write_text(content, encoding="utf-8")
        (new / f"{folder.name}.ipynb").write_text(notebook, encoding="utf-8")
