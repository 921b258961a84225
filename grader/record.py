"""Write a graded submission where nbgrader keeps it: the autograded notebook, and the marks in the gradebook."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader import utils
from nbgrader.api import Gradebook, SubmittedNotebook


def write_notebook(notebook: NotebookNode, folder: Path, support: Path, more: Mapping[str, str]) -> None:
    """Put a graded notebook, with the files that belong to the assignment, in the place of the one that was there.

    It is made beside its place and moved there in one step, so that a run which is stopped leaves the old or the new.

    Args:
        notebook: the graded notebook.
        folder: ``autograded/<student>/<assignment>``; the notebook has the name of the assignment.
        support: the released assignment, for its other files.
        more: further small files, by name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        made.chmod(0o755)
        for path in support.iterdir():
            if path.is_file() and path.suffix != ".ipynb":
                shutil.copyfile(path, made / path.name)
        for name, content in more.items():
            (made / name).write_text(content, encoding="utf-8")
        text = nbformat.v4.writes(notebook)
        (made / f"{folder.name}.ipynb").write_text(text, encoding="utf-8")
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            os.replace(folder, old / folder.name)
            os.replace(made, folder)
            shutil.rmtree(old)
        else:
            os.replace(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def enter_marks(
    gradebook: Gradebook, student: str, assignment: str, notebook: NotebookNode, timestamp: datetime | None
) -> None:
    """Enter a graded notebook into the gradebook, as nbgrader's `SaveAutoGrades` does, in one transaction.

    Args:
        gradebook: open.
        student: who handed in; entered if unknown.
        assignment: its name, and the notebook's.
        notebook: graded.
        timestamp: when it was handed in, if that is known.

    Raises:
        nbgrader.api.MissingEntry: the assignment was never released.
    """
    gradebook.update_or_create_student(student)
    known = {"timestamp": timestamp} if timestamp else {}
    gradebook.update_or_create_submission(assignment, student, **known)
    submitted = gradebook.find_submission_notebook(assignment, assignment, student)
    _enter_cells(submitted, notebook)
    gradebook.db.commit()


def _enter_cells(submitted: SubmittedNotebook, notebook: NotebookNode) -> None:
    grades = {grade.cell.name: grade for grade in submitted.grades}
    comments = {comment.cell.name: comment for comment in submitted.comments}
    for cell in notebook.cells:
        if utils.is_grade(cell):
            grade = grades[cell.metadata.nbgrader.grade_id]
            grade.auto_score, _ = utils.determine_grade(cell)
            # A mark that a person has given stays, and asks to be looked at again.
            grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
        if utils.is_solution(cell) or utils.is_task(cell):
            comment = comments[cell.metadata.nbgrader.grade_id]
            untouched = cell.metadata.nbgrader.get("checksum") == utils.compute_checksum(cell)
            comment.auto_comment = "No response." if untouched and not utils.is_task(cell) else None
