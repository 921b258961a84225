"""Read the marks of a class from the gradebook.

In: an open gradebook. Out: plain data, for reports and pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nbgrader.api import (
    Assignment,
    BaseCell,
    Comment,
    Grade,
    Gradebook,
    Notebook,
    SolutionCell,
    SubmittedAssignment,
    SubmittedNotebook,
    TaskCell,
)


@dataclass(frozen=True)
class Mark:
    """What the gradebook says about one answer.

    Attributes:
        student: whose answer it is.
        assignment: its name.
        exercise: its name.
        score: points; 0 if there is no mark yet.
        max_score: points that a right answer gets.
        needs_manual_grading: whether a person has to give the mark or look at it again.
        late_penalty: points that the whole submission loses because it is late.
        is_graded: whether there is a mark.
    """

    student: str
    assignment: str
    exercise: str
    score: float
    max_score: float
    needs_manual_grading: bool
    late_penalty: float = 0.0
    is_graded: bool = True


@dataclass(frozen=True)
class NotebookMarks:
    """What the gradebook says about one student's notebook.

    Attributes:
        scores: points by `grade_id`.
        max_scores: the points that a right answer gets, by `grade_id`.
        comments: by `grade_id`; None where there is none.
        max_score: the points of the whole notebook.
        late_penalty: points that the notebook loses because it is late.
    """

    scores: dict[str, float] = field(default_factory=dict)
    max_scores: dict[str, float] = field(default_factory=dict)
    comments: dict[str, str | None] = field(default_factory=dict)
    max_score: float = 0.0
    late_penalty: float = 0.0

    @property
    def score(self) -> float:
        """The points that the student has got for the whole notebook."""
        return sum(self.scores.values()) - self.late_penalty


def is_manual(grade: Grade) -> bool:
    """Whether a person gives this mark: the student answers in the graded cell itself, or it is a task."""
    cell = grade.cell
    if isinstance(cell, TaskCell):
        return True
    return any(isinstance(other, SolutionCell) and other.name == cell.name for other in cell.notebook._base_cells)


def class_marks(gradebook: Gradebook) -> list[Mark]:
    """Every mark in the gradebook, sorted by student and assignment."""
    marks = [
        Mark(
            student=submission.student.id,
            assignment=submission.assignment.name,
            exercise=grade.cell.name.removeprefix("test_"),
            score=grade.score,
            max_score=grade.max_score,
            needs_manual_grading=grade.needs_manual_grade and (grade.manual_score is not None or is_manual(grade)),
            late_penalty=notebook.late_submission_penalty or 0.0,
            is_graded=grade.auto_score is not None or grade.manual_score is not None,
        )
        for assignment in gradebook.assignments
        for submission in assignment.submissions
        for notebook in submission.notebooks
        for grade in notebook.grades
    ]
    return sorted(marks, key=lambda mark: (mark.student, mark.assignment))


def graded_students(gradebook: Gradebook, assignment: str) -> set[str]:
    """The students whose submissions for an assignment are in the gradebook."""
    query = gradebook.db.query(SubmittedAssignment.student_id).join(Assignment)
    return {student for (student,) in query.filter(Assignment.name == assignment)}


def notebook_marks(gradebook: Gradebook, assignment: str) -> dict[str, NotebookMarks]:
    """What the gradebook says about an assignment, by student; a few queries for the whole class."""
    db = gradebook.db
    total = db.query(Notebook.max_score).join(Assignment).filter(Assignment.name == assignment)
    total = total.filter(Notebook.name == assignment).scalar() or 0.0

    def rows_of(*columns: object) -> list[tuple[Any, ...]]:
        query = db.query(SubmittedAssignment.student_id, *columns).select_from(SubmittedNotebook)
        query = query.join(SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        query = query.join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
        query = query.join(Notebook, SubmittedNotebook.notebook_id == Notebook.id)
        for table in (Grade, Comment):
            if any(getattr(column, "class_", None) is table for column in columns):
                query = query.join(table, table.notebook_id == SubmittedNotebook.id)
                query = query.join(BaseCell, table.cell_id == BaseCell.id)
        rows: list[tuple[Any, ...]] = query.filter(Assignment.name == assignment, Notebook.name == assignment).all()
        return rows

    found = {
        student: NotebookMarks(max_score=total, late_penalty=penalty or 0.0)
        for student, penalty in rows_of(SubmittedNotebook.late_submission_penalty)
    }
    for student, name, score, max_score in rows_of(BaseCell.name, Grade.score, Grade.max_score):
        found[student].scores[name] = score
        found[student].max_scores[name] = max_score
    for student, name, comment in rows_of(BaseCell.name, Comment.comment):
        found[student].comments[name] = comment
    return found
