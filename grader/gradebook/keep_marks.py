"""Enter the cells of a released notebook into the gradebook, and keep the marks of cells that still exist.

In: a notebook that is being released. Out: the gradebook with its cells. nbgrader's own `SaveCells` refuses to add
or remove a cell after the first submission; its advice is to delete the submissions first, which deletes the marks
and comments that a person has given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from nbformat.notebooknode import NotebookNode
from nbgrader.api import (
    BaseCell,
    Comment,
    Grade,
    Gradebook,
    GradeCell,
    MissingEntry,
    Notebook,
    SolutionCell,
    SourceCell,
    SubmittedNotebook,
    TaskCell,
)
from nbgrader.preprocessors import SaveCells
from sqlalchemy import text
from traitlets import Any as AnyTrait
from traitlets import Bool, Dict

from grader.display.messages import count, first_names
from grader.errors import LostMarksError
from grader.files.atomic import make_private
from grader.gradebook.backup import back_up, make_private_gradebook, with_lock_timeout
from grader.gradebook.marks import one_transaction

_Row = TypeVar("_Row", Grade, Comment)


class KeepMarks(SaveCells):
    """Replaces nbgrader's `SaveCells`, in our command, in nbgrader's command and for the formgrader's button.

    The gradebook is changed in one transaction, or not at all. Every mark, extra point, comment and penalty of a cell
    that still exists stays. Rows of cells that no longer exist are deleted, after a backup of the gradebook. If a
    person has given one of these marks or comments, the release fails, unless `remove_marks` is set.
    """

    remove_marks = Bool(
        False, help="Whether marks and comments that a person gave may be deleted, if their cell no longer exists."
    ).tag(config=True)
    renamed = Dict(help="Cells that were renamed: new names by old ones. They keep their marks.").tag(config=True)
    say = AnyTrait(None, allow_none=True, help="Called with each line about a change; None: the log.").tag(
        config=True
    )

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Enter the cells of a notebook; the notebook itself does not change.

        Raises:
            LostMarksError: marks or comments that a person gave would be deleted.
        """
        coursedir = self.parent.parent.coursedir
        root = Path(coursedir.root)
        for name in (coursedir.submitted_directory, coursedir.autograded_directory, coursedir.feedback_directory):
            if not coursedir.groupshared:
                make_private(root / name)
        address = resources["nbgrader"]["db_url"]
        if not coursedir.groupshared:
            make_private_gradebook(address)
        self.notebook_id, self.assignment_id = resources["nbgrader"]["notebook"], resources["nbgrader"]["assignment"]
        self.new_grade_cells: dict[str, dict[str, Any]] = {}
        self.new_solution_cells: dict[str, dict[str, Any]] = {}
        self.new_task_cells: dict[str, dict[str, Any]] = {}
        self.new_source_cells: dict[str, dict[str, Any]] = {}
        all_notebooks = coursedir.notebook_id == "*"  # not only the one that a user has named
        self._released = {Path(path).stem for path in self.parent.parent.notebooks} if all_notebooks else None
        self._back_up = lambda: back_up(address, root)
        with Gradebook(with_lock_timeout(address), coursedir.course_id) as self.gradebook:
            for index, cell in enumerate(nb.cells):
                self.preprocess_cell(cell, resources, index)
            with one_transaction(self.gradebook):
                # This locks the database: from here on no other program can change what we read.
                self.gradebook.db.execute(text("UPDATE course SET id = id"))
                self.gradebook.db.expire_all()
                self._create_notebook(nb)
        return nb, resources

    def _create_notebook(self, nb: NotebookNode) -> None:
        db = self.gradebook.db
        assignment = self.gradebook.update_or_create_assignment(self.assignment_id)
        released = self._released or {notebook.name for notebook in assignment.notebooks}
        gone = [notebook for notebook in assignment.notebooks if notebook.name not in released]
        notebook = self._notebook(gone)
        notebook.kernelspec = json.dumps(nb.metadata.get("kernelspec", {}))
        db.flush()
        submissions = [self._submitted(notebook, submission) for submission in assignment.submissions]
        changed = self._rename(notebook)
        before = {
            cell.name: cell.max_score for cell in notebook._base_cells if isinstance(cell, GradeCell | TaskCell)
        }
        cells, old = self._cells(notebook)

        has_grade = {cell.name: cell for cell in cells if isinstance(cell, GradeCell | TaskCell)}
        has_comment = {cell.name: cell for cell in cells if isinstance(cell, SolutionCell | TaskCell)}
        rows: list[Grade | Comment] = []
        for submitted in submissions:
            rows += _attach(submitted.grades, has_grade)
            rows += _attach(submitted.comments, has_comment)
        for other in gone:
            rows += [row for submitted in other.submissions for row in (*submitted.grades, *submitted.comments)]
        self._remove(rows)

        for submitted in submissions:
            known = {grade.cell.name for grade in submitted.grades}
            db.add_all(Grade(cell=c, notebook=submitted) for name, c in has_grade.items() if name not in known)
            known = {comment.cell.name for comment in submitted.comments}
            db.add_all(Comment(cell=c, notebook=submitted) for name, c in has_comment.items() if name not in known)
            for grade in submitted.grades:
                points = before.get(grade.cell.name)
                if grade.manual_score is not None and points not in (None, grade.cell.max_score):
                    grade.needs_manual_grade = True  # the points have changed; a person decides
        db.flush()
        for other in gone:
            for submitted in other.submissions:
                db.delete(submitted)
            old += [*other._base_cells, *other.source_cells]
        db.flush()
        db.expire_all()
        for cell in old:
            db.delete(cell)
        db.flush()
        db.expire_all()
        for other in gone:
            db.delete(other)
        self._report(changed, before, has_grade, len(submissions))

    def _notebook(self, gone: list[Notebook]) -> Notebook:
        """The notebook in the gradebook: the one of this name, or one that was renamed to it, or a new one."""
        try:
            return self.gradebook.find_notebook(self.notebook_id, self.assignment_id)
        except MissingEntry:
            pass
        names = self.new_grade_cells.keys() | self.new_solution_cells.keys() | self.new_task_cells.keys()
        same = [other for other in gone if names & {cell.name for cell in other._base_cells}]
        if len(same) == 1:
            gone.remove(same[0])
            same[0].name = self.notebook_id
            return same[0]
        return self.gradebook.add_notebook(self.notebook_id, self.assignment_id)

    def _submitted(self, notebook: Notebook, submission: Any) -> SubmittedNotebook:
        found = [one for one in submission.notebooks if one.notebook is notebook]
        if found:
            return found[0]
        new = SubmittedNotebook(notebook=notebook, assignment=submission)
        self.gradebook.db.add(new)
        return new

    def _rename(self, notebook: Notebook) -> list[str]:
        """Rename cells as the author says; returns a line about each."""
        there = {cell.name for cell in notebook._base_cells}
        wanted = self.new_grade_cells.keys() | self.new_solution_cells.keys() | self.new_task_cells.keys()
        found = {old: new for old, new in self.renamed.items() if old in there - wanted and new in wanted - there}
        for cell in (*notebook._base_cells, *notebook.source_cells):
            cell.name = found.get(cell.name, cell.name)
        self.gradebook.db.flush()
        return [f"{old} is now {new}; it keeps its marks and comments" for old, new in found.items()]

    def _cells(self, notebook: Notebook) -> tuple[list[BaseCell], list[BaseCell | SourceCell]]:
        """The cells that the notebook has now, and those that no longer exist."""
        kinds = (
            (GradeCell, self.new_grade_cells),
            (SolutionCell, self.new_solution_cells),
            (TaskCell, self.new_task_cells),
        )
        there = {(type(cell), cell.name): cell for cell in notebook._base_cells}
        cells: list[BaseCell] = []
        for kind, wanted in kinds:
            for name, about in wanted.items():
                cells.append(self._updated(there.pop((kind, name), None), kind, name, notebook, about))
        sources = {cell.name: cell for cell in notebook.source_cells}
        for name, about in self.new_source_cells.items():
            self._updated(sources.pop(name, None), SourceCell, name, notebook, about)
        self.gradebook.db.flush()
        return cells, [*there.values(), *sources.values()]

    def _updated(self, cell: Any, kind: type, name: str, notebook: Notebook, about: dict[str, Any]) -> Any:
        if cell is None:
            cell = kind(name=name, notebook=notebook)
            self.gradebook.db.add(cell)
        for attribute, value in about.items():
            if attribute != "id":
                setattr(cell, attribute, value)
        return cell

    def _remove(self, rows: list[Grade | Comment]) -> None:
        """Delete rows whose cell no longer exists, after a backup.

        Raises:
            LostMarksError: a person has given some of these marks or comments, and `remove_marks` is not set.
        """
        if not rows:
            return
        manual = [row for row in rows if _is_manual(row)]
        if manual and not self.remove_marks:
            lost = first_names(sorted(map(_describe, manual)))
            raise LostMarksError(
                f"{self.assignment_id} no longer has cells with marks or comments that a person gave: {lost}. Put "
                "the cells back; or, if they were renamed: python -m grader release --renamed OLD=NEW; or, if these "
                "marks may be deleted: --remove-marks (the gradebook is backed up first)"
            )
        # The backup has a connection of its own, and copies the gradebook as it was before this transaction.
        copy = self._back_up()
        self._say(
            f"{self.assignment_id}: deleted from the gradebook, because their cells no longer exist: "
            f"{count(len(rows), 'entry', 'entries')}, {len(manual)} of them given by a person; the gradebook was "
            f"copied before: {copy}"
        )
        for row in rows:
            self.gradebook.db.delete(row)
        self.gradebook.db.flush()
        self.gradebook.db.expire_all()

    def _report(
        self,
        changed: list[str],
        before: dict[str, float],
        has_grade: dict[str, GradeCell | TaskCell],
        submissions: int,
    ) -> None:
        if not submissions:
            return
        for name, cell in has_grade.items():
            if name not in before:
                changed.append(f"{name} is new")
            elif before[name] != cell.max_score:
                changed.append(f"{name} now has {cell.max_score:g} points, before {before[name]:g}")
        if changed:
            self._say(
                f"{self.assignment_id}: {'; '.join(changed)}. The marks and comments of "
                f"{count(submissions, 'submission')} are kept; next: python -m grader autograde {self.assignment_id}"
            )

    def _say(self, line: str) -> None:
        say: Callable[[str], object] = self.say or self.log.warning
        say(line)


def _attach(rows: Iterable[_Row], to: dict[str, Any]) -> list[_Row]:
    """Attach rows to the cells of the same name; returns the rows without such a cell."""
    without = []
    for row in rows:
        cell = to.get(row.cell.name)
        if cell is None:
            without.append(row)
        elif row.cell is not cell:  # the cell is of another kind now
            row.cell = cell
    return without


def _is_manual(row: Grade | Comment) -> bool:
    if isinstance(row, Grade):
        return row.manual_score is not None or bool(row.extra_credit)
    return bool(row.manual_comment)


def _describe(row: Grade | Comment) -> str:
    where = f"{row.cell.name} of {row.notebook.student.id}"
    if isinstance(row, Comment):
        return f"a comment on {where}"
    given = [f"{row.manual_score:g}"] if row.manual_score is not None else []
    given += [f"{row.extra_credit:g} extra"] if row.extra_credit else []
    return f"{' and '.join(given)} for {where}"
