"""What comes out of grading one submission: an entry for the gradebook, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader import utils

from grader.grading.job import Submission


@dataclass(frozen=True)
class Entry:
    """What nbgrader keeps of a graded submission.

    Attributes:
        notebook: the autograded notebook, as JSON.
        scores: by `grade_id`; None where a person has to give the mark.
        comments: by `grade_id`; None where there is no comment.
    """

    notebook: str
    scores: dict[str, float | None]
    comments: dict[str, str | None]


def entry_of(notebook: NotebookNode) -> Entry:
    """What to enter for a graded notebook: the same as nbgrader's `SaveAutoGrades`."""
    scores: dict[str, float | None] = {}
    comments: dict[str, str | None] = {}
    for cell in notebook.cells:
        if utils.is_grade(cell):
            scores[cell.metadata.nbgrader.grade_id], _ = utils.determine_grade(cell)
        if utils.is_solution(cell) or utils.is_task(cell):
            untouched = cell.metadata.nbgrader.get("checksum") == utils.compute_checksum(cell)
            answer = "No response." if untouched and not utils.is_task(cell) else None
            comments[cell.metadata.nbgrader.grade_id] = answer
    return Entry(nbformat.v4.writes(notebook), scores, comments)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one submission.

    Attributes:
        submission: which.
        entry: to be written into the course and the gradebook; None if it could not be graded.
        problem: why it could not be graded, in one line; None if it was.
        ours: whether that is the grader's fault; then it must be graded again, and is never a zero.
        notes: what was unusual about the submission.
    """

    submission: Submission
    entry: Entry | None = None
    problem: str | None = None
    ours: bool = False
    notes: tuple[str, ...] = ()
