"""Write a graded submission where nbgrader keeps it: the autograded notebook, and the marks in the gradebook."""

from __future__ import annotations

import contextlib
import json
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
from grader.files.atomic import make_private, new_folder, write_file
from grader.grading.outcome import Entry

FINGERPRINT = ".graded"  # beside a graded notebook: what its marks depend on


class Marks:
    """Enters marks into an open gradebook, each submission's in one transaction.

    Args:
        gradebook: open.
        config: nbgrader's; it may name a plugin for late submissions.
    """

    def __init__(self, gradebook: Gradebook, config: Config) -> None:
        self._gradebook = gradebook
        # Held here, the cells of an assignment are read once and not for each of its submissions.
        self._cells: dict[str, list[object]] = {}
        late = AssignLatePenalties(config=config)
        late.init_plugin()
        self._late: LateSubmissionPlugin = late.plugin_inst
        self._within = late._check_late_penalty

    def enter(self, student: str, assignment: str, entry: Entry, timestamp: datetime | None) -> None:
        """Enter a graded submission, and the penalty for being late, if there is one.

        Args:
            student: who handed in; entered if unknown.
            assignment: its name, and the notebook's.
            entry: what to enter.
            timestamp: when it was handed in, if that is known.

        Raises:
            nbgrader.api.MissingEntry: the assignment was never released, or released with other cells.
        """
        gradebook = self._gradebook
        if assignment not in self._cells:
            released = gradebook.find_notebook(assignment, assignment)
            self._cells[assignment] = [*released.grade_cells, *released.solution_cells, *released.task_cells]
        with one_transaction(gradebook):
            gradebook.update_or_create_student(student)
            # Also if it is not known: then one that was known before counts no more.
            submission = gradebook.update_or_create_submission(assignment, student, timestamp=timestamp)
            submitted = gradebook.find_submission_notebook(assignment, assignment, student)
            grades = {grade.cell.name: grade for grade in submitted.grades}
            comments = {comment.cell.name: comment for comment in submitted.comments}
            try:
                for name, score in entry.scores.items():
                    grades[name].auto_score = score
                    # A mark that a person has given stays, and asks to be looked at again.
                    grades[name].needs_manual_grade = grades[name].manual_score is not None or score is None
                for name, comment in entry.comments.items():
                    comments[name].auto_comment = comment
            except KeyError as error:
                raise MissingEntry(
                    f"{assignment} was released with other cells: the gradebook has no {error}"
                ) from error
            gradebook.db.flush()  # the score is summed up in the database
            submitted.late_submission_penalty = self._penalty(submission, submitted)

    def settle_lateness(self, assignment: str) -> list[str]:
        """Work out anew what is deducted for being late: the due date may have changed since, or an extension.

        Returns:
            The students for whom it is another number of points now.
        """
        changed = []
        with one_transaction(self._gradebook):
            dated = and_(SubmittedAssignment.timestamp.isnot(None), Assignment.duedate.isnot(None))
            of_the_assignment = (
                self._gradebook.db.query(SubmittedNotebook)
                .join(SubmittedAssignment)
                .join(Assignment)
                .filter(Assignment.name == assignment, or_(dated, SubmittedNotebook.late_submission_penalty > 0))
            )
            for submitted in of_the_assignment:
                penalty = self._penalty(submitted.assignment, submitted)
                if (penalty or 0) != (submitted.late_submission_penalty or 0):
                    submitted.late_submission_penalty = penalty
                    changed.append(submitted.assignment.student.id)
        return changed

    def _penalty(self, submission: SubmittedAssignment, submitted: SubmittedNotebook) -> float | None:
        """The points that a submission loses for being late, if it is."""
        late = submission.total_seconds_late
        if late <= 0:
            return None
        penalty = self._late.late_submission_penalty(submission.student.id, submitted.score, late)
        return None if penalty is None else self._within(submitted, penalty)


@contextlib.contextmanager
def one_transaction(gradebook: Gradebook) -> Iterator[None]:
    """Commit once, at the end, or nothing.

    nbgrader commits a new student and an empty submission before there are marks: a run that is killed in between, or
    whose disk is full then, would leave zeros that nobody gave.
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


def write_notebook(notebook: str, folder: Path, support: Path, more: Mapping[str, str]) -> None:
    """Put a graded notebook, with the files that belong to the assignment, in the place of the one that was there.

    The old one or the new one is there at every moment, and nobody else on this machine may look into it.

    Args:
        notebook: the graded notebook, as JSON.
        folder: ``autograded/<student>/<assignment>``; the notebook has the name of the assignment.
        support: the released assignment, for its other files.
        more: further small files, by name.
    """
    with new_folder(folder) as made:
        for path in folders.files(support):
            if path.suffix != ".ipynb":
                shutil.copyfile(path, made / path.name)
        for name, content in more.items():
            (made / name).write_text(content, encoding="utf-8")
        (made / f"{folder.name}.ipynb").write_text(notebook, encoding="utf-8")


def keep_failure(path: Path, depends_on: str, problem: str | None) -> None:
    """Remember why a submission could not be graded, or that it could.

    Args:
        path: of a file; each submission has its own.
        depends_on: what grading it depends on, as a fingerprint.
        problem: None if it could be graded.

    Raises:
        OSError: the file cannot be written.
    """
    if problem is None:
        path.unlink(missing_ok=True)
        return
    make_private(path.parent)
    write_file(path, json.dumps({"depends_on": depends_on, "problem": problem}).encode())


def failure(path: Path, depends_on: str) -> str:
    """Why this submission could not be graded, when that was tried; empty if it was not, or could."""
    try:
        kept = json.loads(path.read_bytes())
        return str(kept["problem"]) if kept["depends_on"] == depends_on else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
