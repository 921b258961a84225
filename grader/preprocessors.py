"""What we add to nbgrader's pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nbformat.notebooknode import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from d2lblocks.checking.exercises import Public, write_public
from grader.authoring import load
from grader.release import address_of_the_book


class WritePublicCases(NbGraderPreprocessor):
    """Puts `public.json` beside a released notebook: the public cases, and what the reference gives in them."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Leave the notebook alone; hand the file to nbconvert's writer."""
        coursedir = self.parent.parent.coursedir
        source = Path(coursedir.format_path(coursedir.source_directory, ".", resources["nbgrader"]["assignment"]))
        book = address_of_the_book(source)
        exercises = {name: replace(task.exercise(), book=book) for name, task in load(source).tasks.items()}
        by_hand = {
            cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
            for cell in nb.cells
            if (own := cell.metadata.get("nbgrader", {})) and own.get("grade") and own.get("solution")
        }
        resources.setdefault("outputs", {})["public.json"] = write_public(Public(exercises, by_hand)).encode()
        return nb, resources
