"""What we add to nbgrader's pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbformat.notebooknode import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from d2lblocks.checking.exercises import write_public
from grader.authoring import load


class WritePublicCases(NbGraderPreprocessor):
    """Puts `public.json` beside a released notebook: the public cases, and what the reference gives in them."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Leave the notebook alone; hand the file to nbconvert's writer."""
        coursedir = self.parent.parent.coursedir
        source = coursedir.format_path(coursedir.source_directory, ".", resources["nbgrader"]["assignment"])
        exercises = {name: task.exercise() for name, task in load(Path(source)).tasks.items()}
        resources.setdefault("outputs", {})["public.json"] = write_public(exercises).encode()
        return nb, resources
