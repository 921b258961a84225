"""The example in the guide for maintainers is an assignment that works, from its folder to the marks."""

import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from d2lblocks.checking.check import examine
from grader.authoring import define, load
from grader.course import Course
from grader.submissions import fill_in
from tests import ROOT
from tests.grader.plainly import autograde_plainly

GUIDE = (ROOT / "book" / "guides" / "maintainers.md").read_text(encoding="utf-8")
(REFERENCE,) = re.findall(r":name: warm-up-reference\n\n(.*?)\n```", GUIDE, flags=re.S)
STUB, TEST = re.findall(r"```python\n(.*?)\n```", GUIDE, flags=re.S)[:2]


@pytest.fixture
def folder(tmp_path):
    """`solutions/warm_up` as the guide has it made."""
    made = tmp_path / "solutions" / "warm_up"
    made.mkdir(parents=True)
    (made / "reference.py").write_text(REFERENCE, encoding="utf-8")

    def cell(source, name, **own):
        about = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3} | own
        return new_code_cell(source, metadata={"nbgrader": {"grade_id": name} | about})

    setup = "import torch\nfrom torch import nn\n\nfrom d2lblocks import check"
    cells = [
        cell(setup, "setup"),
        cell(STUB, "scale", solution=True, locked=False),
        cell(TEST, "test_scale", grade=True, points=3),
    ]
    nbformat.write(new_notebook(cells=cells), made / "warm_up.ipynb")
    return made


def test_the_example_reference_catches_its_mistake_and_lets_right_answers_pass(folder):
    (task,) = load(folder).tasks.values()
    exercise = task.exercise(seed=3)

    (mistake,) = task.mistakes
    report = examine(exercise, define(mistake.source, task.defines))
    assert {v.check.id for v in report.verdicts if v.status != "pass"} == mistake.fails
    assert report.known.id == mistake.id

    for right in (STUB, *task.alternatives.values()):
        report = examine(exercise, define(right, task.defines))
        assert report.passed
        assert report.points == 3


def test_to_add_an_assignment_is_to_add_its_folder(folder, tmp_path):
    (tmp_path / "grader").mkdir()
    shutil.copy(ROOT / "grader" / "nbgrader_config.py", tmp_path / "grader")
    course = Course(tmp_path / "grader")
    assert course.assignments() == ["warm_up"]
    course.release("warm_up")
    released = nbformat.read(course.exercises / "warm_up" / "warm_up.ipynb", as_version=4)
    assert "self.factor * X" not in "".join(cell.source for cell in released.cells)
    (mistake,) = load(folder).tasks["scale"].mistakes
    handed_in = course.submitted / "ada" / "warm_up" / "warm_up.ipynb"
    handed_in.parent.mkdir(parents=True)
    nbformat.write(fill_in(released, {"scale": mistake.source}), handed_in)
    (submission,) = course.submissions("warm_up")
    autograde_plainly(course, submission)
    (mark,) = course.marks()
    assert (mark.student, mark.exercise, mark.score, mark.most) == ("ada", "scale", 1, 3)
