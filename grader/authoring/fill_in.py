"""Notebooks with answers: the solution cells of a notebook, and a release with answers put into them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from nbformat.notebooknode import NotebookNode


def solution_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells of a notebook that students fill in, with code or with words, by `grade_id`."""
    return {
        cell.metadata.nbgrader.grade_id: cell
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }


def fill_in(release: NotebookNode, answers: Mapping[str, str]) -> NotebookNode:
    """A copy of a released notebook with these answers in its solution cells; the others stay as they were.

    Raises:
        KeyError: the notebook has no solution cell of some name.
    """
    notebook = copy.deepcopy(release)
    cells = solution_cells(notebook)
    for name, source in answers.items():
        cells[name].source = source
    return notebook
