"""A course with one small assignment, for tests that need a course and not much of an exercise."""

import shutil
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grader.authoring.fill_in import fill_in
from grader.course import Course
from tests import ROOT, guide

NAME = guide.NAME
with tempfile.TemporaryDirectory() as _folder:
    _EXAMPLE = nbformat.read(guide.write_example(Path(_folder)) / f"{NAME}.ipynb", as_version=4)
STUB, TEST = (cell.source for cell in _EXAMPLE.cells if cell.metadata.nbgrader.grade_id in ("scale", "test_scale"))
FULL = 3  # points of `scale`


def cell(source, name, make=new_code_cell, **own):
    """A cell of nbgrader's."""
    about = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3} | own
    return make(source, metadata={"nbgrader": {"grade_id": name} | about})


def in_words(name="why", points=4):
    """A cell that is answered in words and marked by a person."""
    own = {"grade": True, "solution": True, "locked": False, "points": points}
    return cell("Why? Your answer.", name, new_markdown_cell, **own)


def cells():
    """What the assignment is made of."""
    return [
        cell("import torch\nfrom torch import nn\n\nfrom d2lblocks import check", "setup"),
        cell(STUB, "scale", solution=True, locked=False),
        cell(TEST, "test_scale", grade=True, points=FULL),
        in_words(),
    ]


def write(course, made):
    """Let the assignment consist of these cells."""
    nbformat.write(new_notebook(cells=made), course.solutions / NAME / f"{NAME}.ipynb")


def make_course(base):
    """The course, not yet released."""
    guide.write_example(base / "solutions")
    (base / "grader").mkdir()
    shutil.copy(ROOT / "grader" / "nbgrader_config.py", base / "grader")
    made = Course(base / "grader")
    write(made, cells())
    return made


def hand_in(course, student, **answers):
    """Put a notebook with these answers where submissions are."""
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    path = course.submitted / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(fill_in(release, {"scale": STUB, **answers}), path)
    return path
