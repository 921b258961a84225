"""Repair a submission: put the student's answers into the released notebook.

In: the released notebook and the submitted one. Out: the notebook that is graded, and notes for the student. The
graded notebook is always the released one; from the submission come only the answers and the cells that the student
has added, because an answer may need them. An answer is found by its `grade_id`, by the id of its cell, or by the
name that it defines. So it does no harm if a student deletes, retypes, edits, copies or moves released cells; a
note says what was repaired.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nbformat.notebooknode import NotebookNode

from grader.display import characters
from grader.display.pictures import Pictures
from grader.errors import SubmissionError
from grader.submission.definitions import DefinitionFinder
from grader.submission.read import cells_of, grade_id_of, is_answer, source_of
from grader.submission.sanitize import sanitize_cell, sanitize_markdown

MAX_REMARKS = 5  # notes about characters that cannot be seen


@dataclass(frozen=True)
class Repaired:
    """A notebook that is ready to be graded.

    Attributes:
        notebook: the release with the student's answers.
        notes: what was repaired, in sentences for the student.
    """

    notebook: NotebookNode
    notes: tuple[str, ...]


def repair(
    release: NotebookNode,
    submission: NotebookNode,
    notes: tuple[str, ...] = (),
    defines: Mapping[str, str] | None = None,
) -> Repaired:
    """Put a student's answers and added cells into the released notebook.

    Args:
        release: as students got it.
        submission: as it was submitted.
        notes: earlier notes about this submission; they come first in the result.
        defines: for each answer in code, by `grade_id`, the name that it defines.

    Raises:
        SubmissionError: the submission has none of the release's answer cells.
    """
    made = _Repair(release, cells_of(submission), defines or {})
    made.find_released_cells()
    made.find_misplaced_answers()
    notebook = made.notebook()
    return Repaired(notebook, tuple(dict.fromkeys([*notes, *made.notes])))


def is_answered(release: NotebookNode, submission: NotebookNode) -> bool:
    """Whether a student has written anything into a notebook: an answer or an added cell."""
    released = {source_of(cell).strip() for cell in release.cells}
    return any(source_of(cell).strip() not in {"", *released} for cell in cells_of(submission))


class _Repair:
    """A release, and where the cells of a submission go in it. Cells of the submission are known by their index.

    Args:
        release: as students got it.
        cells: of the submission.
        defines: as for `repair`.
    """

    def __init__(self, release: NotebookNode, cells: list[NotebookNode], defines: Mapping[str, str]) -> None:
        self._release, self._cells = release, cells
        self._released = {name: cell for cell in release.cells if (name := grade_id_of(cell))}
        self._order = list(self._released)
        self._defines = {name: defined for name, defined in defines.items() if name in self._released}
        self._answer_names = [name for name, cell in self._released.items() if is_answer(cell)]
        self._stubs = {source_of(self._released[name]).strip() for name in self._answer_names}
        self._defined = list(self._find_definitions())
        self._position: dict[str, int] = {}  # where the submission has a released cell
        self._answers: dict[str, int] = {}  # which cell answers what
        self._added: dict[str | None, list[int]] = {
            None: []
        }  # added cells after each released one; None: at the start
        self._placeholders: dict[str, str] = {}  # what replaces a stub whose answer is in another cell
        self._pictures = Pictures()
        self.notes: list[str] = []

    def _find_definitions(self) -> Iterator[set[str]]:
        """The names of exercises that each cell of the submission defines."""
        finder = DefinitionFinder(self._defines.values())
        for cell in self._cells:
            source = source_of(cell)
            counts = cell.cell_type == "code" and source.strip() not in self._stubs
            yield finder.find(source) if counts else set()

    # --- which cell of the submission is which cell of the release ---

    def find_released_cells(self) -> None:
        """Find the released cells in the submission; all others are added cells.

        Raises:
            SubmissionError: there is no answer cell.
        """
        known = {grade_id_of(cell) for cell in self._cells} & self._released.keys()
        others = {name: cell for name, cell in self._released.items() if name not in known}
        by_id = {f"{cell.get('id')}": name for name, cell in others.items()}
        by_source = {source_of(cell): name for name, cell in others.items() if not is_answer(cell)}
        last = None
        for index, cell in enumerate(self._cells):
            name = grade_id_of(cell)
            if name is None:  # its metadata is lost
                name = by_id.get(f"{cell.get('id')}") or by_source.get(source_of(cell))
                if name in self._position or (name and self._released[name].cell_type != cell.cell_type):
                    name = None
            if name is None or name not in self._released:
                self._add(index, last)
            elif name in self._position:
                self._add_copy(index, name, last)
            else:
                self._position[name] = index
                self._added[name] = []
                last = name
                if is_answer(self._released[name]):
                    self._answers[name] = index
                elif source_of(cell) != source_of(self._released[name]):
                    self.notes.append(f"The cell {name!r} is locked; your change of it was undone.")
        if self._answer_names and not known & {*self._answer_names} and not any(self._defined):
            raise SubmissionError(
                "it has none of the assignment's answer cells; is it the notebook of another assignment, or did a "
                "program remove nbgrader's metadata when it saved the notebook?"
            )

    def _add(self, index: int, after: str | None) -> None:
        """A cell that the student has added."""
        if source_of(self._cells[index]).strip() in self._stubs and self._cells[index].cell_type == "code":
            self.notes.append("A copy of an answer's cell without an answer was left out.")
        else:
            self._added[after].append(index)

    def _add_copy(self, index: int, name: str, after: str | None) -> None:
        """A second cell with the same name: the first one counts, unless only the second one has an answer."""
        found = f"The cell {name!r} is there more than once"
        if not is_answer(self._released[name]):
            self.notes.append(f"{found}; the copy was left out.")
            return
        first = self._answers[name]
        if self._is_stub(first) and not self._is_stub(index):
            self._answers[name] = index
            self.notes.append(f"{found}; the one with an answer was graded.")
        elif self._is_stub(index) or source_of(self._cells[first]) == source_of(self._cells[index]):
            self.notes.append(f"{found}; the copy was left out.")
        else:
            self.notes.append(f"{found}; the copy was run where it is.")
            self._added[after].append(index)

    def _is_stub(self, index: int) -> bool:
        return source_of(self._cells[index]).strip() in {"", *self._stubs}

    # --- answers that are not in their own cell ---

    def find_misplaced_answers(self) -> None:
        """Find answers in other cells, and put them where they are graded."""
        for name in self._answer_names:
            index = self._answers.get(name)
            if index is not None and not self._is_stub(index) and not self._defines.get(name):
                continue
            later = self._order[self._order.index(name) + 1 :]
            after = [self._position[other] for other in later if other in self._position]
            if name in self._defines:
                self._find_definition(name, min(after, default=len(self._cells)))
            elif self._released[name].cell_type != "code":
                self._find_text(name)

    def _find_definition(self, name: str, end: int) -> None:
        """If an answer's cell does not define its name, have the name defined before the answer's check.

        Args:
            name: of the answer.
            end: index of the first released cell in the submission that comes after the answer.
        """
        own, defined = self._answers.get(name), self._defines[name]
        if name in self._placeholders or (own is not None and defined in self._defined[own]):
            return
        added = [index for group in self._added.values() for index in group if defined in self._defined[index]]
        others = {i: other for other, i in self._answers.items() if other != name and defined in self._defined[i]}
        candidates = [*added, *others]
        if not candidates:
            return
        index = max([i for i in candidates if i < end] or candidates)
        is_empty = own is None or self._is_stub(own)
        if is_empty:
            problem = f"The cell {name!r} {'has no answer' if name in self._position else 'was missing'}"
        else:
            problem = f"The cell {name!r} does not define {defined}"

        if index in others and self._comes_before(others[index], name):
            self._leave(name, is_empty)
            self.notes.append(f"{problem}; the cell {others[index]!r} defines {defined}, and was graded for both.")
            return
        if index in others:  # its own place is after the check
            other = others[index]
            moved = [self._answers.pop(other)]
            if self._defines.get(other) in self._defined[index]:
                self._leave(other, is_empty=True)
        else:
            (group,) = (group for group, indices in self._added.items() if index in indices)
            if index < end and not (is_empty and index in self._neighbours(name)):
                self._leave(name, is_empty)
                self.notes.append(f"{problem}; another cell of yours defines {defined}, and was graded.")
                return
            # Added cells before it in the same place are moved with it, because it may need them.
            count = self._added[group].index(index) + 1
            moved = self._added[group][:count] if index >= end else [index]
            self._added[group] = [each for each in self._added[group] if each not in moved]
        self.notes.append(f"{problem}; your cell that defines {defined} was graded in its place.")
        if is_empty:
            self._answers[name] = moved.pop()
            self._added[self._previous(name)] += moved
        else:
            self._added[name] = moved + self._added.get(name, [])

    def _leave(self, name: str, is_empty: bool) -> None:
        """Leave an answer in another cell; a stub in its own cell would undo it, and becomes a comment."""
        if is_empty:
            self._placeholders[name] = f"# {self._defines[name]} is defined in another cell."

    def _find_text(self, name: str) -> None:
        """If an answer in words is missing, take text that the student has added in its place."""
        for group in (self._previous(name), name):
            added = self._added.get(group, [])
            texts = [i for i in added if self._cells[i].cell_type != "code" and source_of(self._cells[i]).strip()]
            if texts:
                index = texts[0] if group == name else texts[-1]
                self._added[group].remove(index)
                problem = "has no answer" if name in self._position else "was missing"
                self._answers[name] = index
                self.notes.append(f"The cell {name!r} {problem}; the text that you wrote there was graded.")
                return

    def _comes_before(self, one: str, other: str) -> bool:
        return self._order.index(one) < self._order.index(other)

    def _previous(self, name: str) -> str | None:
        """The last released cell before an answer that the submission has; None if there is none."""
        before = self._order[: self._order.index(name)]
        return next((other for other in reversed(before) if other in self._position), None)

    def _neighbours(self, name: str) -> list[int]:
        """The added cells that run directly before and after an answer."""
        return [*self._added.get(self._previous(name), [])[-1:], *self._added.get(name, [])[:1]]

    # --- the result ---

    def notebook(self) -> NotebookNode:
        """The release with the student's answers and added cells."""
        self._add_notes()
        result = copy.deepcopy(NotebookNode({k: value for k, value in self._release.items() if k != "cells"}))
        result.cells = self._added_cells(None)
        for cell in copy.deepcopy(self._release.cells):
            name = grade_id_of(cell)
            answer = self._cells[self._answers[name]] if name in self._answers else None
            if name in self._placeholders and cell.cell_type == "code":
                cell.source = self._placeholders[name]
            elif answer is not None and source_of(answer) != source_of(cell):
                if cell.cell_type == "code":
                    cell.source = source_of(answer)
                else:
                    cell.update(sanitize_markdown(answer, self._pictures))
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            result.cells.append(cell)
            if name is not None:
                result.cells += self._added_cells(name)
        return result

    def _added_cells(self, after: str | None) -> list[NotebookNode]:
        indices = self._added.get(after, [])
        return [sanitize_cell(self._cells[index], f"added-{index}", self._pictures) for index in indices]

    def _add_notes(self) -> None:
        """Notes about cells that are missing or moved, and about code that a reader would not see."""
        replaced = self._position.keys() | self._answers.keys() | self._placeholders.keys()
        missing = [name for name in self._order if name not in replaced]
        if missing:
            self.notes.append(f"Cells were missing and have been put back: {', '.join(missing)}.")
        if [*self._position] != [name for name in self._order if name in self._position]:
            self.notes.append("Cells had been moved; they were run in the order of the assignment.")
        places = {index: f"the cell {name!r}" for name, index in self._answers.items()}
        places |= {index: f"your cell {index + 1}" for added in self._added.values() for index in added}
        found = [
            f"In {place}, {remark}."
            for index, place in sorted(places.items())
            if self._cells[index].cell_type == "code"
            for remark in characters.remarks(source_of(self._cells[index]))
        ]
        self.notes += found[:MAX_REMARKS]
        if len(found) > MAX_REMARKS:
            self.notes.append(f"There are {len(found) - MAX_REMARKS} more places like these.")
